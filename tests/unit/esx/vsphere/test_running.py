"""Whose reconfigure is under way, by the name that the server gives the machine in its tasks."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.errors import Busy
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid, VmId
from vmdkvol_esx.ports import DetachDisk, DiskPath, DiskRef
from vmdkvol_esx.vsphere.machine import Machine
from vmdkvol_esx.vsphere.running import Running, check_not_reconfigured

VM = VmId(UUID(int=1))
CHANGE = DetachDisk(VM, DiskRef(DiskUuid(UUID(int=2)), DiskPath(DatastoreName("ds1"), "vmdkvol/x.vmdk")))


class Told:
    """A server with one machine, and one task under way."""

    def __init__(self, name: str, on: str) -> None:
        self._name = name
        self._on = on

    def one(self, vm: VmId, deadline: Deadline) -> Machine:
        return Machine("vm-1", vm, self._name, running=True, connected=True)

    def read(self, what: str, ask: Any, deadline: Deadline) -> list[Running]:
        return [Running("task-1", "virtualmachine.reconfigure reconfigvm_task", self._on)]


def check(name: str, on: str) -> None:
    told: Any = Told(name, on)
    check_not_reconfigured(told, told, CHANGE, Deadline.after(SystemClock(), 10.0))


@pytest.mark.parametrize(
    ("name", "on"),
    [
        ("host-a", "host-a"),
        ("host-a", ""),
        ("host-a", "vm-1"),
        # As the inventory has such a name, and as people see it.
        ("web/1", "web%2f1"),
        ("web\\1", "web%5C1"),
        ("100% web", "100%25 web"),
        ("web/1", "web/1"),
        ("a%2fb", "a%2fb"),
    ],
)
def test_a_machine_that_is_reconfigured_may_get_the_disk(name: str, on: str) -> None:
    with pytest.raises(Busy, match="task-1"):
        check(name, on)


def test_a_reconfigure_of_another_machine_is_no_matter() -> None:
    check("host-a", "host-b")
