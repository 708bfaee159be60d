"""What a server may answer to an attach or a detach, made up by our own simulator: how we take it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from tests.vsphere.stage import soon
from tests.vsphere.worlds import Begin, Doing, World, coming, leaving, together
from vmdkvol.clock import Deadline
from vmdkvol.errors import (
    Busy,
    Internal,
    NoFreeSlot,
    NoSpace,
    NotPermitted,
    OutcomeUnknown,
    SnapshotPresent,
    StillWorking,
    TruthUnknown,
    UnknownTask,
    VolumeError,
    VolumeInUse,
)
from vmdkvol.messages import untold
from vmdkvol.volume import VmId
from vmdkvol_esx.ports import AttachedDisk, DiskRef, Progress, TaskId
from vmdkvol_esx.vsphere.batches import Move
from vmdkvol_esx.vsphere.machine import Machine
from vmdkvol_esx.vsphere.machines import Machines

pytestmark = [pytest.mark.integration, pytest.mark.vcsim_injected]


@pytest.fixture(params=["vcenter", "esxi"])
def world(request: pytest.FixtureRequest, begin: Begin) -> World:
    """With identities and versions in the device lists, and refusals as ESXi's."""
    return begin(request.param, "-strict", "-uuids")


@pytest.fixture
def one(begin: Begin) -> World:
    """As ``world``, of one model, for what the model has no part in."""
    return begin("vcenter", "-strict", "-uuids")


def reconfigures(world: World, move: Move, expected: type[VolumeError] | None = None) -> int:
    """Carry it out, which ends as expected; return how many reconfigures that took."""

    def act() -> None:
        got = Doing(world, move).end()
        assert (None if got is None else type(got)) == expected, got

    return world.counted(act).get("ReconfigVM_Task", 0)


def paths(disks: Sequence[DiskRef]) -> set[str]:
    return {str(disk.path) for disk in disks}


# --- tried again -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("do", ["fault", "soap"], ids=["by-its-task", "at-once"])
@pytest.mark.parametrize("fault", ["TaskInProgress", "ConcurrentAccess", "InvalidDeviceSpec", "InvalidState"])
def test_what_passes_is_tried_again(one: World, fault: str, do: str) -> None:
    disk = one.disk()
    for move in (coming(one, disk), leaving(one, disk)):
        one.simulator.next("ReconfigVM_Task", do, fault=fault, times=3)

        assert reconfigures(one, move) == 4
    assert one.listed() == {}


@pytest.mark.parametrize(("fault", "error"), [("ConcurrentAccess", Busy), ("InvalidDeviceSpec", Internal)])
def test_what_does_not_pass_is_tried_six_times(one: World, fault: str, error: type[VolumeError]) -> None:
    disk = one.disk()
    one.simulator.next("ReconfigVM_Task", "fault", fault=fault, times=50)

    assert reconfigures(one, coming(one, disk), error) == 6
    assert one.listed() == {}


def test_a_machine_that_stays_busy_is_busy_at_the_deadline(one: World) -> None:
    disk = one.disk()
    one.simulator.next("ReconfigVM_Task", "fault", fault="TaskInProgress", times=500)
    receipt = one.begin(coming(one, disk))
    assert receipt is not None

    # The last try begins after pauses of 3.15 s, and the next would come after the deadline: on a busy machine, too, it is not
    # reached within a try, of which nobody could say how it ends.
    with pytest.raises(Busy):
        one.reconfiguring.finish(receipt, soon(5.1), untold)

    assert one.simulator.calls()["ReconfigVM_Task"] < 12


def test_a_configuration_that_changed_since_it_was_read_is_read_again(world: World) -> None:
    """Somebody takes the place that was chosen, between the read and the reconfigure."""
    mine, theirs = world.disk(), world.disk()
    left = [theirs]

    class Late(Machines):
        def one(self, vm: VmId, deadline: Deadline, operation: str = "") -> Machine | None:
            found = super().one(vm, deadline, operation)
            if left:
                world.attach(0, left.pop(), unit=1)
            return found

    world.kind = Late
    world.restart()

    # Theirs, ours that is refused, ours.
    assert reconfigures(world, coming(world, mine)) == 3
    assert set(world.listed()) == paths([mine, theirs])


