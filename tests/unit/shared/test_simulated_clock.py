"""The double that the concurrency tests stand on: one thread at a time, virtual time, and the same again by its seed."""

from __future__ import annotations

import random
import time

import pytest

from tests.doubles.simulated_clock import Deadlock, SimulatedClock
from vmdkvol.clock import Deadline
from vmdkvol.errors import StillWorking
from vmdkvol.lanes import Lanes


def lanes_at_work(seed: int) -> tuple[list[tuple[float, str]], list[str]]:
    """Run five clients on three lanes; return the schedule and what happened."""
    happened: list[str] = []
    with SimulatedClock(seed) as clock:
        lanes = Lanes(clock, "lane")
        dice = random.Random(seed)

        def client(number: int, plan: list[tuple[str, str, float]]) -> None:
            for key, equal, takes in plan:

                def work(key: str = key, equal: str = equal, takes: float = takes) -> str:
                    happened.append(f"{clock.monotonic():.3f} {key} {equal} begins")
                    clock.sleep(takes)
                    happened.append(f"{clock.monotonic():.3f} {key} {equal} ends")
                    return f"{key} {equal}"

                try:
                    told = lanes.run(key, equal, work, Deadline.after(clock, 4.0), f"{equal} {key}")
                except StillWorking:
                    told = "still working"
                happened.append(f"{clock.monotonic():.3f} client {number}: {told}")

        plans = [
            [(dice.choice("abc"), dice.choice(["mount", "unmount"]), dice.uniform(0, 3)) for _ in range(3)] for _ in range(5)
        ]
        workers = [clock.start(f"client {n}", lambda n=n, plan=plan: client(n, plan)) for n, plan in enumerate(plans)]  # type: ignore[misc]
        for worker in workers:
            worker.join()
        assert lanes.drain(Deadline.after(clock, 100.0))
        return clock.trace, happened


def test_three_hundred_schedules_of_lanes_are_replayed_exactly() -> None:
    traces = set()
    for seed in range(300):
        first = lanes_at_work(seed)
        assert lanes_at_work(seed) == first, f"seed {seed}"
        traces.add(tuple(first[0]))
    assert len(traces) == 300


def test_virtual_hours_take_no_time() -> None:
    began = time.monotonic()
    with SimulatedClock(1) as clock:
        clock.sleep(36_000.0)
        assert clock.monotonic() == 36_000.0
    assert time.monotonic() - began < 60.0


def test_sleepers_wake_in_the_order_of_their_times() -> None:
    woken = []
    with SimulatedClock(1) as clock:

        def sleeper(seconds: float) -> None:
            clock.sleep(seconds)
            woken.append((seconds, clock.monotonic()))

        workers = [clock.start(str(s), lambda s=s: sleeper(s)) for s in (3.0, 1.0, 2.0)]  # type: ignore[misc]
        for worker in workers:
            worker.join()
    assert woken == [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]


def test_a_lock_has_one_owner_whatever_the_schedule() -> None:
    for seed in range(50):
        with SimulatedClock(seed) as clock:
            lock = clock.condition()
            count = 0

            def add(clock: SimulatedClock = clock, lock: object = lock) -> None:
                nonlocal count
                with lock:  # type: ignore[attr-defined]
                    seen = count
                    clock.give_way()
                    count = seen + 1

            for worker in [clock.start(f"t{n}", add) for n in range(5)]:
                worker.join()
            assert count == 5


def test_without_a_lock_some_schedule_loses_an_update() -> None:
    results = set()
    for seed in range(50):
        with SimulatedClock(seed) as clock:
            count = 0

            def add(clock: SimulatedClock = clock) -> None:
                nonlocal count
                seen = count
                clock.give_way()
                count = seen + 1

            for worker in [clock.start(f"t{n}", add) for n in range(3)]:
                worker.join()
            results.add(count)
    assert results == {1, 2, 3}


def test_a_wait_tells_whether_it_was_notified() -> None:
    with SimulatedClock(3) as clock:
        ring = clock.condition()

        def notifier() -> None:
            clock.sleep(5.0)
            with ring:
                ring.notify_all()

        worker = clock.start("notifier", notifier)
        with ring:
            assert ring.wait(1.0) is False
            assert clock.monotonic() == 1.0
            assert ring.wait(100.0) is True
            assert clock.monotonic() == 5.0
        worker.join()
        assert not worker.is_alive()


def test_a_join_ends_with_its_time() -> None:
    with SimulatedClock(3) as clock:
        worker = clock.start("sleeper", lambda: clock.sleep(10.0))
        worker.join(2.0)
        assert clock.monotonic() == 2.0
        assert worker.is_alive()


def test_two_locks_in_two_orders_are_found_as_a_deadlock() -> None:
    def crossing(seed: int) -> str:
        with SimulatedClock(seed) as clock:
            one, two = clock.condition(), clock.condition()

            def other() -> None:
                with two, one:
                    pass

            worker = clock.start("other", other)
            try:
                with one, two:
                    pass
                worker.join()
            except Deadlock as error:
                return str(error)
            return ""

    told = [text for text in map(crossing, range(20)) if text]
    assert 0 < len(told) < 20
    assert all("main waits for a lock that other has" in text for text in told)
    assert all("other waits for a lock that main has" in text for text in told)


def test_waiting_for_ever_is_a_deadlock_that_names_who_waits() -> None:
    with SimulatedClock(1) as clock:
        ring = clock.condition()
        with ring, pytest.raises(Deadlock, match="seed 1: .*main waits for ever for a notification"):
            ring.wait()


def test_a_loop_without_an_end_is_a_deadlock() -> None:
    def tick() -> None:
        while True:
            clock.sleep(30.0)

    with SimulatedClock(1, horizon_s=10_000.0) as clock:
        worker = clock.start("loop", tick)
        with pytest.raises(Deadlock, match="loop"):
            worker.join()


def test_an_error_in_a_thread_reaches_the_test() -> None:
    def fails() -> None:
        raise ValueError("told")

    with pytest.raises(ValueError, match="told"), SimulatedClock(1) as clock:
        clock.start("fails", fails).join()


def test_f33_a_jump_of_the_wall_clock_leaves_deadlines_alone() -> None:
    with SimulatedClock(1) as clock:
        deadline = Deadline.after(clock, 10.0)
        wall = clock.wall()
        clock.jump(86_400.0)
        assert clock.wall() == wall + 86_400.0
        assert deadline.left_s == 10.0
