"""One thread that waits for many sockets at once, and does what other threads want done on it."""

from __future__ import annotations

import selectors
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from vmdkvol.clock import Clock, Worker
from vmdkvol.logs import Log


class HasFileno(Protocol):
    """What a selector takes."""

    def fileno(self) -> int: ...


class Loop:
    """``post`` may be called on any thread, ``start`` and ``join`` where it was made; all else is the loop's thread's."""

    def __init__(self, clock: Clock, log: Log) -> None:
        self._clock = clock
        self._log = log
        self.selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        for end in (self._wake_in, self._wake_out):
            end.setblocking(False)
        self._actions: deque[Callable[[], None]] = deque()
        self._worker: Worker | None = None

    @property
    def runs(self) -> bool:
        """Tell whether it was started and not joined yet."""
        return self._worker is not None

    def start(self, name: str, run: Callable[[], None]) -> None:
        """Have ``run`` done on the loop's thread; it ends with ``close``."""
        self.selector.register(self._wake_out, selectors.EVENT_READ, self)
        self._worker = self._clock.start(name, run)

    def join(self) -> None:
        """Wait for the thread's end."""
        if self._worker is not None:
            self._worker.join()
            self._worker = None

    def post(self, action: Callable[[], None]) -> None:
        """Have ``action`` done on the loop's thread, in the order of the calls; once it is closed, not at all."""
        self._actions.append(action)
        try:
            self._wake_in.send(b"\0")
        except OSError:
            # Full: the thread has enough to wake up for. Closed: there is none.
            pass

    @property
    def pending(self) -> bool:
        """Tell whether something was posted and is not done yet."""
        return bool(self._actions)

    def want(self, socket: HasFileno, events: int, data: object) -> None:
        """Have ``select`` tell of these events of the socket, and of no others; 0: of none."""
        known = self.selector.get_map().get(socket)
        if known is None and events:
            self.selector.register(socket, events, data)
        elif known is not None and not events:
            self.selector.unregister(socket)
        elif known is not None and known.events != events:
            self.selector.modify(socket, events, data)

    def select(self, timeout: float | None) -> list[tuple[Any, int]]:
        """Wait for a socket or a post; return the data of the sockets that are ready, with the events."""
        found = [(key.data, events) for key, events in self.selector.select(timeout)]
        if (self, selectors.EVENT_READ) in found:
            self._wake_out.recv(4096)
            found.remove((self, selectors.EVENT_READ))
        return found

    def act(self) -> None:
        """Do what was posted so far. What goes wrong with one action is logged, and the ones behind it are done."""
        for _ in range(len(self._actions)):
            action = self._actions.popleft()
            try:
                action()
            except Exception:  # noqa: BLE001 - a bug with one peer must not reach the others
                self._log.exception("action failed")

    def close(self) -> None:
        """Let go of the selector."""
        self.selector.close()
        self._wake_in.close()
        self._wake_out.close()
