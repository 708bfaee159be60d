"""The system's clock, which counts how often a waiting thread was roused. Each such turn costs every other thread its time."""

from __future__ import annotations

import threading
from collections.abc import Callable

from vmdkvol.clock import Condition, SystemClock, Worker


class CountingClock(SystemClock):
    """``roused`` counts the returns from ``wait``; ``waiting``, who waits at this moment.

    ``threads_left``: how many more threads can be started.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.roused = 0
        self.waiting = 0
        self.threads_left = 1000

    def start(self, name: str, work: Callable[[], None]) -> Worker:
        if self.threads_left == 0:
            raise RuntimeError("can't start new thread")
        self.threads_left -= 1
        return super().start(name, work)

    def condition(self) -> Condition:
        return _Counting(self)

    def note(self, roused: int, waiting: int) -> None:
        with self._lock:
            self.roused += roused
            self.waiting += waiting


class _Counting(threading.Condition):
    def __init__(self, clock: CountingClock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        self._clock.note(0, 1)
        try:
            return super().wait(timeout)
        finally:
            self._clock.note(1, -1)
