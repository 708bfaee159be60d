"""What to do with an open piece of work: the change, what its task said and what is seen in; one next step out. Pure.

A create or clone is finished if our whole disk is there, else undone; a delete only goes forward; attach and detach
follow the device list (faults 5), where a detach that was perhaps never sent goes on; so do a growth and another policy, unless
it is known to have failed. Nothing is decided by time.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import assert_never

from vmdkvol.errors import StillWorking, Unavailable, VolumeError
from vmdkvol.volume import State
from vmdkvol_esx.ports import AttachDisk, Change, ChangePolicy, CloneDisk, CreateDisk, DeleteDisk, DetachDisk, GrowDisk
from vmdkvol_esx.records import VolumeRecord


class Told(StrEnum):
    """What is known of the hypervisor's task."""

    NOTHING = "nothing"  # no task id is known, the hypervisor forgot it, or the answer was lost
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Seen(StrEnum):
    """What the datastore, or for attach and detach the device lists, say now."""

    THERE = "there"  # our whole disk; for attach and detach: on the change's VM; with its new size; under the policy
    ABSENT = "absent"  # positively absent; on no VM
    ELSEWHERE = "elsewhere"  # another disk lies at the path; another VM has ours
    BROKEN = "broken"  # something lies at our path and is not whole, or has another size; it is under another policy
    UNKNOWN = "unknown"  # it could not be read


class Step(StrEnum):
    """What comes next. ``ASK`` leaves the work open: look again later, and if it stays so a person must look."""

    FINISH = "finish"
    UNDO = "undo"
    GO_ON = "go on"
    WAIT = "wait"
    ASK = "ask"


def told_by(task: str | None, error: VolumeError | None) -> Told:
    """Return what the end of ``Hypervisor.wait`` says of a task: only an error of the change itself is a failure."""
    if error is None:
        return Told.NOTHING if task is None else Told.SUCCEEDED
    if isinstance(error, StillWorking):
        return Told.RUNNING
    return Told.NOTHING if isinstance(error, Unavailable) else Told.FAILED


def decide(change: Change, told: Told, seen: Seen) -> Step:
    """Return the next step. Total: every change, with everything that can be told and seen."""
    if told is Told.RUNNING:
        return Step.WAIT
    if seen is Seen.UNKNOWN:
        return Step.ASK
    match change:
        case CreateDisk() | CloneDisk():
            return _of_new_disk(told, seen)
        case DeleteDisk():
            return _of_delete(seen)
        case AttachDisk():
            return Step.FINISH if seen is Seen.THERE else Step.UNDO
        case DetachDisk():
            return _of_detach(told, seen)
        case GrowDisk():
            return _of_growth(told, seen)
        case ChangePolicy():
            # Done, and not seen so: nobody tells it now, or somebody laid another one on since. The record keeps the word.
            return Step.FINISH if (told, seen) == (Told.SUCCEEDED, Seen.BROKEN) else _of_growth(told, seen)
        case _:
            assert_never(change)


def _of_new_disk(told: Told, seen: Seen) -> Step:
    if seen is Seen.ELSEWHERE:
        # Undoing deletes: not a disk that is not ours.
        return Step.ASK
    if seen is Seen.THERE and told is not Told.FAILED:
        return Step.FINISH
    return Step.UNDO


def _of_detach(told: Told, seen: Seen) -> Step:
    if seen is not Seen.THERE:
        return Step.FINISH
    # It may be on its way, with its task id lost: answering "it is here" to an Attach would hand out a disk that leaves
    # a moment later. Sent again it comes after that, or is refused because the guest uses the disk.
    return Step.GO_ON if told is Told.NOTHING else Step.UNDO


def _of_growth(told: Told, seen: Seen) -> Step:
    if seen is Seen.THERE:
        return Step.FINISH
    # It may be on its way, with its task id lost: with the record of before, nobody would take the disk for the right one
    # afterwards. One that has failed has nothing to take back, and one that is gone did not grow.
    return Step.GO_ON if told is Told.NOTHING and seen is Seen.BROKEN else Step.UNDO


def _of_delete(seen: Seen) -> Step:
    if seen is Seen.ABSENT:
        return Step.FINISH
    return Step.ASK if seen is Seen.ELSEWHERE else Step.GO_ON


def when_done(change: Change, record: VolumeRecord) -> VolumeRecord | None:
    """Return the record as it stands after ``change`` has happened; None: the volume is gone."""
    match change:
        case CreateDisk() | CloneDisk():
            return replace(record, state=State.READY)
        case DeleteDisk():
            return None
        case AttachDisk(vm=vm):
            return replace(record, last_vm=vm)
        case DetachDisk():
            # Seen absent from its list: that VM is no suspect any more when it does not answer one day.
            return replace(record, last_vm=None)
        case GrowDisk(size_bytes=size_bytes):
            return replace(record, size_bytes=size_bytes)
        case ChangePolicy(policy=policy):
            given = record.options.given - {"policy"} | ({"policy"} if policy is not None else frozenset())
            return replace(record, options=replace(record.options, policy=policy, given=given), policy_pending=False)
        case _:
            assert_never(change)
