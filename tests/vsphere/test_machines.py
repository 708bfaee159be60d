"""Virtual machines and their disks as a server tells them, once as vCenter, once as ESXi."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from tests.vsphere.stage import soon
from tests.vsphere.worlds import Begin, World
from vmdkvol.errors import TruthUnknown
from vmdkvol.volume import ScsiAddress, VmId
from vmdkvol_esx.ports import AttachedDisk, Vm

pytestmark = pytest.mark.integration


@pytest.fixture(params=["vcenter", "esxi"])
def world(request: pytest.FixtureRequest, begin: Begin) -> World:
    return begin(request.param)


@pytest.fixture(params=["vcenter", "esxi"])
def telling(request: pytest.FixtureRequest, begin: Begin) -> World:
    """As ``world``, with device lists that name the identities, as a real server's do."""
    return begin(request.param, "-uuids")


@pytest.mark.vcsim_pure
def test_a_machine_is_known_by_its_instance_uuid(world: World) -> None:
    _, vm, name = world.hosts[0]

    assert world.machines.vm(vm) == Vm(vm, name, running=True)
    assert world.machines.vm(VmId(uuid4())) is None


@pytest.mark.vcsim_pure
def test_a_bios_uuid_is_nobody(world: World) -> None:
    bios = VmId(UUID(world.vm(0).config.uuid))

    assert world.machines.vm(bios) is None


@pytest.mark.vcsim_pure
def test_the_registered_machines_that_exist_are_listed(world: World) -> None:
    assert world.machines.vms() == sorted(
        (Vm(vm, name, running=True) for _, vm, name in world.hosts[:-1]), key=lambda each: each.id
    )


@pytest.mark.vcsim_pure
def test_a_machine_that_is_switched_off_is_not_running_and_a_suspended_one_is(world: World) -> None:
    ref, vm, _ = world.hosts[0]

    for do, running in (("off", False), ("on", True), ("suspend", True)):
        world.simulator.machine(ref, do)
        found = world.machines.vm(vm)
        assert found is not None
        assert found.running is running
        assert [each.running for each in world.machines.vms() if each.id == vm] == [running]


@pytest.mark.vcsim_pure
def test_a_registered_machine_has_an_empty_list_and_others_none(world: World) -> None:
    found = world.machines.devices(None)

    assert found.unread == frozenset()
    assert found.lists == {vm: () for _, vm, _ in world.hosts[:-1]}


@pytest.mark.vcsim_pure
def test_a_machine_that_is_not_there_has_an_empty_list_if_it_is_asked_for(world: World) -> None:
    stranger = VmId(uuid4())

    assert world.machines.devices([stranger]).lists == {stranger: ()}
    assert stranger not in world.machines.devices(None).lists


@pytest.mark.parametrize("asked", ["one", "all"])
@pytest.mark.vcsim_injected
def test_a_disk_is_in_the_list_of_its_machine_with_its_identity(telling: World, asked: str) -> None:
    disk = telling.disk()
    telling.attach(0, disk)
    vm = telling.hosts[0][1]

    found = telling.machines.devices([vm] if asked == "one" else None)

    assert AttachedDisk(disk.uuid, ScsiAddress(0, 5)) in (found.of(vm) or ())


@pytest.mark.vcsim_injected
def test_a_disk_whose_identity_is_not_in_the_list_is_asked_for_by_its_path(world: World) -> None:
    disk = world.disk()
    world.attach(0, disk)
    vm = world.hosts[0][1]

    assert world.machines.devices(None).of(vm) == (AttachedDisk(disk.uuid, ScsiAddress(0, 5)),)


@pytest.mark.vcsim_pure
def test_a_disk_of_ours_that_does_not_say_which_it_is_makes_its_machine_unread(world: World) -> None:
    disk = world.disk()
    world.attach(0, disk)
    vm = world.hosts[0][1]
    world.outside.file(str(disk.path)).unlink()

    for found in (world.machines.devices(None), world.machines.devices([vm])):
        assert found.of(vm) is None
        assert found.unread == {vm}


