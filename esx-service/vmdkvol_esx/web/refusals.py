"""Who was not let in at the API's doors, told to the core for the audit: some of each source, then how many more there were.

Whoever knocks a million times has not filled the audit: of one source a few records a minute are told, of all of them so many
an hour, and of what lies beyond only the count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from vmdkvol.audit_messages import NoteLogin
from vmdkvol.clock import Clock, Deadline, Worker
from vmdkvol.errors import VolumeError, one_line
from vmdkvol.messages import Call
from vmdkvol.orders import Actor
from vmdkvol_esx.ports import Log

# Of one source; somebody who mistypes a token tries it a few times.
SOURCE_MOST, SOURCE_S = 5, 60.0
# What did not even speak TLS is a scanner, or a program that is set up wrongly and tries on and on: the first one says it.
TLS = "tls"
TLS_MOST = 1
# Of all sources together: at this rate the audit holds what was written before for months.
ALL_MOST, ALL_S = 100, 3600.0
# Sources that are counted apart; more of them at a time are one.
_MOST_SOURCES = 256
_ANSWER_S, _AGAIN_S, _END_S = 10.0, 30.0, 5.0
# While the core is away no more than these wait for it.
_MOST_WAITING = 2 * ALL_MOST
_TEXT = 200
MANY = "many sources"


@dataclass(slots=True)
class _Share:
    """What was told of one source since ``since``, and how many ``more`` there were, the last one like this."""

    since: float
    last: NoteLogin
    told: int = 0
    more: int = 0

    @property
    def full(self) -> bool:
        return self.told >= (TLS_MOST if self.last.door == TLS else SOURCE_MOST)


class Few:
    """Which refusals are told one by one. Values only: the time is handed in, nothing is sent."""

    def __init__(self) -> None:
        # By source, and whether it was TLS that failed: the one is no part of the other's share.
        self._shares: dict[tuple[str, bool], _Share] = {}
        self._all: _Share | None = None

    def admit(self, refusal: NoteLogin, now: float) -> bool:
        """Tell whether this one is told; else it is counted, and ``over`` tells of it later."""
        whole = self._all = self._all or _Share(now, replace(refusal, source=MANY))
        key = refusal.source, refusal.door == TLS
        share = self._shares.get(key)
        if share is None and len(self._shares) < _MOST_SOURCES:
            share = self._shares[key] = _Share(now, refusal)
        if share is None or not share.full and whole.told >= ALL_MOST:
            whole.last, whole.more = replace(refusal, source=MANY), whole.more + 1
            return False
        share.last = refusal
        if share.full:
            share.more += 1
            return False
        share.told, whole.told = share.told + 1, whole.told + 1
        return True

    def over(self, now: float, *, end: bool = False) -> Iterator[NoteLogin]:
        """Yield how many more there were of each source whose time is over; ``end``: of all."""
        whole = self._all
        if whole is None:
            return
        for key, share in list(self._shares.items()):
            if not end and now - share.since < SOURCE_S:
                continue
            del self._shares[key]
            if share.more and whole.told < ALL_MOST:
                whole.told += 1
                yield replace(share.last, more=share.more)
            else:
                whole.more += share.more
        if end or now - whole.since >= ALL_S:
            self._all = None
            if whole.more:
                yield replace(whole.last, more=whole.more)

    @property
    def next(self) -> float | None:
        """When something is over next; None if nothing is counted."""
        ends = [share.since + SOURCE_S for share in self._shares.values()]
        return min([*ends, self._all.since + ALL_S]) if self._all is not None else None


class Refusals:
    """Tells the core. ``ask`` asks it; for any thread, and whoever tells something here waits for nothing."""

    def __init__(self, ask: Callable[[Any, Call], Any], clock: Clock, log: Log, new_id: Callable[[], UUID]) -> None:
        self._ask = ask
        self._clock = clock
        self._log = log
        self._new_id = new_id
        self._changed = clock.condition()
        self._few = Few()
        self._waiting: list[tuple[UUID, NoteLogin]] = []
        self._worker: Worker | None = None
        self._ended = False

    def refused(self, door: str, source: str, reason: str, request: UUID | None = None) -> None:
        """Nobody was let in at the door. ``request`` is the id that who was refused was told."""
        refusal = NoteLogin(door=door, source=one_line(source, _TEXT), refused=one_line(reason, _TEXT))
        with self._changed:
            if self._few.admit(refusal, self._clock.monotonic()):
                self._put(request, refusal)
            self._run()

    def entered(self, door: str, by: Actor, request: UUID | None = None) -> None:
        """Somebody logged in."""
        with self._changed:
            self._put(request, NoteLogin(by=by, door=door, source=by.source))
            self._run()

    def close(self) -> None:
        """Tell what is counted, if the core takes it now, and end."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            worker = self._worker
        if worker is not None:
            worker.join(_END_S)

    def _put(self, request: UUID | None, note: NoteLogin) -> None:
        if len(self._waiting) >= _MOST_WAITING:
            _, lost = self._waiting.pop(0)
            self._log.error("a login is not in the audit", door=lost.door, source=lost.source, refused=lost.refused)
        self._waiting.append((request or self._new_id(), note))
        self._changed.notify_all()

    def _run(self) -> None:
        if self._worker is None and not self._ended:
            try:
                self._worker = self._clock.start("refusals", self._work)
            except RuntimeError:
                # No thread left: the next one takes it along.
                return

    def _work(self) -> None:
        while True:
            self._tell()
            with self._changed:
                now, ended = self._clock.monotonic(), self._ended
                for each in self._few.over(now, end=ended):
                    self._put(None, each)
                due = self._few.next
                if ended or not self._waiting and due is None:
                    self._worker = None
                    break
                self._changed.wait(_AGAIN_S if self._waiting or due is None else max(0.0, due - now))
        if ended:
            self._tell()

    def _tell(self) -> None:
        """Tell the core what waits, in its order, until it does not take something."""
        while True:
            with self._changed:
                if not self._waiting:
                    return
                first = self._waiting[0]
            request, note = first
            try:
                self._ask(note, Call(request, Deadline.after(self._clock, _ANSWER_S)))
            except VolumeError as error:
                self._log.warning("the audit is told later of a login", source=note.source, reason=str(error))
                return
            with self._changed:
                if self._waiting and self._waiting[0] is first:
                    self._waiting.pop(0)
