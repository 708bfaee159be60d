"""A thread that does one thing now and then, and another at a hint in between; ended and joined by whoever started it."""

from __future__ import annotations

from collections.abc import Callable

from vmdkvol.clock import Clock, Deadline, Worker
from vmdkvol_esx.ports import Log


class Rounds:
    """``work`` runs at the start and then every ``every_s`` seconds, ``glimpse`` soon after each ``hint``; never both."""

    def __init__(
        self, clock: Clock, log: Log, work: Callable[[], None], glimpse: Callable[[], None], *, every_s: float
    ) -> None:
        self._clock = clock
        self._log = log
        self._work = work
        self._glimpse = glimpse
        self._every_s = every_s
        self._woken = clock.condition()
        self._stopping = False
        self._hinted = False
        self._worker: Worker | None = None

    def start(self) -> None:
        """Begin, on a thread of its own, until ``stop``."""
        self._worker = self._clock.start("housekeeping", self._run)

    def stop(self, deadline: Deadline) -> bool:
        """End the thread after what runs; tell whether it ended before the deadline. Again is fine."""
        with self._woken:
            self._stopping = True
            self._woken.notify_all()
        if self._worker is None:
            return True
        self._worker.join(deadline.left_s)
        return not self._worker.is_alive()

    def hint(self) -> None:
        """Take a glimpse soon. A hint that is lost costs time only: the next round looks at everything."""
        with self._woken:
            self._hinted = True
            self._woken.notify_all()

    def _run(self) -> None:
        while not self._stopping:
            self._surely(self._work)
            until = Deadline.after(self._clock, self._every_s)
            while self._hinted_before(until):
                self._surely(self._glimpse)

    def _hinted_before(self, until: Deadline) -> bool:
        with self._woken:
            while not (self._stopping or self._hinted or until.passed):
                self._woken.wait(until.left_s)
            hinted, self._hinted = self._hinted and not self._stopping, False
            return hinted

    def _surely(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - top of a thread: the next round comes, whatever went wrong in this one
            self._log.error("scan failed", error=str(error), kind=type(error).__name__)
