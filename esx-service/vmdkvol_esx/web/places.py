"""Places for orders: fewer than a door has threads, so that whoever only looks finds one however long orders take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vmdkvol.clock import Clock
from vmdkvol.errors import Busy
from vmdkvol.messages import Call, Request

Ask = Callable[[Request[Any], Call], Any]
# Of the threads; an order may take two minutes, what looks takes seconds.
_SHARE = 0.75


class Places:
    """``ask`` for any thread: an order that finds no place is refused at once and has not begun."""

    def __init__(self, ask: Ask, clock: Clock, threads: int) -> None:
        self._ask = ask
        self._changed = clock.condition()
        # With one thread there is nothing to share.
        self._free = max(1, int(threads * _SHARE))

    def ask(self, request: Request[Any], call: Call) -> Any:
        """Return what the core answers. Busy for an order while as many are under way as there are places."""
        if not request.changes:
            return self._ask(request, call)
        with self._changed:
            if not self._free:
                raise Busy("as many orders are under way here as may be at a time")
            self._free -= 1
        try:
            return self._ask(request, call)
        finally:
            with self._changed:
                self._free += 1
