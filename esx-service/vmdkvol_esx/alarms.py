"""What an administrator must hear of and a hostile peer can cause: each once a minute, however often it happens."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

from vmdkvol.clock import Clock
from vmdkvol_esx.ports import Log

_EVERY_S = 60.0
# Of so many different ones the oldest may be told again too soon.
_REMEMBERED = 1000


class Alarms:
    """For any thread; waits for nothing but the log."""

    def __init__(self, clock: Clock, log: Log) -> None:
        # Hears each alarm that is sounded; must not wait.
        self.heard: Callable[[str, Mapping[str, object]], None] = lambda event, fields: None
        self._clock = clock
        self._log = log
        self._lock = clock.condition()
        self._told: dict[Hashable, float] = {}

    def sound(self, about: Hashable, event: str, **fields: object) -> None:
        """Log an error, unless the same one ``about`` the same was logged within a minute."""
        now, key = self._clock.monotonic(), (event, about)
        with self._lock:
            last = self._told.pop(key, None)
            silent = last is not None and now - last < _EVERY_S
            self._told[key] = last if silent and last is not None else now
            if len(self._told) > _REMEMBERED:
                del self._told[next(iter(self._told))]
        if not silent:
            self._log.error(event, **fields)
            self.heard(event, fields)
