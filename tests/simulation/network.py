"""A host's cable to the service: for a while its messages come late, twice, in another order, or not at all (F32)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from tests.doubles.simulated_clock import SimulatedClock

# Half of the messages are struck while the trouble lasts.
_STRUCK = 0.5
_LATE_S, _REORDERED_S = 8.0, 0.2
# Later than the one who sent it waits for an answer, which is 40 s for a Detach.
_TOO_LATE_S = (20.0, 100.0)


class Cable:
    """Carries each message of one host, both ways. What is late comes also after the connection that it was sent on."""

    def __init__(self, clock: SimulatedClock, number: int) -> None:
        self._clock = clock
        self._dice = random.Random(number)
        self._what = ""
        self._until = 0.0

    def disturb(self, what: str, seconds: float) -> None:
        self._what = what
        self._until = self._clock.monotonic() + seconds

    def heal(self) -> None:
        self._until = 0.0

    def carry(self, deliver: Callable[[], None]) -> None:
        for delay_s in self._fate():
            if delay_s <= 0.0:
                deliver()
            else:
                self._later(delay_s, deliver)

    def _later(self, delay_s: float, deliver: Callable[[], None]) -> None:
        def come() -> None:
            self._clock.sleep(delay_s)
            deliver()

        # A thread of nobody's: the network is stopped with no process.
        self._clock.start("message", come)

    def _late_s(self) -> float:
        return self._dice.choice((self._dice.uniform(0.0, _LATE_S), self._dice.uniform(*_TOO_LATE_S)))

    def _fate(self) -> Sequence[float]:
        """Return after how many seconds the message comes; once for each time that it comes."""
        if self._clock.monotonic() >= self._until or self._dice.random() > _STRUCK:
            return (0.0,)
        match self._what:
            case "late":
                return (self._late_s(),)
            case "doubled":
                return (0.0, self._dice.choice((0.0, self._late_s())))
            case "reordered":
                return (self._dice.uniform(0.0, _REORDERED_S),)
            case _:
                return ()
