"""What waits for a machine: one leads, the others get their end from it, and nobody waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from uuid import UUID

import pytest

from tests.doubles.hand_clock import HandClock
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.errors import Busy
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid, VmId
from vmdkvol_esx.ports import AttachDisk, DiskPath, DiskRef, TaskId
from vmdkvol_esx.vsphere.batches import MAX_CHANGES
from vmdkvol_esx.vsphere.queues import Member, Queue

CLOCK = SystemClock()
PATIENCE_S = 30.0


def member(number: int, *, alone: bool = False) -> Member:
    ref = DiskRef(DiskUuid(UUID(int=number)), DiskPath(DatastoreName("ds1"), f"vmdkvol/db-{number}.vmdk"))
    return Member(AttachDisk(VmId(UUID(int=1)), ref, "persistent"), str(number), alone=alone)


def soon(seconds: float = PATIENCE_S) -> Deadline:
    return Deadline.after(CLOCK, seconds)


def gather(queue: Queue) -> None:
    """Gather those who are expected: nobody is waited for until the deadline."""
    deadline = soon()
    queue.gather(deadline)
    assert not deadline.passed


def until(true: Callable[[], bool]) -> None:
    deadline = soon()
    while not true():
        assert not deadline.passed
        CLOCK.sleep(0.005)


class Leads:
    """Ends what it takes, with a task for each batch; the first batch is held until ``go``."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.go = threading.Event()
        self.taken = threading.Event()

    def __call__(self, queue: Queue) -> None:
        batch = queue.batch()
        self.batches.append([each.operation for each in batch])
        self.taken.set()
        if len(self.batches) == 1:
            assert self.go.wait(PATIENCE_S)
        for each in batch:
            queue.end(each, task=TaskId(f"task-{len(self.batches)}"), shared=len(batch) > 1)


class Passing:
    """Brings a member through on a thread of its own."""

    def __init__(self, queue: Queue, one: Member, lead: Callable[[Queue], None], deadline: Deadline | None = None) -> None:
        self.error: BaseException | None = None
        self._args = (one, lead, deadline or soon())
        self._thread = threading.Thread(target=self._run, args=(queue,), daemon=True)
        self._thread.start()

    def _run(self, queue: Queue) -> None:
        try:
            queue.through(*self._args)
        except (Busy, ZeroDivisionError, AssertionError) as error:
            self.error = error

    def end(self) -> BaseException | None:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self.error


def test_what_comes_while_one_is_under_way_goes_together() -> None:
    queue, lead, members = Queue(CLOCK), Leads(), [member(number) for number in range(5)]
    first = Passing(queue, members[0], lead)
    assert lead.taken.wait(PATIENCE_S)
    others = [Passing(queue, each, lead) for each in members[1:]]
    until(lambda: queue.waiting == 5)
    lead.go.set()

    assert [each.end() for each in (first, *others)] == [None] * 5
    assert [sorted(each) for each in lead.batches] == [["0"], ["1", "2", "3", "4"]]
    assert [each.task for each in members] == ["task-1"] + ["task-2"] * 4
    assert [each.shared for each in members] == [False] + [True] * 4
    assert queue.waiting == 0


def test_one_that_goes_alone_takes_nobody_along() -> None:
    queue, lead = Queue(CLOCK), Leads()
    passing = [Passing(queue, member(0), lead)]
    assert lead.taken.wait(PATIENCE_S)
    passing += [Passing(queue, member(1), lead), Passing(queue, member(2, alone=True), lead), Passing(queue, member(3), lead)]
    until(lambda: queue.waiting == 4)
    lead.go.set()

    assert [each.end() for each in passing] == [None] * 4
    assert [sorted(each) for each in lead.batches] == [["0"], ["2"], ["1", "3"]]


def test_who_waits_too_long_goes_and_nothing_is_done_for_it() -> None:
    queue, lead = Queue(CLOCK), Leads()
    first = Passing(queue, member(0), lead)
    assert lead.taken.wait(PATIENCE_S)

    late = Passing(queue, member(1), lead, soon(0.05))

    assert isinstance(late.end(), Busy)
    lead.go.set()
    assert first.end() is None
    assert lead.batches == [["0"]]


