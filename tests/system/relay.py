"""Bytes from one listening socket to another address, until told to cut them: a wire between machines that a test holds."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path


class Relay:
    """Connects each caller of ``listener``, which is its own from then on, to where ``reach`` does."""

    def __init__(self, listener: socket.socket, reach: Callable[[], socket.socket]) -> None:
        self._reach = reach
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._cut = False
        self._listener = listener
        self._acceptor = threading.Thread(target=self._accept, name="relay", daemon=True)
        self._acceptor.start()

    @property
    def port(self) -> int:
        """Of tcp: guests see it at 10.0.2.2."""
        return int(self._listener.getsockname()[1])

    def cut(self) -> None:
        """Every connection ends now, and none is made until ``mend``."""
        with self._lock:
            self._cut = True
            self._end_all()

    def mend(self) -> None:
        with self._lock:
            self._cut = False

    def close(self) -> None:
        """Afterwards nothing of it is open, and no thread is left."""
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            self._connect(caller)

    def _connect(self, caller: socket.socket) -> None:
        try:
            service = self._reach()
        except OSError:
            caller.close()
            return
        with self._lock:
            if self._cut:
                caller.close()
                service.close()
                return
            self._open += [caller, service]
        for one, other in ((caller, service), (service, caller)):
            threading.Thread(target=_pump, args=(one, other), daemon=True).start()

    def _end_all(self) -> None:
        for each in self._open:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                # It has ended already.
                pass
        self._open.clear()


def unix(path: Path) -> socket.socket:
    """Return a connection to the socket."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Until one of them ends; then both do."""
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
    except OSError:
        pass
    for each in (source, target):
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
