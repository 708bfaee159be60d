"""Whoever waits is roused by what it waits for, not by everything: eight waiting Mounts must cost no Get its time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from uuid import UUID

import pytest

from tests.doubles.counting_clock import CountingClock
from vmdkvol.calls import Calls
from vmdkvol.clock import Deadline, Worker
from vmdkvol.errors import ServiceUnreachable
from vmdkvol.lanes import Lanes
from vmdkvol.messages import Call, GetVolume
from vmdkvol.names import VolumeRef

OTHERS = 8


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, "not within a minute"
        time.sleep(0.002)


@pytest.fixture
def clock() -> CountingClock:
    return CountingClock()


def test_the_end_of_one_piece_of_work_rouses_nobody_who_waits_for_another(clock: CountingClock) -> None:
    lanes, deadline = Lanes(clock, "test"), Deadline.after(clock, 60)
    go_on = threading.Event()
    waiters: list[Worker] = []
    for number in range(OTHERS):

        def wait(number: int = number) -> None:
            lanes.run(number, "long", lambda: go_on.wait(60), deadline, "waiting")

        waiters.append(clock.start("waiter", wait))
    until(lambda: clock.waiting == OTHERS)

    lanes.run("short", "short", lambda: None, deadline, "working")

    # Its own caller may have waited for it.
    assert clock.roused <= 1
    go_on.set()
    for waiter in waiters:
        waiter.join(60)


def test_the_answer_to_one_call_rouses_nobody_who_waits_for_another(clock: CountingClock) -> None:
    def nothing() -> None: ...

    calls = Calls(clock, ServiceUnreachable("not yet"), 60.0, nothing, nothing)
    calls.up()

    def ask(number: int) -> None:
        with pytest.raises(ServiceUnreachable):
            calls.ask(GetVolume(VolumeRef.parse("db")), Call(UUID(int=number), Deadline.after(clock, 60)))

    waiters = [clock.start("waiter", lambda number=number: ask(number)) for number in range(OTHERS)]  # type: ignore[misc]
    until(lambda: clock.waiting == OTHERS)

    def refused(_: object) -> object:
        raise ServiceUnreachable("answered")

    calls.answered(UUID(int=0), refused)
    waiters[0].join(60)

    assert clock.roused == 1
    calls.close()
    for waiter in waiters:
        waiter.join(60)
