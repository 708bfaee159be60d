"""The measurements themselves work: a figure for each side, and nothing left. What the figures are is not judged here."""

from __future__ import annotations

import pytest

from tests.measures.daemons import idle_pss, place, served, start_to_first_answer
from tests.measures.restarts import first_call_during_restart

pytestmark = pytest.mark.integration
MB = 1 << 20


def test_a_start_is_measured_beside_its_floor() -> None:
    ((agent, floor),) = start_to_first_answer()

    assert all(start.wall_s > 0 for start in (agent, floor))
    assert all(start.cpu_s > 0 for start in (agent, floor))


def test_the_memory_of_three_daemons_is_more_than_python_s_own() -> None:
    assert all(5 * MB < each < 500 * MB for each in idle_pss())


def test_a_daemon_that_answers_something_else_is_no_measurement() -> None:
    with place() as at, pytest.raises(AssertionError, match="404"), served([*at.floor()[:-1], "flask:Flask('other')"], at):
        pass


def test_the_wait_for_a_restart_is_measured() -> None:
    (wait_s,) = first_call_during_restart(1)

    assert wait_s > 0.02
