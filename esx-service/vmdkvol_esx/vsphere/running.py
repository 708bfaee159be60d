"""Tasks that the server has under way, whoever started them: one that a process started before it died nobody else knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from vmdkvol.clock import Deadline
from vmdkvol.errors import Busy
from vmdkvol_esx.ports import DetachDisk
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.faults import Failed, Meaning
from vmdkvol_esx.vsphere.looking import Look
from vmdkvol_esx.vsphere.machines import Machines
from vmdkvol_esx.vsphere.reading import properties
from vmdkvol_esx.vsphere.register import Register
from vmdkvol_esx.vsphere.session import Session
from vmdkvol_esx.vsphere.spelling import plain_name

_PATHS = ("info.state", "info.descriptionId", "info.name", "info.entityName")
# How the server names a reconfigure, and its tasks that make a disk, within a longer name.
RECONFIGURE = "reconfig"
_MAKING = ("createvirtualdisk", "copyvirtualdisk")


@dataclass(frozen=True, slots=True)
class Running:
    """A task that has not ended. ``does`` is the server's name of what it does, in lower case; ``on``, of the object."""

    id: str
    does: str
    on: str


def running(service: Service) -> Sequence[Running]:
    """Return the tasks that have not ended; for ``session.read``. Two calls, unless one of many went meanwhile."""
    manager = service.content.taskManager
    recent = properties(service, vim.TaskManager, [manager], ["recentTask"])[manager._moId].get("recentTask") or ()
    try:
        found = properties(service, vim.Task, list(recent), _PATHS)
    except Failed as failed:
        if failed.trouble.meaning is not Meaning.GONE:
            raise
        found = {task._moId: values for task in recent if (values := _one(service, task)) is not None}
    return [
        Running(
            task, f"{values.get('info.descriptionId')} {values.get('info.name')}".lower(), values.get("info.entityName") or ""
        )
        for task, values in found.items()
        if values.get("info.state") in ("queued", "running")
    ]


def _one(service: Service, task: Any) -> Mapping[str, Any] | None:
    try:
        return properties(service, vim.Task, [task], _PATHS)[task._moId]
    except Failed as failed:
        if failed.trouble.meaning is not Meaning.GONE:
            raise
        return None


def begun_elsewhere(
    session: Session[Service], register: Register, does: Sequence[str], what: str, deadline: Deadline
) -> Running | None:
    """Return a task that does one of these and that nobody here began: a process that died did. None if there is none."""
    known = register.tasks()
    found = session.read(what, running, deadline)
    return next((task for task in found if task.id not in known and any(name in task.does for name in does)), None)


def check_not_made(session: Session[Service], register: Register, look: Look, deadline: Deadline) -> None:
    """Raise Busy while the server makes a disk of which nobody here knows which one it is: it may be this one."""
    task = begun_elsewhere(session, register, _MAKING, f"looking for what makes {look.place.path(look.path)}", deadline)
    if task is not None:
        raise Busy(f"task {task.id} makes a disk, which may be {look.ref.path}")


def check_not_reconfigured(session: Session[Service], machines: Machines, change: DetachDisk, deadline: Deadline) -> None:
    """Raise Busy while the server reconfigures the machine: the disk may be on its way to it.

    A task whose entity is not told may be any machine's. Its name is told as the inventory has it, escaped, or as people do.
    """
    machine = machines.one(change.vm, deadline)
    if machine is None:
        return
    what = f"looking for what is done to {machine.name}"
    for task in session.read(what, running, deadline):
        its = task.on in ("", machine.ref) or machine.name in (task.on, plain_name(task.on))
        if its and RECONFIGURE in task.does:
            raise Busy(f"task {task.id} reconfigures {machine.name}: {change.disk.path} may be on its way to it")
