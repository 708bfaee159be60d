"""What has to be looked at when: the next moment is known without a look at everybody."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Moments(Generic[T]):
    """Each thing has one moment (monotonic) at most. Used by one thread."""

    def __init__(self) -> None:
        self._moments: dict[T, float] = {}
        # With what was set earlier since, or forgotten: those are passed over when their time comes.
        self._heap: list[tuple[float, int, T]] = []
        self._count = 0

    def set(self, thing: T, moment: float | None) -> None:
        """Have ``thing`` told at ``moment``, or earlier if that was set before: who asks then looks again."""
        if moment is None or self._moments.get(thing, moment + 1.0) <= moment:
            return
        self._moments[thing] = moment
        self._count += 1
        heapq.heappush(self._heap, (moment, self._count, thing))

    def forget(self, thing: T) -> None:
        """Tell nothing more of it."""
        self._moments.pop(thing, None)

    def due(self, now: float) -> list[T]:
        """Return those whose moment has come; none of them has a moment any more."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            moment, _, thing = heapq.heappop(self._heap)
            if self._moments.get(thing) == moment:
                del self._moments[thing]
                found.append(thing)
        return found

    @property
    def next(self) -> float | None:
        """The first moment; never later than the first that counts."""
        return self._heap[0][0] if self._heap else None
