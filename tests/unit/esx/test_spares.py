"""Threads that have nothing to do are there for whoever needs one next, and end when nobody does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from tests.doubles.channel_ends import until
from vmdkvol.clock import SystemClock, Worker
from vmdkvol_esx.spares import Spares


class Counting(SystemClock):
    """Counts the threads that it starts."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[Worker] = []
        self.refuses = False

    def start(self, name: str, work: Callable[[], None]) -> Worker:
        if self.refuses:
            raise RuntimeError("can't start new thread")
        worker = super().start(name, work)
        self.started.append(worker)
        return worker


@pytest.fixture
def clock() -> Counting:
    return Counting()


@pytest.fixture
def spares(clock: Counting) -> Iterator[Spares]:
    made = Spares(clock, most=2, idle_s=60.0)
    yield made
    made.stop()
    for worker in clock.started:
        worker.join(30.0)
        assert not worker.is_alive()


def done(spares: Spares) -> threading.Event:
    """Have something done; return what tells that it is."""
    event = threading.Event()
    spares.start("call-test", event.set)
    return event


def waiting(spares: Spares) -> int:
    return len(spares._waiting)


def test_what_comes_after_each_other_is_done_by_one_thread(spares: Spares, clock: Counting) -> None:
    for _ in range(50):
        assert done(spares).wait(30.0)
        assert until(lambda: waiting(spares) == 1, 30.0)
    assert len(clock.started) == 1


def test_what_is_at_once_has_a_thread_each(spares: Spares, clock: Counting) -> None:
    gate, begun = threading.Event(), threading.Semaphore(0)

    def work() -> None:
        begun.release()
        gate.wait(30.0)

    for _ in range(5):
        spares.start("call-test", work)
    assert all(begun.acquire(timeout=30.0) for _ in range(5))
    gate.set()
    assert len(clock.started) == 5


def test_no_more_wait_than_are_wanted(spares: Spares, clock: Counting) -> None:
    gate = threading.Event()
    for _ in range(5):
        spares.start("call-test", lambda: None if gate.wait(30.0) else None)
    gate.set()
    assert until(lambda: sum(worker.is_alive() for worker in clock.started) == 2, 30.0)
    assert waiting(spares) == 2


def test_one_that_nobody_needs_ends(clock: Counting) -> None:
    spares = Spares(clock, idle_s=0.05)
    assert done(spares).wait(30.0)
    assert until(lambda: not clock.started[0].is_alive(), 30.0)
    assert done(spares).wait(30.0)
    spares.stop()


def test_work_that_comes_as_a_spare_ends_is_done_all_the_same(clock: Counting) -> None:
    spares = Spares(clock, idle_s=0.0005)
    for _ in range(500):
        assert done(spares).wait(30.0)
    spares.stop()


def test_after_the_stop_no_thread_is_left_and_work_is_done_yet(clock: Counting) -> None:
    spares = Spares(clock)
    done(spares).wait(30.0)
    spares.stop()
    assert done(spares).wait(30.0)
    assert until(lambda: not any(worker.is_alive() for worker in clock.started), 30.0)


def test_a_system_without_threads_says_so_to_whoever_asks(spares: Spares, clock: Counting) -> None:
    clock.refuses = True
    with pytest.raises(RuntimeError):
        spares.start("call-test", lambda: None)
