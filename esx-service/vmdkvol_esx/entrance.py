"""Who may have a connection: so many for each who is proven, few for all who are not, and these make room for each other (T7).

A peer that proved nothing costs a handshake and a place. Silent ones must not keep out those who belong here, so a
newcomer never waits for them: the one that has been there longest goes, of the source that has the most.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from vmdkvol.clock import Clock
from vmdkvol.errors import Busy

T = TypeVar("T", bound=Hashable)

# An agent has one, two while it is replaced; the others are for command lines of root, which last for one answer.
MAX_CONNECTIONS = 16
# Handshakes under way, of one source and in all; and in all while no source has two: the agents of a large site come back
# together after a restart, and must not push each other out.
SHAKING_EACH, SHAKING, SHAKING_ALONE = 8, 128, 1024
# Peers without a certificate: they enrol, which is two short calls.
STRANGERS_EACH, STRANGERS, STRANGERS_ALONE = 4, 32, 32
# New connections of one source in a second, and how many at once before that: a handshake is a millisecond of our time.
RATE, BURST = 8.0, 64.0
_SOURCES_KEPT = 4096


@dataclass(slots=True)
class _Room(Generic[T]):
    """A few places for the unproven; ``enter`` returns who has to go for the newcomer."""

    each: int
    all: int
    alone: int
    _by_source: dict[str, dict[T, None]] = field(default_factory=dict)
    _sources: dict[T, str] = field(default_factory=dict)

    def enter(self, who: T, source: str) -> T | None:
        """Take ``who`` in; return the one that has to leave for it, which is still in."""
        mine = self._by_source.setdefault(source, {})
        crowd = mine if len(mine) >= self.each else {}
        if not crowd and len(self._sources) >= self.all:
            most = max(self._by_source.values(), key=len)
            crowd = most if len(most) > 1 or len(self._sources) >= self.alone else {}
        goes = next(iter(crowd), None)
        mine[who] = None
        self._sources[who] = source
        return goes

    def leave(self, who: T) -> None:
        source = self._sources.pop(who, None)
        if source is None:
            return
        mine = self._by_source[source]
        del mine[who]
        if not mine:
            del self._by_source[source]


class Entrance(Generic[T]):
    """Used by one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._shaking: _Room[T] = _Room(SHAKING_EACH, SHAKING, SHAKING_ALONE)
        self._strangers: _Room[T] = _Room(STRANGERS_EACH, STRANGERS, STRANGERS_ALONE)
        self._shares: dict[T, Hashable] = {}
        self._counts: Counter[Hashable] = Counter()
        # For each source the moment up to which its connections are paid for, those that came last at the end.
        self._paid: OrderedDict[str, float] = OrderedDict()

    def knock(self, source: str) -> None:
        """Raise Busy if ``source`` has opened too many connections of late."""
        now = self._clock.monotonic()
        before = max(self._paid.pop(source, 0.0), now - BURST / RATE)
        busy = before + 1.0 / RATE > now
        self._paid[source] = before if busy else before + 1.0 / RATE
        if len(self._paid) > _SOURCES_KEPT:
            self._paid.popitem(last=False)
        if busy:
            raise Busy(f"{source} opens more than {RATE:g} connections a second")

    def shake(self, who: T, source: str) -> T | None:
        """``who`` begins a handshake; return who has to go for it, if anybody."""
        return self._shaking.enter(who, source)

    def stranger(self, who: T, source: str) -> T | None:
        """``who`` has shown nothing; return who has to go for it, if anybody."""
        self._shaking.leave(who)
        return self._strangers.enter(who, source)

    def proven(self, who: T, share: Hashable) -> None:
        """``who`` counts for ``share``, which it has proven to be of. Raises Busy if that has too many already."""
        self._shaking.leave(who)
        self._shares[who] = share
        self._counts[share] += 1
        if self._counts[share] > MAX_CONNECTIONS:
            raise Busy(f"{MAX_CONNECTIONS} connections of this virtual machine are open")

    def left(self, who: T) -> None:
        """Its place is free."""
        self._shaking.leave(who)
        self._strangers.leave(who)
        if who in self._shares:
            share = self._shares.pop(who)
            self._counts[share] -= 1
            if not self._counts[share]:
                del self._counts[share]
