"""Disks in memory, apart from any kernel, so that two kernels can have the same one after the other.

A disk has what its page cache shows (``now``) and what would survive the power (``durable``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from vmdkvol.volume import DiskUuid


@dataclass(frozen=True, slots=True)
class Content:
    """What lies on a disk. ``owners`` has "" for the root and "data" for the sub-directory: (uid, gid, mode)."""

    kind: str | None = None
    uuid: UUID | None = None
    label: str = ""
    owners: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    dirty: bool = False
    damaged: bool = False
    data_is_symlink: bool = False
    # So many bytes the file system spans.
    spans: int = 0


@dataclass(slots=True)
class Disk:
    """A disk on its datastore. ``full``: the datastore takes no more bytes; ``unreadable``: every read fails."""

    uuid: DiskUuid
    size_bytes: int
    now: Content = Content()
    durable: Content = Content()
    full: bool = False
    unreadable: bool = False
    formatted: int = 0

    def put(self, content: Content) -> None:
        """Write and flush."""
        self.now = self.durable = content


class Disks:
    """All disks of a datastore, for any number of kernels."""

    def __init__(self) -> None:
        self._disks: dict[DiskUuid, Disk] = {}

    def disk(self, uuid: DiskUuid, size_bytes: int) -> Disk:
        """Return the disk of this identity, a blank one if it was not seen before."""
        return self._disks.setdefault(uuid, Disk(uuid, size_bytes))

    def __getitem__(self, uuid: DiskUuid) -> Disk:
        return self._disks[uuid]

    def copy(self, source: DiskUuid, target: DiskUuid) -> Disk:
        """Copy the durable bytes: a clone."""
        found = self._disks[source]
        copied = self.disk(target, found.size_bytes)
        copied.put(found.durable)
        return copied

    def fill(self, *, full: bool) -> None:
        """The datastore takes no more bytes for any disk, or takes them again."""
        for disk in self._disks.values():
            disk.full = full

    def enlarge(self, uuid: DiskUuid, size_bytes: int) -> None:
        """The disk is larger from now on; a kernel that has it hears of it by itself."""
        self.disk(uuid, size_bytes).size_bytes = size_bytes

    def delete(self, uuid: DiskUuid) -> None:
        self._disks.pop(uuid, None)
