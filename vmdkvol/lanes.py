"""A lane per volume: its work runs one after the other, equal work is joined, other volumes go on beside."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from vmdkvol.clock import Clock, Condition, Deadline
from vmdkvol.errors import Busy, StillWorking

T = TypeVar("T")


@dataclass(slots=True)
class _Entry:
    equal: Hashable
    work: Callable[[], Any]
    # Of this piece of work alone: one for all would rouse everybody who waits whenever anything ends.
    ended: Condition
    since: float
    done: bool = False
    result: Any = None
    error: BaseException | None = None


def unmeasured(name: str, seconds: float) -> None:
    """Nobody wants to know how long work waits."""


class Lanes:
    """Runs work by key. Each busy lane has one worker thread, which ends when its lane is empty."""

    def __init__(self, clock: Clock, name: str, waited: Callable[[str, float], None] = unmeasured) -> None:
        """``waited`` hears of each piece of work how long it waited for its turn in which kind of lane."""
        self._clock = clock
        self._name = name
        self._waited = waited
        self._changed: Condition = clock.condition()
        self._lanes: dict[Hashable, deque[_Entry]] = {}

    def run(self, key: Hashable, equal: Hashable, work: Callable[[], T], deadline: Deadline, doing: str) -> T:
        """Return ``work()``'s result, or raise its error, after everything that was in the lane of ``key`` before.

        If the lane's newest entry has the same ``equal``, that work is joined instead: a Mount after a queued
        Unmount is new work (house 2). At the deadline StillWorking("``doing``...") is raised and the work goes on;
        the same call joins it. ``work`` therefore keeps deadlines of its own. Busy if no thread can be started.

        Log lines of the work carry what is bound on the thread of whoever asked for it first, the request's id.
        """
        entry = self._join(key, equal, work)
        with entry.ended:
            while not entry.done:
                if deadline.passed:
                    raise StillWorking(f"{doing} takes longer than Docker waits")
                entry.ended.wait(deadline.left_s)
        if entry.error is not None:
            raise entry.error
        return cast(T, entry.result)

    def busy(self, key: Hashable) -> bool:
        """Tell whether the lane has work at this moment."""
        with self._changed:
            return key in self._lanes

    def drain(self, deadline: Deadline) -> bool:
        """Wait until every lane is empty; tell whether that came before the deadline."""
        with self._changed:
            while self._lanes:
                if deadline.passed:
                    return False
                self._changed.wait(deadline.left_s)
        return True

    def _join(self, key: Hashable, equal: Hashable, work: Callable[[], Any]) -> _Entry:
        with self._changed:
            lane = self._lanes.get(key)
            if lane and lane[-1].equal == equal:
                return lane[-1]
            context = copy_context()
            entry = _Entry(equal, lambda: context.run(work), self._clock.condition(), self._clock.monotonic())
            if lane is None:
                self._lanes[key] = deque([entry])
                self._start(key)
            else:
                lane.append(entry)
            return entry

    def _start(self, key: Hashable) -> None:
        try:
            self._clock.start(f"{self._name}-{key}", lambda: self._work_off(key))
        except RuntimeError as error:
            # No thread left (F60): a lane that nobody works off would keep every later caller waiting.
            del self._lanes[key]
            raise Busy(f"no thread can be started for {key}: {error}") from error

    def _work_off(self, key: Hashable) -> None:
        while True:
            with self._changed:
                # The entry stays at the head while it runs, so that equal work finds it.
                entry = self._lanes[key][0]
            self._waited(self._name, self._clock.monotonic() - entry.since)
            try:
                entry.result = entry.work()
            except BaseException as error:  # noqa: BLE001 - handed to every waiter, none is lost
                entry.error = error
            with self._changed:
                lane = self._lanes[key]
                lane.popleft()
                if not lane:
                    del self._lanes[key]
                    self._changed.notify_all()
            with entry.ended:
                entry.done = True
                entry.ended.notify_all()
            if not lane:
                return