# --- refused ---------------------------------------------------------------------------------------------------


def test_a_disk_that_another_machine_has_is_refused_with_its_name_and_not_tried_again(world: World) -> None:
    disk, holder = world.disk(), world.hosts[1][2]
    world.attach(1, disk)

    got: list[VolumeError | None] = []
    calls = world.counted(lambda: got.append(Doing(world, coming(world, disk)).end()))

    assert isinstance(got[0], VolumeInUse)
    assert (got[0].fields["holder"], calls["ReconfigVM_Task"]) == (holder, 1)
    assert f"is attached to {holder}" in str(got[0])


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("NoPermission", NotPermitted),
        ("NoDiskSpace", NoSpace),
        ("TooManyDevices", NoFreeSlot),
        ("RestrictedVersion", NotPermitted),
    ],
)
def test_what_stays_is_told_at_once(one: World, fault: str, error: type[VolumeError]) -> None:
    disk = one.disk()
    one.simulator.next("ReconfigVM_Task", "fault", fault=fault)

    assert reconfigures(one, coming(one, disk), error) == 1


@pytest.mark.parametrize("state", ["disconnected", "inaccessible", "orphaned"])
def test_a_machine_out_of_reach_is_not_asked(one: World, state: str) -> None:
    here, new = one.disk(), one.disk()
    one.do(coming(one, here))
    one.simulator.machine(one.hosts[0][0], state)

    for move in (coming(one, new), coming(one, here), leaving(one, here), leaving(one, new)):
        assert reconfigures(one, move, TruthUnknown) == 0


def test_a_disk_in_a_snapshot_stays_and_the_snapshot_is_named(world: World) -> None:
    disk, outside = world.disk(), world.disk()
    world.do(coming(world, disk, mode="persistent"))
    world.do(coming(world, outside))
    world.simulator.machine(world.hosts[0][0], "snapshot", to="before upgrade")

    got = Doing(world, leaving(world, disk)).end()

    assert isinstance(got, SnapshotPresent)
    assert got.fields["snapshot"] == "before upgrade"
    listed = {each.uuid: each.snapshot for each in world.machines.devices(None).of(world.id()) or ()}
    assert (listed[disk.uuid], listed[outside.uuid]) == ("before upgrade", None)
    assert reconfigures(world, leaving(world, outside)) == 1


def test_a_disk_that_was_moved_is_found_by_its_identity(world: World) -> None:
    disk = world.disk()
    world.do(coming(world, disk))
    there = "[LocalDS_1] moved/vm_1.vmdk"
    world.simulator.machine(world.hosts[0][0], "move", **{"from": str(disk.path), "to": there})

    assert reconfigures(world, coming(world, disk)) == 0
    assert reconfigures(world, leaving(world, disk)) == 1
    assert world.outside.file(there).exists()


def test_sixty_disks_are_all(one: World) -> None:
    disks = [one.disk() for _ in range(61)]
    ends = together(one, [coming(one, disk) for disk in disks])

    # The system's own disk takes the sixtieth place.
    assert [type(end) for end in ends].count(NoFreeSlot) == 2
    assert len(one.listed()) == 59
    [full] = {str(end) for end in ends if end is not None}
    assert f"{one.hosts[0][2]} has no free disk slot" in full


def test_on_a_full_machine_a_detach_makes_room_for_an_attach_that_waits(one: World) -> None:
    disks = [one.disk() for _ in range(59)]
    together(one, [coming(one, disk) for disk in disks])
    new, last = one.disk(), one.disk()
    assert len(one.listed()) == 59

    ends = together(one, [leaving(one, disks[0]), coming(one, new), coming(one, last), leaving(one, disks[1])])

    assert ends == [None, None, None, None]
    assert set(one.listed()) == paths([*disks[2:], new, last])


# --- several together ------------------------------------------------------------------------------------------


def test_each_of_a_batch_that_fails_gets_a_fault_of_its_own(world: World) -> None:
    disks = [world.disk() for _ in range(8)]
    full, held = disks[2], disks[5]
    world.attach(1, held)
    world.simulator.next("ReconfigVM_Task", "fault", fault="NoDiskSpace", match=full.path.path, times=2)

    ends = together(world, [coming(world, disk) for disk in disks])

    assert {number: type(end) for number, end in enumerate(ends) if end is not None} == {2: NoSpace, 5: VolumeInUse}
    assert set(world.listed()) == paths([disk for disk in disks if disk not in (full, held)])


