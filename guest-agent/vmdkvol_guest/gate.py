"""Who may do slow work: so many calls at once, so many more that wait, and none before the agent may act at all.

gunicorn's threads are shared by all calls. Activate has no time limit in the engine, so that slow calls must never
take the last thread (corrections 16, and its measured 5.5 s).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import Busy

SLOTS = 224
# They wait on a thread each: of 256 threads 16 always remain for Activate, Get, List and Path.
WAITING = 16


class Gate:
    """Closed when made; ``open`` it when this process has the instance lock (corrections 15)."""

    def __init__(self, clock: Clock, *, slots: int = SLOTS, waiting: int = WAITING) -> None:
        self._changed = clock.condition()
        self._slots = slots
        self._room = slots + waiting
        self._inside = 0
        self._there = 0
        self._opened = False

    def open(self) -> None:
        with self._changed:
            self._opened = True
            self._changed.notify_all()

    @contextmanager
    def passing(self, deadline: Deadline) -> Iterator[None]:
        """Enter when there is a place. Raises Busy at the deadline, or at once when too many wait already."""
        self._enter(deadline)
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._there -= 1
                self._changed.notify_all()

    def _enter(self, deadline: Deadline) -> None:
        with self._changed:
            if self._there >= self._room:
                raise Busy(f"{self._there} calls are under way on this host")
            self._there += 1
            while not self._opened or self._inside >= self._slots:
                if deadline.passed:
                    self._there -= 1
                    raise Busy("no place became free in time" if self._opened else "another agent still runs on this host")
                self._changed.wait(deadline.left_s)
            self._inside += 1
