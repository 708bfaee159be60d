"""One read for all who asked before it began: fifty who ask at once cost two reads, and each hears what was true after that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import HypervisorUnreachable

T = TypeVar("T")


class Shared(Generic[T]):
    """Safe for any number of threads: one of those who wait reads, with its own deadline; if it fails, the next one does."""

    def __init__(self, clock: Clock, what: str) -> None:
        """``what`` is for the error, such as "reading all device lists"."""
        self._clock = clock
        self._what = what
        self._changed = clock.condition()
        self._reading = False
        self._begun = 0
        self._got: tuple[int, float, T] | None = None

    def get(self, read: Callable[[Deadline], T], deadline: Deadline) -> T:
        """Return what a read gave that began after this was called; raises what ``read`` raises, here to its caller alone."""
        with self._changed:
            wanted = self._begun + 1
            while self._got is None or self._got[0] < wanted:
                if not self._reading:
                    break
                if deadline.passed:
                    raise HypervisorUnreachable(f"{self._what}: no answer in this request's time")
                self._changed.wait(deadline.left_s)
            else:
                return self._got[2]
            self._reading = True
            self._begun += 1
            begun, begun_at = self._begun, self._clock.monotonic()
        try:
            found = read(deadline)
            with self._changed:
                self._got = (begun, begun_at, found)
            return found
        finally:
            with self._changed:
                self._reading = False
                self._changed.notify_all()

    def last(self, within_s: float = float("inf")) -> T | None:
        """Return what was read last, if that read began within the last seconds."""
        with self._changed:
            if self._got is None or self._clock.monotonic() - self._got[1] > within_s:
                return None
            return self._got[2]
