"""What a measurement comes to: paired ratios, quartiles, what is dropped, and when a figure says nothing. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

# A round whose floor took this much longer than the floor's median tells of the machine, not of us.
DROP_ABOVE = 3.0
# The floor against itself. Outside of this the same program differs from itself more than the goals allow for.
SAME_LOW, SAME_HIGH = 0.75, 1.33


class Unit(StrEnum):
    """What the figures of a line are; the picture and the page write them out."""

    SECONDS = "s"
    COUNT = ""
    BYTES = "B"
    RATE = "/s"


class Verdict(StrEnum):
    MET = "met"
    NOT_MET = "not met"
    VOID = "void (noise)"
    TOLD = "told"
    ERROR = "error"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Goal:
    """The judged value shall be at most ``limit``, or at least that with ``least``."""

    limit: float
    least: bool = False
    unit: str = ""

    def met(self, value: float) -> bool:
        return value >= self.limit if self.least else value <= self.limit

    def share(self, value: float) -> float:
        """Return how the value stands to the goal: 1 is the goal itself, below 1 is better. ``limit`` is not 0."""
        return self.limit / value if self.least else value / self.limit

    def __str__(self) -> str:
        return f"{'>=' if self.least else '<='} {self.limit:g}{' ' + self.unit if self.unit else ''}"


@dataclass(frozen=True, slots=True)
class Round:
    """One turn of each side, in any order: ours, the floor, and the floor again."""

    ours: float
    floor: float
    again: float


@dataclass(frozen=True, slots=True)
class Spread:
    """The quartiles of a sample."""

    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What one line came to. ``value`` is what the goal judges; ``same`` is the floor against itself (A/A).

    ``notes`` says what the figure alone does not, in a few words.
    """

    value: float
    ours: float
    floor: float | None = None
    ratio: Spread | None = None
    same: float | None = None
    rounds: int = 1
    dropped: int = 0
    notes: str = ""
    extra: Mapping[str, float] = field(default_factory=dict)


def spread(values: Sequence[float]) -> Spread:
    """Return median and quartiles; the quartiles of one value are that value. ValueError for none."""
    if not values:
        raise ValueError("no values")
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(low, median, high)


def kept(rounds: Sequence[Round]) -> list[Round]:
    """Return the rounds whose floor, both times, is within three times the floor's median."""
    middle = statistics.median([value for each in rounds for value in (each.floor, each.again)])
    return [each for each in rounds if max(each.floor, each.again) <= DROP_ABOVE * middle]


def paired(rounds: Sequence[Round], notes: str = "") -> Measured:
    """Compare within each round, and judge the median of these ratios. ValueError for no rounds."""
    if not rounds:
        raise ValueError("no rounds")
    used = kept(rounds)
    if not used:
        raise ValueError("no round is left: in each one the floor took three times its median")
    ratio = spread([each.ours / each.floor for each in used])
    return Measured(
        value=ratio.median,
        ours=statistics.median(each.ours for each in used),
        floor=statistics.median(each.floor for each in used),
        ratio=ratio,
        same=statistics.median(each.again / each.floor for each in used),
        rounds=len(used),
        dropped=len(rounds) - len(used),
        notes=notes,
    )


def absolute(rounds: Sequence[Round], notes: str = "") -> Measured:
    """As ``paired``, but the goal judges the median of ours itself; the ratio is shown."""
    compared = paired(rounds, notes)
    return Measured(
        value=compared.ours,
        ours=compared.ours,
        floor=compared.floor,
        ratio=compared.ratio,
        same=compared.same,
        rounds=compared.rounds,
        dropped=compared.dropped,
        notes=notes,
    )


def counted(number: float, notes: str = "") -> Measured:
    """A count needs one run and no floor."""
    return Measured(value=number, ours=number, notes=notes)


def once(ours: float, floor: float, notes: str = "") -> Measured:
    """Bytes need one run: the ratio is exact."""
    return Measured(value=ours / floor, ours=ours, floor=floor, notes=notes)


def verdict(measured: Measured, goal: Goal | None) -> Verdict:
    """Return whether the goal is met. A floor that is not like itself, or most rounds dropped, makes it void."""
    if measured.same is not None and not SAME_LOW <= measured.same <= SAME_HIGH:
        return Verdict.VOID
    if measured.dropped > measured.rounds:
        return Verdict.VOID
    if goal is None:
        return Verdict.TOLD
    return Verdict.MET if goal.met(measured.value) else Verdict.NOT_MET
