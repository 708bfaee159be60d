"""Somebody changes mounts, loop devices and files by hand under a volume in use: no data is lost, and it works afterwards."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.daemons.site import Site, eventually

pytestmark = pytest.mark.integration
FIRST, SECOND, LAST = "a" * 64, "b" * 64, "c" * 64
_LOOP_CLR_FD, _LOOP_CHANGE_FD = 0x4C01, 0x4C06


class Used:
    """A site with a volume ``db`` that is mounted for ``FIRST`` and has a synced file."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.host = site.host
        self.host.told("Create", Name="db", Opts={"size": "8mb"})
        self.path = Path(self.host.told("Mount", Name="db", ID=FIRST)["Mountpoint"])
        self.point = self.path.parent
        with (self.path / "file").open("w") as file:
            file.write("data")
            file.flush()
            os.fsync(file.fileno())
        (self.loop,) = site.loops()
        (self.extent,) = site.datastore.rglob("*-flat.vmdk")

    def mount(self, mount_id: str = SECOND) -> dict[str, Any]:
        return self.host.call("Mount", Name="db", ID=mount_id)

    def unmount(self, *ids: str) -> None:
        for mount_id in ids:
            self.host.call("Unmount", Name="db", ID=mount_id)

    def given_back(self) -> None:
        """The last container stops, and the disk leaves the host."""
        self.unmount(FIRST, SECOND)
        eventually(lambda: self.site.loops() == [], "the disk was given back")

    def is_whole(self) -> bool:
        """Afterwards: mounted anew it has its file, and it can be removed with all its files."""
        path = Path(self.host.patiently("Mount", Name="db", ID=LAST)["Mountpoint"])
        found = (path / "file").read_text()
        self.unmount(LAST)
        eventually(lambda: self.site.loops() == [], "the disk was given back")
        self.host.patiently("Remove", Name="db")
        eventually(lambda: self.site.files() == [], f"no file is left: {self.site.files()}")
        return found == "data" and self.site.mounted() == []


@pytest.fixture
def used() -> Iterator[Used]:
    root = Path(tempfile.mkdtemp(prefix="vmdkvol-site-"))
    site = Site(root)
    site.start()
    yield Used(site)
    site.close()
    shutil.rmtree(root)


def run(*command: object) -> str:
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def mounted(*command: object) -> Iterator[Path]:
    """Run ``mount COMMAND``, and unmount its last word at the end."""
    run("mount", *command)
    try:
        yield Path(str(command[-1]))
    finally:
        with suppress(subprocess.CalledProcessError):
            run("umount", command[-1])


@contextmanager
def container() -> Iterator[None]:
    """A process with a mount namespace of its own, as a container's: it has a copy of every mount that is there now."""
    process = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.read(1)
    try:
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


# --- the mount table --------------------------------------------------------------------------------------------


def test_unmounted_under_a_running_container_the_disk_stays_and_is_mounted_again(used: Used) -> None:
    with container():
        run("umount", used.point)

        refused = used.host.call("Remove", Name="db")
        assert refused["Err"].endswith("[volume-in-use]")
        assert used.mount()["Err"] == ""
        used.unmount(FIRST, SECOND)
        assert used.site.loops() == [used.loop]
    assert used.is_whole()


def test_unmounted_lazily_with_an_open_file_the_disk_stays(used: Used) -> None:
    with (used.path / "open").open("w") as file:
        run("umount", "--lazy", used.point)

        assert used.host.call("Remove", Name="db")["Err"].endswith("[volume-in-use]")
        assert used.site.loops() == [used.loop]
        file.write("more")
    assert used.is_whole()


def test_mounted_over_it_is_refused_with_the_place_and_works_again_after(used: Used) -> None:
    with mounted("-t", "tmpfs", "tmpfs", used.point):
        refused = used.mount()["Err"]
        assert f"umount {used.point} [wrong-disk]" in refused

    assert used.mount()["Mountpoint"] == str(used.path)
    used.given_back()
    assert used.is_whole()


def test_something_mounted_in_it_is_named_and_keeps_it_mounted(used: Used) -> None:
    with mounted("-t", "tmpfs", "tmpfs", used.path):
        assert used.mount()["Err"].endswith("[wrong-disk]")
        refused = used.host.call("Unmount", Name="db", ID=FIRST)["Err"]
        assert f"tmpfs is mounted in it at {used.path.name}; " in refused
        assert used.site.loops() == [used.loop]
    eventually(lambda: used.site.loops() == [], "the disk was given back")
    assert used.is_whole()


def test_made_read_only_by_hand_the_next_container_can_write(used: Used) -> None:
    run("mount", "-o", "remount,ro", used.point)

    path = Path(used.mount()["Mountpoint"])

    (path / "more").write_text("more")
    used.given_back()
    assert used.is_whole()


def test_mounted_elsewhere_too_it_is_shared_and_the_place_is_named(used: Used) -> None:
    """One kernel, one superblock: a second mount of it is safe, and the disk does not leave under it."""
    elsewhere = used.site.root / "elsewhere"
    elsewhere.mkdir()
    with mounted(used.loop.device, elsewhere):
        used.unmount(FIRST)
        refused = used.host.call("Remove", Name="db")["Err"]
        assert str(elsewhere)[:40] in refused
        assert refused.endswith("[volume-in-use]")
        assert Path(used.mount()["Mountpoint"], "file").read_text() == (elsewhere / used.path.name / "file").read_text()
        used.unmount(SECOND)
        assert used.site.loops() == [used.loop]
    assert used.is_whole()


