"""The workers of one virtual machine: its calls run beside each other, within bounds that are its own.

What one VM floods or blocks is its own share: no other VM waits for it (T7). Calls of different kinds have workers of
their own, so that no Get waits for a slow Attach (D3), and no Detach for the Attach of another VM that waits for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar
from uuid import UUID

from vmdkvol.clock import Clock, Condition, Deadline
from vmdkvol.errors import BadRequest, Busy
from vmdkvol.messages import Detach, Hello, Keep, Lagging, Mark, Request
from vmdkvol_esx.spares import Spares
from vmdkvol_esx.turns import Turns

R = TypeVar("R", bound=Hashable)

# An agent has 256 threads and lets 224 of them wait for slow calls: the last of them waits too, it is not refused,
# since a container whose Mount is refused stays down (corrections 16). So not 32 (faults T7), but one for each thread,
# and as many that the agent has given up and that still run.
MAX_CALLS = 512
_IDLE_S = 10.0


class Kind(StrEnum):
    """What a call does, as far as it matters for whom it may keep waiting."""

    READ = "read"
    # Said in a moment: who is there, and what others wait to hear. Not behind queries that the hypervisor does not answer.
    WORD = "word"
    BEGIN = "begin"
    # Detach and Mark end what an Attach began, and others wait for that: they never stand behind what begins.
    END = "end"


WORKERS: Mapping[Kind, int] = {Kind.READ: 4, Kind.WORD: 4, Kind.BEGIN: 64, Kind.END: 16}


def kind_of(request: Request[Any]) -> Kind:
    """Return whose workers carry out this request."""
    if isinstance(request, Hello | Keep | Lagging):
        return Kind.WORD
    if isinstance(request, Detach | Mark):
        return Kind.END
    return Kind.BEGIN if request.changes and not request.before_hello else Kind.READ


@dataclass(slots=True, eq=False)
class _Job(Generic[R]):
    call: UUID
    equal: object
    work: Callable[[], bytes]
    deadline: Deadline
    bench: _Bench[R]
    begins: float
    recipients: list[R]


@dataclass(slots=True, eq=False)
class _Seat(Generic[R]):
    """Where an idle worker waits for a job of its own: one place for all would rouse some eighty threads with each call."""

    roused: Condition
    job: _Job[R] | None = None
    ended: bool = False

    def give(self, job: _Job[R]) -> None:
        with self.roused:
            self.job = job
            self.roused.notify_all()

    def end(self) -> None:
        with self.roused:
            self.ended = True
            self.roused.notify_all()

    def wait(self, deadline: Deadline) -> None:
        with self.roused:
            while self.job is None and not self.ended and not deadline.passed:
                self.roused.wait(deadline.left_s)


@dataclass(slots=True, eq=False)
class _Bench(Generic[R]):
    """The workers for one kind of call, and what waits for them. Of the idle ones the last is asked first."""

    most: int
    queue: deque[_Job[R]] = field(default_factory=deque)
    workers: int = 0
    idle: list[_Seat[R]] = field(default_factory=list)


class Crew(Generic[R]):
    """Carries out the calls of one VM. ``reply(recipient, data)`` gets each result, ``refuse`` makes data of an error."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        turns: Turns,
        reply: Callable[[R, bytes], None],
        refuse: Callable[[UUID, Busy], bytes],
        start: Callable[[str, Callable[[], None]], object] | None = None,
    ) -> None:
        """``start`` lends a thread to a worker, which gives it back as soon as it has no work (see ``spares``).

        Without it each worker has a thread of its own, and keeps it for a while.
        """
        self._name = name
        self._clock = clock
        self._turns = turns
        self._reply = reply
        self._refuse = refuse
        self._start = clock.start if start is None else start
        self._lent = start is not None
        self._changed = clock.condition()
        self._jobs: dict[UUID, _Job[R]] = {}
        self._running = 0
        self._ended = False
        self._benches: dict[Kind, _Bench[R]] = {kind: _Bench(most) for kind, most in WORKERS.items()}

    def take(
        self, call: UUID, equal: object, work: Callable[[], bytes], *, kind: Kind, deadline: Deadline, recipient: R
    ) -> None:
        """Have ``work`` done, which never raises, and its result sent to ``recipient``.

        A call that is under way already is joined: its id came again on a new connection, and it must not run twice at
        once. Raises BadRequest if it came with another request (``equal``), Busy when too many calls are under way.
        After ``stop`` it is dropped: the guest asks again when the connection closes.
        """
        with self._changed:
            job = self._jobs.get(call)
            if job is not None:
                self._join(job, equal, recipient)
                return
            if self._ended:
                return
            if len(self._jobs) >= MAX_CALLS:
                raise Busy(f"{self._name} has {MAX_CALLS} calls under way")
            bench = self._benches[kind]
            # Reading is bounded by its few workers, and an engine that starts asks for a thousand volumes at once.
            begins = 0.0 if kind in (Kind.READ, Kind.WORD) else self._turns.came(self._name)
            self._jobs[call] = job = _Job(call, equal, work, deadline, bench, begins, [recipient])
            if bench.idle:
                self._running += 1
                bench.idle.pop().give(job)
                return
            bench.queue.append(job)
            if bench.workers < bench.most:
                self._add_worker(bench, job)

    def tell(self, call: UUID, data: bytes) -> None:
        """Send ``data`` to whoever waits for the call; nothing once that has ended."""
        with self._changed:
            job = self._jobs.get(call)
            recipients = () if job is None else tuple(job.recipients)
        for recipient in recipients:
            self._reply(recipient, data)

    def leave(self, recipient: R) -> None:
        """Send nothing more to ``recipient``. What runs for it goes on; what had not begun will not."""
        with self._changed:
            for job in tuple(self._jobs.values()):
                if recipient in job.recipients:
                    job.recipients.remove(recipient)
                if not job.recipients and job in job.bench.queue:
                    job.bench.queue.remove(job)
                    del self._jobs[job.call]

    def stop(self) -> None:
        """Begin nothing more."""
        with self._changed:
            self._ended = True
            for bench in self._benches.values():
                for seat in bench.idle:
                    seat.end()

    def finish(self, deadline: Deadline) -> bool:
        """After ``stop``: wait for what runs; tell whether all of it ended before the deadline."""
        with self._changed:
            while self._running and not deadline.passed:
                self._changed.wait(deadline.left_s)
            return not self._running

    def _add_worker(self, bench: _Bench[R], job: _Job[R]) -> None:
        """Start one more worker for what is queued; the lock is held. Busy, and ``job`` dropped, if nobody would come to it."""
        bench.workers += 1
        try:
            self._start(f"call-{self._name}", lambda: self._work(bench))
        except RuntimeError as error:
            # No thread left (F60). One that is counted and never came would in the end keep every call waiting.
            bench.workers -= 1
            if bench.workers:
                return
            bench.queue.remove(job)
            del self._jobs[job.call]
            raise Busy(f"{self._name}: no thread can be started for this call: {error}") from error

    def _join(self, job: _Job[R], equal: object, recipient: R) -> None:
        if job.equal != equal:
            raise BadRequest(f"call {job.call} is under way with another request", remedy="use a new id for each call")
        if recipient not in job.recipients:
            job.recipients.append(recipient)

    def _work(self, bench: _Bench[R]) -> None:
        seat: _Seat[R] = _Seat(self._clock.condition())
        while (job := self._next(bench, seat)) is not None:
            data = self._result(job)
            with self._changed:
                # Up to here the same call joined this one; what comes later finds the stored answer.
                del self._jobs[job.call]
                recipients = tuple(job.recipients)
            for recipient in recipients:
                self._reply(recipient, data)
            with self._changed:
                self._running -= 1
                if not self._running:
                    self._changed.notify_all()

    def _result(self, job: _Job[R]) -> bytes:
        wait_s = self._turns.wait_s(self._name, job.begins)
        if wait_s > 0.0:
            self._clock.sleep(wait_s)
        if job.deadline.passed:
            return self._refuse(job.call, Busy("the service had no time for this call"))
        return job.work()

    def _next(self, bench: _Bench[R], seat: _Seat[R]) -> _Job[R] | None:
        """Return what to do next, or None when this worker is not needed any more."""
        with self._changed:
            if self._ended:
                bench.workers -= 1
                return None
            if bench.queue:
                self._running += 1
                return bench.queue.popleft()
            if self._lent:
                bench.workers -= 1
                return None
            bench.idle.append(seat)
        seat.wait(Deadline.after(self._clock, _IDLE_S))
        with self._changed:
            if seat in bench.idle:
                bench.idle.remove(seat)
            # Given in the last moment, or before the end, it counts as running already.
            job, seat.job = seat.job, None
            if job is None:
                bench.workers -= 1
            return job


