"""Rows and runs that were never measured, for the tests of how they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.bench.figures import Goal, Measured, Unit
from tests.bench.inside import shown, unmeasured
from tests.bench.lines import Line, Row


def row(name: str, *lines: Line) -> Row:
    def measure(_: object) -> Mapping[str, Measured]:
        """How it is done."""
        return {}

    return Row(name, lines, measure, 1.0, "slow", ())


def line(key: str, figure: str = "a figure", goal: Goal | None = None, unit: Unit = Unit.SECONDS) -> Line:
    return Line(key, figure, "a floor", goal, unit)


def run(*lines: Mapping[str, Any], quick: bool = False) -> dict[str, Any]:
    machine = {"cpu": "Old <Iron> & Co", "cores": 2, "memory_gb": 4, "kernel": "6.1", "system": "Debian", "vmdkvol": "0"}
    machine |= dict.fromkeys(("python", "flask", "gunicorn", "docker", "e2fsprogs", "fio"), "1.0")
    return {
        "date": "2026-01-31",
        "quick": quick,
        "seed": 7,
        "minutes": 3.5,
        "machine": machine,
        "load_before": [0.1, 0.2, 0.3],
        "load_after": [1.1, 1.2, 1.3],
        "lines": list(lines),
    }


__all__ = ["line", "row", "run", "shown", "unmeasured"]
