"""A seeded clock that runs one thread at a time on virtual time: a schedule that failed is replayed by its seed.

A thread gives way wherever it enters or leaves a condition, waits, sleeps, starts or joins another; the seed says who
goes on. Time passes only when nobody can go on. When nobody ever could, the test's thread gets ``Deadlock``, which says
who waits for what. Threads may belong to a ``SimulatedProcess``, which can be stopped and go on later, as by SIGSTOP.
"""

from __future__ import annotations

import heapq
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType

_MAX_STEPS = 1_000_000


class Deadlock(AssertionError):
    """No thread can go on, now or later; or the simulation goes on for ever without an end."""


class _Stopped(BaseException):
    """Ends the threads that are left when the simulation is over."""


def _closed_gate() -> threading.Lock:
    # A plain lock: a semaphore of Python's costs a simulation a third of its time.
    gate = threading.Lock()
    gate.acquire()
    return gate


@dataclass(slots=True, eq=False)
class _Thread:
    """``blocked``: it is not in the list of those that can go on. ``waits`` counts its waits, so that old alarms are known.

    ``kernel`` counts the conditions of the world that it has: what happens in a kernel ends, also in a stopped process.
    """

    name: str
    gate: threading.Lock = field(default_factory=_closed_gate)
    ident: int = 0
    doing: str = "runs"
    blocked: bool = False
    waits: int = 0
    wants: SimulatedCondition | None = None
    notified: bool = False
    done: bool = False
    process: SimulatedProcess | None = None
    kernel: int = 0
    work: Callable[[], None] | None = None
    joiners: list[_Thread] = field(default_factory=list)


@dataclass(slots=True)
class _System:
    """A thread of the operating system, for one simulated thread after the other: starting one takes longest of all."""

    serves: _Thread
    thread: threading.Thread | None = None


