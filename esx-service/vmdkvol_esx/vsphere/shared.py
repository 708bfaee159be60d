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

    def get(self, read: Callable[[Deadline], T], deadline: Deadline, within_s: float | None = None) -> T:
        """Return what a read gave that began after this was called; with ``within_s``, or within so many seconds before.

        Raises what ``read`` raises, here to its caller alone; HypervisorUnreachable if the time is up before one has ended.
        """
        with self._changed:
            wanted = self._begun + 1
            while True:
                if self._got is not None and (self._got[0] >= wanted or self._is_young(within_s)):
                    return self._got[2]
                if not self._reading:
                    break
                if deadline.passed:
                    raise HypervisorUnreachable(f"{self._what}: no answer in this request's time")
                self._changed.wait(deadline.left_s)
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
            return self._got[2] if self._got is not None and self._is_young(within_s) else None

    def _is_young(self, within_s: float | None) -> bool:
        return self._got is not None and within_s is not None and self._clock.monotonic() - self._got[1] <= within_s
