"""What the simulator's disks and device lists are, seen by a client that is not ours: what our additions to the library do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from uuid import UUID, uuid4

import pytest
from pyVmomi import vim, vmodl

from tests.vsphere.outside import Outside, attached, identities, outside
from tests.vsphere.simulators import Simulator
from vmdkvol_esx.local import vmdk

pytestmark = [pytest.mark.integration, pytest.mark.vcsim_injected]
STORE = "[LocalDS_0]"


@pytest.fixture
def world(shared: Simulator) -> Iterator[Outside]:
    with outside(shared) as found:
        yield found


@pytest.fixture
def told(own: Callable[..., Simulator]) -> Iterator[tuple[Simulator, Outside]]:
    """A simulator of the test's own whose device lists name the identities."""
    with ExitStack() as stack:
        simulator = own("vcenter", "-uuids")
        yield simulator, stack.enter_context(outside(simulator))


def path() -> str:
    return f"{STORE} {uuid4().hex}.vmdk"


def spelled(uuid: UUID) -> str:
    pairs = [uuid.hex[at : at + 2] for at in range(0, 32, 2)]
    return f"{' '.join(pairs[:8])}-{' '.join(pairs[8:])}"


def plain(told: str) -> UUID:
    return UUID(told.replace(" ", "").replace("-", ""))


def test_a_created_disk_has_a_descriptor_and_a_sparse_extent_of_its_size(world: Outside) -> None:
    disk = path()

    world.create(disk, kib=64 << 10)

    descriptor = vmdk.read(world.file(disk).read_bytes(), "x")
    extent = world.file(disk).with_name(descriptor.extent)
    assert (descriptor.size_bytes, descriptor.thin, extent.stat().st_size) == (64 << 20, True, 64 << 20)
    assert extent.stat().st_blocks * 512 < 1 << 20


def test_each_disk_has_an_identity_with_vmwares_prefix(world: Outside) -> None:
    first, second = path(), path()
    world.create(first)
    world.create(second)

    told = [world.uuid(disk) for disk in (first, second)]

    assert told[0] != told[1]
    assert all(each.startswith("60 00 C2 9") for each in told)


def test_an_identity_that_was_set_is_told_again(world: Outside) -> None:
    disk, uuid = path(), uuid4()
    world.create(disk)

    world.disks.SetVirtualDiskUuid(disk, world.datacenter, spelled(uuid))

    assert plain(world.uuid(disk)) == uuid
    assert vmdk.read(world.file(disk).read_bytes(), "x").uuid == uuid


def test_an_identity_in_another_spelling_is_refused(world: Outside) -> None:
    disk = path()
    world.create(disk)
    before = world.uuid(disk)

    with pytest.raises(vmodl.fault.InvalidArgument):
        world.disks.SetVirtualDiskUuid(disk, world.datacenter, str(uuid4()))

    assert world.uuid(disk) == before


def test_an_absent_disk_has_no_identity_to_set(world: Outside) -> None:
    with pytest.raises(vim.fault.FileNotFound):
        world.disks.SetVirtualDiskUuid(path(), world.datacenter, spelled(uuid4()))


def test_a_copy_has_the_bytes_and_another_identity(world: Outside) -> None:
    disk, copy = path(), path()
    world.create(disk, kib=8 << 10)
    with world.file(disk.replace(".vmdk", "-flat.vmdk")).open("r+b") as extent:
        extent.seek(3 << 20)
        extent.write(b"written")

    world.copy(disk, copy)

    made = vmdk.read(world.file(copy).read_bytes(), "x")
    extent_of_copy = world.file(copy).with_name(made.extent)
    assert extent_of_copy.read_bytes()[3 << 20 :][:7] == b"written"
    assert extent_of_copy.stat().st_blocks * 512 <= 2 << 20
    assert (made.size_bytes, made.uuid == plain(world.uuid(disk))) == (8 << 20, False)


def test_a_moved_disk_keeps_its_identity(world: Outside) -> None:
    disk, there = path(), path()
    world.create(disk)
    before = world.uuid(disk)

    world.move(disk, there)

    assert world.uuid(there) == before
    assert world.file(there).with_name(vmdk.read(world.file(there).read_bytes(), "x").extent).exists()


def test_a_size_that_no_file_can_have_leaves_nothing(world: Outside) -> None:
    disk = path()

    with pytest.raises(vim.fault.CannotCreateFile):
        world.create(disk, kib=-5)

    assert not world.file(disk).exists()
    assert not world.file(disk.replace(".vmdk", "-flat.vmdk")).exists()


