"""What a run leaves in the tree: its data, the picture, and the pages that are made from the data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.bench.inside import ROWS
from tests.bench.page import SMOKE, how, markdown, summary
from tests.bench.picture import picture
from tests.bench.told import machine_text

ROOT = Path(__file__).parents[2]
DATA = ROOT / "docs" / "reference" / "bench.json"
PICTURE = ROOT / "docs" / "bench.svg"


def last_run() -> dict[str, Any]:
    """Return the data that the pages are made from."""
    run: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8"))
    return run


def keep(run: Mapping[str, Any]) -> None:
    """Write data and picture; ``tests.reference`` makes the pages from the data."""
    DATA.write_text(json.dumps(run, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    PICTURE.write_text(picture(ROWS, run), encoding="utf-8")


def renew(run: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the lines that ``run`` measured in the place of its own; each says that it is of another run.

    A row that failed takes no figure away.
    """
    loads = f"{run['load_before'][0]} to {run['load_after'][0]}"
    apart = f"taken in a run of its own on {run['date']}, load {loads}"
    taken = [line for line in run["lines"] if "value" in line]
    new = {line["key"]: {**line, "notes": "; ".join(filter(None, (line["notes"], apart)))} for line in taken}
    old = [new.pop(line["key"], line) for line in base["lines"]]
    return {**base, "lines": [*old, *new.values()]}


def table() -> str:
    """Return the made part of docs/reference/bench.md that holds the figures."""
    return markdown(ROWS, last_run())


def methods() -> str:
    """Return the made part of docs/reference/bench.md that says how each row is measured."""
    return how(ROWS)


def paragraph() -> str:
    """Return the README's words under the picture."""
    run = last_run()
    loads = [" ".join(map(str, run[when])) for when in ("load_before", "load_after")]
    smoke = f"{SMOKE} " if run["quick"] else ""
    return f"{smoke}Taken on {machine_text(run)}, load average {loads[0]} before and {loads[1]} after. {summary(ROWS, run)}\n"


if __name__ == "__main__":
    keep(last_run())
