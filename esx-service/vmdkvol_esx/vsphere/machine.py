"""A virtual machine as one read shows it. Pure values: what slots and batches are planned from."""

from __future__ import annotations

from dataclasses import dataclass, field

from vmdkvol.volume import DiskUuid, ScsiAddress, VmId


@dataclass(frozen=True, slots=True)
class Controller:
    """A SCSI controller. ``taken`` are the units of everything on it, and its own one; ``ours``: disks may be put on it."""

    key: int
    bus: int
    taken: frozenset[int]
    ours: bool


@dataclass(frozen=True, slots=True)
class Fitted:
    """A disk in a machine's device list.

    ``path`` is that of the root of its backing's chain, as "[datastore] folder/file.vmdk"; ``delta``: there is a chain,
    so a snapshot stands on it. ``uuid`` is None for a disk in our folder whose identity cannot be read: it may be any of
    ours. ``device`` is the server's own description, which it wants back when the disk is taken off.
    """

    key: int
    address: ScsiAddress
    path: str
    uuid: DiskUuid | None
    delta: bool = False
    device: object = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Machine:
    """``ref`` is the server's own id. ``running`` is False only for one that is positively switched off.

    ``version`` changes with every change of its configuration; empty if the server gives none. ``hardware`` names its
    generation ("vmx-19"), ``snapshot`` the snapshot that it runs on. ``context_id`` is that of its VMCI device.
    """

    ref: str
    id: VmId
    name: str
    running: bool
    connected: bool
    version: str = ""
    hardware: str = ""
    controllers: tuple[Controller, ...] = ()
    disks: tuple[Fitted, ...] = ()
    snapshot: str | None = None
    context_id: int | None = None

    @property
    def unidentified(self) -> tuple[Fitted, ...]:
        """Disks in our folder of which is not known which one they are."""
        return tuple(disk for disk in self.disks if disk.uuid is None)