def test_who_is_carried_already_stays_to_hear_its_end() -> None:
    clock = HandClock()
    queue, lead = Queue(clock), Leads()
    one, other = member(0), member(1)
    ready = threading.Event()

    def both(queue: Queue) -> None:
        assert ready.wait(PATIENCE_S)
        lead(queue)

    first = Passing(queue, one, both)
    second = Passing(queue, other, lead, Deadline.after(clock, 1.0))
    until(lambda: queue.waiting == 2)
    ready.set()
    assert lead.taken.wait(PATIENCE_S)
    clock.pass_time(2.0)
    # Whatever rouses it, it is past its time.
    with queue.expecting():
        CLOCK.sleep(0.1)
    CLOCK.sleep(0.1)
    lead.go.set()

    assert (first.end(), second.end()) == (None, None)
    assert (other.task, lead.batches) == ("task-1", [["0", "1"]])


def test_a_leader_that_ends_only_some_leads_again_until_its_own_has_ended() -> None:
    queue, led = Queue(CLOCK), []

    def lead(queue: Queue) -> None:
        led.append(len(queue.batch()))
        if len(led) == 3:
            queue.end(queue.batch()[0], task=TaskId("task-1"))

    queue.through(member(0), lead, soon())

    assert led == [1, 1, 1]


def test_a_leader_that_breaks_leaves_the_others_to_lead_themselves() -> None:
    queue, good = Queue(CLOCK), Leads()
    good.go.set()
    ready = threading.Event()

    def broken(queue: Queue) -> None:
        assert ready.wait(PATIENCE_S)
        queue.batch()
        raise ZeroDivisionError

    first = Passing(queue, member(0), broken)
    second = Passing(queue, member(1), good)
    until(lambda: queue.waiting == 2)
    ready.set()

    assert isinstance(first.end(), ZeroDivisionError)
    assert second.end() is None
    assert "1" in {operation for batch in good.batches for operation in batch}
    assert queue.waiting == 0


@pytest.mark.parametrize(("ended", "left"), [("task-1", None), ("task-0", "task-1")])
def test_only_the_end_of_the_last_reconfigure_lands_it(ended: str, left: str | None) -> None:
    queue = Queue(CLOCK)
    queue.flight = TaskId("task-1")

    queue.landed(TaskId(ended))

    assert queue.flight == left


def test_a_leader_waits_for_one_who_is_on_his_way() -> None:
    queue, lead = Queue(CLOCK), Leads()
    lead.go.set()
    gathering = threading.Event()

    def patient(queue: Queue) -> None:
        gathering.set()
        gather(queue)
        lead(queue)

    with queue.expecting() as arrival:
        first = Passing(queue, member(0), patient)
        assert gathering.wait(PATIENCE_S)
        queue.through(member(1), lead, soon(), arrival)

    assert first.end() is None
    assert [sorted(each) for each in lead.batches] == [["0", "1"]]


def test_one_who_turns_away_is_not_waited_for() -> None:
    queue, lead = Queue(CLOCK), Leads()
    lead.go.set()
    gathered = threading.Event()

    def patient(queue: Queue) -> None:
        gather(queue)
        gathered.set()
        lead(queue)

    with queue.expecting():
        first = Passing(queue, member(0), patient)
        assert not gathered.wait(0.05)

    assert first.end() is None
    assert lead.batches == [["0"]]


def test_one_who_stays_away_is_waited_for_a_moment_only() -> None:
    queue = Queue(CLOCK)

    with queue.expecting():
        queue.gather(soon(0.05))

    gather(queue)


def test_where_there_is_no_room_nobody_is_waited_for() -> None:
    queue, lead = Queue(CLOCK), Leads()
    passing = [Passing(queue, member(0), lead)]
    assert lead.taken.wait(PATIENCE_S)
    passing += [Passing(queue, member(number), lead) for number in range(1, MAX_CHANGES)]
    until(lambda: queue.waiting == MAX_CHANGES)

    with queue.expecting():
        gather(queue)
    lead.go.set()

    assert [each.end() for each in passing] == [None] * MAX_CHANGES


def test_one_whose_lead_broke_does_not_wait_on_for_others_to_carry_it_out() -> None:
    """Nobody is there any more to hear how it ends: carried out later, it would be an attach that nobody asked for."""
    queue = Queue(CLOCK)

    def breaks(_: Queue) -> None:
        raise ZeroDivisionError("seven")

    with pytest.raises(ZeroDivisionError):
        queue.through(member(1), breaks, soon())

    leads = Leads()
    leads.go.set()
    queue.through(member(2), leads, soon())
    assert leads.batches == [["2"]]
