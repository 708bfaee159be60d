"""Deadlines take what is left; the system's clock is the system's."""

from __future__ import annotations

import threading
import time

import pytest

from tests.doubles.hand_clock import HandClock
from vmdkvol.clock import Deadline, SystemClock


def test_a_deadline_has_what_is_left() -> None:
    clock = HandClock()
    deadline = Deadline.after(clock, 10.0)
    clock.pass_time(4.0)
    assert deadline.left_s == 6.0
    assert not deadline.passed


@pytest.mark.parametrize("late_s", [10.0, 10.5, 1e6])
def test_a_deadline_that_passed_has_nothing_left(late_s: float) -> None:
    clock = HandClock()
    deadline = Deadline.after(clock, 10.0)
    clock.pass_time(late_s)
    assert deadline.passed
    assert deadline.left_s == 0.0


@pytest.mark.parametrize("seconds", [0.0, -5.0])
def test_a_deadline_of_no_time_has_passed(seconds: float) -> None:
    assert Deadline.after(HandClock(), seconds).passed


@pytest.mark.parametrize(("seconds", "left_s"), [(3.0, 3.0), (10.0, 10.0), (60.0, 10.0), (0.0, 0.0)])
def test_a_part_of_a_deadline_never_ends_later(seconds: float, left_s: float) -> None:
    assert Deadline.after(HandClock(), 10.0).at_most(seconds).left_s == left_s


@pytest.mark.parametrize("jump_s", [86_400.0, -86_400.0])
def test_f33_a_jump_of_the_wall_clock_moves_no_deadline(jump_s: float) -> None:
    clock = HandClock(wall=1e9)
    deadline = Deadline.after(clock, 10.0)
    clock.jump(jump_s)
    assert deadline.left_s == 10.0


def test_the_system_clock_tells_utc_seconds() -> None:
    assert abs(SystemClock().wall() - time.time()) < 5.0


def test_the_system_clock_sleeps_and_does_not_go_back() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.01


def test_the_system_clock_starts_named_threads_that_keep_no_process_alive() -> None:
    seen: list[threading.Thread] = []
    worker = SystemClock().start("lane-db", lambda: seen.append(threading.current_thread()))
    worker.join(60.0)
    assert not worker.is_alive()
    assert (seen[0].name, seen[0].daemon) == ("lane-db", True)


def test_a_condition_of_the_system_clock_is_told_of_a_notification() -> None:
    clock = SystemClock()
    ring = clock.condition()
    told: list[bool] = []
    ready = threading.Event()

    def waiter() -> None:
        with ring:
            ready.set()
            told.append(ring.wait(60.0))

    worker = clock.start("waiter", waiter)
    assert ready.wait(60.0)
    with ring:
        ring.notify_all()
    worker.join(60.0)
    assert told == [True]
