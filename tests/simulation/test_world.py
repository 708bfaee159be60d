"""Agents and service together: random commands, crashes and faults by seed; whatever is found is replayed by its seed.

More seeds: ``VMDKVOL_SEEDS=FIRST:COUNT pytest tests/simulation/test_world.py``, or ``python -m tests.simulation.runs``.
"""

from __future__ import annotations

import os
from collections import Counter
from functools import cache

import pytest

from tests.simulation.runs import run
from tests.simulation.steps import of_seed
from tests.simulation.world import World

FIRST, COUNT = (int(number) for number in os.environ.get("VMDKVOL_SEEDS", "0:200").split(":"))
CHUNK = 10


@cache
def counted(first: int) -> Counter[str]:
    counts: Counter[str] = Counter()
    for seed in range(first, min(first + CHUNK, FIRST + COUNT)):
        counts += run(seed)
    return counts


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(FIRST, FIRST + COUNT, CHUNK))
def test_every_invariant_holds_whatever_happens(first: int) -> None:
    counted(first)


@pytest.mark.timeout(600)
def test_the_runs_reach_what_they_are_about() -> None:
    """A world in which everything is refused would keep every invariant, too."""
    counts = sum((counted(first) for first in range(FIRST, FIRST + min(COUNT, 50), CHUNK)), Counter[str]())

    for what in ("create ok", "mount ok", "unmount ok", "remove ok", "get ok", "list ok", "mount dead", "create dead"):
        assert counts[what] > 1, counts
    for what in ("CreateDisk", "CloneDisk", "AttachDisk", "DetachDisk", "DeleteDisk"):
        assert counts[what] > 1, counts


def test_a_seed_replays_the_same_run() -> None:
    def lines(seed: int) -> list[str]:
        world = World(of_seed(seed, 30).setup)
        run(seed, 30, world)
        return world.lines

    assert lines(7) == lines(7)