class Crews(Generic[R]):
    """One crew for each machine, and for whoever else has a share of the service; made when it is first needed."""

    def __init__(
        self, clock: Clock, turns: Turns, reply: Callable[[R, bytes], None], refuse: Callable[[UUID, Busy], bytes]
    ) -> None:
        self._spares = Spares(clock)
        self._make: Callable[[str], Crew[R]] = lambda name: Crew(name, clock, turns, reply, refuse, self._spares.start)
        self._changed = clock.condition()
        self._crews: dict[Hashable, Crew[R]] = {}
        self._ended = False

    def of(self, share: Hashable) -> Crew[R]:
        """Return the crew of this share; after ``stop`` it takes nothing."""
        with self._changed:
            crew = self._crews.get(share)
            if crew is None:
                crew = self._crews[share] = self._make(str(share))
                if self._ended:
                    crew.stop()
            return crew

    def stop(self) -> None:
        """Begin nothing more."""
        with self._changed:
            self._ended = True
            for crew in self._crews.values():
                crew.stop()
        self._spares.stop()

    def finish(self, deadline: Deadline) -> bool:
        """After ``stop``: wait for what runs; tell whether all of it ended before the deadline."""
        with self._changed:
            crews = tuple(self._crews.values())
        ended = [crew.finish(deadline) for crew in crews]
        return all(ended)
