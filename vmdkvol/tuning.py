"""What a user may tell mkfs and mount: an allow-list per file system, each entry readable and checkable. Pure.

An option is here only if it cannot lose data, cannot give rights, makes a file system that every guest of the site can
check, and works on each size that ``smallest`` allows: a value that mkfs or mount(2) would refuse is refused at create,
not at the first ``docker run`` (field case C07). Tried with e2fsprogs 1.47.0 and xfsprogs 6.1.0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vmdkvol.errors import InvalidOption, quoted

# The smallest disk on which mkfs makes the file system with its journal: ext4 measured, xfs by rule of mkfs.xfs since
# 5.19 (field case C01).
MINIMUM_SIZE = {"ext4": 2 << 20, "xfs": 300 << 20}
# A journal needs 1024 blocks (measured): with blocks of 4096 bytes, which -b and most -T ask for, ext4 on less than
# this is made without one, and says nothing.
_MINIMUM_WITH_LARGE_BLOCKS = 8 << 20


@dataclass(frozen=True, slots=True)
class Allowed:
    """One option. ``shown`` is what help and errors print; ``takes`` tells whether a value (or word) is allowed."""

    shown: str
    takes: Callable[[str], bool]


def _choice(shown: str, *values: str) -> Allowed:
    return Allowed(shown, frozenset(values).__contains__)


def _values(flag: str, prefix: str, *values: str) -> Allowed:
    return _choice(f"{flag} {prefix}{'|'.join(values)}", *(prefix + value for value in values))


def _between(shown: str, prefix: str, low: int, high: int) -> Allowed:
    def takes(value: str) -> bool:
        # [0-9], not \d, and few digits: the text comes from users.
        match = re.fullmatch(re.escape(prefix) + r"(0|[1-9][0-9]{0,9})", value)
        return match is not None and low <= int(match.group(1)) <= high

    return Allowed(shown, takes)


# Not here on purpose: -N (fails when the disk is too small for it), -I 128 (no dates after 2038), xfs' -d agcount (most
# values fail on small disks), and whatever switches features: another guest may not know them.
MKFS: Mapping[str, Sequence[tuple[str, Allowed]]] = {
    "ext4": (
        ("-b", _values("-b", "", "1024", "2048", "4096")),
        ("-i", _between("-i 4096..67108864", "", 4096, 1 << 26)),
        ("-I", _values("-I", "", "256", "512", "1024")),
        ("-m", _between("-m 0..50", "", 0, 50)),
        ("-T", _values("-T", "", "small", "default", "news", "big", "huge", "largefile", "largefile4")),
    ),
    "xfs": (
        ("-i", _values("-i", "size=", "512", "1024", "2048")),
        ("-i", _between("-i maxpct=1..100", "maxpct=", 1, 100)),
        ("-n", _values("-n", "size=", "4096", "8192", "16384", "32768", "65536")),
        ("-s", _values("-s", "size=", "512", "4096")),
    ),
}

# nosuid and nodev are always set, ro comes from access=read-only; nothing here can undo them.
_MOUNT_ANY = tuple(
    _choice(word, word)
    for word in (
        "noatime",
        "relatime",
        "strictatime",
        "nodiratime",
        "lazytime",
        "noexec",
        "sync",
        "dirsync",
        "discard",
        "nodiscard",
    )
)
_POWERS_OF_TWO = tuple(f"{1 << power}k" for power in range(2, 21))
MOUNT: Mapping[str, Sequence[Allowed]] = {
    "ext4": (
        *_MOUNT_ANY,
        _choice("data=ordered|journal", "data=ordered", "data=journal"),
        _between("commit=1..300", "commit=", 1, 300),
        _between("stripe=0..65535", "stripe=", 0, 65535),
        _choice("auto_da_alloc", "auto_da_alloc"),
    ),
    "xfs": (
        *_MOUNT_ANY,
        _choice("allocsize=4k..1048576k (a power of two)", *(f"allocsize={size}" for size in _POWERS_OF_TWO)),
        _choice("largeio", "largeio"),
        _choice("nolargeio", "nolargeio"),
        _choice("inode64", "inode64"),
        _choice("logbsize=32k|64k|128k|256k", *(f"logbsize={size}k" for size in (32, 64, 128, 256))),
        _choice("swalloc", "swalloc"),
    ),
}


def mkfs_allowed(fstype: str) -> str:
    """Return the list of mkfs options for ``fstype`` as a reader wants it."""
    return ", ".join(allowed.shown for _, allowed in MKFS[fstype])


def mount_allowed(fstype: str) -> str:
    """Return the list of mount options for ``fstype`` as a reader wants it."""
    return ", ".join(allowed.shown for allowed in MOUNT[fstype])


def smallest(fstype: str, mkfs_options: Sequence[str]) -> int:
    """Return the bytes of the smallest disk that takes this file system, made with these options, with its journal."""
    if fstype == "ext4" and ("-b" in mkfs_options or "-T" in mkfs_options):
        return _MINIMUM_WITH_LARGE_BLOCKS
    return MINIMUM_SIZE[fstype]


def check_mkfs_options(words: Sequence[str], fstype: str) -> None:
    """Raise InvalidOption unless ``words`` are pairs of a flag and a value that mkfs may be told for ``fstype``."""
    for number in range(0, len(words), 2):
        flag, value = words[number], "".join(words[number + 1 : number + 2])
        if not any(flag == known and allowed.takes(value) for known, allowed in MKFS[fstype]):
            raise InvalidOption(
                f"mkfs option {quoted(f'{flag} {value}'.strip())} is not allowed for {fstype}",
                remedy=f"allowed: {mkfs_allowed(fstype)}",
            )
        if flag in words[:number:2]:
            # mkfs takes the last one in silence, so one of the two was not meant.
            raise InvalidOption(f"mkfs option {flag} is given twice", remedy=f"write {flag} once")


def check_mount_option(word: str, fstype: str) -> None:
    """Raise InvalidOption unless ``word`` may be used to mount ``fstype``."""
    if not any(allowed.takes(word) for allowed in MOUNT[fstype]):
        raise InvalidOption(
            f"mount option {quoted(word)} is not allowed for {fstype}", remedy=f"allowed: {mount_allowed(fstype)}"
        )


def check_mount_option_of_clone(word: str) -> None:
    """Raise InvalidOption unless some file system may be mounted with ``word``: the source's is known to the service only.

    The service checks again with ``check_mount_option`` when it has found the source.
    """
    if not any(allowed.takes(word) for words in MOUNT.values() for allowed in words):
        raise InvalidOption(
            f"mount option {quoted(word)} is not allowed for a clone",
            remedy="the lists for ext4 and xfs are in docs/reference/options.md",
        )
