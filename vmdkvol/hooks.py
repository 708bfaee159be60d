"""Calls listeners on a thread of their own, so that they may wait for the thread that tells them something."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from vmdkvol import logs
from vmdkvol.clock import Condition

# Listeners that cannot follow lose the oldest news: notices are hints (house 2).
_MAX_WAITING = 256


class Hooks:
    """A queue of calls. Whoever owns it starts ``run`` on a thread and joins that after ``close``."""

    def __init__(self, changed: Condition) -> None:
        self._changed = changed
        self._waiting: deque[Callable[[], None]] = deque(maxlen=_MAX_WAITING)
        self._closed = False
        self._log = logs.get("hooks")

    def later(self, hook: Callable[[], None]) -> None:
        """Have ``hook`` called after the ones before it."""
        with self._changed:
            self._waiting.append(hook)
            self._changed.notify_all()

    def close(self) -> None:
        """End ``run`` after the hook that it is in; what still waits is dropped."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def run(self) -> None:
        """Call hooks until ``close``."""
        while (hook := self._next()) is not None:
            try:
                hook()
            except Exception:  # noqa: BLE001 - top of a thread: one listener's bug must not silence the others
                self._log.exception("a listener failed")

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            return None if self._closed else self._waiting.popleft()
