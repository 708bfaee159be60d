"""A clock that runs many times faster than the system's, so that a wait of seconds is a test of milliseconds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from vmdkvol.clock import Condition, SystemClock, Worker


class _HurriedCondition:
    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._condition = threading.Condition()

    def __enter__(self) -> bool:
        return self._condition.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        self._condition.__exit__(kind, error, trace)

    def wait(self, timeout: float | None = None) -> bool:
        return self._condition.wait(None if timeout is None else timeout / self._factor)

    def notify_all(self) -> None:
        self._condition.notify_all()


class HurriedClock:
    """``factor`` seconds pass in one. ``jump`` sets the wall clock, as an administrator does (F33).

    After ``skip`` it is later, also by the monotonic clock; who waits just then waits no less for it.
    """

    def __init__(self, factor: float = 50.0) -> None:
        self._factor = factor
        self._system = SystemClock()
        self._wall_at_start = self._system.wall()
        self._jumped = 0.0
        self._skipped = 0.0
        self._start = self._system.monotonic()

    def monotonic(self) -> float:
        return 1000.0 + self._skipped + (self._system.monotonic() - self._start) * self._factor

    def wall(self) -> float:
        return self._wall_at_start + self._jumped + self.monotonic() - 1000.0

    def jump(self, seconds: float) -> None:
        self._jumped += seconds

    def skip(self, seconds: float) -> None:
        self._skipped += seconds

    def sleep(self, seconds: float) -> None:
        self._system.sleep(seconds / self._factor)

    def condition(self) -> Condition:
        return _HurriedCondition(self._factor)

    def start(self, name: str, work: Callable[[], None]) -> Worker:
        return self._system.start(name, work)
