"""What a task of vSphere's was started for, inside the task's id as our journal keeps it. Pure.

A task is only "done" for us after what follows it: a new disk gets its UUID, a deleted one loses its label. Whoever waits for
the task does that, also after a restart that forgot everything but the id in the intent (I8).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from vmdkvol.errors import UnknownTask
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid, VmId
from vmdkvol_esx.ports import DiskPath, DiskRef, TaskId


class Job(StrEnum):
    """What the task does. The values stand in databases and never change."""

    CREATE = "create"
    CLONE = "clone"
    DELETE = "delete"
    ATTACH = "attach"
    DETACH = "detach"
    GROW = "grow"
    POLICY = "policy"


@dataclass(frozen=True, slots=True)
class Receipt:
    """``task`` is vSphere's own id; ``vm`` is there for what is done to a machine.

    ``size_bytes`` is what a disk grows to, ``policy`` what it comes under. Disks may share a task, never a receipt.
    """

    job: Job
    task: TaskId
    disk: DiskRef
    vm: VmId | None = None
    only_off: bool = False
    size_bytes: int = 0
    policy: str | None = None


def task_id(receipt: Receipt) -> TaskId:
    """Return the receipt as the text that goes into an intent."""
    told: list[object] = [
        receipt.job.value,
        receipt.task,
        str(receipt.disk.uuid),
        receipt.disk.path.datastore,
        receipt.disk.path.path,
        None if receipt.vm is None else str(receipt.vm),
        receipt.only_off,
    ]
    if receipt.size_bytes:
        told.append(receipt.size_bytes)
    if receipt.job is Job.POLICY:
        told.append(receipt.policy)
    return TaskId(json.dumps(told, ensure_ascii=False, separators=(",", ":")))


def parse(text: TaskId) -> Receipt:
    """Return what ``task_id`` wrote. UnknownTask for anything else: another hypervisor's, so nothing is known of it."""
    try:
        job, task, disk, datastore, path, vm, only_off, *more = json.loads(text)
        size_bytes, policy = _size(Job(job), more), _policy(Job(job), more)
        if not (isinstance(task, str) and task and isinstance(datastore, str) and isinstance(path, str)):
            raise ValueError("a part of it has another type")
        ref = DiskRef(DiskUuid(UUID(disk)), DiskPath(DatastoreName(datastore), path))
        machine = None if vm is None else VmId(UUID(vm))
        return Receipt(Job(job), TaskId(task), ref, machine, only_off is True, size_bytes, policy)
    except (ValueError, TypeError, AttributeError) as error:
        raise UnknownTask(f"task {text[:60]!r} is none of vSphere's: {error}") from error


def _size(job: Job, more: list[object]) -> int:
    if job is Job.POLICY or (job is not Job.GROW and not more):
        return 0
    if job is not Job.GROW or len(more) != 1 or type(more[0]) is not int or more[0] <= 0:
        raise ValueError("its size is none")
    return more[0]


def _policy(job: Job, more: list[object]) -> str | None:
    if job is not Job.POLICY:
        return None
    if len(more) != 1 or not (more[0] is None or isinstance(more[0], str)):
        raise ValueError("its policy is none")
    return more[0]
