"""Attach and detach by the API, once as vCenter, once as ESXi, by the simulator library's own rules."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from uuid import uuid4

import pytest
from pyVmomi import vim

from tests.vsphere.by_path import ByPath
from tests.vsphere.worlds import MODE, Begin, Doing, Held, World, at_path, coming, leaving, together
from vmdkvol.clock import Deadline
from vmdkvol.errors import NotEnrolled, VolumeInUse, VolumeLost, WrongDisk
from vmdkvol.volume import DiskUuid, ScsiAddress, VmId
from vmdkvol_esx.ports import AttachDisk, AttachedDisk, DetachDisk, DiskPath, DiskRef

pytestmark = pytest.mark.integration


@pytest.fixture(params=["vcenter", "esxi"])
def world(request: pytest.FixtureRequest, begin: Begin) -> World:
    return begin(request.param)


@pytest.mark.parametrize("mode", ["independent_persistent", "persistent"])
@pytest.mark.vcsim_pure
def test_a_disk_is_attached_in_the_mode_that_was_asked_for(world: World, mode: str) -> None:
    disk = world.disk()

    world.do(coming(world, disk, mode=mode))

    [found] = world.listed().values()
    assert (found.backing.fileName, found.backing.diskMode) == (str(disk.path), mode)
    assert found.storageIOAllocation is None


@pytest.mark.vcsim_pure
def test_its_place_is_the_one_that_the_device_list_says(world: World) -> None:
    disk = world.disk()

    world.do(coming(world, disk))

    [found] = world.listed().values()
    assert world.machines.devices([world.id()]).of(world.id()) == (AttachedDisk(disk.uuid, ScsiAddress(0, found.unitNumber)),)


@pytest.mark.parametrize(
    ("shares", "level", "number"),
    [("low", "low", None), ("high", "high", None), ("300", "custom", 300), ("normal", "normal", None)],
)
@pytest.mark.vcsim_pure
def test_limit_and_shares_are_part_of_the_attach(world: World, shares: str, level: str, number: int | None) -> None:
    disk = world.disk()

    calls = world.counted(lambda: world.do(replace(coming(world, disk), iops_limit=500, shares=shares)))

    [found] = world.listed().values()
    assert (found.storageIOAllocation.limit, found.storageIOAllocation.shares.level) == (500, level)
    assert number is None or found.storageIOAllocation.shares.shares == number
    assert calls["ReconfigVM_Task"] == 1


@pytest.mark.vcsim_pure
def test_shares_alone_leave_the_limit_alone(world: World) -> None:
    disk = world.disk()

    world.do(replace(coming(world, disk), shares="high"))

    [found] = world.listed().values()
    assert (found.storageIOAllocation.limit, found.storageIOAllocation.shares.level) == (None, "high")


@pytest.mark.vcsim_pure
def test_a_detached_disk_is_gone_from_the_list_and_not_from_its_datastore(world: World) -> None:
    disk = world.disk()
    world.do(coming(world, disk))

    world.do(leaving(world, disk))

    assert world.listed() == {}
    assert world.outside.file(str(disk.path)).exists()


@pytest.mark.vcsim_pure
def test_attaching_and_detaching_twice_is_fine_and_asks_for_nothing(world: World) -> None:
    disk = world.disk()
    for move in (coming(world, disk), leaving(world, disk)):
        world.do(move)
        assert "ReconfigVM_Task" not in world.counted(partial(world.do, move))


@pytest.mark.vcsim_pure
def test_a_detach_from_another_machine_takes_nothing_away(world: World) -> None:
    disk = world.disk()
    world.do(coming(world, disk, 0))

    world.do(DetachDisk(VmId(uuid4()), disk))

    assert len(world.listed()) == 1


@pytest.mark.vcsim_pure
def test_a_machine_without_a_pvscsi_controller_gets_one_in_the_same_reconfigure(world: World) -> None:
    vm, disk = world.vm(), world.disk()
    system = next(each for each in vm.config.hardware.device if isinstance(each, vim.vm.device.VirtualDisk))
    pvscsi = next(each for each in vm.config.hardware.device if isinstance(each, vim.vm.device.ParaVirtualSCSIController))
    other = vim.vm.device.VirtualLsiLogicController(key=-7, busNumber=1, sharedBus="noSharing")
    for operation, device in (("remove", system), ("remove", pvscsi), ("add", other)):
        world.outside.reconfigure(vm, operation, device)

    calls = world.counted(lambda: world.do(coming(world, disk)))

    [found] = world.listed().values()
    controllers = {each.key: each for each in world.vm().config.hardware.device if hasattr(each, "busNumber")}
    made = controllers[found.controllerKey]
    assert (type(made).__name__.rsplit(".")[-1], made.busNumber) == ("ParaVirtualSCSIController", 0)
    assert calls["ReconfigVM_Task"] == 1


@pytest.mark.vcsim_pure
def test_a_disk_that_is_not_there_is_lost_and_another_one_in_its_place_is_not_attached(world: World) -> None:
    disk = world.disk()
    stranger = DiskRef(DiskUuid(uuid4()), disk.path)
    nowhere = DiskRef(DiskUuid(uuid4()), DiskPath(disk.path.datastore, "vmdkvol/nowhere.vmdk"))

    for ref, error in ((stranger, WrongDisk), (nowhere, VolumeLost)):
        with pytest.raises(error):
            world.do(coming(world, ref))

    assert world.listed() == {}


@pytest.mark.vcsim_pure
def test_an_unknown_machine_gets_no_disk(world: World) -> None:
    with pytest.raises(NotEnrolled):
        world.do(AttachDisk(VmId(uuid4()), world.disk(), MODE))


@pytest.mark.vcsim_pure
def test_a_detach_that_needs_the_machine_off_is_refused_while_it_runs(world: World) -> None:
    disk, (ref, _, name) = world.disk(), world.hosts[0]
    world.do(coming(world, disk))

    with pytest.raises(VolumeInUse, match="switched on") as caught:
        world.do(leaving(world, disk, only_off=True))

    assert caught.value.fields["holder"] == name
    assert len(world.listed()) == 1
    world.simulator.machine(ref, "off")
    world.do(leaving(world, disk, only_off=True))
    assert world.listed() == {}


@pytest.mark.vcsim_pure
def test_an_attach_takes_three_calls_and_one_for_its_end(world: World) -> None:
    disk = world.disk()
    world.machines.vm(world.id())

    assert world.counted(lambda: world.do(coming(world, disk))) == {
        "QueryVirtualDiskUuid": 1,
        # The machine before, and the task's end.
        "RetrievePropertiesEx": 2,
        "ReconfigVM_Task": 1,
    }


class Elsewhere(ByPath):
    """Writes the path of one disk so that the server finds nothing there: it is gone since it was looked at."""

    gone: DiskRef

    def spelled(self, path: DiskPath, deadline: Deadline) -> str:
        return f"[{path.datastore}] vmdkvol/gone.vmdk" if path == self.gone.path else super().spelled(path, deadline)


@pytest.mark.vcsim_pure
def test_one_bad_disk_of_a_batch_fails_alone(world: World) -> None:
    disks = [world.disk() for _ in range(6)]
    moves = [coming(world, disk) for disk in disks]
    world.knows = Elsewhere(world.session, at_path)
    world.knows.gone = disks[3]
    world.restart()

    ends = together(world, moves)

    assert [type(end) for end in ends] == [type(None)] * 3 + [VolumeLost] + [type(None)] * 2
    assert "vmdkvol/db-" in str(ends[3])
    assert set(world.listed()) == {str(disk.path) for disk in disks if disk is not disks[3]}


@pytest.mark.vcsim_pure
def test_sixteen_disks_come_in_two_reconfigures_and_leave_in_two(world: World) -> None:
    disks = [world.disk() for _ in range(16)]
    for moves in ([coming(world, disk) for disk in disks], [leaving(world, disk) for disk in disks]):
        calls = world.counted(partial(together, world, moves))

        assert calls["ReconfigVM_Task"] == 2
    assert world.listed() == {}


@pytest.mark.vcsim_pure
def test_different_machines_do_not_wait_for_each_other(world: World) -> None:
    first, second = world.disk(), world.disk()
    held = Held(world.waiter)
    world.waits = held
    world.restart()
    receipt = world.begin(coming(world, first, 0))
    waiting = Doing(world, leaving(world, first, 0))
    assert held.reached()

    world.do(coming(world, second, 1))

    assert set(world.listed(1)) == {str(second.path)}
    assert (receipt is not None, str(first.path) in world.listed(0)) == (True, True)
    held.let_go()
    assert waiting.end() is None
    assert world.listed(0) == {}
