"""A change of a machine: what it must know of its disk, in words, from and to a receipt, its error. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from vmdkvol.clock import Deadline
from vmdkvol.errors import StaleRequest, UnknownTask, VolumeError
from vmdkvol_esx.ports import AttachDisk, DetachDisk, DiskPath, DiskRef, TaskId
from vmdkvol_esx.vsphere.batches import EnlargeDisk, LayPolicy, Move
from vmdkvol_esx.vsphere.machine import Machine
from vmdkvol_esx.vsphere.receipts import Job, Receipt

# Says where a path on a datastore of this id is, by the names that our records have; None if that is not certain.
Located = Callable[[str, str], DiskPath | None]


@dataclass(frozen=True, slots=True)
class Sent:
    """A change on its way. ``shared``: with others in one reconfigure."""

    move: Move
    operation: str
    task: TaskId
    shared: bool


class Wishes(Protocol):
    """Which storage policies go along; see ``profiles.Profiles``."""

    def of(self, move: Move, deadline: Deadline) -> str | None: ...
    def dropped(self, move: Move, error: VolumeError, *, shared: bool) -> bool: ...
    def came(self, move: Move) -> None: ...


class Knows(Protocol):
    """What the disks' side knows of one."""

    def check(self, disk: DiskRef, deadline: Deadline, operation: str) -> None:
        """Raise unless this disk lies at its path: VolumeLost, WrongDisk, MetadataDamaged, TruthUnknown."""

    def spelled(self, path: DiskPath, deadline: Deadline) -> str:
        """Return the path as the server writes it now; raises what stands against its datastore."""
        ...


def what(move: Move) -> str:
    """Return what is being done, for a message."""
    if isinstance(move, EnlargeDisk):
        return f"enlarging {move.disk.path} of virtual machine {move.vm}"
    if isinstance(move, LayPolicy):
        return f"laying a storage policy on {move.disk.path} of virtual machine {move.vm}"
    verb, word = ("attaching", "to") if isinstance(move, AttachDisk) else ("detaching", "from")
    return f"{verb} {move.disk.path} {word} virtual machine {move.vm}"


def move_of(receipt: Receipt) -> Move:
    """Return the change that a receipt is of, as far as it says it; UnknownTask if it is of none."""
    if receipt.vm is None:
        raise UnknownTask(f"task {receipt.task} of {receipt.disk.path} names no virtual machine")
    if receipt.job is Job.ATTACH:
        return AttachDisk(receipt.vm, receipt.disk, "")
    if receipt.job is Job.GROW:
        return EnlargeDisk(receipt.vm, receipt.disk, receipt.size_bytes)
    if receipt.job is Job.POLICY:
        return LayPolicy(receipt.vm, receipt.disk, receipt.policy)
    return DetachDisk(receipt.vm, receipt.disk, receipt.only_off)


def receipt_of(move: Move, task: TaskId) -> Receipt:
    """Return the receipt of a change that ``task`` carries out."""
    if isinstance(move, AttachDisk):
        return Receipt(Job.ATTACH, task, move.disk, move.vm)
    if isinstance(move, EnlargeDisk):
        return Receipt(Job.GROW, task, move.disk, move.vm, size_bytes=move.size_bytes)
    if isinstance(move, LayPolicy):
        return Receipt(Job.POLICY, task, move.disk, move.vm, policy=move.policy)
    return Receipt(Job.DETACH, task, move.disk, move.vm, move.only_off)


def copied(error: VolumeError) -> VolumeError:
    """Return the error for one more caller: an exception belongs to the thread that raises it."""
    found = type(error)(error.text, remedy=error.remedy or None)
    found.fields = dict(error.fields)
    return found


def was_moved(move: Move, machine: Machine, located: Located) -> StaleRequest | None:
    """Return the error for a change, but an attach, of a disk that lies elsewhere by now, else None.

    After it no list would say where it lies, and its record does not yet.
    """
    if isinstance(move, AttachDisk):
        return None
    places = [located(fitted.place, fitted.path) for fitted in machine.disks if fitted.uuid == move.disk.uuid]
    if move.disk.path in places:
        # What else has its identity is a copy.
        return None
    now = next((place for place in places if place is not None), None)
    if now is None:
        return None
    told = f"{move.disk.path} was moved to {now} at this moment"
    return StaleRequest(told, remedy="try again: its record follows it")
