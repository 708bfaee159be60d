"""`make bench`: the table of figures, each beside its floor in the same run, in a machine of its own inside this one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests import reference
from tests.bench import machine_facts, written
from tests.bench.figures import Verdict
from tests.bench.inside import ROWS
from tests.bench.page import terminal
from tests.bench.stage import ENGINES
from tests.bench.told import Told, told
from tests.integration.engine import loops
from tests.integration.engine.engine import Engine
from tests.integration.engine.machine import Machine

ROOT = Path(__file__).parents[2]


def measured(options: Namespace, seed: int) -> list[dict[str, Any]]:
    """Run the rows in a machine that ends with this call; return their lines as far as they came."""
    with tempfile.TemporaryDirectory(prefix="vmdkvol-bench-") as directory:
        root = Path(directory)
        # The engine's containers pass through it.
        root.chmod(0o711)
        results = root / "results.json"
        order = {"root": directory, "results": str(results), "rows": options.rows, "seed": seed}
        order |= {"quick": options.quick, "spoil": options.spoil}
        with Machine(root) as machine:
            for name in ENGINES:
                # Made for its end alone: it forgets the control groups of the engine of that name.
                Engine(machine, name)
            path = ":".join(str(ROOT / part) for part in ("", "guest-agent", "esx-service"))
            command = machine.inside([sys.executable, "-m", "tests.bench.inside", json.dumps(order)])
            subprocess.run(command, check=False, env=_environment(root, path), stdin=subprocess.DEVNULL)
            errors = root / "stage" / "errors"
            if errors.exists():
                sys.stderr.write(errors.read_text())
        assert loops.under(root) == {}
        found: list[dict[str, Any]] = json.loads(results.read_text()) if results.exists() else []
        return found


def _environment(root: Path, path: str) -> dict[str, str]:
    """Byte code is kept, in a place of the run's own: an installed product has it, and so have the floors' libraries."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": path, "PYTHONPYCACHEPREFIX": str(root / "bytecode")}


def take(options: Namespace) -> dict[str, Any]:
    """Return the figures with the machine that they were taken on."""
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    before, began = machine_facts.load(), time.monotonic()
    taken_at = time.strftime("%Y-%m-%d", time.gmtime())
    lines = measured(options, seed)
    return {
        "date": taken_at,
        "quick": options.quick,
        "seed": seed,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "machine": machine_facts.facts(),
        "load_before": before,
        "load_after": machine_facts.load(),
        "lines": lines,
    }


def arguments(argv: Sequence[str]) -> Namespace:
    parser = ArgumentParser(prog="python -m tests.bench", description=__doc__)
    names = [row.name for row in ROWS]
    parser.add_argument("--json", action="store_true", help="print the figures as data")
    parser.add_argument("--rows", type=lambda text: text.split(","), default=[], help=f"only these: {','.join(names)}")
    parser.add_argument("--quick", action="store_true", help="a smoke run: too short for any figure to mean something")
    parser.add_argument("--strict", action="store_true", help="end with 1 if a goal is missed, or a row failed")
    parser.add_argument("--spoil", action="store_true", help="subjects that do wrong what each row is there to find")
    parser.add_argument(
        "--renew", action="store_true", help="with --rows: put them into the pages, the others stay as they are"
    )
    parser.add_argument("--seed", type=int, help="the order of the sides in each round")
    options = parser.parse_args(argv)
    unknown = sorted(set(options.rows) - set(names))
    if unknown:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(names)}")
    if options.renew and (options.quick or options.spoil or not options.rows):
        parser.error("--renew is for whole measurements of some rows")
    return options


def caught(run: dict[str, Any]) -> dict[str, bool]:
    """Return for each line that a spoiled subject must fail whether it did. How the floor behaved is not asked here."""
    wanted = {key for row in ROWS for key in row.caught}
    return {each.line.key: _missed(each) for each in told(ROWS, run) if each.line.key in wanted}


def _missed(each: Told) -> bool:
    measured, goal = each.measured, each.line.goal
    return measured is not None and goal is not None and not goal.met(measured.value)


def main(argv: Sequence[str]) -> int:
    options = arguments(argv)
    # Told to end, it still lets go of its loop devices: they are part of no namespace.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    run = take(options)
    rows = [row for row in ROWS if not options.rows or row.name in options.rows]
    print(json.dumps(run, indent=1) if options.json else terminal(rows, run))
    if options.spoil:
        names = {key for row in rows for key in row.caught}
        missed = sorted(key for key, was_caught in caught(run).items() if key in names and not was_caught)
        print(f"spoiled subjects that were not found: {', '.join(missed) or 'none'}", file=sys.stderr)
        return 1 if missed else 0
    if options.renew or not (options.quick or options.rows):
        written.keep(written.renew(run, written.last_run()) if options.renew else run)
        # Its words go where a person reads them: the output may be data.
        reference.fill_pages()
        print(f"written: {written.PICTURE}, docs/reference/bench.md, README.md", file=sys.stderr)
    bad = [each for each in told(rows, run) if each.verdict in (Verdict.NOT_MET, Verdict.ERROR, Verdict.NOT_RUN)]
    return 1 if options.strict and bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