class SimulatedClock:
    """Use it as a context manager; the thread that makes it is the first of the simulation."""

    def __init__(self, seed: int, *, wall: float = 1_000_000.0, horizon_s: float = 1e7) -> None:
        self._random = random.Random(seed)
        self._keep: float | None = 0.0
        self._seed = seed
        self._wall = wall
        self._horizon_s = horizon_s
        self._now = 0.0
        self._steps = 0
        self._main = _Thread("main", ident=threading.get_ident())
        self._current = self._main
        self._threads: dict[_Thread, None] = {self._main: None}
        self._ready = [self._main]
        self._alarms: list[tuple[float, int, int, _Thread]] = []
        self._alarm_count = 0
        self._systems: list[_System] = []
        self._idle: list[_System] = []
        self._stuck: str | None = None
        self._stopped = False
        # Who went on at which time: two runs of one seed have the same.
        self.trace: list[tuple[float, str]] = []
        # What a thread's work raised; leaving the context raises the first.
        self.failures: list[BaseException] = []

    def __enter__(self) -> SimulatedClock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
        if error is None and self.failures:
            raise self.failures[0]

    def close(self) -> None:
        """End every thread that is left, one after the other."""
        self._stopped = True
        for system in self._systems:
            assert system.thread is not None
            self._current = system.serves
            system.serves.gate.release()
            system.thread.join(10)
            assert not system.thread.is_alive(), f"{system.serves.name} does not end"
        self._current = self._main

    @property
    def over(self) -> bool:
        """Whether nobody takes turns any more."""
        return self._stopped or self._stuck is not None

    # --- the port --------------------------------------------------------------------------------------------------

    def monotonic(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._wall + self._now

    def jump(self, seconds: float) -> None:
        """Set the wall clock; monotonic time goes on as before (F33)."""
        self._wall += seconds

    def sleep(self, seconds: float) -> None:
        self.wait(f"sleeps {seconds:g} s", self._now + max(0.0, seconds))

    def condition(self) -> SimulatedCondition:
        return SimulatedCondition(self, 1)

    def start(self, name: str, work: Callable[[], None], process: SimulatedProcess | None = None) -> SimulatedWorker:
        thread = _Thread(name, process=process, work=work)
        self._threads[thread] = None
        self._ready.append(thread)
        if self._idle:
            system = self._idle.pop()
            thread.gate, thread.ident, system.serves = system.serves.gate, system.serves.ident, thread
        else:
            system = _System(thread)
            system.thread = threading.Thread(target=self._serve, args=(system,), name="simulated", daemon=True)
            self._systems.append(system)
            system.thread.start()
        self.give_way()
        return SimulatedWorker(self, thread)

    # --- schedules and processes -----------------------------------------------------------------------------------

    def schedule(self, number: int) -> None:
        """From now on ``number`` says who goes on. 0: whoever runs goes on as long as it can, then who waits longest."""
        self._random.seed(number)
        self._keep = None if number == 0 else (0.0, 0.5, 0.8, 0.95)[number % 4]

    @contextmanager
    def inside(self, process: SimulatedProcess | None) -> Iterator[None]:
        """The thread that enters belongs to this process for a while, for None to none."""
        me = self._current
        before, me.process = me.process, process
        try:
            yield
        finally:
            me.process = before

    # --- the scheduler ---------------------------------------------------------------------------------------------

    def give_way(self) -> None:
        """Let the seed say who goes on; a test may call it wherever another thread could come between."""
        me = self.me()
        if self._stopped:
            raise _Stopped
        if self._goes_on(me):
            self._steps += 1
            return
        self._hand_over(me)

    def _goes_on(self, me: _Thread) -> bool:
        """Tell whether the schedule lets the thread that runs go on, which is most of what there is to say."""
        if self._steps > _MAX_STEPS or (me.process is not None and me.process.stopped and not me.kernel):
            return False
        return self._keep is None or (self._keep > 0.0 and self._random.random() < self._keep)

    def wait(self, doing: str, wake_at: float | None, wants: SimulatedCondition | None = None) -> None:
        """Return when ``wake`` was called for this thread, or at ``wake_at``, and it is its turn."""
        me = self.me()
        if self._stopped:
            raise _Stopped
        if wake_at is None or wake_at > self._now:
            me.doing, me.blocked, me.wants = doing, True, wants
            me.waits += 1
            self._ready.remove(me)
            if wake_at is not None:
                self._alarm_count += 1
                heapq.heappush(self._alarms, (wake_at, self._alarm_count, me.waits, me))
        self._hand_over(me)
        me.doing, me.wants = "runs", None

    def wake(self, thread: _Thread) -> None:
        """Let a thread that waits go on when it is its turn."""
        if thread.blocked:
            thread.blocked = False
            thread.waits += 1
            self._ready.append(thread)

    def me(self) -> _Thread:
        me = self._current
        if me.ident != threading.get_ident():
            raise RuntimeError(f"{threading.current_thread().name} is not the thread whose turn it is: {me.name}")
        return me

    def _hand_over(self, me: _Thread) -> None:
        following = self._choose(me)
        self._current = following
        if following is not me:
            following.gate.release()
            if me.done:
                return
            me.gate.acquire()
        if self._stopped:
            raise _Stopped
        if self._stuck is not None and me is self._main:
            raise Deadlock(f"seed {self._seed}: {self._stuck}")

    def _choose(self, me: _Thread) -> _Thread:
        self._steps += 1
        ready = self._ready
        while True:
            if not ready:
                self._pass_time()
            if not ready or self._now > self._horizon_s or self._steps > _MAX_STEPS:
                return self._give_up()
            chosen = self._pick(me)
            process, wanted = chosen.process, chosen.wants
            if process is not None and process.stopped and not chosen.kernel:
                self._set_aside(chosen)
                process.parked.append(chosen)
            elif wanted is not None and wanted.owner is not None:
                # Another one was faster; it is woken again when the lock is free.
                self._set_aside(chosen)
            else:
                self.trace.append((self._now, chosen.name))
                return chosen

    def _pick(self, me: _Thread) -> _Thread:
        goes_on = not me.blocked and not me.done
        if self._keep is None:
            return me if goes_on else self._ready[0]
        return self._ready[int(self._random.random() * len(self._ready))]

    def _set_aside(self, thread: _Thread) -> None:
        thread.blocked = True
        self._ready.remove(thread)

    def _pass_time(self) -> None:
        """Go on to the next moment at which somebody wants to be woken."""
        alarms = self._alarms
        while alarms and not self._ready:
            self._now = max(self._now, alarms[0][0])
            while alarms and alarms[0][0] <= self._now:
                _, _, waits, thread = heapq.heappop(alarms)
                if thread.blocked and thread.waits == waits:
                    thread.wants = None
                    self.wake(thread)

    def _give_up(self) -> _Thread:
        waiting = "; ".join(f"{thread.name} {thread.doing}" for thread in self._threads)
        self._stuck = f"after {self._now:g} s and {self._steps} steps nobody can go on: {waiting}"
        return self._main

    def _serve(self, system: _System) -> None:
        gate = system.serves.gate
        system.serves.ident = threading.get_ident()
        while True:
            gate.acquire()
            thread = system.serves
            if self._stopped and thread.done:
                return
            try:
                if not self._stopped and thread.work is not None:
                    thread.work()
            except _Stopped:
                pass
            except BaseException as error:  # noqa: BLE001 - told to the test when the simulation ends
                self.failures.append(error)
            thread.done = True
            if self._stopped:
                return
            self._end(thread)
            self._idle.append(system)
            self._hand_over(thread)

    def _end(self, thread: _Thread) -> None:
        # Thousands of threads come and go; the report of a deadlock names those that are left.
        del self._threads[thread]
        self._ready.remove(thread)
        for joiner in thread.joiners:
            self.wake(joiner)


class SimulatedProcess:
    """Threads that are stopped and go on together; it is the ``Clock`` of what runs in it, with a wall clock of its own."""

    def __init__(self, clock: SimulatedClock) -> None:
        self._clock = clock
        self.stopped = False
        self.parked: list[_Thread] = []
        self.wall_ahead_s = 0.0

    def stop(self) -> None:
        """SIGSTOP: from now on none of its threads goes on, but for what it has begun in its kernel."""
        self.stopped = True

    def go_on(self) -> None:
        """SIGCONT."""
        self.stopped = False
        parked, self.parked = self.parked, []
        for thread in parked:
            self._clock.wake(thread)

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def wall(self) -> float:
        return self._clock.wall() + self.wall_ahead_s

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)

    def condition(self) -> SimulatedCondition:
        return SimulatedCondition(self._clock, 0)

    def start(self, name: str, work: Callable[[], None]) -> SimulatedWorker:
        return self._clock.start(name, work, self)


