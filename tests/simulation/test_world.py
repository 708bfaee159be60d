"""Agents and service together: random commands, crashes and faults by seed; whatever is found is replayed by its seed.

By hand: ``make soak-sim``; docs/concepts/simulation.md tells how to read what it says.
"""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest

from tests.simulation.found import FOUND
from tests.simulation.runs import run, run_plan
from tests.simulation.seeds import first_seed
from tests.simulation.soak import Sum, replay_line, soak
from tests.simulation.steps import KINDS, Plan, of_seed
from tests.simulation.world import World

# Four times what the last of the deliberate defects needs that the state machine finds (docs/reference/mutants.md), and in each
# run of the whole tests others: ten changes of the product see 200,000. `make soak-sim` does 50,000 or as many as it is told.
STEPS = 20_000
# On a machine that does other things as well; alone it is half a minute.
PATIENCE_S = 1500


@cache
def all_steps() -> Sum:
    return soak(STEPS, first_seed(), 2)


@pytest.mark.integration
@pytest.mark.timeout(PATIENCE_S)
def test_every_invariant_holds_whatever_happens_in_twenty_thousand_steps() -> None:
    total = all_steps()

    broken = total.broken
    assert broken is None, f"{broken.broken}\nreplay: {replay_line(broken.seed, broken.steps)}"
    assert total.steps == STEPS


@pytest.mark.integration
@pytest.mark.timeout(PATIENCE_S)
def test_the_steps_reach_what_they_are_about() -> None:
    """A world in which everything is refused would keep every invariant, too."""
    counts = all_steps().counts

    for kind in KINDS:
        assert counts[f"step {kind}"] > 20, (kind, counts)
    for call in ("create", "mount", "unmount", "remove", "get", "list"):
        assert counts[f"{call} ok"] > 300, (call, counts)
        assert counts[f"{call} dead"] > 5, (call, counts)
    for change in ("CreateDisk", "CloneDisk", "AttachDisk", "DetachDisk", "DeleteDisk"):
        assert counts[change] > 50, (change, counts)
    # Each of them comes about seven times.
    assert counts["hostile attach volume-not-found"] + counts["hostile mark volume-not-found"] > 0, counts


def test_a_disk_is_taken_from_a_host_that_is_off_in_the_story_of_one() -> None:
    """It happens about once in twenty thousand steps: too seldom to be asked of these."""
    assert run_plan(Plan.read(FOUND["a-host-that-is-off"]))["left behind"] > 0


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(0, 30, 10))
def test_every_invariant_holds_with_the_first_seeds(first: int) -> None:
    counts = sum((run(seed) for seed in range(first, first + 10)), Counter[str]())

    assert counts["mount ok"] > 5, counts


@pytest.mark.parametrize("word", [pytest.param(word, id=story) for story, word in FOUND.items()])
def test_what_was_found_once_is_not_broken_any_more(word: str) -> None:
    run_plan(Plan.read(word))


def test_a_seed_replays_the_same_run() -> None:
    def lines(seed: int) -> list[str]:
        world = World(of_seed(seed, 30).setup)
        run(seed, 30, world)
        return world.lines

    assert lines(7) == lines(7)
