"""Who uses more than its share of the one thread waits for it, beside others; who is alone, or uses little, never does (T7)."""

from __future__ import annotations

import pytest

from vmdkvol_esx.shares import _KEPT, BURST_S, DEBT_S, PRESENT_S, SHARE, Shares

NOW = 1000.0


def flooded(shares: Shares, seconds: float, now: float = NOW) -> None:
    for _ in range(round(seconds / 0.001)):
        shares.used("flooder", 0.001, now)


@pytest.fixture
def shares() -> Shares:
    made = Shares()
    made.used("other", 0.0001, NOW)
    return made


def test_who_is_alone_is_never_held_back() -> None:
    shares = Shares()
    flooded(shares, 10.0)
    assert shares.rest_s("flooder", NOW) == 0.0


def test_a_burst_is_not_held_back(shares: Shares) -> None:
    flooded(shares, BURST_S - 0.01)
    assert shares.rest_s("flooder", NOW) == 0.0


def test_what_goes_beyond_the_burst_is_waited_for(shares: Shares) -> None:
    flooded(shares, BURST_S + 0.01)
    assert shares.rest_s("flooder", NOW) == pytest.approx(0.01 / SHARE)


def test_the_others_do_not_wait(shares: Shares) -> None:
    flooded(shares, 10.0)
    assert shares.rest_s("other", NOW) == 0.0
    assert shares.rest_s("somebody new", NOW) == 0.0


def test_after_the_rest_it_goes_on_at_its_share(shares: Shares) -> None:
    flooded(shares, BURST_S + 0.01)
    later = NOW + 0.01 / SHARE
    shares.used("other", 0.0001, later)
    assert shares.rest_s("flooder", later + 0.001) == 0.0
    shares.used("flooder", 0.001, later)
    assert shares.rest_s("flooder", later) == pytest.approx(0.001 / SHARE)


def test_what_it_used_while_it_was_alone_holds_it_back_for_a_short_time_only(shares: Shares) -> None:
    flooded(shares, 1000.0)
    assert shares.rest_s("flooder", NOW) == pytest.approx(DEBT_S)


def test_a_long_rest_saves_up_no_more_than_a_burst(shares: Shares) -> None:
    shares.used("flooder", 0.001, NOW)
    later = NOW + 3600.0
    shares.used("other", 0.0001, later)
    flooded(shares, BURST_S + 0.01, later)
    assert shares.rest_s("flooder", later) == pytest.approx(0.01 / SHARE)


def test_somebody_who_was_there_long_ago_does_not_count(shares: Shares) -> None:
    flooded(shares, 1.0, NOW + PRESENT_S + 1.0)
    assert shares.rest_s("flooder", NOW + PRESENT_S + 1.0) == 0.0


def test_machines_that_come_and_go_do_not_fill_the_memory(shares: Shares) -> None:
    for number in range(2 * _KEPT):
        shares.used(f"host {number}", 0.0001, NOW)
    assert len(shares._accounts) <= _KEPT


def test_who_used_some_last_is_not_forgotten_for_the_many_that_come(shares: Shares) -> None:
    flooded(shares, 1.0)
    for number in range(2 * _KEPT):
        shares.used(f"host {number}", 0.0001, NOW)
        shares.used("flooder", 0.0001, NOW)
    assert shares.rest_s("flooder", NOW) > 0.0
