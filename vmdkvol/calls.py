"""The calls that a guest waits for: each is sent once per connection until it is answered, late, or without hope."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from uuid import UUID

from vmdkvol.clock import Clock, Condition, Deadline
from vmdkvol.errors import BadRequest, ServiceUnreachable, StillWorking, Unavailable, VolumeError, from_code
from vmdkvol.messages import Call, Request

A = TypeVar("A")

# The service answers so much before the caller stops waiting: its word on how far the work is comes in time.
_AHEAD_S = 1.0
_AHEAD = 0.1
# A request that went out before so many breaks may be what breaks the connection: the others shall not suffer for it.
MAX_SENDS = 8
_LOOK = "try again; if it stays so, look at the service: `vmdkvol-esxd doctor`, and its log"


@dataclass(slots=True, eq=False)
class Pending:
    """A call that somebody waits for. ``sends`` counts the connections that it went out on, the standing one included.

    ``percent`` is how far the service says it is, on the standing connection: a restarted service may begin anew.
    """

    request: Request[Any]
    call: Call
    since: float
    # Of this call alone: one for all would rouse every waiting Mount with each Get's answer.
    changed: Condition
    waiters: int = 0
    sends: int = 0
    unsent: bool = True
    percent: int = 0
    done: bool = False
    answer: Any = None
    error: VolumeError | None = None


class Calls:
    """Shared by the threads that wait and the one that owns the connection.

    ``push`` has what ``to_send`` returns sent; ``wake`` rouses the connection's thread. ``_lock`` guards what is known of
    all calls, a call's ``changed`` what its waiters look at. Who takes both takes ``_lock`` first; a waiter holds its own
    only.
    """

    def __init__(
        self, clock: Clock, trouble: VolumeError, patience_s: float, push: Callable[[], None], wake: Callable[[], None]
    ) -> None:
        """``trouble`` is why nothing can be sent yet; a call bears it for ``patience_s``, from when both are there."""
        self._clock = clock
        self._patience_s = patience_s
        self._push, self._wake = push, wake
        self._lock = clock.condition()
        self._pending: dict[UUID, Pending] = {}
        self._trouble: VolumeError | None = trouble
        self._away_since = clock.monotonic()
        self._doubt = False
        self._closed = False

    def ask(self, request: Request[A], call: Call) -> A:
        """Return the answer or raise the error that ``answered`` brings; the same call in another thread is joined.

        StillWorking at the deadline if the service has the call, ServiceUnreachable if it may not have it.
        """
        pending = self._enter(request, call)
        self._push()
        try:
            return cast(A, self._wait(pending, call))
        finally:
            with self._lock:
                pending.waiters -= 1
                if not pending.waiters:
                    del self._pending[call.id]

    def up(self) -> None:
        """From now on calls can be sent; what was in flight on an older connection is to be sent again."""
        with self._lock:
            self._trouble = None
            self._doubt = False
            for pending in self._pending.values():
                with pending.changed:
                    pending.changed.notify_all()

    def down(self, trouble: VolumeError) -> bool:
        """Nothing can be sent any more; tell whether it could before. Calls wait on unless that is without hope."""
        with self._lock:
            was_up = self._trouble is None
            if was_up:
                self._away_since = self._clock.monotonic()
            self._trouble = trouble
            for pending in self._pending.values():
                with pending.changed:
                    pending.unsent = True
                    pending.percent = 0
                    self._end(pending, error=_hopeless(pending, trouble))
                    pending.changed.notify_all()
            return was_up

    def to_send(self) -> list[Pending]:
        """Return the calls that the standing connection has not carried yet, each once."""
        with self._lock:
            found = [pending for pending in self._pending.values() if pending.unsent and not pending.done]
            for pending in found:
                pending.unsent = False
                pending.sends += 1
            return found

    def answered(self, call: UUID, read: Callable[[Request[Any]], Any]) -> None:
        """End a call with what ``read(request)`` returns or raises; one that nobody waits for is dropped."""
        with self._lock:
            pending = self._pending.get(call)
        if pending is None or pending.done:
            return
        answer, error = None, None
        try:
            answer = read(pending.request)
        except VolumeError as told:
            error = told
        with pending.changed:
            if not pending.done:
                pending.answer, pending.error, pending.done = answer, error, True
                pending.changed.notify_all()

    def progressed(self, call: UUID, percent: int) -> None:
        """Whoever waits for the call hears how far it is; of one that nobody waits for, nobody."""
        with self._lock:
            pending = self._pending.get(call)
        if pending is None:
            return
        with pending.changed:
            if percent > pending.percent:
                pending.percent = percent
                pending.changed.notify_all()

    def doubted(self) -> bool:
        """Tell, once, whether a call ended in silence: the service may hang, and a sign of life is wanted."""
        with self._lock:
            doubt, self._doubt = self._doubt, False
            return doubt

    def close(self) -> None:
        """End every call, and each new one, with ServiceUnreachable."""
        with self._lock:
            self._closed = True
            for pending in self._pending.values():
                with pending.changed:
                    self._end(pending, error=_closed())
                    pending.changed.notify_all()

    def _enter(self, request: Request[Any], call: Call) -> Pending:
        with self._lock:
            if self._closed:
                raise _closed()
            pending = self._pending.get(call.id)
            if pending is None:
                if self._trouble is not None and not isinstance(self._trouble, Unavailable):
                    raise _copy(self._trouble)
                pending = self._pending[call.id] = Pending(request, call, self._clock.monotonic(), self._clock.condition())
            elif pending.request != request:
                raise BadRequest(f"call {call.id} is in flight with another request", remedy="use a new id for each call")
            pending.waiters += 1
            return pending

    def _wait(self, pending: Pending, call: Call) -> Any:
        told = 0
        while (news := self._next_percent(pending, call.deadline, told)) is not None:
            # Outside of the lock: what the caller does with it is its own time.
            call.progress(news)
            told = news
        if pending.error is not None:
            raise _copy(pending.error)
        return pending.answer

    def _next_percent(self, pending: Pending, deadline: Deadline, told: int) -> int | None:
        """Return how far the call is as soon as that is further than ``told``, None when it has ended."""
        with pending.changed:
            while not pending.done and pending.percent <= told:
                left = self._left_s(pending, deadline)
                if left <= 0:
                    break
                pending.changed.wait(left)
            if pending.done:
                return None
            if pending.percent > told:
                return pending.percent
        raise self._overdue(pending)

    def _left_s(self, pending: Pending, deadline: Deadline) -> float:
        # Read once: it is set before those who wait are roused, so whoever sees the old one is roused yet.
        trouble = self._trouble
        if trouble is None:
            return deadline.left_s
        # Also for a call that was sent: an engine that starts waits for the Mount of each of its containers.
        since = max(pending.since, self._away_since)
        return min(deadline.left_s, since + self._patience_s - self._clock.monotonic())

    def _overdue(self, pending: Pending) -> VolumeError:
        with self._lock:
            trouble = self._trouble
            self._doubt = self._doubt or trouble is None
        if trouble is not None:
            return _copy(trouble)
        self._wake()
        what = type(pending.request).__name__
        if not pending.request.changes:
            # Nothing goes on: whoever asked for a list has to ask again.
            return StillWorking(f"the service has not answered this {what} within the time limit", remedy=_LOOK)
        far = f", {pending.percent} % done" if pending.percent else ""
        return StillWorking(f"the service takes longer than the time limit with this {what}{far}")

    def _end(self, pending: Pending, error: VolumeError | None) -> None:
        if error is not None and not pending.done:
            pending.error = error
            pending.done = True


def time_for_service(deadline: Deadline) -> float:
    """Return the seconds within which the service is to answer, so that the answer is here before ``deadline``."""
    left = deadline.left_s
    return max(0.0, left - min(_AHEAD_S, left * _AHEAD))


def _hopeless(pending: Pending, trouble: VolumeError) -> VolumeError | None:
    if pending.sends >= MAX_SENDS:
        return ServiceUnreachable(f"the connection broke {pending.sends} times under this call: {trouble.text}")
    if isinstance(trouble, Unavailable):
        return None
    # The service refuses us. What became of a call that it had before is not known.
    return ServiceUnreachable(trouble.text, remedy=trouble.remedy) if pending.sends else trouble


def _closed() -> VolumeError:
    return ServiceUnreachable("the connection to the service is closed")


def _copy(error: VolumeError) -> VolumeError:
    """Return the error anew: several threads raise it, and each has a traceback of its own."""
    copy = from_code(error.code, error.text, error.fields, error.remedy)
    copy.__cause__ = error
    return copy
