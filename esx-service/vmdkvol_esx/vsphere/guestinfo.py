"""A text that a virtual machine's own guest can read, in the machine's configuration: ``guestinfo``.

Whoever may read the configuration in vSphere reads it too, so it is for what is of no use a while later.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

from pyVmomi import vim

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import NotFound
from vmdkvol.messages import untold
from vmdkvol.volume import VmId
from vmdkvol_esx.ports import Progress, TaskId
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.machines import Machines
from vmdkvol_esx.vsphere.session import Session

# For reading the machine, and for its reconfigure.
WRITE_S = 45.0


class Waits(Protocol):
    """See ``tasks.Waiter``."""

    def wait(self, task: TaskId, what: str, deadline: Deadline, progress: Progress) -> object: ...


class Guestinfo:
    """For any thread. Needs VirtualMachine.Config.AdvancedConfig on the machine, which no role of ours has."""

    def __init__(self, session: Session[Service], waiter: Waits, machines: Machines, clock: Clock) -> None:
        self._session = session
        self._waiter = waiter
        self._machines = machines
        self._clock = clock

    def write(self, vm: VmId, key: str, text: str) -> None:
        """Afterwards the guest reads ``text`` under ``guestinfo.`` and ``key``. NotFound if there is no such machine.

        Sent once; after OutcomeUnknown or StillWorking it may be there. No error and no log line has the text.
        """
        deadline = Deadline.after(self._clock, WRITE_S)
        machine = self._machines.one(vm, deadline)
        if machine is None:
            raise NotFound(
                f"there is no virtual machine {vm}",
                remedy="see `vmdkvol vm ls`: it was removed, or the service's account does not see it any more",
            )
        spec = vim.vm.ConfigSpec(extraConfig=[vim.option.OptionValue(key=f"guestinfo.{key}", value=text)])
        what = f"writing guestinfo.{key} into virtual machine {machine.name}"
        try:
            task = self._session.change(what, partial(_begin, machine.ref, spec), deadline)
        finally:
            # Its configuration has another version now.
            self._machines.changed(machine)
        self._waiter.wait(task, what, deadline, untold)


def _begin(ref: str, spec: Any, service: Service) -> TaskId:
    return TaskId(vim.VirtualMachine(ref, service.stub).ReconfigVM_Task(spec)._moId)
