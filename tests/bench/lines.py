"""What is measured: lines of the table with their goals, rows that measure one or more of them, and how much is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench.figures import Goal, Measured, Unit

if TYPE_CHECKING:
    from tests.bench.stage import Stage


# In the place of a floor: a count, or bytes, that need none.
NO_FLOOR = "counted"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table. ``goal`` None: it is told, not judged."""

    key: str
    figure: str
    floor: str
    goal: Goal | None
    unit: Unit = Unit.SECONDS


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is run: rounds of what is a time, rounds of a `docker run`, cycles before leaks are counted."""

    rounds: int = 15
    container_rounds: int = 20
    calls: int = 200
    cycles: int = 300
    restarts: int = 20
    # The delays of the injected hypervisor are the published ones, multiplied by this.
    delays: float = 1.0
    many: int = 10_000
    # Machines that are connected at once.
    connected: int = 500
    # The service's idle threads end after 10 s: only then it is known which stay.
    rest_s: float = 11.0


QUICK = Effort(rounds=2, container_rounds=2, calls=20, cycles=8, restarts=2, delays=0.1, many=500, connected=20, rest_s=0.0)


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement, of one or more lines. ``measure`` returns a figure for each key, or raises.

    Its docstring says what is in the figure and what is not; the page shows it. ``spoil`` names what a subject is made
    to do wrong so that the lines in ``caught`` must be reported as not met (`--spoil`). ``seconds`` on a quiet machine.
    """

    name: str
    lines: tuple[Line, ...]
    measure: Callable[[Stage], Mapping[str, Measured]]
    seconds: float
    spoil: str
    caught: tuple[str, ...]

    @property
    def how(self) -> str:
        """How it is measured, as its docstring says."""
        return " ".join((self.measure.__doc__ or "").split())
