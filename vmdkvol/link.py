"""One connection's bytes, both ways. One thread owns a link and never blocks on it (corrections 20)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vmdkvol.clock import Clock
from vmdkvol.errors import VolumeError
from vmdkvol.frames import Decoder, Frame, Part
from vmdkvol.stream import Stream

# One turn's worth: a peer that floods gets no more of the owner's thread than this before the others' turn.
_PIECE = 16 << 10
MAX_UNSENT = 4 << 20


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a peer may take (T6): to begin and for a frame's length, for the rest of it, to read what it was sent.

    ``alone_s``: a peer on another machine from which nothing was heard for so long is gone (see ``greeting``).
    """

    header_s: float = 5.0
    body_s: float = 15.0
    reading_s: float = 15.0
    alone_s: float = 90.0


_PATIENCE = Patience()


class Link:
    """A stream, a decoder before it and a queue of unsent bytes behind it."""

    def __init__(
        self,
        stream: Stream,
        clock: Clock,
        limit: int,
        patience: Patience = _PATIENCE,
        cut: Callable[[bytes], Frame] | None = None,
    ) -> None:
        """``limit`` and ``cut`` are the decoder's."""
        self._stream = stream
        self._clock = clock
        self._patience = patience
        self._decoder = Decoder(limit, cut)
        self._unsent = bytearray()
        self._awaited: Part | None = None
        self._awaited_since = 0.0
        self._stalled_since = 0.0
        self._moved = 0

    def fileno(self) -> int:
        return self._stream.fileno()

    def receive(self) -> bool:
        """Keep one piece of what has arrived; False at the end of the stream. ``take`` returns the frames in it.

        Raises what the stream says of a peer that cannot be spoken to.
        """
        try:
            piece = self._stream.receive(_PIECE)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        self._decoder.feed(piece)
        return bool(piece) and not self._stream.ended

    def discard(self) -> bool:
        """Drop one piece of what has arrived; False at the end of the stream."""
        try:
            return bool(self._stream.receive(_PIECE)) and not self._stream.ended
        except (BlockingIOError, InterruptedError):
            return True
        except (OSError, VolumeError):
            return False

    def take(self) -> Frame | None:
        """Return the next whole frame or None; raises as ``Decoder.take`` does."""
        frame = self._decoder.take()
        if frame is None:
            self._note_awaited()
        else:
            self._awaited = None
        return frame

    @property
    def more(self) -> bool:
        """Tell whether bytes are kept out of which a frame may be taken yet."""
        return self._decoder.awaits is not None

    def prolong(self, seconds: float) -> None:
        """Its owner reads nothing for so long: what the peer has begun may take that much longer."""
        self._awaited_since += seconds

    def send(self, data: bytes) -> bool:
        """Queue ``data`` and send what goes at once; False if the peer has left too much of it unread."""
        if not self._unsent:
            self._stalled_since = self._clock.monotonic()
        self._unsent += data
        self.flush()
        return len(self._unsent) <= MAX_UNSENT

    def flush(self) -> None:
        """Send what the kernel takes.

        A peer that is gone is found by reading, not here: its last answers may still wait to be read.
        """
        try:
            while self._unsent or self._stream.sending:
                sent = self._stream.send(self._unsent)
                del self._unsent[:sent]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._unsent.clear()
        self._note_moved()

    @property
    def ready(self) -> bool:
        """Tell whether the peer has proved who it is, as far as it does; ``certificate`` is what it showed then."""
        return self._stream.ready

    @property
    def certificate(self) -> bytes | None:
        """The peer's certificate (DER); None if it showed none."""
        return self._stream.certificate

    @property
    def sending(self) -> bool:
        """Tell whether bytes wait until the peer reads."""
        return self._stream.sending or (bool(self._unsent) and self._stream.ready)

    @property
    def expires(self) -> float | None:
        """The moment (monotonic) at which the peer has taken too long with what it began; None if nothing is begun."""
        moments = []
        if self._awaited is not None:
            moments.append(self._awaited_since + self._time_for(self._awaited))
        if self._unsent:
            moments.append(self._stalled_since + self._patience.reading_s)
        return min(moments, default=None)

    def close(self) -> None:
        """Let go of the connection; unsent bytes are dropped."""
        self._stream.close()

    def _note_moved(self) -> None:
        moved = self._stream.moved
        if moved != self._moved:
            self._moved, self._stalled_since = moved, self._clock.monotonic()

    def _time_for(self, part: Part) -> float:
        return self._patience.header_s if part is Part.HEADER else self._patience.body_s

    def _note_awaited(self) -> None:
        awaits = self._decoder.awaits
        if awaits is not self._awaited:
            self._awaited = awaits
            self._awaited_since = self._clock.monotonic()
