"""The allow-lists against the real tools and the real kernel: what is allowed at create works at the first mount."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vmdkvol.tuning import MINIMUM_SIZE, check_mkfs_options, check_mount_option, smallest

pytestmark = pytest.mark.integration

MKFS_WORDS = {
    "ext4": [
        *(f"-b {size}" for size in (1024, 2048, 4096)),
        *(f"-i {ratio}" for ratio in (4096, 8192, 1 << 26)),
        *(f"-I {size}" for size in (256, 512, 1024)),
        "-i 4096 -I 1024",
        "-b 1024 -I 1024 -i 4096",
        *(f"-m {percent}" for percent in (0, 1, 50)),
        *(f"-T {usage}" for usage in ("small", "default", "news", "big", "huge", "largefile", "largefile4")),
    ],
    "xfs": [
        *(f"-i size={size}" for size in (512, 1024, 2048)),
        *(f"-i maxpct={percent}" for percent in (1, 100)),
        *(f"-n size={size}" for size in (4096, 8192, 16384, 32768, 65536)),
        *(f"-s size={size}" for size in (512, 4096)),
        "-i size=2048 -n size=65536 -s size=4096",
    ],
}
ANY = ["noatime", "relatime", "strictatime", "nodiratime", "lazytime", "noexec", "sync", "dirsync", "discard", "nodiscard"]
MOUNT_WORDS = {
    "ext4": [*ANY, *["data=ordered", "data=journal", "commit=1", "commit=300", "stripe=0", "stripe=65535", "auto_da_alloc"]],
    "xfs": [
        *ANY,
        *["allocsize=4k", "allocsize=64k", "allocsize=1048576k", "largeio", "nolargeio", "inode64", "swalloc"],
        *["logbsize=32k", "logbsize=64k", "logbsize=128k", "logbsize=256k"],
    ],
}


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def make(path: Path, fstype: str, words: list[str], size: int) -> None:
    with path.open("wb") as image:
        image.truncate(size)
    force = ["-F"] if fstype == "ext4" else ["-f"]
    run(f"mkfs.{fstype}", "-q", *force, *words, str(path))


@pytest.mark.parametrize(("fstype", "text"), [(fstype, text) for fstype, texts in MKFS_WORDS.items() for text in texts])
def test_mkfs_takes_every_allowed_option_on_the_smallest_disk(fstype: str, text: str, tmp_path: Path) -> None:
    words = text.split()
    check_mkfs_options(words, fstype)
    image = tmp_path / "image"

    make(image, fstype, words, smallest(fstype, words))

    assert fstype == "xfs" or "has_journal" in run("dumpe2fs", "-h", str(image))


@contextmanager
def loop(image: Path) -> Iterator[str]:
    device = run("losetup", "--find", "--show", str(image)).strip()
    try:
        yield device
    finally:
        run("losetup", "--detach", device)


@pytest.mark.parametrize("fstype", MOUNT_WORDS)
def test_the_kernel_takes_every_allowed_mount_option(fstype: str, tmp_path: Path) -> None:
    image, point = tmp_path / "image", tmp_path / "point"
    point.mkdir()
    make(image, fstype, [], MINIMUM_SIZE[fstype])
    with loop(image) as device:
        for word in MOUNT_WORDS[fstype]:
            check_mount_option(word, fstype)
            run("mount", "-t", fstype, "-o", f"nosuid,nodev,{word}", device, str(point))
            run("umount", str(point))
