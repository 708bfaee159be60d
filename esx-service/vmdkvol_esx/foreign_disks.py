"""Disks in folders that are not ours: looked for by parts of ``ports.Hypervisor``, and taken in by one of ``ports.Store``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from vmdkvol.clock import Deadline
from vmdkvol.names import DatastoreName

if TYPE_CHECKING:
    from vmdkvol.volume import DiskUuid
    from vmdkvol_esx.ports import DiskPath
    from vmdkvol_esx.records import VolumeRecord

# Of one listing. Where more lie, a folder is to be named: nobody waits for all of a large datastore.
MOST = 10_000


@dataclass(frozen=True, slots=True)
class ForeignDisk:
    """A disk of anybody's, as it lies there. What is None is not known.

    ``obstacle`` says in words why it cannot be attached by itself; empty: its files say nothing against it. With one that is
    empty ``uuid`` and ``size_bytes`` are known.
    """

    path: DiskPath
    uuid: DiskUuid | None = None
    size_bytes: int | None = None
    allocated_bytes: int | None = None
    thin: bool | None = None
    obstacle: str = ""


class ForeignDisks(Protocol):
    """Everything here only reads."""

    def foreign(self, datastore: DatastoreName, folder: str, deadline: Deadline | None = None) -> Sequence[DiskPath]:
        """Return the descriptors of disks in this folder and below it, whoever made them, in the order of their paths.

        ``""`` is the datastore's root; those in our own folder are left out. NotFound if there is no such folder, BadRequest if
        it is no path or if more than ``MOST`` disks lie there, TruthUnknown if it cannot be listed. Unavailable
        if it was not by the deadline.
        """
        ...

    def foreign_disk(self, path: DiskPath, deadline: Deadline | None = None) -> ForeignDisk | None:
        """Return the disk at this path, whoever made it; None if nothing lies there.

        What lies there and is no disk that could be attached has an ``obstacle``. TruthUnknown if it cannot be read now;
        Unavailable if it was not by the deadline.
        """
        ...


class MovedDisks(Protocol):
    """Disks of ours that a machine's move took out of our folder, with what lies beside them."""

    def copies_elsewhere(self, datastore: DatastoreName) -> Sequence[DiskPath]:
        """Return the places outside of our folder beside which a sidecar lies, in the order of their paths.

        All of the datastore is searched, which may take a minute. TruthUnknown if it cannot be listed.
        """
        ...


class Adoptions(Protocol):
    """The record of disks that became volumes."""

    def enlist(self, record: VolumeRecord, *, over_quota: bool = False) -> None:
        """Store a new record without an intent: its disk is there, and nothing is done to it. All or nothing, as ``begin``.

        StaleRequest if the volume is known; NameConflict if a live volume of the vmgroup has the name, or another one has the
        disk's UUID or path; QuotaExceeded if it is beyond a limit, unless it is to be ``over_quota``; NotPermitted if the
        datastore is cordoned or there is no such vmgroup.
        """
        ...
