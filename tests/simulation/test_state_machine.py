"""Hypothesis draws the setup and the steps, and shrinks what it finds: fewer steps, simpler values, calmer schedules.

It is the way to a short story; the many steps are those of ``soak``, which costs nothing but the steps themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, seed, settings
from hypothesis import strategies as st

from tests.simulation.runs import Broken, run_plan
from tests.simulation.seeds import first_seed
from tests.simulation.soak import replay_word
from tests.simulation.steps import KINDS, PAUSES, SETUPS, Plan, Setup, Step, of_seed, smaller

FAULTS = sorted(name for name, kind in KINDS.items() if kind.fault)
# As often as it comes in ``soak``, roughly; without a strategy of its own for each weight.
USERS = [name for name, kind in KINDS.items() if not kind.fault for _ in range(1 + kind.weight // 4)]
MOST = 40


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """A plan; few kinds of trouble in each, so that what goes wrong together meets more than once."""
    setup = Setup(**{name: draw(st.sampled_from(table)) for name, table in SETUPS.items()}, number=draw(st.integers(0, 255)))
    troubles = draw(st.lists(st.sampled_from(FAULTS), max_size=6, unique=True))
    kinds = st.sampled_from(USERS + 2 * troubles)
    return Plan(setup, tuple(draw(st.lists(kinds.flatmap(steps), min_size=1, max_size=MOST))))


def steps(kind: str) -> st.SearchStrategy[Step]:
    values = st.tuples(*(st.sampled_from(table) for table in KINDS[kind].values.values()))
    return st.builds(Step, st.just(kind), values, st.sampled_from(PAUSES), st.integers(0, 4095))


def run_noted(plan: Plan) -> Counter[str]:
    note(str(plan))
    note(f"replay: {replay_word(plan)}")
    return run_plan(plan)


# No database and no deadline: the seed is the change's own, and a loaded machine is no finding.
@seed(first_seed())
@settings(
    max_examples=120,
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
@given(plans())
@pytest.mark.timeout(900)
def test_nothing_that_is_drawn_breaks_an_invariant(plan: Plan) -> None:
    run_noted(plan)


def lost_and_found() -> Plan:
    """Twenty steps of which three matter to the check below."""
    return of_seed(11, 20)


def needs(kinds: Sequence[str]) -> Any:
    """Return a check that is broken by every plan that has these kinds of step, in this order."""

    def broken(plan: Plan) -> bool:
        rest = iter(step.kind for step in plan.steps)
        return all(kind in rest for kind in kinds)

    return broken


def test_a_plan_that_broke_something_is_made_as_small_as_it_goes() -> None:
    plan = lost_and_found()
    kinds = [plan.steps[3].kind, plan.steps[9].kind, plan.steps[15].kind]

    found = smaller(plan, needs(kinds))

    assert [step.kind for step in found.steps] == kinds
    assert {step.schedule for step in found.steps} == {0}
    assert {step.pause_s for step in found.steps} == {0.0}
    assert found.setup == Setup(number=plan.setup.number)


def test_a_plan_is_read_back_from_its_word() -> None:
    for number in range(20):
        plan = of_seed(number, 60)
        assert Plan.read(plan.blob()) == plan


def test_the_first_steps_of_a_seed_do_not_depend_on_how_many_follow() -> None:
    assert of_seed(5, 60).steps[:20] == of_seed(5, 20).steps


def test_every_kind_of_step_is_drawn_and_done() -> None:
    """A step that nobody can do would be an error in each run that has it; one that is never drawn would be none."""
    counts = sum((Counter(step.kind for step in of_seed(number, 60).steps) for number in range(200)), Counter[str]())
    assert set(counts) == set(KINDS)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_step_can_be_done_in_an_empty_world(kind: str) -> None:
    simplest = tuple(table[0] for table in KINDS[kind].values.values())
    try:
        counts = run_plan(Plan(Setup(hosts=3, strangers=True), (Step(kind, simplest),)))
    except Broken as broken:
        pytest.fail(str(broken))
    assert counts[f"step {kind}"] == 1
