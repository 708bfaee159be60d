"""The bench inside its machine: row after row, results written after each one. Started by ``tests.bench.__main__`` only."""

from __future__ import annotations

import json
import random
import sys
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.bench import (
    calls,
    commands,
    commits,
    containers,
    counts,
    far,
    guests,
    lists,
    paint,
    rest,
    rights,
    sites,
    starts,
    vsphere,
    waits,
)
from tests.bench.figures import Measured, Verdict, verdict
from tests.bench.lines import QUICK, Effort, Line, Row
from tests.bench.stage import Stage

ROWS: tuple[Row, ...] = (
    *counts.ROWS,
    *waits.ROWS,
    *calls.ROWS,
    *containers.ROWS,
    *lists.ROWS,
    *rest.ROWS,
    *paint.ROWS,
    *starts.ROWS,
    *sites.ROWS,
    *commands.ROWS,
    *commits.ROWS,
    *rights.ROWS,
    *vsphere.ROWS,
    *far.ROWS,
    *guests.ROWS,
)


@dataclass(slots=True)
class Progress:
    """What stands on the error output while it runs: which row, how far, how long the rest takes on a quiet machine."""

    left_s: float
    row: str = ""
    number: str = ""
    live: bool = False
    _said: float = 0.0
    _seconds: float = 0.0

    def begin(self, row: Row, number: int, rows: int) -> None:
        self.row, self.number, self._seconds = row.name, f"{number}/{rows}", row.seconds
        self._write(f"{row.lines[0].figure}")

    def step(self, done: int, total: int) -> None:
        if self.live and time.monotonic() - self._said > 0.5:
            self._said = time.monotonic()
            self._write(f"{done} of {total}", self._seconds * done / total)

    def end(self, row: Row, seconds: float, outcome: str) -> None:
        self.left_s = max(0.0, self.left_s - row.seconds)
        self._write(f"{outcome} ({seconds:.0f} s)")
        if self.live:
            sys.stderr.write("\n")

    def _write(self, text: str, done_s: float = 0.0) -> None:
        left_s = max(0.0, self.left_s - done_s)
        left = f"~{left_s / 60:.0f} min left" if left_s >= 60 else f"~{left_s:.0f} s left"
        line = f"bench {self.number} {self.row}: {text}; {left}"
        sys.stderr.write(f"\r\033[K{line[:120]}" if self.live else f"{line}\n")
        sys.stderr.flush()


def run(rows: Sequence[Row], stage: Stage, progress: Progress, results: Path) -> None:
    """Measure each row and write what is there after each. A row that fails is an error of its lines; the rest goes on."""
    found: list[dict[str, Any]] = []
    for number, row in enumerate(rows, start=1):
        progress.begin(row, number, len(rows))
        began = time.monotonic()
        try:
            measured = row.measure(stage)
            found += [shown(row, line, measured[line.key]) for line in row.lines]
            outcome = ", ".join(sorted({each["verdict"] for each in found[-len(row.lines) :]}))
        except Exception as error:  # noqa: BLE001 - whatever it is, the other rows are measured all the same
            outcome = failed(error)
            found += [unmeasured(row, line, outcome) for line in row.lines]
            traceback.print_exc(file=(stage.root / "errors").open("a"))
            # What it left half done must not spoil the next row.
            stage.close()
        results.write_text(json.dumps(found))
        progress.end(row, time.monotonic() - began, outcome)


def failed(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"error: {type(error).__name__}: {text}"[:300]


def shown(row: Row, line: Line, measured: Measured) -> dict[str, Any]:
    """Return one line of the table as data."""
    return {**_static(row, line), **asdict(measured), "verdict": str(verdict(measured, line.goal)), "error": ""}


def unmeasured(row: Row, line: Line, error: str = "") -> dict[str, Any]:
    """Return the line of a row that failed or was not run."""
    return {**_static(row, line), "verdict": str(Verdict.ERROR if error else Verdict.NOT_RUN), "error": error}


def _static(row: Row, line: Line) -> dict[str, Any]:
    goal = None if line.goal is None else {"limit": line.goal.limit, "least": line.goal.least, "unit": line.goal.unit}
    return {"row": row.name, "key": line.key, "figure": line.figure, "under": line.floor, "goal": goal, "unit": str(line.unit)}


def chosen(names: Iterable[str]) -> list[Row]:
    """Return the rows of these names, all for none. KeyError for a name that no row has."""
    wanted = list(names)
    known = {row.name: row for row in ROWS}
    return [known[name] for name in wanted] if wanted else list(ROWS)


def main(order: Mapping[str, Any]) -> None:
    root = Path(order["root"]) / "stage"
    root.mkdir()
    effort = QUICK if order["quick"] else Effort()
    rows = chosen(order["rows"])
    progress = Progress(sum(row.seconds for row in rows), live=sys.stderr.isatty())
    stage = Stage(root, effort, random.Random(order["seed"]), progress.step)
    if not order["spoil"]:
        run(rows, stage, progress, Path(order["results"]))
        stage.close()
        return
    spoil(rows, stage, progress, Path(order["results"]))


def spoil(rows: Sequence[Row], stage: Stage, progress: Progress, results: Path) -> None:
    """Measure each row on subjects that do wrong what the row is there to find."""
    found: list[dict[str, Any]] = []
    for row in rows:
        stage.spoil = row.spoil
        run([row], stage, progress, results)
        found += json.loads(results.read_text())
        stage.close()
    results.write_text(json.dumps(found))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
