"""An attach or a detach in words, from a receipt, and its error for one more caller. Pure."""

from __future__ import annotations

from vmdkvol.errors import UnknownTask, VolumeError
from vmdkvol_esx.ports import AttachDisk, DetachDisk
from vmdkvol_esx.vsphere.batches import Move
from vmdkvol_esx.vsphere.receipts import Job, Receipt


def what(move: Move) -> str:
    """Return what is being done, for a message."""
    verb, word = ("attaching", "to") if isinstance(move, AttachDisk) else ("detaching", "from")
    return f"{verb} {move.disk.path} {word} virtual machine {move.vm}"


def move_of(receipt: Receipt) -> Move:
    """Return the change that a receipt is of, as far as it says it; UnknownTask if it is of none."""
    if receipt.vm is None:
        raise UnknownTask(f"task {receipt.task} of {receipt.disk.path} names no virtual machine")
    if receipt.job is Job.ATTACH:
        return AttachDisk(receipt.vm, receipt.disk, "")
    return DetachDisk(receipt.vm, receipt.disk, receipt.only_off)


def copied(error: VolumeError) -> VolumeError:
    """Return the error for one more caller: an exception belongs to the thread that raises it."""
    found = type(error)(error.text, remedy=error.remedy or None)
    found.fields = dict(error.fields)
    return found
