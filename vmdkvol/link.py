"""One connection's bytes, both ways. One thread owns a link and never blocks on it (corrections 20)."""

from __future__ import annotations

import socket

from vmdkvol.clock import Clock
from vmdkvol.frames import Decoder, Frame, Part

# T6. A frame that was begun must end; a peer that does not read its answers is given up as well.
HEADER_S = 5.0
BODY_S = 15.0
STALLED_S = 15.0
# One turn's worth: a peer that floods gets no more of the owner's thread than this before the others' turn.
_PIECE = 16 << 10
MAX_UNSENT = 4 << 20


class Link:
    """A non-blocking socket, a decoder before it and a queue of unsent bytes behind it."""

    def __init__(self, connection: socket.socket, clock: Clock, limit: int) -> None:
        self._socket = connection
        self._clock = clock
        self._decoder = Decoder(limit)
        self._unsent = bytearray()
        self._awaited: Part | None = None
        self._awaited_since = 0.0
        self._stalled_since = 0.0

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> bool:
        """Keep one piece of what has arrived; False at the end of the stream. ``take`` returns the frames in it."""
        try:
            piece = self._socket.recv(_PIECE)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        self._decoder.feed(piece)
        return bool(piece)

    def discard(self) -> bool:
        """Drop one piece of what has arrived; False at the end of the stream."""
        try:
            return bool(self._socket.recv(_PIECE))
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False

    def take(self) -> Frame | None:
        """Return the next whole frame or None; raises as ``Decoder.take`` does."""
        frame = self._decoder.take()
        if frame is None:
            self._note_awaited()
        else:
            self._awaited = None
        return frame

    def send(self, data: bytes) -> bool:
        """Queue ``data`` and send what goes at once; False if the connection is of no more use."""
        if not self._unsent:
            self._stalled_since = self._clock.monotonic()
        self._unsent += data
        return len(self._unsent) <= MAX_UNSENT and self.flush()

    def flush(self) -> bool:
        """Send what the kernel takes; False if the connection is broken."""
        try:
            while self._unsent:
                sent = self._socket.send(self._unsent)
                del self._unsent[:sent]
                self._stalled_since = self._clock.monotonic()
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        return True

    @property
    def sending(self) -> bool:
        """Tell whether bytes wait until the peer reads."""
        return bool(self._unsent)

    @property
    def expires(self) -> float | None:
        """The moment (monotonic) at which the peer has taken too long with what it began; None if nothing is begun."""
        moments = []
        if self._awaited is not None:
            moments.append(self._awaited_since + (HEADER_S if self._awaited is Part.HEADER else BODY_S))
        if self._unsent:
            moments.append(self._stalled_since + STALLED_S)
        return min(moments, default=None)

    def close(self) -> None:
        """Let go of the connection; unsent bytes are dropped."""
        self._socket.close()

    def _note_awaited(self) -> None:
        awaits = self._decoder.awaits
        if awaits is not self._awaited:
            self._awaited = awaits
            self._awaited_since = self._clock.monotonic()