class SimulatedCondition:
    """A condition with a reentrant lock, as ``threading.Condition()`` has. ``kernel`` is 1 for one of the world's."""

    def __init__(self, clock: SimulatedClock, kernel: int) -> None:
        self._clock = clock
        self._kernel = kernel
        self.owner: _Thread | None = None
        self._depth = 0
        self._waiting: list[_Thread] = []
        self._blocked: list[_Thread] = []

    def __enter__(self) -> bool:
        me = self._clock.me()
        if self.owner is me:
            self._depth += 1
            return True
        self._clock.give_way()
        self._lock(me, 1)
        return True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        self._depth -= 1
        if self._depth == 0:
            me = self.owner
            self._unlock()
            if me is not None:
                me.kernel -= self._kernel
            if not self._clock.over:
                self._clock.give_way()

    def wait(self, timeout: float | None = None) -> bool:
        me, depth = self._owned()
        self._depth = 0
        self._unlock()
        me.kernel -= self._kernel
        me.notified = False
        self._waiting.append(me)
        until = None if timeout is None else self._clock.monotonic() + max(0.0, timeout)
        told = "for ever" if timeout is None else f"{timeout:g} s"
        # In the kernel still, if it is the world's: a wait for a task ends whatever becomes of the process.
        me.kernel += self._kernel
        try:
            self._clock.wait(f"waits {told} for a notification", until)
        except BaseException:
            # The simulation is over: what is left of this thread's with-block must still be able to end.
            self.owner, self._depth = me, depth
            raise
        finally:
            self._waiting.remove(me)
        me.kernel -= self._kernel
        self._lock(me, depth)
        return me.notified

    def notify_all(self) -> None:
        self._owned()
        for thread in self._waiting:
            thread.notified = True
            self._clock.wake(thread)

    def _owned(self) -> tuple[_Thread, int]:
        me = self._clock.me()
        if self.owner is not me:
            raise RuntimeError("the condition is not held")
        return me, self._depth

    def _lock(self, me: _Thread, depth: int) -> None:
        # Whoever has it in its kernel must get it, or what is in there would stay for ever.
        me.kernel += self._kernel
        while self.owner is not None:
            self._blocked.append(me)
            try:
                self._clock.wait(f"waits for a lock that {self.owner.name} has", None, self)
            finally:
                self._blocked.remove(me)
        self.owner, self._depth = me, depth

    def _unlock(self) -> None:
        self.owner = None
        for thread in self._blocked:
            self._clock.wake(thread)


class SimulatedWorker:
    def __init__(self, clock: SimulatedClock, thread: _Thread) -> None:
        self._clock = clock
        self._thread = thread

    def join(self, timeout: float | None = None) -> None:
        if self._thread.done:
            self._clock.give_way()
            return
        until = None if timeout is None else self._clock.monotonic() + max(0.0, timeout)
        me = self._clock.me()
        self._thread.joiners.append(me)
        try:
            self._clock.wait(f"waits for the end of {self._thread.name}", until)
        finally:
            self._thread.joiners.remove(me)

    def is_alive(self) -> bool:
        return not self._thread.done
