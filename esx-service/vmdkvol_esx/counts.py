"""How often and how long, counted in buckets: the values, and how one more comes to them. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

# Upper bounds, in seconds. 50 and 110 are when Docker is answered at the latest.
OPERATION_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 50.0, 110.0, 180.0)


@dataclass(slots=True)
class Spread:
    """How many took how long: ``counts`` by bucket, the last one for what took longer than all of them."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(OPERATION_BUCKETS) + 1))
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(OPERATION_BUCKETS, seconds)] += 1
        self.seconds += seconds

    def copy(self) -> Spread:
        return Spread(list(self.counts), self.seconds)


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted so far: by operation, result and backend; by lock; by method and result."""

    operations: Mapping[tuple[str, ...], Spread]
    in_flight: Mapping[str, int]
    waits: Mapping[tuple[str, ...], Spread]
    vsphere: Mapping[tuple[str, ...], Spread]