def test_a_device_list_names_the_identity_only_where_the_test_asks_for_it(
    world: Outside, told: tuple[Simulator, Outside]
) -> None:
    for outside_, named in ((world, False), (told[1], True)):
        disk, vm = path(), outside_.machines()[0]
        outside_.create(disk)
        outside_.attach(vm, disk, 5)

        found = identities(vm)[disk]

        assert found == (plain(outside_.uuid(disk)) if named else None)
        outside_.detach(vm, disk)


def test_a_machine_is_found_by_its_instance_uuid_beside_our_own_objects(world: Outside) -> None:
    vm = world.machines()[0]
    search = world.service.content.searchIndex

    assert search.FindByUuid(None, vm.config.instanceUuid, True, True)._moId == vm._moId


def test_a_machine_is_switched_off_and_on_again(told: tuple[Simulator, Outside]) -> None:
    simulator, world = told
    vm = world.machines()[0]

    for do, state in (("off", "poweredOff"), ("on", "poweredOn"), ("suspend", "suspended")):
        simulator.machine(vm._moId, do)
        assert vm.runtime.powerState == state


def test_a_machine_is_out_of_reach_and_back(told: tuple[Simulator, Outside]) -> None:
    simulator, world = told
    vm = world.machines()[0]

    for state in ("disconnected", "inaccessible", "connected"):
        simulator.machine(vm._moId, state)
        assert vm.runtime.connectionState == state


def test_a_destroyed_machine_takes_its_disks_along(told: tuple[Simulator, Outside]) -> None:
    simulator, world = told
    vm, disk = world.machines()[0], path()
    world.create(disk)
    world.attach(vm, disk, 5)
    file = world.file(disk)
    simulator.machine(vm._moId, "off")

    simulator.machine(vm._moId, "destroy")

    assert vm._moId not in [each._moId for each in world.machines()]
    assert not file.exists()


def test_a_running_machine_is_not_destroyed(told: tuple[Simulator, Outside]) -> None:
    simulator, world = told

    simulator.machine(world.machines()[0]._moId, "destroy")

    assert len(world.machines()) > 0


def test_storage_vmotion_gives_a_disk_another_path_and_the_same_identity(
    told: tuple[Simulator, Outside],
) -> None:
    simulator, world = told
    vm, disk, there = world.machines()[0], path(), "[LocalDS_1] DC0_H0_VM0/DC0_H0_VM0_1.vmdk"
    world.create(disk)
    world.attach(vm, disk, 5)
    before = world.uuid(disk)

    simulator.machine(vm._moId, "move", **{"from": disk, "to": there})

    assert disk not in identities(vm)
    assert identities(vm)[there] == plain(before) == plain(world.uuid(there))


def test_a_renamed_datastore_is_renamed_in_the_device_lists(told: tuple[Simulator, Outside]) -> None:
    simulator, world = told
    vm = world.machines()[0]
    before = [disk.backing.fileName for disk in attached(vm)]

    simulator.datastore("LocalDS_0", "rename", to="disks [50%] für b")

    assert [disk.backing.fileName for disk in attached(vm)] == [name.replace(STORE, "[disks [50%] für b]") for name in before]
    assert world.datastore("disks [50%] für b").summary.name == "disks [50%] für b"


def test_a_datastore_says_what_the_test_makes_of_it(told: tuple[Simulator, Outside]) -> None:
    simulator, world = told
    store = world.datastore("LocalDS_0")

    simulator.datastore("LocalDS_0", "size", bytes=1 << 30)
    simulator.datastore("LocalDS_0", "type", to="vsan")
    simulator.datastore("LocalDS_0", "readonly")
    simulator.datastore("LocalDS_0", "inaccessible")

    summary = store.summary
    assert (summary.capacity, summary.type, summary.accessible) == (1 << 30, "vsan", False)
    assert 0 < summary.freeSpace < 1 << 30
    assert {mount.mountInfo.accessMode for mount in store.host} == {"readOnly"}


def test_what_the_simulator_cannot_do_is_an_error_of_the_test(shared: Simulator) -> None:
    with pytest.raises(RuntimeError, match="no machine"):
        shared.machine("vm-none", "off")
    with pytest.raises(RuntimeError, match="do=explode"):
        shared.datastore("LocalDS_0", "explode")
