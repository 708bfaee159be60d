"""When a login is tried, and when it waits."""

from __future__ import annotations

import pytest

from vmdkvol_esx.vsphere.relogin import FAILED_S, REFUSED_S, Advice, Tries, advise, failed, succeeded


@pytest.mark.parametrize(
    ("tries", "seen", "now", "advice"),
    [
        pytest.param(Tries(), 0, 0.0, Advice.LOG_IN, id="the-first"),
        pytest.param(Tries(3), 0, 0.0, Advice.USE, id="a-new-caller"),
        pytest.param(Tries(3), 2, 0.0, Advice.USE, id="somebody-was-faster"),
        pytest.param(Tries(3), 3, 0.0, Advice.LOG_IN, id="this-one-has-ended"),
        pytest.param(Tries(3, under_way=True), 3, 0.0, Advice.JOIN, id="under-way"),
        pytest.param(Tries(3, held_until=10.0), 3, 9.9, Advice.HOLD, id="held"),
        pytest.param(Tries(3, held_until=10.0), 3, 10.0, Advice.LOG_IN, id="held-no-longer"),
        pytest.param(Tries(3, held_until=10.0), 2, 9.0, Advice.USE, id="a-session-that-holds-needs-no-login"),
    ],
)
def test_what_a_caller_does(tries: Tries, seen: int, now: float, advice: Advice) -> None:
    assert advise(tries, seen, now) is advice


def test_after_a_password_was_refused_the_next_try_is_30_s_away() -> None:
    after = failed(Tries(1, under_way=True), 100.0, asked=True)

    assert advise(after, 1, 100.0 + REFUSED_S - 0.1) is Advice.HOLD
    assert advise(after, 1, 100.0 + REFUSED_S) is Advice.LOG_IN


def test_a_try_that_sent_no_password_is_followed_by_one_soon() -> None:
    after = failed(Tries(1, under_way=True), 100.0, asked=False)

    assert advise(after, 1, 100.0 + FAILED_S) is Advice.LOG_IN


def test_a_login_ends_what_was_held() -> None:
    assert succeeded(failed(Tries(1), 100.0, asked=True)) == Tries(2)
