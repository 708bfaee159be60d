"""What the service knows of one connection. Its reception and its server change it, on one thread."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from vmdkvol.link import Link
from vmdkvol.messages import Welcome
from vmdkvol.volume import VmId
from vmdkvol_esx.callers import Present, Proof


@dataclass(slots=True, eq=False)
class Connection:
    """A guest's connection.

    ``proof`` is the channel's. Until Hello is answered, when ``welcome`` and ``present`` are set, ``asked`` is the one call
    that is under way, ``calls`` how many came, and ``hello_by`` the moment by which the peer must ask the next, None while
    one is under way. ``ends`` is set when the connection is to close, as soon as its last bytes are out.
    """

    link: Link
    proof: Proof
    hello_by: float | None
    asked: UUID | None = None
    calls: int = 0
    welcome: Welcome | None = None
    present: Present | None = None
    ends: float | None = None

    @property
    def vm(self) -> VmId | None:
        """The machine that calls, as far as it is proven."""
        return self.proof.vm if self.present is None else self.present.caller.vm

    @property
    def who(self) -> str:
        """Who is at the other end, for the log."""
        return self.proof.text if self.vm is None else str(self.vm)

    @property
    def next_moment(self) -> float | None:
        """The moment (monotonic) at which the peer has taken too long, or the connection closes; None: it may be silent."""
        if self.ends is not None:
            return self.ends
        expires = self.link.expires
        return self.hello_by if expires is None else expires
