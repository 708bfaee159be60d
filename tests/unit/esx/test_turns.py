"""T7: a machine that sends many changes waits for itself; one that is alone, or sends few, does not wait."""

from __future__ import annotations

import pytest

from tests.doubles.hand_clock import HandClock
from tests.doubles.simulated_clock import SimulatedClock
from vmdkvol_esx.turns import BURST, DEBT_S, PRESENT_S, RATE, Turns

A, B = "a", "b"


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def turns(clock: HandClock) -> Turns:
    return Turns(clock)


def waits(turns: Turns, machine: str, count: int) -> list[float]:
    """Return how long each of so many changes waits that come at once."""
    return [turns.wait_s(machine, turns.came(machine)) for _ in range(count)]


def test_a_machine_that_is_alone_never_waits(turns: Turns) -> None:
    assert set(waits(turns, A, 10_000)) == {0.0}


def test_beside_others_a_burst_goes_at_once_and_the_rest_one_by_one(turns: Turns) -> None:
    turns.came(B)
    found = waits(turns, A, BURST + 3)
    assert set(found[: BURST + 1]) == {0.0}
    assert found[BURST + 1 :] == pytest.approx([1 / RATE, 2 / RATE])


def test_who_sends_little_does_not_wait_for_who_sends_much(turns: Turns) -> None:
    waits(turns, A, 10_000)
    assert waits(turns, B, 20) == [0.0] * 20


def test_a_flood_is_held_back_from_the_moment_that_another_machine_comes(turns: Turns) -> None:
    waits(turns, A, 10_000)
    turns.came(B)
    assert waits(turns, A, 1)[0] == pytest.approx(DEBT_S)


def test_nobody_falls_further_behind_than_the_debt(turns: Turns) -> None:
    turns.came(B)
    assert max(waits(turns, A, 10_000)) == pytest.approx(DEBT_S)


def test_a_machine_that_was_quiet_has_its_burst_again(turns: Turns, clock: HandClock) -> None:
    waits(turns, A, 10_000)
    clock.pass_time(BURST / RATE + DEBT_S)
    turns.came(B)
    assert set(waits(turns, A, BURST)) == {0.0}


def test_a_machine_that_has_sent_nothing_for_a_while_holds_nobody_back(turns: Turns, clock: HandClock) -> None:
    turns.came(B)
    clock.pass_time(PRESENT_S)
    assert set(waits(turns, A, 10_000)) == {0.0}


def test_in_the_long_run_a_flood_gets_its_rate_and_not_more() -> None:
    """Sixty callers that each send the next change when the one before is done, beside a machine that sends one a second."""
    with SimulatedClock(5) as clock:
        turns, done = Turns(clock), [0]

        def one_after_the_other() -> None:
            while clock.monotonic() < 120.0:
                clock.sleep(turns.wait_s(A, turns.came(A)) + 0.001)
                done[0] += 1

        for _ in range(60):
            clock.start("caller", one_after_the_other)
        while clock.monotonic() < 20.0:
            turns.came(B)
            clock.sleep(1.0)
        before, longest = done[0], 0.0
        while clock.monotonic() < 60.0:
            longest = max(longest, turns.wait_s(B, turns.came(B)))
            clock.sleep(1.0)
        assert done[0] - before <= 40.0 * RATE * 1.05
        assert longest == 0.0