@pytest.mark.vcsim_injected
def test_a_machine_that_is_not_registered_is_listed_with_its_disks(telling: World) -> None:
    disk = telling.disk()
    telling.attach(-1, disk)
    ref, vm, name = telling.hosts[-1]

    found = telling.machines.devices(None)

    assert disk.uuid in {each.uuid for each in found.of(vm) or ()}
    assert telling.machines.holder_of(disk) == name


@pytest.mark.parametrize("state", ["disconnected", "inaccessible", "orphaned", "invalid"])
@pytest.mark.vcsim_injected
def test_a_machine_out_of_reach_is_unread_and_counts_as_running(begin: Begin, state: str) -> None:
    world = begin("vcenter", "-uuids")
    disk = world.disk()
    world.attach(0, disk)
    ref, vm, name = world.hosts[0]
    world.simulator.machine(ref, "off")
    world.simulator.machine(ref, state)

    for found in (world.machines.devices(None), world.machines.devices([vm])):
        assert found.of(vm) is None
        assert vm in found.unread
    assert world.machines.vm(vm) == Vm(vm, name, running=True)
    assert world.machines.holder_of(disk) == name


@pytest.mark.vcsim_pure
def test_a_disk_that_nobody_has_has_no_holder(world: World) -> None:
    assert world.machines.holder_of(world.disk()) is None


@pytest.mark.vcsim_pure
def test_a_destroyed_machine_is_gone_though_it_was_known(world: World) -> None:
    ref, vm, _ = world.hosts[0]
    assert world.machines.vm(vm) is not None
    world.simulator.machine(ref, "off")
    world.simulator.machine(ref, "destroy")

    assert world.machines.vm(vm) is None
    assert world.machines.devices([vm]).lists == {vm: ()}
    assert vm not in {each.id for each in world.machines.vms()}
    assert world.machines.one(vm, soon()) is None


@pytest.mark.vcsim_injected
def test_a_machine_is_found_by_its_context_id(world: World) -> None:
    known = [world.machines.one(vm, soon()) for _, vm, _ in world.hosts]
    ids = {each.context_id: each.id for each in known if each is not None and each.context_id is not None}
    assert len(ids) == len(world.hosts)
    foreign = world.hosts[-1][1]

    for number, vm in ids.items():
        assert world.machines.with_context_id(number - 2**32) == (None if vm == foreign else vm)
    assert world.machines.with_context_id(5) is None


@pytest.mark.vcsim_injected
def test_a_name_is_told_as_people_wrote_it(world: World) -> None:
    ref, vm, _ = world.hosts[0]
    world.simulator.machine(ref, "rename", to="a%2fb 100%25 [ü]")

    found = world.machines.vm(vm)

    assert found is not None
    assert found.name == "a/b 100% [ü]"


@pytest.mark.vcsim_pure
def test_the_session_ends_and_no_list_is_empty_for_it(world: World) -> None:
    disk = world.disk()
    world.attach(0, disk)
    vm = world.hosts[0][1]
    world.machines.devices(None)
    sessions = world.outside.service.content.sessionManager
    own = sessions.currentSession.key
    sessions.TerminateSession([each.key for each in sessions.sessionList if each.key != own])

    assert [each.uuid for each in world.machines.devices(None).of(vm) or ()] == [disk.uuid]


@pytest.mark.vcsim_pure
def test_one_machine_is_read_with_one_call_and_all_with_two(world: World) -> None:
    vm = world.hosts[0][1]
    world.machines.devices(None)

    assert world.counted(lambda: world.machines.one(vm, soon())) == {"RetrievePropertiesEx": 1}
    assert world.counted(lambda: world.machines.devices([vm])) == {"RetrievePropertiesEx": 1}
    assert world.counted(lambda: world.machines.devices(None)) == {"RetrievePropertiesEx": 2}
    assert world.counted(world.machines.vms) == {"RetrievePropertiesEx": 1}


@pytest.mark.vcsim_pure
def test_where_the_server_is_away_nothing_is_known(begin: Begin) -> None:
    world = begin("esxi")
    world.machines.devices(None)
    world.simulator.end()

    with pytest.raises(Exception, match="unreachable|no connection") as caught:
        world.machines.devices(None)
    assert not isinstance(caught.value, TruthUnknown)