# --- loop devices -----------------------------------------------------------------------------------------------


def control(device: str, command: int, argument: int = 0) -> None:
    descriptor = os.open(device, os.O_RDWR)
    try:
        fcntl.ioctl(descriptor, command, argument)
    finally:
        os.close(descriptor)


def test_a_loop_device_that_is_taken_away_under_a_mount_goes_with_its_last_user(used: Used) -> None:
    control(used.loop.device, _LOOP_CLR_FD)

    assert used.mount()["Mountpoint"] == str(used.path)
    used.given_back()
    assert used.is_whole()


def test_a_loop_device_that_is_taken_away_while_it_lingers_is_made_again(used: Used) -> None:
    used.unmount(FIRST)
    with suppress(OSError):
        control(used.loop.device, _LOOP_CLR_FD)

    assert Path(used.mount()["Mountpoint"], "file").read_text() == "data"
    used.given_back()
    assert used.is_whole()


def test_the_kernel_gives_a_writable_loop_device_no_other_file(used: Used) -> None:
    copy = used.site.root / "copy"
    shutil.copyfile(used.extent, copy)

    with copy.open("r+b") as file, pytest.raises(OSError, match="Invalid argument"):
        control(used.loop.device, _LOOP_CHANGE_FD, file.fileno())

    used.given_back()
    assert used.is_whole()


@contextmanager
def bound(file: Path) -> Iterator[str]:
    device = run("losetup", "--find", "--show", file)
    try:
        yield device
    finally:
        run("losetup", "--detach", device)


def bound_by_hand(used: Used) -> Any:
    return bound(used.extent)


def mounted_by_hand(used: Used) -> Any:
    point = used.site.root / "by-hand"
    point.mkdir()
    return mounted("-o", "loop", used.extent, point)


@pytest.mark.parametrize("by_hand", [pytest.param(bound_by_hand, id="bound"), pytest.param(mounted_by_hand, id="mounted")])
def test_an_extent_that_root_uses_before_us_is_refused_with_the_place(used: Used, by_hand: Callable[[Used], Any]) -> None:
    used.given_back()
    with by_hand(used) as where:
        for endpoint, body in (("Mount", {"ID": SECOND}), ("Remove", {})):
            refused = used.host.call(endpoint, Name="db", **body)["Err"]
            assert refused.endswith("[volume-in-use]")
            assert str(where) in refused
        copied = used.host.call("Create", Name="copy", Opts={"clone-from": "db"})["Err"]
        assert copied.endswith("[volume-in-use]")
        assert used.host.names() == ["db"]
    assert used.is_whole()


def test_an_extent_that_root_uses_after_us_keeps_the_volume_from_removal(used: Used) -> None:
    with bound(used.extent) as device:
        used.unmount(FIRST)
        eventually(lambda: used.loop not in used.site.loops(), "our device is given back")
        assert device in used.host.call("Remove", Name="db")["Err"]
        assert used.extent.exists()
    assert used.is_whole()


# --- the extent's file ------------------------------------------------------------------------------------------


def test_an_extent_that_is_moved_away_stays_the_disk_until_it_is_given_back(used: Used) -> None:
    """The kernel goes on with the file: to the next host a copy in its place would be a second disk of one name."""
    moved = used.site.root / "moved"
    used.extent.rename(moved)
    shutil.copyfile(moved, used.extent)

    assert used.mount()["Err"] == ""
    status = used.host.told("Get", Name="db")["Volume"]["Status"]
    assert (status["status"], status["mounted"]) == ("attached", True)
    (used.path / "file").write_text("data")
    used.given_back()
    moved.replace(used.extent)
    assert used.is_whole()


def test_an_extent_that_is_missing_is_told_and_works_when_it_is_back(used: Used) -> None:
    aside = used.site.root / "aside"
    used.extent.rename(aside)
    assert used.mount()["Err"] == ""
    used.given_back()

    refused = used.mount()["Err"]

    assert refused.endswith("[metadata-damaged]")
    assert used.extent.name in refused
    aside.rename(used.extent)
    assert used.is_whole()


def test_what_a_check_can_mend_is_mended_although_the_first_block_says_clean(used: Used) -> None:
    """The kernel refuses a group descriptor that does not match its checksum; e2fsck -p makes it match again."""
    used.given_back()
    with used.extent.open("r+b") as extent:
        # The count of free blocks of group 0, whose descriptor follows the superblock of blocks of 1 KiB.
        extent.seek(2048 + 12)
        count = extent.read(1)[0]
        extent.seek(2048 + 12)
        extent.write(bytes([count ^ 1]))

    assert used.is_whole()


def test_extents_that_are_swapped_lose_nobody_s_bytes(used: Used) -> None:
    used.given_back()
    used.host.told("Create", Name="other", Opts={"size": "8mb"})
    (other,) = set(used.site.datastore.rglob("*-flat.vmdk")) - {used.extent}
    aside = used.site.root / "aside"
    swap = ((used.extent, aside), (other, used.extent), (aside, other))
    for old, new in swap:
        old.rename(new)

    for name in ("db", "other"):
        assert used.host.call("Mount", Name=name, ID=SECOND)["Err"].endswith("[metadata-damaged]")
    used.host.told("Remove", Name="other")

    assert other.exists()
    assert used.extent.exists()
    for old, new in swap:
        old.rename(new)
    eventually(lambda: not other.exists(), "the removed one's disk is deleted when it is whole again")
    assert used.is_whole()
