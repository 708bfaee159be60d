"""When an agent says Hello: first on each connection, and again as a question whether the service is still there. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid4

from vmdkvol import wire
from vmdkvol.clock import Clock
from vmdkvol.errors import VolumeError
from vmdkvol.frames import Frame
from vmdkvol.messages import Hello

# How long a service may take to say who we are, at the start and when it is asked again.
HELLO_S = 5.0
# On a connection to another machine nobody tells that the other end is gone. So Hello is said after this long a silence: three
# times before the service gives the connection up.
SILENCE_S = 30.0


class Refused(Exception):
    """The service answered Hello with an error, which stands for every call until it changes its mind."""

    def __init__(self, error: VolumeError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True, slots=True)
class _Said:
    """A Hello under way: its id, when the service has taken too long with it, and whether it only asks for a sign of life."""

    id: UUID
    expires: float
    quiet: bool


class Greeting:
    """The Hello of one connection, on the thread that owns that."""

    def __init__(self, hello: Hello, clock: Clock, silence_s: float | None) -> None:
        """``silence_s`` is how long the service may be silent before it is asked whether it is there; None: for ever."""
        self._hello = hello
        self._clock = clock
        self._silence_s = silence_s
        self._said: _Said | None = None
        self._heard = clock.monotonic()

    @property
    def under_way(self) -> bool:
        """Tell whether a Hello waits for its answer."""
        return self._said is not None

    @property
    def overdue(self) -> bool:
        """Tell whether the service has taken too long to answer it."""
        return self._said is not None and self._clock.monotonic() >= self._said.expires

    @property
    def wanted(self) -> bool:
        """Tell whether the service was silent for so long that it should be asked whether it is there."""
        return self._said is None and self.moment is not None and self._clock.monotonic() >= self.moment

    @property
    def moment(self) -> float | None:
        """When (monotonic) one of the two above comes true, if nothing happens."""
        if self._said is not None:
            return self._said.expires
        return None if self._silence_s is None else self._heard + self._silence_s

    def say(self, *, quiet: bool = False) -> bytes:
        """Return a Hello to send; ``quiet``: its answer is no news."""
        self._said = _Said(uuid4(), self._clock.monotonic() + HELLO_S, quiet)
        return wire.write_request(self._hello, self._said.id, HELLO_S)

    def heard(self) -> None:
        """Something came from the service."""
        self._heard = self._clock.monotonic()

    def answered_by(self, frame: Frame) -> bool:
        """Tell whether ``frame`` is about the Hello under way."""
        return self._said is not None and frame.id in (self._said.id, None) and frame.type in (wire.ANSWER, wire.ERROR)

    def end(self) -> bool:
        """The Hello was answered; tell whether that is news."""
        said, self._said = self._said, None
        return said is not None and not said.quiet
