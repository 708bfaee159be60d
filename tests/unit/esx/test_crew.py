"""The workers of one VM: who is roused by a call, and what becomes of calls at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from uuid import UUID

import pytest

from tests.doubles.counting_clock import CountingClock
from vmdkvol.clock import Deadline
from vmdkvol.errors import BadRequest, Busy
from vmdkvol.orders import Actor, Role
from vmdkvol.volume_orders import TrashVolume
from vmdkvol.wire import write_error
from vmdkvol_esx.crew import WORKERS, Crew, Kind
from vmdkvol_esx.turns import Turns


class Place:
    """A crew, and what it answered."""

    def __init__(self) -> None:
        self.clock = CountingClock()
        self.answers: list[bytes] = []
        self.crew: Crew[str] = Crew("vm", self.clock, Turns(self.clock), lambda _, data: self.answers.append(data), write_error)
        self._calls = 0

    def take(self, work: Callable[[], bytes], kind: Kind = Kind.READ) -> None:
        self._calls += 1
        deadline = Deadline.after(self.clock, 60)
        self.crew.take(UUID(int=self._calls), "equal", work, kind=kind, deadline=deadline, recipient="guest")

    def until(self, true: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not true():
            assert time.monotonic() < end, "not within a minute"
            time.sleep(0.002)


@pytest.fixture
def place() -> Place:
    return Place()


def several_idle(place: Place, kind: Kind, count: int) -> None:
    together = threading.Barrier(count, timeout=60)

    def work() -> bytes:
        together.wait()
        return b"first"

    for _ in range(count):
        place.take(work, kind)
    place.until(lambda: place.clock.waiting == count)


def test_a_call_rouses_one_idle_worker_and_no_other(place: Place) -> None:
    several_idle(place, Kind.BEGIN, 12)
    before = place.clock.roused

    place.take(lambda: b"second", Kind.BEGIN)

    place.until(lambda: b"second" in place.answers and place.clock.waiting == 12)
    assert place.clock.roused == before + 1


def test_more_calls_than_workers_are_all_answered(place: Place) -> None:
    several_idle(place, Kind.READ, WORKERS[Kind.READ])

    for number in range(50):
        place.take(lambda number=number: b"%d" % number)  # type: ignore[misc]

    place.until(lambda: len(place.answers) == 50 + WORKERS[Kind.READ])
    assert set(place.answers) == {b"first", *(b"%d" % number for number in range(50))}


def test_f60_a_call_for_which_no_thread_can_be_started_is_refused_and_keeps_no_later_one_waiting(place: Place) -> None:
    place.clock.threads_left = 0
    for _ in range(WORKERS[Kind.READ] + 1):
        with pytest.raises(Busy, match="no thread can be started"):
            place.take(lambda: b"refused")
    place.clock.threads_left = 1

    place.take(lambda: b"answered")

    place.until(lambda: place.answers == [b"answered"])


def test_f60_without_another_thread_a_call_waits_for_the_worker_that_there_is(place: Place) -> None:
    go_on = threading.Event()
    place.take(lambda: b"first" if go_on.wait(60) else b"")
    place.clock.threads_left = 0

    place.take(lambda: b"second")

    go_on.set()
    place.until(lambda: place.answers == [b"first", b"second"])


def test_an_end_lets_idle_workers_go_at_once(place: Place) -> None:
    several_idle(place, Kind.READ, WORKERS[Kind.READ])

    place.crew.stop()

    assert place.crew.finish(Deadline.after(place.clock, 60))
    place.until(lambda: place.clock.waiting == 0)


def test_after_the_end_nothing_is_begun(place: Place) -> None:
    several_idle(place, Kind.READ, 2)
    place.crew.stop()

    place.take(lambda: b"late")

    assert place.crew.finish(Deadline.after(place.clock, 60))
    assert b"late" not in place.answers


def test_the_end_waits_for_what_runs(place: Place) -> None:
    go_on, began = threading.Event(), threading.Event()

    def work() -> bytes:
        began.set()
        go_on.wait(60)
        return b"done"

    place.take(work)
    began.wait(60)
    place.crew.stop()

    assert not place.crew.finish(Deadline.after(place.clock, 0.05))
    go_on.set()
    assert place.crew.finish(Deadline.after(place.clock, 60))
    assert place.answers == [b"done"]


@pytest.mark.parametrize(
    ("again", "joins"),
    [
        pytest.param(Actor("ann", Role.ADMIN, "192.0.2.8"), True, id="from-another-address"),
        pytest.param(Actor("bob", Role.ADMIN, "192.0.2.7"), False, id="another-person"),
        pytest.param(Actor("ann", Role.OPERATOR, "192.0.2.7"), False, id="with-less-rights"),
    ],
)
def test_an_order_that_comes_again_while_it_is_under_way_is_joined_by_whoever_gave_it(
    place: Place, again: Actor, joins: bool
) -> None:
    order, go_on, heard = TrashVolume(volume="db", by=Actor("ann", Role.ADMIN, "192.0.2.7")), threading.Event(), list[str]()
    crew: Crew[str] = Crew("admin", place.clock, Turns(place.clock), lambda who, _: heard.append(who), write_error)

    def take(by: Actor, who: str) -> None:
        deadline = Deadline.after(place.clock, 60)
        crew.take(UUID(int=1), replace(order, by=by), work, kind=Kind.BEGIN, deadline=deadline, recipient=who)

    def work() -> bytes:
        assert go_on.wait(60)
        return b"done"

    take(order.by, "first")
    with nullcontext() if joins else pytest.raises(BadRequest, match="with another request"):
        take(again, "second")
    go_on.set()
    place.until(lambda: len(heard) == 1 + joins)
    assert heard == ["first", "second"][: 1 + joins]
