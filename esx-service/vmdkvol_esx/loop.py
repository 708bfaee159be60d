"""One thread that waits for many sockets at once, and does what other threads want done on it."""

from __future__ import annotations

import select
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from vmdkvol.clock import Clock, Worker
from vmdkvol.logs import Log

READ, WRITE = select.EPOLLIN, select.EPOLLOUT
# The peer has ended its side, or both. The kernel tells the latter in any case.
GONE = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


class HasFileno(Protocol):
    """What the loop waits for."""

    def fileno(self) -> int: ...


class Loop:
    """``post`` may be called on any thread, ``start`` and ``join`` where it was made; all else is the loop's thread's."""

    def __init__(self, clock: Clock, log: Log) -> None:
        self._clock = clock
        self._log = log
        self._epoll = select.epoll()
        self._wake_in, self._wake_out = socket.socketpair()
        for end in (self._wake_in, self._wake_out):
            end.setblocking(False)
        # By descriptor: what is waited for, and whose it is.
        self._wanted: dict[int, tuple[int, Any]] = {}
        self._actions: deque[Callable[[], None]] = deque()
        self._worker: Worker | None = None

    @property
    def runs(self) -> bool:
        """Tell whether it was started and not joined yet."""
        return self._worker is not None

    def start(self, name: str, run: Callable[[], None]) -> None:
        """Have ``run`` done on the loop's thread; it ends with ``close``."""
        self._epoll.register(self._wake_out, READ)
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

    def want(self, what: HasFileno, events: int, whose: object) -> None:
        """Have ``select`` tell of these events: READ, WRITE, GONE or none of them; of a connection's end in any case."""
        number = what.fileno()
        known = self._wanted.get(number)
        if known is None:
            self._epoll.register(number, events)
        elif known[0] != events:
            self._epoll.modify(number, events)
        self._wanted[number] = (events, whose)

    def forget(self, what: HasFileno) -> None:
        """Tell nothing more of it. To be called before it is closed; a second time does nothing."""
        number = what.fileno()
        if self._wanted.pop(number, None) is not None:
            self._epoll.unregister(number)

    def select(self, timeout: float | None) -> list[tuple[Any, int]]:
        """Wait for a socket or a post; return whose sockets are ready, with the events."""
        found = []
        for number, events in self._epoll.poll(timeout):
            if number == self._wake_out.fileno():
                self._wake_out.recv(4096)
            elif number in self._wanted:
                found.append((self._wanted[number][1], events))
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
        """Let go of everything."""
        self._epoll.close()
        self._wake_in.close()
        self._wake_out.close()
