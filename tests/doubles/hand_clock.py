"""A clock that stands still until a test moves it. Conditions and threads are the system's."""

from __future__ import annotations

from collections.abc import Callable

from vmdkvol.clock import Condition, SystemClock, Worker


class HandClock:
    """``monotonic`` and ``wall`` move by ``pass_time`` alone; a ``sleep`` passes at once, as time that went by."""

    def __init__(self, wall: float = 0.0, monotonic: float = 0.0) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._system = SystemClock()

    def pass_time(self, seconds: float) -> None:
        self._wall += seconds
        self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock, as an administrator or NTP does; monotonic time goes on as before (F33)."""
        self._wall += seconds

    def monotonic(self) -> float:
        return self._monotonic

    def wall(self) -> float:
        return self._wall

    def sleep(self, seconds: float) -> None:
        self.pass_time(seconds)

    def condition(self) -> Condition:
        return self._system.condition()

    def start(self, name: str, work: Callable[[], None]) -> Worker:
        return self._system.start(name, work)
