"""Time and threads as a port: everything that waits, or runs beside, asks a ``Clock``.

The system's clock is here; the simulation hands in a seeded one that runs one thread at a time (house 2).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol


class Condition(Protocol):
    """The part of ``threading.Condition`` that we use; it is its own lock."""

    def __enter__(self) -> bool: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...
    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a notification, at most ``timeout`` seconds; tell whether one came."""
        ...

    def notify_all(self) -> None: ...


class Worker(Protocol):
    """A running thread. Whoever starts one joins it."""

    def join(self, timeout: float | None = None) -> None: ...
    def is_alive(self) -> bool: ...


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds that never jump; the only time that deadlines and timers use (F33)."""
        ...

    def wall(self) -> float:
        """UTC seconds since 1970, for what people read."""
        ...

    def sleep(self, seconds: float) -> None: ...
    def condition(self) -> Condition: ...
    def start(self, name: str, work: Callable[[], None]) -> Worker:
        """Run ``work`` beside; ``name`` is the thread's name in a dump. ``work`` handles its own errors."""
        ...


class SystemClock:
    """The machine's time and its threads."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def condition(self) -> Condition:
        return threading.Condition()

    def start(self, name: str, work: Callable[[], None]) -> Worker:
        # Daemon threads: a worker stuck in a mount(2) on a dead disk must not keep a stopped process alive for ever.
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        return thread


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock by which a call is answered. Every wait takes what is left of one."""

    clock: Clock
    at: float

    @classmethod
    def after(cls, clock: Clock, seconds: float) -> Deadline:
        return cls(clock, clock.monotonic() + seconds)

    @property
    def left_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - self.clock.monotonic())

    @property
    def passed(self) -> bool:
        return self.left_s <= 0.0

    def at_most(self, seconds: float) -> Deadline:
        """Return this deadline, or ``seconds`` from now if that is sooner."""
        return Deadline(self.clock, min(self.at, self.clock.monotonic() + seconds))
