"""A seeded clock that runs one thread at a time on virtual time: a schedule that failed is replayed by its seed.

A thread gives way wherever it enters a condition, waits, sleeps, starts or joins another; the seed says who goes on.
Time passes only when nobody can go on. When nobody ever could, the test's thread gets ``Deadlock``, which says who
waits for what.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
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
    name: str
    gate: threading.Lock = field(default_factory=_closed_gate)
    doing: str = "runs"
    # What it waits for, apart from time: None only while it sleeps.
    ready: Callable[[], bool] | None = None
    wake_at: float | None = None
    notified: bool = False
    done: bool = False
    system: threading.Thread | None = None


def _always() -> bool:
    return True


class SimulatedClock:
    """Use it as a context manager; the thread that makes it is the first of the simulation."""

    def __init__(self, seed: int, *, wall: float = 1_000_000.0, horizon_s: float = 1e7) -> None:
        self._random = random.Random(seed)
        self._seed = seed
        self._wall = wall
        self._horizon_s = horizon_s
        self._now = 0.0
        self._steps = 0
        self._main = _Thread("main", ready=_always, system=threading.current_thread())
        self._current = self._main
        self._threads = [self._main]
        self._stuck: str | None = None
        self._stopped = False
        # Who went on at which time: two runs of one seed have the same.
        self.trace: list[tuple[float, str]] = []
        # What a thread's work raised; ``close`` raises the first.
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
        for thread in tuple(self._threads):
            if thread.system is not None and thread is not self._main:
                self._current = thread
                thread.gate.release()
                thread.system.join(10)
                assert not thread.system.is_alive(), f"{thread.name} does not end"
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
        self._wait(f"sleeps {seconds:g} s", None, self._now + max(0.0, seconds))

    def condition(self) -> SimulatedCondition:
        return SimulatedCondition(self)

    def start(self, name: str, work: Callable[[], None]) -> SimulatedWorker:
        thread = _Thread(name, ready=_always)
        thread.system = threading.Thread(target=self._run, args=(thread, work), name=name, daemon=True)
        self._threads.append(thread)
        thread.system.start()
        self.give_way()
        return SimulatedWorker(self, thread)

    # --- the scheduler ---------------------------------------------------------------------------------------------

    def give_way(self) -> None:
        """Let the seed say who goes on; a test may call it wherever another thread could come between."""
        self._wait("runs", _always, None)

    def _wait(self, doing: str, ready: Callable[[], bool] | None, wake_at: float | None) -> None:
        """Return when ``ready`` says so, or at ``wake_at``, and it is this thread's turn."""
        me = self._me()
        if self._stopped:
            raise _Stopped
        me.doing, me.ready, me.wake_at = doing, ready, wake_at
        self._hand_over(me)
        me.doing, me.ready, me.wake_at = "runs", _always, None

    def _hand_over(self, me: _Thread) -> None:
        following = self._choose()
        self._current = following
        if following is not me:
            following.gate.release()
            if not me.done:
                me.gate.acquire()
        if self._stopped and not me.done:
            raise _Stopped
        if self._stuck is not None and me is self._main:
            raise Deadlock(f"seed {self._seed}: {self._stuck}")

    def _choose(self) -> _Thread:
        self._steps += 1
        able = [thread for thread in self._threads if self._able(thread)]
        if not able:
            times = [thread.wake_at for thread in self._threads if thread.wake_at is not None]
            self._now = min(times, default=self._now)
            able = [thread for thread in self._threads if self._able(thread)]
        if not able or self._now > self._horizon_s or self._steps > _MAX_STEPS:
            waiting = "; ".join(f"{thread.name} {thread.doing}" for thread in self._threads)
            self._stuck = f"after {self._now:g} s and {self._steps} steps nobody can go on: {waiting}"
            return self._main
        chosen = self._random.choice(able)
        self.trace.append((self._now, chosen.name))
        return chosen

    def _able(self, thread: _Thread) -> bool:
        if thread.wake_at is not None and thread.wake_at <= self._now:
            return True
        return thread.ready is not None and thread.ready()

    def _me(self) -> _Thread:
        me = self._current
        if me.system is not threading.current_thread():
            raise RuntimeError(f"{threading.current_thread().name} is not the thread whose turn it is: {me.name}")
        return me

    def _run(self, thread: _Thread, work: Callable[[], None]) -> None:
        thread.gate.acquire()
        try:
            if not self._stopped:
                work()
        except _Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - told to the test when the simulation ends
            self.failures.append(error)
        thread.done = True
        if not self._stopped:
            # Thousands of threads come and go; each turn looks at those that are left.
            self._threads.remove(thread)
            self._hand_over(thread)


class SimulatedCondition:
    """A condition with a reentrant lock, as ``threading.Condition()`` has."""

    def __init__(self, clock: SimulatedClock) -> None:
        self._clock = clock
        self._owner: _Thread | None = None
        self._depth = 0
        self._waiting: list[_Thread] = []

    def __enter__(self) -> bool:
        me = self._clock._me()
        if self._owner is me:
            self._depth += 1
            return True
        self._clock.give_way()
        self._lock(me, 1)
        return True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._owner = None
            if not self._clock.over:
                self._clock.give_way()

    def wait(self, timeout: float | None = None) -> bool:
        me, depth = self._owned()
        self._owner, self._depth = None, 0
        me.notified = False
        self._waiting.append(me)
        until = None if timeout is None else self._clock.monotonic() + max(0.0, timeout)
        try:
            told = "for ever" if timeout is None else f"{timeout:g} s"
            self._clock._wait(f"waits {told} for a notification", lambda: me.notified, until)
        except BaseException:
            # The simulation is over: what is left of this thread's with-block must still be able to end.
            self._owner, self._depth = me, depth
            raise
        finally:
            self._waiting.remove(me)
        self._lock(me, depth)
        return me.notified

    def notify_all(self) -> None:
        self._owned()
        for thread in self._waiting:
            thread.notified = True

    def _owned(self) -> tuple[_Thread, int]:
        me = self._clock._me()
        if self._owner is not me:
            raise RuntimeError("the condition is not held")
        return me, self._depth

    def _lock(self, me: _Thread, depth: int) -> None:
        if self._owner is not None:
            self._clock._wait(f"waits for a lock that {self._owner.name} has", lambda: self._owner is None, None)
        self._owner, self._depth = me, depth


class SimulatedWorker:
    def __init__(self, clock: SimulatedClock, thread: _Thread) -> None:
        self._clock = clock
        self._thread = thread

    def join(self, timeout: float | None = None) -> None:
        until = None if timeout is None else self._clock.monotonic() + max(0.0, timeout)
        self._clock._wait(f"waits for the end of {self._thread.name}", lambda: self._thread.done, until)

    def is_alive(self) -> bool:
        return not self._thread.done
