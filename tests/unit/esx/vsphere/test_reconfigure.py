"""What is sent to the server, and what its answers mean for each change. A site in memory; no network."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from tests.unit.esx.vsphere.told_site import PATIENCE_S, Device, ToldSite, disk_device, vm_id
from tests.vsphere.stage import soon
from vmdkvol.clock import Deadline
from vmdkvol.errors import (
    Busy,
    Internal,
    MetadataDamaged,
    NoSpace,
    NotEnrolled,
    OutcomeUnknown,
    UnknownTask,
    VolumeError,
    VolumeInUse,
    WrongDisk,
)
from vmdkvol.messages import untold
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.ports import AttachDisk, DetachDisk, DiskPath, DiskRef, Progress, TaskId
from vmdkvol_esx.vsphere.batches import Move
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.faults import Meaning
from vmdkvol_esx.vsphere.machines import Machines
from vmdkvol_esx.vsphere.receipts import Receipt
from vmdkvol_esx.vsphere.reconfigure import Reconfiguring


class Doing:
    """One machine, and what attaches to it."""

    def __init__(self) -> None:
        self.site = ToldSite()
        self.site.vm(1)
        self.restart()

    def restart(self) -> None:
        self.machines: Machines = self.site.machines(1)
        self.reconfiguring: Reconfiguring = self.site.reconfiguring(self.machines)

    def begin(self, move: Move) -> Receipt | None:
        return self.reconfiguring.submit(move, uuid4())

    def do(self, move: Move) -> None:
        receipt = self.begin(move)
        if receipt is not None:
            self.reconfiguring.finish(receipt, soon(), untold)

    def together(self, *moves: Move) -> list[Exception | None]:
        """Carry them out at the same time, once all of them wait for the reconfigure before; return how each ended."""

        def all_wait() -> None:
            until = time.monotonic() + PATIENCE_S
            while self.reconfiguring.waiting(vm_id(1)) < len(moves):
                assert time.monotonic() < until
                time.sleep(0.005)
            self.site.go.set()

        return self.at_once(*moves, meanwhile=all_wait)

    def at_once(self, *moves: Move, meanwhile: Callable[[], None] = lambda: None) -> list[Exception | None]:
        ends: list[Exception | None] = [AssertionError("it did not end")] * len(moves)

        def one(number: int) -> None:
            try:
                self.do(moves[number])
                ends[number] = None
            except Exception as error:  # noqa: BLE001 - it is told by the test's own thread
                ends[number] = error

        threads = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(len(moves))]
        for thread in threads:
            thread.start()
        meanwhile()
        for thread in threads:
            thread.join(PATIENCE_S)
        return ends

    def disks(self) -> set[int]:
        listed = self.machines.devices([vm_id(1)]).of(vm_id(1)) or ()
        return {each.uuid.int for each in listed}


@pytest.fixture
def doing() -> Doing:
    return Doing()


def ref(number: int) -> DiskRef:
    return DiskRef(DiskUuid(UUID(int=number)), DiskPath(DatastoreName("ds1"), f"vmdkvol/db-{number}.vmdk"))


def attach(number: int) -> AttachDisk:
    return AttachDisk(vm_id(1), ref(number), "independent_persistent")


def detach(number: int, *, only_off: bool = False) -> DetachDisk:
    return DetachDisk(vm_id(1), ref(number), only_off)


# --- what is sent ----------------------------------------------------------------------------------------------


def test_a_removal_takes_the_disk_off_and_never_deletes_it(doing: Doing) -> None:
    doing.do(attach(1))
    doing.do(detach(1))

    [change] = doing.site.specs[-1].deviceChange
    assert (change.operation, change.fileOperation) == ("remove", None)
    assert change.device.backing.fileName == "[ds1] vmdkvol/db-1.vmdk"


def test_an_attach_makes_no_file(doing: Doing) -> None:
    doing.do(attach(1))

    [change] = doing.site.specs[-1].deviceChange
    assert (change.operation, change.fileOperation) == ("add", None)
    assert (change.device.backing.diskMode, change.device.storageIOAllocation) == ("independent_persistent", None)


@pytest.mark.parametrize(("version", "sent"), [("17", "17"), ("", None)])
def test_a_spec_is_for_the_configuration_that_was_read(doing: Doing, version: str, sent: str | None) -> None:
    doing.site.vm(1, version=version)

    doing.do(attach(1))

    assert doing.site.specs[-1].changeVersion == sent


def test_a_new_controller_comes_before_the_disk_that_goes_on_it(doing: Doing) -> None:
    doing.site.vms["vm-1"]["config.hardware.device"] = []

    doing.do(attach(1))

    controller, disk = doing.site.specs[-1].deviceChange
    assert isinstance(controller.device, Device.ParaVirtualSCSIController)
    assert (controller.device.busNumber, controller.device.sharedBus) == (0, "noSharing")
    assert disk.device.controllerKey == controller.device.key < 0


@pytest.mark.parametrize(
    ("limit", "shares", "told"),
    [
        (None, "normal", None),
        (500, "normal", (500, "normal")),
        (None, "low", (None, "low")),
        (16, "high", (16, "high")),
        (None, "300", (None, "custom", 300)),
    ],
)
def test_limits_go_with_the_attach(doing: Doing, limit: int | None, shares: str, told: tuple[object, ...] | None) -> None:
    doing.do(replace(attach(1), iops_limit=limit, shares=shares))

    found = doing.site.specs[-1].deviceChange[0].device.storageIOAllocation
    if told is None:
        assert found is None
    else:
        assert (found.limit, found.shares.level, found.shares.shares)[: len(told)] == told


@pytest.mark.parametrize(("number", "error"), [(2, WrongDisk), (None, MetadataDamaged)])
def test_what_is_not_the_disk_that_is_meant_is_not_attached(doing: Doing, number: int | None, error: type[VolumeError]) -> None:
    doing.site.found[ref(1).path] = None if number is None else ref(number).uuid

    with pytest.raises(error):
        doing.do(attach(1))

    assert doing.site.specs == []


def test_one_that_the_machine_has_is_there_though_another_lies_at_its_old_path(doing: Doing) -> None:
    doing.site.vm(1, disk_device(1, path="[ds2] moved/x-1.vmdk"))
    doing.site.found[ref(1).path] = ref(9).uuid

    assert doing.begin(attach(1)) is None


# --- how it ends -----------------------------------------------------------------------------------------------

ONCE = {
    Meaning.HELD: VolumeInUse,
    Meaning.FULL: NoSpace,
    Meaning.OTHER: OutcomeUnknown,
    Meaning.OUT_OF_REACH: OutcomeUnknown,
    Meaning.LOGGED_OUT: OutcomeUnknown,
    Meaning.GONE: OutcomeUnknown,
    Meaning.BAD_REQUEST: Internal,
}


@pytest.mark.parametrize("move", [attach(1), detach(2)], ids=["attach", "detach"])
@pytest.mark.parametrize("meaning", list(ONCE))
def test_what_stays_or_is_in_doubt_is_sent_once(doing: Doing, meaning: Meaning, move: Move) -> None:
    doing.site.vm(1, disk_device(2))
    doing.site.ends = [meaning]

    with pytest.raises(ONCE[meaning]):
        doing.do(move)

    assert len(doing.site.specs) == 1


@pytest.mark.parametrize("meaning", [Meaning.BUSY, Meaning.STATE, Meaning.MOVED, Meaning.BAD_SPEC])
def test_what_passes_is_sent_again_as_the_machine_is_then(doing: Doing, meaning: Meaning) -> None:
    doing.site.ends = [meaning, meaning]

    doing.do(attach(1))

    assert len(doing.site.specs) == 3
    assert doing.disks() == {1}


@pytest.mark.parametrize(("meaning", "error"), [(Meaning.MOVED, Busy), (Meaning.BAD_SPEC, Internal)])
def test_what_does_not_pass_is_sent_six_times(doing: Doing, meaning: Meaning, error: type[VolumeError]) -> None:
    doing.site.ends = [meaning] * 50

    with pytest.raises(error):
        doing.do(attach(1))

    assert len(doing.site.specs) == 6


def test_a_machine_that_is_gone_has_let_go_and_takes_none(doing: Doing) -> None:
    doing.site.vms.clear()

    assert doing.begin(detach(1)) is None
    with pytest.raises(NotEnrolled):
        doing.begin(attach(1))


def test_what_a_look_of_a_moment_before_showed_is_not_told_as_done(doing: Doing) -> None:
    doing.site.vm(1, disk_device(1))
    doing.machines.devices(None)
    doing.site.vm(1, version="2")

    doing.do(attach(1))

    assert doing.disks() == {1}


def test_a_list_is_read_anew_after_a_change_of_ours_whatever_its_version_says(doing: Doing) -> None:
    doing.site.still = True
    doing.machines.devices(None)

    doing.do(attach(1))

    assert [each.uuid.int for each in doing.machines.devices(None).of(vm_id(1)) or ()] == [1]


def test_what_is_there_when_it_is_looked_at_again_is_not_sent_again(doing: Doing) -> None:
    doing.site.ends = [Meaning.BAD_SPEC]
    receipt = doing.begin(attach(1))
    assert receipt is not None
    doing.site.vm(1, disk_device(1), version="9")

    doing.reconfiguring.finish(receipt, soon(), untold)

    assert len(doing.site.specs) == 1


def test_a_holder_is_named(doing: Doing) -> None:
    doing.site.vm(2, disk_device(1))
    doing.site.ends = [Meaning.HELD]

    with pytest.raises(VolumeInUse, match="is attached to host-2") as caught:
        doing.do(attach(1))

    assert caught.value.fields["holder"] == "host-2"


def test_each_of_a_batch_that_fails_has_its_own_end(doing: Doing) -> None:
    doing.do(attach(5))
    doing.site.go.clear()
    doing.begin(attach(6))
    doing.site.faults = {2: Meaning.FULL, 3: Meaning.HELD}

    ends = doing.together(*(attach(number) for number in (1, 2, 3, 4)))

    assert [type(end) for end in ends] == [type(None), NoSpace, VolumeInUse, type(None)]
    assert doing.disks() == {1, 4, 5, 6}
    # Two before, all four, and each alone.
    assert [len(spec.deviceChange) for spec in doing.site.specs] == [1, 1, 4, 1, 1, 1, 1]
    assert "db-2.vmdk" in str(ends[1])


def test_whoever_looks_at_his_disk_already_goes_along(doing: Doing) -> None:
    """No matter how quick a reconfigure is: sixteen at once are two of them at most."""
    looking = threading.Barrier(16)

    def identify(_: Service, path: DiskPath) -> DiskUuid | None:
        looking.wait(PATIENCE_S)
        return next(ref(number).uuid for number in range(1, 17) if ref(number).path == path)

    doing.site.identify = identify  # type: ignore[method-assign]
    doing.restart()

    assert doing.at_once(*(attach(number) for number in range(1, 17))) == [None] * 16
    # Sixteen disks, and a controller for the last of them.
    assert sum(len(spec.deviceChange) for spec in doing.site.specs) == 17
    assert len(doing.site.specs) <= 2


def test_a_batch_whose_machine_was_busy_goes_together_again(doing: Doing) -> None:
    doing.begin(attach(5))
    doing.site.go.clear()
    doing.site.ends = [Meaning.MOVED]

    ends = doing.together(attach(1), attach(2), attach(3))

    assert ends == [None, None, None]
    assert doing.disks() == {1, 2, 3, 5}
    assert [len(spec.deviceChange) for spec in doing.site.specs][:2] == [1, 3]
    assert sum(len(spec.deviceChange) for spec in doing.site.specs[2:]) == 3


def test_each_of_a_batch_that_failed_with_a_strange_fault_is_looked_at_and_goes_alone(doing: Doing) -> None:
    doing.begin(attach(5))
    doing.site.go.clear()
    doing.site.faults = {2: Meaning.OTHER}

    ends = doing.together(attach(1), attach(2), attach(3))

    assert [type(end) for end in ends] == [type(None), OutcomeUnknown, type(None)]
    assert doing.disks() == {1, 3, 5}


def test_a_task_that_took_long_and_failed_is_tried_again_all_the_same(doing: Doing) -> None:
    doing.site.ends = [Meaning.MOVED]
    receipt = doing.begin(attach(1))
    assert receipt is not None
    wait = doing.site.wait

    def slow(task: TaskId, what: str, deadline: Deadline, progress: Progress) -> object:
        doing.site.clock.pass_time(120.0)
        return wait(task, what, deadline, progress)

    doing.site.wait = slow  # type: ignore[method-assign]

    doing.reconfiguring.finish(receipt, Deadline.after(doing.site.clock, 600.0), untold)

    assert doing.disks() == {1}


# --- after a restart -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("meaning", [Meaning.FULL, Meaning.HELD, Meaning.BUSY, Meaning.BAD_SPEC])
def test_after_a_restart_the_fault_of_an_attach_is_nobodys(doing: Doing, meaning: Meaning) -> None:
    doing.site.ends = [meaning]
    receipt = doing.begin(attach(1))
    assert receipt is not None
    doing.restart()

    with pytest.raises(UnknownTask):
        doing.reconfiguring.finish(receipt, soon(), untold)

    assert len(doing.site.specs) == 1


def test_after_a_restart_an_attach_that_failed_and_is_there_is_done(doing: Doing) -> None:
    doing.site.ends = [Meaning.BAD_SPEC]
    receipt = doing.begin(attach(1))
    assert receipt is not None
    doing.site.vm(1, disk_device(1))
    doing.restart()

    doing.reconfiguring.finish(receipt, soon(), untold)


def test_after_a_restart_a_detach_that_failed_is_carried_out_as_it_was_asked_for(doing: Doing) -> None:
    doing.site.vm(1, disk_device(1), **{"runtime.powerState": "poweredOff"})
    doing.site.ends = [Meaning.MOVED]
    receipt = doing.begin(detach(1, only_off=True))
    assert receipt is not None
    doing.site.vms["vm-1"]["runtime.powerState"] = "poweredOn"
    doing.restart()

    with pytest.raises(VolumeInUse, match="switched on"):
        doing.reconfiguring.finish(receipt, soon(), untold)

    assert doing.disks() == {1}


def test_a_task_that_is_not_known_any_more_says_nothing(doing: Doing) -> None:
    receipt = doing.begin(attach(1))
    assert receipt is not None
    doing.site.tasks.clear()

    with pytest.raises(UnknownTask):
        doing.reconfiguring.finish(receipt, soon(), untold)
