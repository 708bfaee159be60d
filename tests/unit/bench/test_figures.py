"""What a measurement comes to: paired ratios, quartiles, dropped rounds, and when a line says nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.commits import as_rates
from tests.bench.figures import Goal, Measured, Round, Spread, Verdict, absolute, counted, kept, once, paired, spread, verdict

TIMES = st.floats(1e-6, 1e3)


def rounds(*triples: tuple[float, float, float]) -> list[Round]:
    return [Round(*triple) for triple in triples]


def test_quartiles_are_those_of_the_sample() -> None:
    assert spread([5, 1, 4, 2, 3]) == Spread(2, 3, 4)


def test_one_value_is_its_own_quartiles() -> None:
    assert spread([7.0]) == Spread(7, 7, 7)


@pytest.mark.parametrize("judge", [spread, paired])
def test_nothing_measured_is_an_error_and_no_figure(judge: object) -> None:
    assert callable(judge)
    with pytest.raises(ValueError, match="no "):
        judge([])


def test_a_ratio_is_taken_within_its_round() -> None:
    # The machine was twice as slow in the second round: the ratio does not see it, one of medians or sums would.
    measured = paired(rounds((2, 1, 1), (4, 2, 2), (2, 1, 1)))

    assert measured.ratio == Spread(2, 2, 2)
    assert measured.value == 2


def test_the_median_of_the_rounds_is_judged_not_their_mean() -> None:
    assert paired(rounds((1, 1, 1), (1, 1, 1), (100, 1, 1))).value == 1


def test_the_floor_is_compared_with_itself() -> None:
    assert paired(rounds((1, 1, 2), (1, 1, 2), (1, 1, 1))).same == 2


@pytest.mark.parametrize("odd", [(9.0, 3.01, 1.0), (9.0, 1.0, 3.01)])
def test_a_round_whose_floor_is_above_three_times_its_median_is_dropped_and_counted(odd: tuple[float, float, float]) -> None:
    measured = paired(rounds((2, 1, 1), (2, 1, 1), (2, 1, 1), odd))

    assert (measured.rounds, measured.dropped, measured.ratio) == (3, 1, Spread(2, 2, 2))


def test_a_slow_round_of_ours_is_never_dropped() -> None:
    assert len(kept(rounds((2, 1, 1), (50, 1, 1), (2, 1, 1)))) == 3


def test_a_floor_of_exactly_three_times_its_median_stays() -> None:
    assert len(kept(rounds((2, 1, 1), (2, 1, 1), (2, 3, 1)))) == 3


@given(st.lists(st.builds(Round, TIMES, TIMES, TIMES), min_size=1, max_size=30))
def test_every_round_is_used_or_counted_as_dropped(taken: list[Round]) -> None:
    used = kept(taken)
    if not used:
        return
    measured = paired(taken)

    assert measured.rounds + measured.dropped == len(taken)
    assert measured.ratio is not None
    assert measured.ratio.low <= measured.ratio.median <= measured.ratio.high


@pytest.mark.parametrize(
    ("same", "expected"),
    [(0.74, Verdict.VOID), (0.75, Verdict.MET), (1.0, Verdict.MET), (1.33, Verdict.MET), (1.34, Verdict.VOID)],
)
def test_a_floor_unlike_itself_makes_the_line_void_though_the_goal_is_met(same: float, expected: Verdict) -> None:
    assert verdict(Measured(value=1, ours=1, same=same), Goal(2)) is expected


def test_a_floor_unlike_itself_makes_the_line_void_though_the_goal_is_missed() -> None:
    assert verdict(Measured(value=5, ours=1, same=2.0), Goal(2)) is Verdict.VOID


def test_most_rounds_dropped_is_void() -> None:
    assert verdict(Measured(value=1, ours=1, same=1.0, rounds=4, dropped=5), Goal(2)) is Verdict.VOID


@pytest.mark.parametrize(
    ("goal", "value", "expected"),
    [
        (Goal(2), 2.0, Verdict.MET),
        (Goal(2), 2.01, Verdict.NOT_MET),
        (Goal(0.95, least=True), 0.95, Verdict.MET),
        (Goal(0.95, least=True), 0.94, Verdict.NOT_MET),
        (Goal(0), 0.0, Verdict.MET),
        (Goal(0), 1.0, Verdict.NOT_MET),
        (None, 99.0, Verdict.TOLD),
    ],
)
def test_the_goal_itself_is_met_and_one_step_beyond_is_not(goal: Goal | None, value: float, expected: Verdict) -> None:
    assert verdict(counted(value), goal) is expected


def test_bytes_are_judged_by_their_ratio() -> None:
    assert once(1, 50).value == 0.02


def test_an_absolute_goal_judges_ours_and_not_the_ratio() -> None:
    measured = absolute(rounds((0.5, 0.25, 0.25), (0.5, 0.25, 0.25)))

    assert (measured.value, measured.ratio) == (0.5, Spread(2, 2, 2))


def test_a_rate_is_the_inverse_of_its_time_and_twice_the_time_is_half_the_rate() -> None:
    measured = as_rates(paired(rounds((0.02, 0.01, 0.01), (0.02, 0.01, 0.01))))

    assert (measured.value, measured.ours, measured.floor) == (0.5, 50, 100)
    assert verdict(measured, Goal(0.95, least=True)) is Verdict.NOT_MET


@pytest.mark.parametrize(("goal", "value", "share"), [(Goal(2), 1, 0.5), (Goal(2), 4, 2), (Goal(0.5, least=True), 1, 0.5)])
def test_a_share_below_one_is_better_than_the_goal(goal: Goal, value: float, share: float) -> None:
    assert goal.share(value) == share