def test_of_a_batch_that_failed_what_is_done_all_the_same_is_not_done_again(one: World) -> None:
    disks = [one.disk() for _ in range(5)]
    left, lock = [disks[2]], threading.Lock()
    waiter = one.waits

    class Meddling:
        def wait(self, task: TaskId, what: str, deadline: Deadline, progress: Progress) -> object:
            try:
                return waiter.wait(task, what, deadline, progress)
            except NoSpace:
                # Before any of them tries again.
                with lock:
                    if left:
                        one.attach(0, left.pop(), unit=9)
                raise

    one.waits = Meddling()
    one.simulator.next("ReconfigVM_Task", "fault", fault="NoDiskSpace", match=disks[3].path.path)

    ends: list[VolumeError | None] = []
    calls = one.counted(lambda: ends.extend(together(one, [coming(one, disk) for disk in disks])))

    assert ends == [None] * 5
    # The first, the batch that fails, the one from outside, and the three that were left.
    assert calls["ReconfigVM_Task"] == 6
    assert set(one.listed()) == paths(disks)


def test_a_batch_whose_answer_was_lost_is_in_doubt_for_each_of_it_and_sent_once(one: World) -> None:
    disks = [one.disk() for _ in range(5)]
    one.simulator.next("ReconfigVM_Task", "lost", match=disks[2].path.path)

    ends: list[VolumeError | None] = []
    calls = one.counted(lambda: ends.extend(together(one, [coming(one, disk) for disk in disks])))

    assert [type(end) for end in ends] == [type(None)] + [OutcomeUnknown] * 4
    assert calls["ReconfigVM_Task"] == 2
    assert set(one.listed()) == paths(disks)


@pytest.mark.parametrize("do", ["lost", "dropped"])
def test_a_change_whose_answer_was_lost_is_in_doubt_and_never_sent_again(world: World, do: str) -> None:
    disk = world.disk()
    world.simulator.next("ReconfigVM_Task", do)

    assert reconfigures(world, coming(world, disk), OutcomeUnknown) == 1
    assert bool(world.listed()) is (do == "lost")


# --- tasks -----------------------------------------------------------------------------------------------------


def test_a_task_that_never_ends_is_still_working_and_holds_nobody_up_for_ever(one: World) -> None:
    one.flight_s = 0.5
    one.restart()
    stuck, next_one = one.disk(), one.disk()
    one.simulator.next("ReconfigVM_Task", "never")
    receipt = one.begin(coming(one, stuck))
    assert receipt is not None

    with pytest.raises(StillWorking):
        one.reconfiguring.finish(receipt, soon(1.5), untold)
    later = one.begin(coming(one, next_one))
    assert later is not None

    with pytest.raises(Busy, match="another task works on the object"):
        one.reconfiguring.finish(later, soon(4.0), untold)


def test_a_task_that_vanishes_is_unknown(one: World) -> None:
    disk = one.disk()
    one.simulator.next("ReconfigVM_Task", "vanish")

    assert reconfigures(one, coming(one, disk), UnknownTask) == 1
    assert set(one.listed()) == paths([disk])


def test_a_slow_task_is_waited_for_with_its_progress(one: World) -> None:
    disk = one.disk()
    one.simulator.next("ReconfigVM_Task", "slow", ms=1500)
    receipt = one.begin(coming(one, disk))
    assert receipt is not None
    heard: list[int] = []

    one.reconfiguring.finish(receipt, soon(), heard.append)

    assert heard
    assert set(one.listed()) == paths([disk])


# --- after a restart of the service ----------------------------------------------------------------------------


def test_what_was_started_before_a_restart_is_waited_for_after_it(world: World) -> None:
    disk = world.disk()
    for move in (coming(world, disk), leaving(world, disk)):
        world.simulator.next("ReconfigVM_Task", "slow", ms=500)
        receipt = world.begin(move)
        assert receipt is not None
        world.restart()

        world.reconfiguring.finish(receipt, soon(), untold)
    assert world.listed() == {}


