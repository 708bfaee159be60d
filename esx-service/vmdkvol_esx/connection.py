"""What the service knows of one connection. Its reception and its server change it, on one thread."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from uuid import UUID

from vmdkvol.link import Link
from vmdkvol.messages import Welcome
from vmdkvol.volume import VmId
from vmdkvol_esx.callers import Present, Proof


@dataclass(slots=True, eq=False)
class Connection:
    """A guest's connection.

    ``proof`` is the channel's, ``source`` where it seems to come from. ``alone_s`` is how long a peer on another machine may
    be silent; there ``shaking`` tells that TLS has not proven yet what it can. Until Hello is answered, when ``welcome`` and
    ``present`` are set, ``asked`` is the one call that is under way, ``calls`` how many came, and ``hello_by`` the moment by
    which the peer must ask the next, None while one is under way. ``claims`` is the machine whose workers look at its Hello.
    ``heard`` is when the last frame came, ``rests_until`` until when nothing is read. ``ends`` is set when the connection is
    to close, as soon as its last bytes are out.
    """

    link: Link
    proof: Proof
    source: str
    alone_s: float | None
    hello_by: float | None = None
    asked: UUID | None = None
    calls: int = 0
    claims: VmId | None = None
    welcome: Welcome | None = None
    present: Present | None = None
    heard: float = 0.0
    rests_until: float | None = None
    ends: float | None = None
    shaking: bool = field(init=False)

    def __post_init__(self) -> None:
        self.shaking = self.remote

    @property
    def remote(self) -> bool:
        """Tell whether the peer is on another machine."""
        return self.alone_s is not None

    @property
    def vm(self) -> VmId | None:
        """The machine that calls, as far as it is proven."""
        return self.proof.vm if self.present is None else self.present.caller.vm

    @property
    def who(self) -> str:
        """Who is at the other end, for the log."""
        return self.proof.text if self.vm is None else str(self.vm)

    @property
    def account(self) -> Hashable:
        """Whose share of the service's time it uses."""
        return self.source if self.vm is None else self.vm

    @property
    def share(self) -> str:
        """Whose share of the log it uses: a number of connections must not mean as many lines."""
        return self.source if self.vm is None else str(self.vm)

    @property
    def next_moment(self) -> float | None:
        """The moment (monotonic) at which the peer has taken too long, or the connection closes; None: it may be silent."""
        if self.ends is not None:
            return self.ends
        moments = [
            moment for moment in (self.link.expires, self._hello_by, self._alone_at, self.rests_until) if moment is not None
        ]
        return min(moments, default=None)

    def rest(self, now: float, seconds: float) -> None:
        """Have nothing read for so long; the peer's own time stands still meanwhile."""
        self.rests_until = now + seconds
        self.link.prolong(seconds)

    def rested(self, now: float) -> bool:
        """Tell whether a rest is over; then there is none any more."""
        if self.rests_until is None or now < self.rests_until:
            return False
        self.rests_until = None
        return True

    def late(self, now: float) -> str:
        """Return what the peer has taken too long with; empty: nothing, or it is to end anyway."""
        if self.ends is not None:
            return ""
        for moment, what in (
            (self.link.expires, "the rest of a message did not come in time, or answers are not read"),
            (self._hello_by, "the TLS handshake did not end in time" if self.shaking else "no Hello came in time"),
            (self._alone_at, "nothing was heard for too long"),
        ):
            if moment is not None and now >= moment:
                return what
        return ""

    @property
    def _hello_by(self) -> float | None:
        # A Hello that has begun has a message's time; a stranger has no more than its own.
        return self.hello_by if self.remote or self.link.expires is None else None

    @property
    def _alone_at(self) -> float | None:
        # A machine that is gone says no goodbye. On a Unix socket the kernel says it.
        return None if self.alone_s is None or self.welcome is None else self.heard + self.alone_s
