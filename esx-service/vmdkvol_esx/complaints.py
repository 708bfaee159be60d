"""What goes wrong with guests, for the log: a few lines a second for each source, of the rest the number (T14)."""

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

    def add(self, source: str, event: str, error: Exception, *, peer: str = "") -> None:
        """Log it of ``peer`` as a warning, unless its ``source`` has had its lines of this second."""
        now = self._clock.monotonic()
        if now >= self._until:
            for noisy, count in self._counts.items():
                if count > _LINES:
                    self._log.warning("more of the same", peer=noisy, lines=count - _LINES)
            self._counts.clear()
            self._until = now + 1.0
        self._counts[source] += 1
        if self._counts[source] <= _LINES:
            self._log.warning(event, peer=peer or source, error=str(error))
