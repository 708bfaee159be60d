"""What goes wrong with guests, for the log: a few lines a second for each VM, of the rest the number (T14)."""

from __future__ import annotations

from collections import Counter

from vmdkvol.clock import Clock
from vmdkvol_esx.ports import Log

# So many lines may a broken or hostile guest write in a second.
_LINES = 5


class Complaints:
    """Used by one thread."""

    def __init__(self, clock: Clock, log: Log) -> None:
        self._clock = clock
        self._log = log
        self._counts: Counter[str] = Counter()
        self._until = 0.0

    def add(self, who: str, event: str, error: Exception) -> None:
        """Log it as a warning, unless ``who`` has had its lines of this second."""
        now = self._clock.monotonic()
        if now >= self._until:
            for noisy, count in self._counts.items():
                if count > _LINES:
                    self._log.warning("more of the same", peer=noisy, lines=count - _LINES)
            self._counts.clear()
            self._until = now + 1.0
        self._counts[who] += 1
        if self._counts[who] <= _LINES:
            self._log.warning(event, peer=who, error=str(error))
