"""Threads that have nothing to do at the moment, for whoever needs one next.

Whoever starts a thread waits until the system lets it run: milliseconds on a busy machine, and for the server's one thread
that is everybody's time. The calls of hundreds of machines come from each of them now and then, so a thread of its own for
each would be started with almost every call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vmdkvol.clock import Clock, Condition, Deadline

# So many wait, each for so long, before they end.
MOST = 64
IDLE_S = 8.0

Work = Callable[[], None]


@dataclass(slots=True, eq=False)
class _Spare:
    """A thread that waits for work: one condition for each, or all would be roused with each work."""

    roused: Condition
    work: Work | None = None
    ended: bool = False


class Spares:
    """May be used by any thread."""

    def __init__(self, clock: Clock, most: int = MOST, idle_s: float = IDLE_S) -> None:
        self._clock = clock
        self._most, self._idle_s = most, idle_s
        self._changed = clock.condition()
        self._waiting: list[_Spare] = []
        self._ended = False

    def start(self, name: str, work: Work) -> None:
        """Have ``work``, which never raises, done by a thread; RuntimeError if there is none and none can be started."""
        with self._changed:
            spare = self._waiting.pop() if self._waiting else None
        if spare is None:
            self._clock.start(name, lambda: self._run(work))
            return
        with spare.roused:
            spare.work = work
            spare.roused.notify_all()

    def stop(self) -> None:
        """End those that wait, and each other one with its work."""
        with self._changed:
            self._ended = True
            waiting, self._waiting = self._waiting, []
        for spare in waiting:
            with spare.roused:
                spare.ended = True
                spare.roused.notify_all()

    def _run(self, first: Work) -> None:
        spare = _Spare(self._clock.condition())
        work: Work | None = first
        while work is not None:
            work()
            work = self._next(spare)

    def _next(self, spare: _Spare) -> Work | None:
        """Return what to do next, None when this thread is not needed any more."""
        with self._changed:
            if self._ended or len(self._waiting) >= self._most:
                return None
            self._waiting.append(spare)
        deadline = Deadline.after(self._clock, self._idle_s)
        with spare.roused:
            while spare.work is None and not spare.ended and not deadline.passed:
                spare.roused.wait(deadline.left_s)
        with self._changed:
            # Taken in the last moment, it has work, or gets it in a moment.
            taken = spare not in self._waiting
            if not taken:
                self._waiting.remove(spare)
                return None
        with spare.roused:
            while spare.work is None and not spare.ended:
                spare.roused.wait(self._idle_s)
            work, spare.work = spare.work, None
            return work
