"""The service, asked once by somebody who waits: who it says this machine is, what its clock says, what it has."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import uuid4

from vmdkvol import __version__
from vmdkvol.addresses import UnixAddress, parse_address
from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import ServiceUnreachable
from vmdkvol.line import Line
from vmdkvol.messages import Call, ListVolumes, Welcome
from vmdkvol.tls import AgentSide
from vmdkvol_guest.settings import AgentSettings

# Who waits for the doctor waits so long for the service.
GREETED_S = 10.0
# The names of a large site are read for so long; what is left then is not compared.
LISTED_S = 10.0


@dataclass(frozen=True, slots=True)
class Reached:
    """What the service answered.

    ``ahead_s`` is by how much its clock is before ours, to ``within_s``; None if it does not say.
    """

    welcome: Welcome
    ahead_s: float | None
    within_s: float
    volumes: frozenset[str]


class Reaching:
    """Asks the service of the settings; ``boot_id`` is the agent's own, so that the two are one machine to the service."""

    def __init__(self, settings: AgentSettings, clock: Clock, boot_id: str) -> None:
        self._address = parse_address(settings.service)
        here = isinstance(self._address, UnixAddress)
        self._secure = None if here else AgentSide(settings.identity_file, settings.authority_file)
        self._clock = clock
        self._boot_id = boot_id
        self._met = clock.condition()
        self._welcome: Welcome | None = None
        self._at = 0.0

    def ask(self, greeted_s: float = GREETED_S, listed_s: float = LISTED_S) -> Reached:
        """Return what it says. Raises why it does not within ``greeted_s``."""
        began = self._clock.wall()
        line = Line(
            self._address,
            self._clock,
            agent=f"vmdkvol-agent doctor {__version__}",
            boot_id=self._boot_id,
            secure=self._secure,
            on_up=self._up,
            patience_s=greeted_s,
        ).start()
        try:
            volumes = self._volumes(line, Deadline.after(self._clock, greeted_s + listed_s))
            welcome = self._greeted(Deadline.after(self._clock, greeted_s))
        finally:
            line.close()
        ahead = None if welcome.clock is None else welcome.clock - self._at
        return Reached(welcome, ahead, self._at - began, volumes)

    def _volumes(self, line: Line, deadline: Deadline) -> frozenset[str]:
        found: set[str] = set()
        after = None
        while not deadline.passed:
            page = line.ask(ListVolumes(after=after), Call(uuid4(), deadline))
            found.update(info.name for info in page.volumes)
            after = page.next
            if after is None:
                break
        return frozenset(found)

    def _greeted(self, deadline: Deadline) -> Welcome:
        """Return the service's Welcome; the line tells of it on a thread of its own."""
        with self._met:
            while self._welcome is None:
                if deadline.passed:
                    raise ServiceUnreachable(f"the service at {self._address} answers, and does not say who this machine is")
                self._met.wait(deadline.left_s)
            return self._welcome

    def _up(self, welcome: Welcome) -> None:
        with self._met:
            if self._welcome is None:
                self._at = self._clock.wall()
            self._welcome = welcome
            self._met.notify_all()
