"""Whether the server is making a disk whose task nobody here knows: one that was started by a process that died."""

from __future__ import annotations

from pyVmomi import vim

from vmdkvol.clock import Deadline
from vmdkvol.errors import Busy
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.faults import Failed, Meaning
from vmdkvol_esx.vsphere.looking import Look
from vmdkvol_esx.vsphere.reading import properties
from vmdkvol_esx.vsphere.register import Register
from vmdkvol_esx.vsphere.session import Session

# How the server names its tasks that make a disk, within a longer name.
_MAKING = ("createvirtualdisk", "copyvirtualdisk")


def check_not_made(session: Session[Service], register: Register, look: Look, deadline: Deadline) -> None:
    """Raise Busy while the server makes a disk of which nobody here knows which one it is: it may be this one."""
    known = register.tasks()

    def read(service: Service) -> list[str]:
        manager = service.content.taskManager
        recent = properties(service, vim.TaskManager, [manager], ["recentTask"])[manager._moId].get("recentTask") or ()
        return [task._moId for task in recent if task._moId not in known and _makes(service, task)]

    found = session.read(f"looking for what makes {look.place.path(look.path)}", read, deadline)
    if found:
        raise Busy(f"task {found[0]} makes a disk, which may be {look.ref.path}")


def _makes(service: Service, task: vim.Task) -> bool:
    """Tell whether the task is making a disk."""
    try:
        values = properties(service, vim.Task, [task], ["info.state", "info.descriptionId", "info.name"])[task._moId]
    except Failed as failed:
        if failed.trouble.meaning is not Meaning.GONE:
            raise
        return False
    told = f"{values.get('info.descriptionId')} {values.get('info.name')}".lower()
    return values.get("info.state") in ("queued", "running") and any(name in told for name in _MAKING)
