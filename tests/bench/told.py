"""The figures of a run as they are shown: read from data, judged by the goals that the code has now, put into words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.figures import Goal, Measured, Spread, Unit, Verdict, verdict
from tests.bench.lines import Line, Row

_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True, slots=True)
class Told:
    """One line with what was measured for it: nothing if its row was not run, or failed with ``error``."""

    row: Row
    line: Line
    measured: Measured | None
    error: str

    @property
    def verdict(self) -> Verdict:
        if self.error:
            return Verdict.ERROR
        return Verdict.NOT_RUN if self.measured is None else verdict(self.measured, self.line.goal)

    @property
    def outcome(self) -> str:
        return self.error if self.error else str(self.verdict)

    @property
    def share(self) -> float | None:
        """How the value stands to the goal, 1 being the goal; None where there is no such number."""
        if self.measured is None or self.line.goal is None or not self.line.goal.limit or not self.measured.value:
            return None
        return self.line.goal.share(self.measured.value)


def told(rows: Sequence[Row], run: Mapping[str, Any]) -> list[Told]:
    """Return each line that the code has, with what the run says of it."""
    by_key = {line["key"]: line for line in run["lines"]}
    found = []
    for row in rows:
        for line in row.lines:
            data = by_key.get(line.key, {})
            found.append(Told(row, line, _measured(data), str(data.get("error", ""))))
    return found


def _measured(data: Mapping[str, Any]) -> Measured | None:
    if "value" not in data:
        return None
    names = ("value", "ours", "floor", "same", "rounds", "dropped", "notes")
    ratio = data["ratio"]
    spread = None if ratio is None else Spread(ratio["low"], ratio["median"], ratio["high"])
    return Measured(**{name: data[name] for name in names}, ratio=spread)


def amount(value: float | None, unit: Unit) -> str:
    """Return a figure with its unit, three digits or the whole count."""
    if value is None:
        return ""
    if unit is Unit.COUNT:
        return f"{value:g}"
    if unit is Unit.SECONDS:
        return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.3g} ms" if value >= 1e-3 else f"{value * 1e6:.0f} us"
    for size, prefix in _PREFIXES:
        if value >= size and unit is Unit.BYTES:
            return f"{value / size:.3g} {prefix}B"
    return f"{value:.0f} {unit}" if unit is Unit.BYTES else f"{value:.0f}{unit}"


def goal_text(goal: Goal | None, unit: Unit) -> str:
    """Return the goal as the table has it."""
    if goal is None:
        return "none"
    if goal.unit == "B":
        return f"{'>=' if goal.least else '<='} {amount(goal.limit, unit)}"
    return str(goal) if goal.limit or goal.unit else "0"


def value_text(each: Told) -> str:
    """Return the judged value in a few characters."""
    if each.measured is None:
        return ""
    plain = each.measured.ratio is None and each.measured.floor is None
    if plain or (each.line.goal is not None and each.line.goal.unit):
        return amount(each.measured.value, each.line.unit)
    return f"{each.measured.value:.3g}"


def ratio_text(measured: Measured) -> str:
    """Return the ratio with its quartiles."""
    if measured.ratio is not None:
        return f"{measured.ratio.median:.3g} ({measured.ratio.low:.3g} to {measured.ratio.high:.3g})"
    return "" if measured.floor is None else f"{measured.value:.3g}"


def machine_text(run: Mapping[str, Any]) -> str:
    """Return date and machine in one line."""
    facts = run["machine"]
    return f"{run['date']}, {facts['cores']} cores of {facts['cpu']}, Linux {facts['kernel']}"
