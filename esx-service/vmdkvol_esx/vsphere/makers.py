"""Whether the server is making a disk whose task nobody here knows: one that was started by a process that died."""

from __future__ import annotations

from vmdkvol.clock import Deadline
from vmdkvol.errors import Busy
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.looking import Look
from vmdkvol_esx.vsphere.register import Register
from vmdkvol_esx.vsphere.running import running
from vmdkvol_esx.vsphere.session import Session

# How the server names its tasks that make a disk, within a longer name.
_MAKING = ("createvirtualdisk", "copyvirtualdisk")


def check_not_made(session: Session[Service], register: Register, look: Look, deadline: Deadline) -> None:
    """Raise Busy while the server makes a disk of which nobody here knows which one it is: it may be this one."""
    known = register.tasks()
    found = session.read(f"looking for what makes {look.place.path(look.path)}", running, deadline)
    for task in found:
        if task.id not in known and any(name in task.does for name in _MAKING):
            raise Busy(f"task {task.id} makes a disk, which may be {look.ref.path}")
