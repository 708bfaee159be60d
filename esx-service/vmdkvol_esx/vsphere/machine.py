"""A virtual machine as one read shows it. Pure values: what slots and batches are planned from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from vmdkvol.volume import DiskUuid, ScsiAddress, VmId
from vmdkvol_esx.ports import DiskPath


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
    ours. ``told``: the list itself gave the identity. ``device`` is the server's own description, which it wants back when
    the disk is taken off. ``place`` is the server's id of the datastore; empty if it gave none. ``size_bytes`` is 0 if the
    list does not tell it.
    """

    key: int
    address: ScsiAddress
    path: str
    uuid: DiskUuid | None
    delta: bool = False
    told: bool = True
    device: object = field(default=None, compare=False, repr=False)
    place: str = ""
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Machine:
    """``ref`` is the server's own id. ``running`` is False only for one that is positively switched off.

    ``version`` changes with every change of its configuration; empty if the server gives none. ``hardware`` names its
    generation ("vmx-19"), ``snapshot`` the snapshot that it runs on. ``context_id`` is that of its VMCI device. ``nameless``:
    the server's id of the datastore and the path of each disk outside of our folder that does not say who it is.
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
    nameless: tuple[tuple[str, str], ...] = ()

    @property
    def unidentified(self) -> tuple[Fitted, ...]:
        """Disks in our folder of which is not known which one they are."""
        return tuple(disk for disk in self.disks if disk.uuid is None)

    @property
    def told_all(self) -> bool:
        """Whether the device list itself gave each disk's identity."""
        return all(disk.uuid is not None and disk.told for disk in self.disks)

    def without_devices(self) -> Machine:
        """Return the machine without the server's own descriptions, which are large."""
        return replace(self, disks=tuple(replace(disk, device=None) for disk in self.disks))


def nameless(
    machines: Mapping[VmId, Machine], located: Callable[[str, str], DiskPath | None]
) -> Mapping[VmId, tuple[DiskPath | None, ...]]:
    """Return ``DeviceLists.nameless`` of these machines."""
    found = {vm: tuple(located(*each) for each in machine.nameless) for vm, machine in machines.items()}
    return {vm: places for vm, places in found.items() if places}
