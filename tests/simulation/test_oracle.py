"""What the product stands on, broken in the doubles one by one: it is found. Defects of the product itself: tests/mutants."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulation.runs import Broken, run_plan
from tests.simulation.steps import of_seed
from tests.simulation.world import World


def no_syncs(world: World) -> None:
    for host in world.hosts:
        host.guest.syncs = False


def no_flush_after_mkfs(world: World) -> None:
    for host in world.hosts:
        host.guest.flushes = False


def forgetful_notebooks(world: World) -> None:
    for host in world.hosts:
        host.notebook.durable = False


def half_sidecars(world: World) -> None:
    world.datacenter.whole_sidecars = False


# A port that breaks its promise is a finding, too. Whether the adapters keep these is for the contract tests, and for those
# that watch their system calls.
PROMISES = [
    pytest.param(no_syncs, ("I1",), id="an-unmount-and-an-fsync-that-sync-nothing"),
    pytest.param(no_flush_after_mkfs, ("I1",), id="a-mkfs-that-is-not-flushed"),
    pytest.param(forgetful_notebooks, ("I2", "I6", "I1"), id="a-notebook-that-forgets-its-last-note"),
    pytest.param(half_sidecars, ("MetadataDamaged", "I1", "a thread"), id="a-sidecar-that-is-half-written"),
]


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("breaks", "rules"), PROMISES)
def test_a_promise_of_a_port_that_is_broken_is_found(breaks: Callable[[World], None], rules: tuple[str, ...]) -> None:
    said = ""
    for number in range(200):
        plan = of_seed(number, 60)
        world = World(plan.setup)
        breaks(world)
        try:
            run_plan(plan, world)
        except Broken as broken:
            said = str(broken).partition("\n")[0]
            break

    assert said.startswith(rules), said or "nothing was found"
