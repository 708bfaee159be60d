"""Put each deliberate defect into a copy of the product and see who finds it: ``python -m tests.mutants [NAME ...]``.

Exit 1 when one survives, or when the state machine misses more than one in twenty of those that are its to find. Without a
name the whole list is tried, and what came out is kept for ``docs/reference/mutants.md``; with ``--keep`` also that of some,
beside what is known of the others.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from tests.mutants.listed import MUTANTS, Results, beside, failures, read, write
from tests.mutants.mutant import ROOT, Mutant
from tests.mutants.trial import Outcome, TrialFailed, tried

# What the state machine does for each defect before the named tests are asked.
STEPS = 8_000

Trial = Callable[[Mutant, Path, int], Outcome]


def main(
    arguments: Sequence[str] | None = None,
    mutants: Mapping[str, Mutant] = MUTANTS,
    trial: Trial = tried,
    keep: Callable[[Results], None] = write,
) -> int:
    """Try the mutants that are named, or all; see the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="defects to try; without one: all, and keep the result")
    parser.add_argument("--steps", type=int, default=STEPS, help="of the state machine, for each")
    parser.add_argument("--keep", action="store_true", help="keep the result of those that are named, too")
    asked = parser.parse_args(arguments)
    unknown = [name for name in asked.names if name not in mutants]
    if unknown:
        parser.error(f"there is no defect {', '.join(unknown)}; there are: {', '.join(mutants)}")
    commit = _commit()
    chosen = [mutants[name] for name in asked.names or mutants]
    outcomes = _all_tried(chosen, asked.steps, trial)
    wrong = failures(outcomes, mutants)
    for line in wrong:
        print(line)
    if asked.keep or not asked.names:
        date = time.strftime("%Y-%m-%d", time.gmtime())
        results = Results(date, commit, asked.steps, outcomes, {mutant.id: mutant.digest for mutant in chosen})
        keep(beside(read(), results, mutants) if asked.names else results)
    return 1 if wrong else 0


def _all_tried(mutants: Sequence[Mutant], steps: int, trial: Trial) -> dict[str, Outcome]:
    """Try one on each processor at a time; return the outcomes in the order of the list."""
    allowed = sorted(os.sched_getaffinity(0))
    processors: SimpleQueue[int] = SimpleQueue()
    for processor in allowed:
        processors.put(processor)

    def one(mutant: Mutant) -> Outcome:
        began, processor = time.monotonic(), processors.get()
        # Of this thread, and so of what it starts; the runs would all go to the first processor otherwise.
        os.sched_setaffinity(0, {processor})
        try:
            with tempfile.TemporaryDirectory(prefix="vmdkvol-mutant-") as folder:
                outcome = trial(mutant, Path(folder) / "tree", steps)
        except TrialFailed as error:
            # The others are tried all the same, and this one counts as a survivor.
            print(error, flush=True)
            outcome = Outcome(None)
        finally:
            processors.put(processor)
        print(f"{mutant.id}: {told(outcome)} ({time.monotonic() - began:.0f} s)", flush=True)
        return outcome

    with ThreadPoolExecutor(len(allowed)) as pool:
        outcomes: Iterable[Outcome] = pool.map(one, mutants)
        return {mutant.id: outcome for mutant, outcome in zip(mutants, outcomes, strict=True)}


def told(outcome: Outcome) -> str:
    """Return an outcome as a line's end."""
    if outcome.by is None:
        return "SURVIVED"
    steps = "" if outcome.steps is None else f" after {outcome.steps} steps"
    return f"{outcome.by}: {outcome.said}{steps}"


def _commit() -> str:
    """Return the commit of this tree, with a ``+`` if it has changes."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=True)
    changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


if __name__ == "__main__":
    sys.exit(main())
