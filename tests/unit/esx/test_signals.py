"""The service hears a signal whenever it comes, also while it is just beginning to wait for one."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from vmdkvol.clock import SystemClock
from vmdkvol_esx.signals import Told


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def told() -> Told:
    return Told(signal.SIGUSR1)


def test_a_signal_that_came_before_is_heard() -> None:
    told = Told(signal.SIGUSR1)
    signal.raise_signal(signal.SIGUSR1)

    told.wait()


def test_a_signal_is_heard_within_the_time(told: Told) -> None:
    signal.raise_signal(signal.SIGUSR1)

    assert told.within(SystemClock(), 20.0)


def test_without_a_signal_the_time_passes(told: Told) -> None:
    assert not told.within(SystemClock(), 0.05)


def test_another_signal_ends_nothing(told: Told) -> None:
    before = signal.signal(signal.SIGUSR2, lambda *_: None)
    signal.raise_signal(signal.SIGUSR2)
    try:
        assert not told.within(SystemClock(), 0.05)
    finally:
        signal.signal(signal.SIGUSR2, before)


@pytest.mark.timeout(120)
def test_a_signal_that_comes_at_any_line_of_the_wait_is_heard() -> None:
    """With an Event, whose lock the wait holds on some of its lines, the handler waited for ever, and so did the stop."""
    told = Told(signal.SIGUSR1)
    lines = 0

    def at_each_line(_: FrameType, event: str, __: Any) -> Any:
        nonlocal lines
        if event == "line":
            lines += 1
            signal.raise_signal(signal.SIGUSR1)
        return at_each_line

    before = sys.gettrace()
    sys.settrace(at_each_line)
    try:
        told.wait()
    finally:
        sys.settrace(before)

    assert lines > 0


@pytest.mark.timeout(120)
def test_a_signal_that_the_kernel_gives_to_another_thread_ends_the_wait() -> None:
    """A handler in Python runs in the main thread alone, and nothing wakes that: about one stop in forty was not heard."""
    told = Told(signal.SIGUSR1)

    def take_it() -> None:
        time.sleep(0.2)
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    other = threading.Thread(target=take_it)
    other.start()
    told.wait()
    other.join()


@pytest.mark.timeout(120)
def test_another_signal_does_not_end_the_wait() -> None:
    told = Told(signal.SIGUSR1)
    before = signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        signal.raise_signal(signal.SIGUSR2)
        later = threading.Timer(0.2, signal.raise_signal, [signal.SIGUSR1])
        later.start()
        began = time.monotonic()
        told.wait()
        assert time.monotonic() - began > 0.1
        later.join()
    finally:
        signal.signal(signal.SIGUSR2, before)