def test_an_attach_that_failed_before_a_restart_is_settled_by_looking(one: World) -> None:
    """Whether it went with others is not known any more, so its task's fault is nobody's."""
    disk = one.disk()
    one.simulator.next("ReconfigVM_Task", "fault", fault="NoDiskSpace")
    receipt = one.begin(coming(one, disk))
    assert receipt is not None
    one.restart()

    with pytest.raises(UnknownTask, match="perhaps for another's sake"):
        one.reconfiguring.finish(receipt, soon(), untold)
    one.attach(0, disk)
    one.reconfiguring.finish(receipt, soon(), untold)


def test_a_detach_that_failed_before_a_restart_is_carried_out(one: World) -> None:
    disk = one.disk()
    one.do(coming(one, disk))
    one.simulator.next("ReconfigVM_Task", "fault", fault="TaskInProgress")
    receipt = one.begin(leaving(one, disk))
    assert receipt is not None
    one.restart()

    one.reconfiguring.finish(receipt, soon(), untold)

    assert one.listed() == {}


def test_whoever_waits_again_hears_the_same_end(one: World) -> None:
    disk = one.disk()
    receipt = one.begin(coming(one, disk))
    assert receipt is not None

    for _ in range(2):
        one.reconfiguring.finish(receipt, soon(), untold)


def test_a_machine_that_is_destroyed_meanwhile_has_let_go(one: World) -> None:
    disk = one.disk()
    one.do(coming(one, disk))
    ref = one.hosts[0][0]
    one.simulator.machine(ref, "off")
    one.simulator.machine(ref, "destroy")

    assert reconfigures(one, leaving(one, disk)) == 0


# --- what is read anew -----------------------------------------------------------------------------------------


def test_lists_are_read_anew_only_where_the_configuration_changed(world: World) -> None:
    disk = world.disk()
    for number in range(len(world.hosts)):
        # Each has a version from its first change on.
        world.attach(number, world.disk())
    world.machines.devices(None)
    assert world.counted(lambda: world.machines.devices(None)) == {"RetrievePropertiesEx": 1}

    world.attach(0, disk, unit=9)

    assert world.counted(lambda: world.machines.devices(None)) == {"RetrievePropertiesEx": 2}
    assert disk.uuid in {each.uuid for each in world.machines.devices(None).of(world.id()) or ()}
    assert world.counted(lambda: world.machines.devices(None)) == {"RetrievePropertiesEx": 1}


def test_what_was_read_is_not_used_after_a_change_of_ours(world: World) -> None:
    disk = world.disk()
    for move, expected in ((coming(world, disk), True), (leaving(world, disk), False)) * 2:
        world.do(move)
        found = world.machines.devices(None).of(world.id()) or ()
        assert (disk.uuid in {each.uuid for each in found if isinstance(each, AttachedDisk)}) is expected


def test_an_attach_after_a_look_at_all_machines_reads_its_own_only_if_it_changed(world: World) -> None:
    """What is planned on the look of a moment before is refused by its version, should it not hold any more."""
    first, second, theirs = world.disk(), world.disk(), world.disk()
    world.do(coming(world, first))
    world.machines.devices(None)

    assert world.counted(lambda: world.do(coming(world, second))) == {
        "QueryVirtualDiskUuid": 1,
        "ReconfigVM_Task": 1,
        # The task's end.
        "RetrievePropertiesEx": 1,
    }
    world.machines.devices(None)
    world.attach(0, theirs, unit=3)
    assert reconfigures(world, coming(world, world.disk())) == 2
    assert len(world.listed()) == 4


@pytest.mark.parametrize("what", ["done", "detached", "off"])
def test_nothing_is_told_from_an_older_look(one: World, what: str) -> None:
    disk = one.disk()
    one.do(coming(one, disk))
    one.machines.devices(None)
    if what == "done":
        one.outside.detach(one.vm(), str(disk.path))
        assert reconfigures(one, coming(one, disk)) == 1
        assert set(one.listed()) == paths([disk])
    elif what == "detached":
        one.outside.detach(one.vm(), str(disk.path))
        assert reconfigures(one, leaving(one, disk)) == 0
    else:
        one.simulator.machine(one.hosts[0][0], "off")
        assert reconfigures(one, leaving(one, disk, only_off=True)) == 1
