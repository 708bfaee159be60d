"""Many runs on some processes: ``python -m tests.simulation.soak STEPS [--first SEED] [--processes N] [--shrink]``.

Exit 1 and the line that replays it when something is broken; the first one found ends it. Progress is told on stderr,
the sum on stdout. ``--replay WORD`` runs one plan, as a shrunk one or Hypothesis prints it, and tells all that happens.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import queue
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.queues import Queue

from tests.simulation.runs import Broken, run, run_plan
from tests.simulation.steps import Plan, of_seed, smaller
from tests.simulation.world import World

# Steps of one run: long enough for faults to meet, short enough that what was found can be read.
STEPS = 60
# After so many seconds without a run that ended a process hangs or was killed.
SILENCE_S = 600.0
_TOLD_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Ran:
    """One run. ``broken`` is what was found, empty for nothing."""

    seed: int
    steps: int
    seconds: float
    counts: Counter[str]
    broken: str = ""


@dataclass(slots=True)
class Sum:
    """What all runs did together."""

    runs: int = 0
    steps: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    slowest: Ran | None = None
    broken: Ran | None = None

    def add(self, ran: Ran) -> None:
        self.runs += 1
        self.steps += ran.steps
        self.counts += ran.counts
        if self.slowest is None or ran.seconds > self.slowest.seconds:
            self.slowest = ran
        if ran.broken and (self.broken is None or ran.seed < self.broken.seed):
            self.broken = ran


def one(seed: int, steps: int) -> Ran:
    """Run one seed."""
    began = time.monotonic()
    try:
        counts, broken = run(seed, steps), ""
    except Broken as found:
        counts, broken = Counter[str](), str(found)
    return Ran(seed, steps, time.monotonic() - began, counts, broken)


Runner = Callable[[int, int], Ran]


def replay_word(plan: Plan) -> str:
    """Return the command that runs this plan again."""
    return f"python -m tests.simulation.soak --replay {plan.blob()}"


def breaks(plan: Plan) -> str:
    """Return what the plan breaks first, in one line; empty if nothing."""
    try:
        run_plan(plan)
    except Broken as found:
        return str(found).partition("\n")[0]
    return ""


def shrink(seed: int, steps: int) -> tuple[Plan, str]:
    """Return the smallest plan that breaks the same rule as this run, and what it breaks."""
    plan = of_seed(seed, steps)
    rule = breaks(plan).partition(" ")[0]
    found = smaller(plan, lambda tried: bool(rule) and breaks(tried).partition(" ")[0] == rule)
    return found, breaks(found)


def replay(word: str) -> int:
    """Run one plan and tell everything."""
    plan = Plan.read(word)
    world = World(plan.setup)
    print(plan)
    try:
        run_plan(plan, world)
        broken = ""
    except Broken as found:
        broken = str(found).partition("\n")[0]
    print("\n".join(world.lines))
    print(f"broken: {broken}" if broken else "nothing is broken")
    return 1 if broken else 0


def replay_line(seed: int, steps: int) -> str:
    """Return the command that does this run again."""
    return f"python -m tests.simulation.soak {steps} --first {seed} --processes 1"


def _work(number: int, jobs: Sequence[tuple[int, int]], runner: Runner, results: Queue[Ran]) -> None:
    allowed = sorted(os.sched_getaffinity(0))
    # One thread runs at a time anyway; handing over to another processor takes twice as long.
    os.sched_setaffinity(0, {allowed[number % len(allowed)]})
    for seed, steps in jobs:
        results.put(runner(seed, steps))


def soak(steps: int, first: int, processes: int, runner: Runner = one) -> Sum:
    """Do runs from the seed ``first`` on until ``steps`` steps are done or something is broken."""
    jobs = [(first + done // STEPS, min(STEPS, steps - done)) for done in range(0, steps, STEPS)]
    context = multiprocessing.get_context("fork")
    results: Queue[Ran] = context.Queue()
    workers = [
        context.Process(target=_work, args=(number, jobs[number::processes], runner, results), daemon=True)
        for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    try:
        return _collect(len(jobs), results)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _collect(count: int, results: Queue[Ran]) -> Sum:
    total = Sum()
    began = told = time.monotonic()
    while total.runs < count and total.broken is None:
        try:
            total.add(results.get(timeout=SILENCE_S))
        except queue.Empty:
            total.broken = Ran(-1, 0, SILENCE_S, Counter(), f"no run has ended for {SILENCE_S:g} s")
        now = time.monotonic()
        if now - told > _TOLD_EVERY_S:
            told = now
            rate = total.steps / (now - began)
            print(f"soak: {total.runs} of {count} runs, {total.steps} steps, {rate:.0f} a second", file=sys.stderr, flush=True)
    return total


def main(arguments: Sequence[str] | None = None, runner: Runner = one) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.soak", description=__doc__)
    parser.add_argument("steps", type=int, nargs="?", default=50_000, help="how many steps in all")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first seed; the next ones follow it")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), metavar="N")
    parser.add_argument("--shrink", action="store_true", help="make what was found as small as it goes")
    parser.add_argument("--replay", metavar="WORD", help="run this one plan")
    asked = parser.parse_args(arguments)
    if asked.replay:
        return replay(asked.replay)
    began = time.monotonic()
    total = soak(asked.steps, asked.first, max(1, asked.processes), runner)
    seconds = time.monotonic() - began
    print(f"{total.steps} steps in {total.runs} runs from seed {asked.first}: {seconds:.1f} s on {asked.processes} processes")
    if total.slowest is not None:
        print(f"slowest run: seed {total.slowest.seed}, {total.slowest.seconds:.1f} s")
    for what, count in sorted(total.counts.items()):
        print(f"  {count:8} {what}")
    if total.broken is None:
        print("nothing is broken")
        return 0
    print(f"broken: {total.broken.broken}")
    print(f"replay: {replay_line(total.broken.seed, total.broken.steps)}")
    if asked.shrink:
        plan, found = shrink(total.broken.seed, total.broken.steps)
        print(f"shrunk to {len(plan.steps)} steps: {found}\n{plan}\nreplay: {replay_word(plan)}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
