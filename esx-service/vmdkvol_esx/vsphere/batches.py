"""What one reconfigure of a machine does of all that waits for it. Pure: the machine as it was just read, and changes, in.

At most one reconfigure of a machine runs at a time, and it takes long; so whatever came meanwhile goes into the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vmdkvol.errors import InvalidSize, SnapshotPresent, StaleRequest, TruthUnknown, VolumeError, VolumeInUse
from vmdkvol.volume import DiskUuid, VmId
from vmdkvol_esx.ports import AttachDisk, DetachDisk, DiskRef
from vmdkvol_esx.vsphere.machine import Controller, Fitted, Machine
from vmdkvol_esx.vsphere.slots import DISKS, Slot, places

# Changes of disks in one reconfigure; new controllers come on top.
MAX_CHANGES = 16


@dataclass(frozen=True, slots=True)
class EnlargeDisk:
    """Let a disk that ``vm`` has become larger. ``was_bytes`` is its size where the machine's list does not tell it."""

    vm: VmId
    disk: DiskRef
    size_bytes: int
    was_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class LayPolicy:
    """Let a disk that ``vm`` has come under the storage policy of this name; None: its datastore's own."""

    vm: VmId
    disk: DiskRef
    policy: str | None


# A change of a device that stays.
Edit = EnlargeDisk | LayPolicy
Move = AttachDisk | DetachDisk | Edit


@dataclass(frozen=True, slots=True)
class Plan:
    """By the place of each change in what was given. What is in none of them waits for the next reconfigure.

    ``done`` holds already; ``refused`` is never to be carried out as the machine is now; ``full``: there is no place for it.
    """

    detach: Mapping[int, Fitted] = field(default_factory=dict)
    edit: Mapping[int, Fitted] = field(default_factory=dict)
    attach: Mapping[int, Slot] = field(default_factory=dict)
    controllers: tuple[Controller, ...] = ()
    done: frozenset[int] = frozenset()
    refused: Mapping[int, VolumeError] = field(default_factory=dict)
    full: frozenset[int] = frozenset()

    @property
    def taken(self) -> frozenset[int]:
        """Which changes the reconfigure carries out."""
        return frozenset(self.detach) | frozenset(self.edit) | frozenset(self.attach)


def plan(machine: Machine, moves: Sequence[Move], disks: int = DISKS) -> Plan:
    """Return what is done now: detaches first, else in the order in which they came, one for each disk.

    A place that a detach frees is given away by the next reconfigure, not by the same one: what comes first in it is the
    server's business.
    """
    leaving: dict[int, Fitted] = {}
    staying: dict[int, Fitted] = {}
    coming: list[int] = []
    done: set[int] = set()
    refused: dict[int, VolumeError] = {}
    moving: set[DiskUuid] = set()
    for number, move in enumerate(moves):
        if move.disk.uuid in moving:
            continue
        try:
            fitted = _fitted(machine, move)
        except VolumeError as error:
            refused[number] = error
            continue
        if _is_done(move, fitted):
            done.add(number)
            continue
        moving.add(move.disk.uuid)
        if isinstance(move, Edit) and fitted is not None:
            staying[number] = fitted
        elif fitted is None:
            coming.append(number)
        else:
            leaving[number] = fitted
    detach = dict(list(leaving.items())[:MAX_CHANGES])
    edit = dict(list(staying.items())[: MAX_CHANGES - len(detach)])
    coming = coming[: MAX_CHANGES - len(detach) - len(edit)]
    found = places(machine.controllers, len(coming), disks)
    attach = dict(zip(coming, found.slots, strict=False))
    full = frozenset() if detach else frozenset(coming[len(attach) :])
    return Plan(detach, edit, attach, found.controllers, frozenset(done), refused, full)


def _fitted(machine: Machine, move: Move) -> Fitted | None:
    """Return the disk where the machine has it, None if it has it not; raise what stands against the move."""
    if not machine.connected:
        raise TruthUnknown(f"virtual machine {machine.name} is not connected, so its device list is not to be trusted")
    found = [disk for disk in machine.disks if disk.uuid == move.disk.uuid]
    if len(found) > 1:
        # A copy with its original's identity; the one at our path is ours.
        found = [disk for disk in found if disk.path == str(move.disk.path)]
        if len(found) != 1:
            raise TruthUnknown(f"virtual machine {machine.name} has two disks with the identity of {move.disk.path}")
    if found:
        if isinstance(move, DetachDisk):
            _check_detach(machine, move, found[0])
        if isinstance(move, EnlargeDisk):
            _check_enlarge(machine, move, found[0])
        return found[0]
    for disk in machine.unidentified:
        # What is attached now was seen at its own path a moment ago; what is taken off may have been moved.
        if not isinstance(move, AttachDisk) or disk.path == str(move.disk.path):
            raise TruthUnknown(f"virtual machine {machine.name} has {disk.path}, whose identity cannot be read")
    if isinstance(move, Edit):
        raise StaleRequest(f"{move.disk.path} is not attached to {machine.name} any more")
    return None


def _is_done(move: Move, fitted: Fitted | None) -> bool:
    if isinstance(move, LayPolicy):
        # No list says under which policy a disk is; the same one once more is fine.
        return False
    if isinstance(move, EnlargeDisk):
        return fitted is not None and (fitted.size_bytes or move.was_bytes) == move.size_bytes
    return (fitted is not None) is isinstance(move, AttachDisk)


def _check_enlarge(machine: Machine, move: EnlargeDisk, fitted: Fitted) -> None:
    has = fitted.size_bytes or move.was_bytes
    if has is None:
        raise TruthUnknown(f"virtual machine {machine.name} does not say the size of {move.disk.path}")
    if move.size_bytes < has:
        raise InvalidSize(f"{move.disk.path} has {has} bytes and is not made smaller")
    if move.size_bytes > has:
        _check_no_snapshot(machine, move, fitted)


def _check_detach(machine: Machine, move: DetachDisk, fitted: Fitted) -> None:
    if move.only_off and machine.running:
        raise VolumeInUse(f"{move.disk.path} is attached to {machine.name}, which is switched on", holder=machine.name)
    _check_no_snapshot(machine, move, fitted)


def _check_no_snapshot(machine: Machine, move: Move, fitted: Fitted) -> None:
    if fitted.delta:
        snapshot = machine.snapshot or "?"
        raise SnapshotPresent(f"snapshot {snapshot!r} of {machine.name} contains {move.disk.path}", snapshot=snapshot)
