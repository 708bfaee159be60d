"""The calls that a guest waits for: each is sent once per connection until it is answered, late, or without hope."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from uuid import UUID

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import BadRequest, ServiceUnreachable, StillWorking, Unavailable, VolumeError, from_code
from vmdkvol.messages import Call, Request

A = TypeVar("A")

# The service answers so much before the caller stops waiting: its word on how far the work is comes in time.
_AHEAD_S = 1.0
_AHEAD = 0.1
# A request that went out before so many breaks may be what breaks the connection: the others shall not suffer for it.
MAX_SENDS = 8


@dataclass(slots=True, eq=False)
class Pending:
    """A call that somebody waits for. ``sends`` counts the connections that it went out on, the standing one included.

    ``percent`` is how far the service says it is, on the standing connection: a restarted service may begin anew.
    """

    request: Request[Any]
    call: Call
    since: float
    waiters: int = 0
    sends: int = 0
    unsent: bool = True
    percent: int = 0
    done: bool = False
    answer: Any = None
    error: VolumeError | None = None


class Calls:
    """Shared by the threads that wait and the one that owns the connection; ``wake`` rouses the latter."""

    def __init__(self, clock: Clock, trouble: VolumeError, patience_s: float, wake: Callable[[], None]) -> None:
        """``trouble`` is why nothing can be sent yet; a call bears it for ``patience_s``, from when both are there."""
        self._clock = clock
        self._patience_s = patience_s
        self._wake = wake
        self._changed = clock.condition()
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
        self._wake()
        try:
            return cast(A, self._wait(pending, call))
        finally:
            with self._changed:
                pending.waiters -= 1
                if not pending.waiters:
                    del self._pending[call.id]

    def up(self) -> None:
        """From now on calls can be sent; what was in flight on an older connection is to be sent again."""
        with self._changed:
            self._trouble = None
            self._doubt = False
            self._changed.notify_all()

    def down(self, trouble: VolumeError) -> bool:
        """Nothing can be sent any more; tell whether it could before. Calls wait on unless that is without hope."""
        with self._changed:
            was_up = self._trouble is None
            if was_up:
                self._away_since = self._clock.monotonic()
            self._trouble = trouble
            for pending in self._pending.values():
                pending.unsent = True
                pending.percent = 0
                if not pending.done:
                    self._end(pending, error=_hopeless(pending, trouble))
            self._changed.notify_all()
            return was_up

    def to_send(self) -> list[Pending]:
        """Return the calls that the standing connection has not carried yet, each once."""
        with self._changed:
            found = [pending for pending in self._pending.values() if pending.unsent and not pending.done]
            for pending in found:
                pending.unsent = False
                pending.sends += 1
            return found

    def answered(self, call: UUID, read: Callable[[Request[Any]], Any]) -> None:
        """End a call with what ``read(request)`` returns or raises; one that nobody waits for is dropped."""
        with self._changed:
            pending = self._pending.get(call)
            if pending is None or pending.done:
                return
            try:
                pending.answer = read(pending.request)
            except VolumeError as error:
                pending.error = error
            pending.done = True
            self._changed.notify_all()

    def progressed(self, call: UUID, percent: int) -> None:
        """Whoever waits for the call hears how far it is; of one that nobody waits for, nobody."""
        with self._changed:
            pending = self._pending.get(call)
            if pending is not None and percent > pending.percent:
                pending.percent = percent
                self._changed.notify_all()

    def doubted(self) -> bool:
        """Tell, once, whether a call ended in silence: the service may hang, and a sign of life is wanted."""
        with self._changed:
            doubt, self._doubt = self._doubt, False
            return doubt

    def close(self) -> None:
        """End every call, and each new one, with ServiceUnreachable."""
        with self._changed:
            self._closed = True
            for pending in self._pending.values():
                self._end(pending, error=_closed())
            self._changed.notify_all()

    def _enter(self, request: Request[Any], call: Call) -> Pending:
        with self._changed:
            if self._closed:
                raise _closed()
            pending = self._pending.get(call.id)
            if pending is None:
                if self._trouble is not None and not isinstance(self._trouble, Unavailable):
                    raise _copy(self._trouble)
                pending = self._pending[call.id] = Pending(request, call, self._clock.monotonic())
            elif pending.request != request:
                raise BadRequest(f"call {call.id} is in flight with another request")
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
        with self._changed:
            while not pending.done and pending.percent <= told:
                left = deadline.left_s
                if self._trouble is not None:
                    # Also for a call that was sent: an engine that starts waits for the Mount of each of its containers.
                    since = max(pending.since, self._away_since)
                    left = min(left, since + self._patience_s - self._clock.monotonic())
                if left <= 0:
                    raise self._overdue(pending)
                self._changed.wait(left)
            return None if pending.done else pending.percent

    def _overdue(self, pending: Pending) -> VolumeError:
        if self._trouble is not None:
            return _copy(self._trouble)
        self._doubt = True
        self._wake()
        far = f", {pending.percent} % done" if pending.percent else ""
        return StillWorking(f"the service takes longer than the time limit with this {type(pending.request).__name__}{far}")

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
