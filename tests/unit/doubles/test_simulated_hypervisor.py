"""The rules of VMFS that only the simulated hypervisor has, and the faults that a test can order."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest

from tests.doubles.simulated_clock import SimulatedClock
from tests.doubles.simulated_hypervisor import SimulatedHypervisor
from vmdkvol.clock import Deadline
from vmdkvol.errors import (
    NoFreeSlot,
    NoSpace,
    OutcomeUnknown,
    SnapshotPresent,
    StillWorking,
    TruthUnknown,
    UnknownTask,
    VolumeInUse,
)
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid, ScsiAddress, VmId
from vmdkvol_esx.ports import AttachDisk, Change, CreateDisk, Datastore, DeleteDisk, DetachDisk, DiskPath, DiskRef, TaskId, Vm

STORE = DatastoreName("ds")
GIB = 1 << 30
A = Vm(VmId(UUID(int=1)), "a", running=True)
B = Vm(VmId(UUID(int=2)), "b", running=True)


@pytest.fixture
def clock() -> Iterator[SimulatedClock]:
    with SimulatedClock(seed=1) as clock:
        yield clock


@pytest.fixture
def hypervisor(clock: SimulatedClock) -> SimulatedHypervisor:
    return SimulatedHypervisor(clock, datastores=[Datastore(STORE, 100 * GIB, 100 * GIB, writable=True)], vms=[A, B])


def submit(hypervisor: SimulatedHypervisor, change: Change) -> TaskId | None:
    return hypervisor.submit(change, uuid4())


def create(disk: DiskRef, diskformat: str = "thin") -> CreateDisk:
    return CreateDisk(disk, GIB, diskformat, {})


def new() -> DiskRef:
    uuid = uuid4()
    return DiskRef(DiskUuid(uuid), DiskPath(STORE, f"vmdkvol/g/{uuid.hex[:8]}.vmdk"))


def attached(hypervisor: SimulatedHypervisor, mode: str = "independent_persistent") -> DiskRef:
    disk = new()
    submit(hypervisor, create(disk))
    submit(hypervisor, AttachDisk(A.id, disk, mode))
    return disk


# --- rules -----------------------------------------------------------------------------------------------------


def test_a_machine_has_four_controllers_with_fifteen_disks_each(hypervisor: SimulatedHypervisor) -> None:
    for _ in range(60):
        attached(hypervisor)

    addresses = {disk.address for disk in hypervisor.devices([A.id]).lists[A.id]}
    assert addresses == {ScsiAddress(bus, unit) for bus in range(4) for unit in range(16) if unit != 7}
    with pytest.raises(NoFreeSlot):
        attached(hypervisor)
    assert len(hypervisor.truth().holders) == 60


def test_a_slot_that_was_given_back_is_used_again(hypervisor: SimulatedHypervisor) -> None:
    disks = [attached(hypervisor) for _ in range(60)]
    submit(hypervisor, DetachDisk(A.id, disks[9]))

    attached(hypervisor)

    assert len({disk.address for disk in hypervisor.devices(None).lists[A.id]}) == 60


def test_a_machine_that_is_off_gives_a_disk_only_then(hypervisor: SimulatedHypervisor) -> None:
    disk = attached(hypervisor)
    hypervisor.power(A.id, running=False)
    hypervisor.submit(DetachDisk(A.id, disk, only_off=True), uuid4())
    assert hypervisor.truth().holders == {}


def test_a_machine_that_is_off_keeps_its_disks(hypervisor: SimulatedHypervisor) -> None:
    disk = attached(hypervisor)
    hypervisor.power(A.id, running=False)

    assert [found.uuid for found in hypervisor.devices(None).lists[A.id]] == [disk.uuid]
    with pytest.raises(VolumeInUse):
        submit(hypervisor, AttachDisk(B.id, disk, "independent_persistent"))


def test_a_snapshot_blocks_the_detach_of_a_dependent_disk(hypervisor: SimulatedHypervisor) -> None:
    dependent, independent = attached(hypervisor, "persistent"), attached(hypervisor)
    hypervisor.snapshot(A.id, "before the update")

    snapshots = {disk.uuid: disk.snapshot for disk in hypervisor.devices(None).lists[A.id]}
    assert snapshots == {dependent.uuid: "before the update", independent.uuid: None}
    with pytest.raises(SnapshotPresent, match="before the update"):
        submit(hypervisor, DetachDisk(A.id, dependent))
    submit(hypervisor, DetachDisk(A.id, independent))

    hypervisor.snapshot(A.id, None)
    submit(hypervisor, DetachDisk(A.id, dependent))
    assert hypervisor.truth().holders == {}


def test_corrections_31_destroying_a_machine_deletes_its_disks(hypervisor: SimulatedHypervisor) -> None:
    held, free = attached(hypervisor), new()
    submit(hypervisor, create(free))

    hypervisor.destroy_vm(A.id)

    truth = hypervisor.truth()
    assert (set(truth.disks), truth.deleted_with_vm, truth.holders) == ({free.uuid}, (held.uuid,), {})
    assert hypervisor.vm(A.id) is None


def test_corrections_38_an_unread_machine_says_nothing_about_itself_only(hypervisor: SimulatedHypervisor) -> None:
    attached(hypervisor)
    hypervisor.unread(A.id)

    found = hypervisor.devices(None)
    assert found.unread == {A.id}
    assert found.lists == {B.id: ()}
    with pytest.raises(TruthUnknown):
        attached(hypervisor)


def test_room_is_counted_and_comes_back(hypervisor: SimulatedHypervisor) -> None:
    hypervisor.fill(STORE, leaving=GIB)
    first, second = new(), new()
    submit(hypervisor, create(first, "zeroedthick"))

    with pytest.raises(NoSpace):
        submit(hypervisor, create(second, "zeroedthick"))

    submit(hypervisor, DeleteDisk(first))
    submit(hypervisor, create(second, "zeroedthick"))
    assert set(hypervisor.truth().disks) == {second.uuid}


def test_history_has_each_interval_in_which_a_disk_was_held(hypervisor: SimulatedHypervisor, clock: SimulatedClock) -> None:
    disk = attached(hypervisor)
    clock.sleep(5)
    submit(hypervisor, DetachDisk(A.id, disk))
    clock.sleep(1)
    submit(hypervisor, AttachDisk(B.id, disk, "independent_persistent"))
    clock.sleep(2)

    assert [(hold.vm, hold.until - hold.since) for hold in hypervisor.truth().history] == [(A.id, 5.0), (B.id, 2.0)]


# --- tasks in virtual time -------------------------------------------------------------------------------------


def test_a_task_ends_when_its_time_has_passed(hypervisor: SimulatedHypervisor, clock: SimulatedClock) -> None:
    hypervisor.takes(CreateDisk, 180)
    disk = new()
    task = submit(hypervisor, create(disk))
    assert task is not None

    with pytest.raises(StillWorking):
        hypervisor.wait(task, Deadline.after(clock, 110), lambda percent: None)
    assert hypervisor.disk(disk) is None
    hypervisor.wait(task, Deadline.after(clock, 110), lambda percent: None)

    assert clock.monotonic() == 180
    assert hypervisor.disk(disk) is not None


def test_a_task_ends_though_nobody_waits(hypervisor: SimulatedHypervisor, clock: SimulatedClock) -> None:
    hypervisor.takes(CreateDisk, 10)
    disk = new()
    submit(hypervisor, create(disk))

    clock.sleep(10)

    assert hypervisor.disk(disk) is not None


def test_a_task_fails_in_wait_and_not_in_submit(hypervisor: SimulatedHypervisor, clock: SimulatedClock) -> None:
    hypervisor.takes(CreateDisk, 10)
    hypervisor.fill(STORE)
    task = submit(hypervisor, create(new()))
    assert task is not None

    for _ in range(2):
        with pytest.raises(NoSpace):
            hypervisor.wait(task, Deadline.after(clock, 20), lambda percent: None)


def test_a_forgotten_task_goes_on(hypervisor: SimulatedHypervisor, clock: SimulatedClock) -> None:
    hypervisor.takes(CreateDisk, 10)
    disk = new()
    task = submit(hypervisor, create(disk))
    assert task is not None
    hypervisor.forget_tasks()

    with pytest.raises(UnknownTask):
        hypervisor.wait(task, Deadline.after(clock, 20), lambda percent: None)

    clock.sleep(10)
    assert hypervisor.disk(disk) is not None


# --- faults that are ordered -----------------------------------------------------------------------------------


@pytest.mark.parametrize("done", [True, False])
def test_a_lost_answer_says_nothing_about_the_change(hypervisor: SimulatedHypervisor, done: bool) -> None:
    disk = new()
    hypervisor.lose_answer(done=done)

    with pytest.raises(OutcomeUnknown):
        submit(hypervisor, create(disk))

    assert (hypervisor.disk(disk) is not None) == done


def test_a_refusal_changes_nothing_and_comes_once(hypervisor: SimulatedHypervisor) -> None:
    disk = new()
    hypervisor.refuse(NoSpace("full"))

    with pytest.raises(NoSpace):
        submit(hypervisor, create(disk))
    assert hypervisor.disk(disk) is None

    submit(hypervisor, create(disk))
    assert hypervisor.disk(disk) is not None


def test_a_failure_comes_in_the_task(hypervisor: SimulatedHypervisor, clock: SimulatedClock) -> None:
    hypervisor.takes(CreateDisk, 1)
    hypervisor.fail(TruthUnknown("the host is away"))
    task = submit(hypervisor, create(new()))
    assert task is not None

    with pytest.raises(TruthUnknown):
        hypervisor.wait(task, Deadline.after(clock, 5), lambda percent: None)

    assert hypervisor.truth().disks == {}
