"""A thread that does one thing now and then, and one that does another at a hint; ended and joined by whoever started them."""

from __future__ import annotations

from collections.abc import Callable

from vmdkvol.clock import Clock, Deadline, Worker
from vmdkvol_esx.ports import Log


class Rounds:
    """``work`` runs at the start and then every ``every_s`` seconds, ``glimpse`` soon after each ``hint``.

    Each on a thread of its own: a round of a large site takes minutes, and a hint does not wait for it.
    """

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
        self._workers: list[Worker] = []

    def start(self) -> None:
        """Begin, on threads of their own, until ``stop``."""
        self._workers = [self._clock.start("housekeeping", self._run), self._clock.start("looking", self._look)]

    def stop(self, deadline: Deadline) -> bool:
        """End the threads after what runs; tell whether they ended before the deadline. Again is fine."""
        with self._woken:
            self._stopping = True
            self._woken.notify_all()
        for worker in self._workers:
            worker.join(deadline.left_s)
        return not any(worker.is_alive() for worker in self._workers)

    def hint(self) -> None:
        """Take a glimpse soon. A hint that is lost costs time only: the next round looks at everything."""
        with self._woken:
            self._hinted = True
            self._woken.notify_all()

    def _run(self) -> None:
        while not self._stopping:
            self._surely(self._work)
            until = Deadline.after(self._clock, self._every_s)
            with self._woken:
                while not (self._stopping or until.passed):
                    self._woken.wait(until.left_s)

    def _look(self) -> None:
        while self._hinted_again():
            self._surely(self._glimpse)

    def _hinted_again(self) -> bool:
        """Wait for a hint; False if it is time to stop."""
        with self._woken:
            while not (self._stopping or self._hinted):
                self._woken.wait(None)
            self._hinted = False
            return not self._stopping

    def _surely(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - top of a thread: the next round comes, whatever went wrong in this one
            self._log.error("scan failed", error=str(error), kind=type(error).__name__)
