"""Who is logged in at the page, and who tries to be. In the memory of one worker: a restart ends every session."""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from vmdkvol.admin_errors import TooManyLogins
from vmdkvol.clock import Clock
from vmdkvol_esx.web.sources import neighbourhood
from vmdkvol_esx.web.token_file import Known

IDLE_S, LONGEST_S = 30 * 60.0, 12 * 3600.0
MOST_SESSIONS = 1000
# Of one token: whoever has it logs nobody else out by logging in without end.
MOST_OF_ONE = 20
TRIES, TRIES_S = 10, 60.0
_MOST_SOURCES = 1000


@dataclass(frozen=True, slots=True)
class Session:
    """Whose token began it, when, and when somebody last asked for something; both on the monotonic clock."""

    known: Known
    begun: float
    asked: float


class Sessions:
    """For any thread. ``new_id`` returns 256 bits that nobody can guess."""

    def __init__(self, clock: Clock, new_id: Callable[[], str]) -> None:
        self._clock = clock
        self._new_id = new_id
        self._lock = clock.condition()
        # By the hash of the id: how long a look-up takes says nothing of an id.
        self._open: OrderedDict[str, Session] = OrderedDict()

    def begin(self, known: Known) -> str:
        """Return the id of a new session of whoever showed this token. Of too many the one that was idle longest ends.

        Of too many of the same token it is one of these.
        """
        made, now = self._new_id(), self._clock.monotonic()
        with self._lock:
            mine = [key for key, each in self._open.items() if each.known.hash == known.hash]
            for key in mine[: max(0, len(mine) + 1 - MOST_OF_ONE)]:
                del self._open[key]
            self._open[_hashed(made)] = Session(known, now, now)
            while len(self._open) > MOST_SESSIONS:
                self._open.popitem(last=False)
        return made

    def find(self, given: str, *, idle: bool = False) -> Known | None:
        """Return whose session it is, None if there is none of this id or it is over. ``idle``: nobody asked, a page did."""
        key, now = _hashed(given), self._clock.monotonic()
        with self._lock:
            found = self._open.get(key)
            if found is None:
                return None
            if now - found.asked > IDLE_S or now - found.begun > LONGEST_S:
                del self._open[key]
                return None
            if not idle:
                self._open[key] = replace(found, asked=now)
                self._open.move_to_end(key)
            return found.known

    def end(self, given: str) -> None:
        """Afterwards there is no session of this id."""
        with self._lock:
            self._open.pop(_hashed(given), None)


class Tries:
    """How often somebody may show a token that is none: 10 times a minute. For any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = clock.condition()
        self._by_source: OrderedDict[str, list[float]] = OrderedDict()

    def begin(self, source: str) -> None:
        """Count a try; TooManyLogins if that is one too many. One that succeeds is taken back with ``succeeded``."""
        key, now = neighbourhood(source), self._clock.monotonic()
        with self._lock:
            lately = [at for at in self._by_source.get(key, []) if now - at < TRIES_S]
            if len(lately) >= TRIES:
                raise TooManyLogins(f"{TRIES} logins in a minute from {source} failed")
            self._by_source[key] = [*lately, now]
            self._by_source.move_to_end(key)
            while len(self._by_source) > _MOST_SOURCES:
                self._by_source.popitem(last=False)

    def succeeded(self, source: str) -> None:
        with self._lock:
            lately = self._by_source.get(neighbourhood(source))
            if lately:
                lately.pop()


def form_token(key: bytes, who: str) -> str:
    """Return what a form of ``who`` has in it, and nobody else's page knows."""
    return hmac.new(key, who.encode(), hashlib.sha256).hexdigest()


def _hashed(given: str) -> str:
    return hashlib.sha256(given.encode("utf-8", "surrogateescape")).hexdigest()
