"""A connection's bytes, both ways. Never waits: what blocks raises BlockingIOError."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol


class Stream(Protocol):
    """One thread reads; the same or another one sends, one at a time. OSError for what the kernel refuses."""

    @property
    def ready(self) -> bool:
        """Tell whether bytes of ours can be sent: who is at the other end is proven, as far as it can be."""
        ...

    @property
    def certificate(self) -> bytes | None:
        """What the peer proved to have the key of (DER), once the stream is ready; None: it showed none."""
        ...

    @property
    def sending(self) -> bool:
        """Tell whether bytes that ``send`` took still wait until the kernel takes them."""
        ...

    @property
    def moved(self) -> int:
        """How many bytes the kernel took so far."""
        ...

    @property
    def ended(self) -> bool:
        """Tell whether the peer said that nothing more comes, beside the end of the bytes."""
        ...

    def fileno(self) -> int: ...

    def receive(self, limit: int) -> bytes:
        """Return what has come, of ``limit`` bytes on the way and their overhang; empty at the end.

        VolumeError for a peer that cannot be spoken to.
        """
        ...

    def send(self, data: bytearray) -> int:
        """Send what was taken before, then take some of ``data``; return how much."""
        ...

    def close(self) -> None:
        """Let go of the connection; what still waits is dropped."""
        ...


Secure = Callable[[socket.socket], Stream]


class Plain:
    """The bytes of a socket as they are: on a Unix socket the kernel proves who is at the other end."""

    ready = True
    certificate: bytes | None = None
    sending = False
    ended = False

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self.moved = 0
        self.fileno, self.receive = connection.fileno, connection.recv

    def send(self, data: bytearray) -> int:
        sent = self._socket.send(data)
        self.moved += sent
        return sent

    def close(self) -> None:
        self._socket.close()
