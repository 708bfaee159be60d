"""Who may have a connection: the proven their share, the unproven little, and these make room for each other (T7)."""

from __future__ import annotations

import pytest

from tests.doubles.hand_clock import HandClock
from vmdkvol.errors import Busy
from vmdkvol_esx.entrance import (
    _SOURCES_KEPT,
    BURST,
    MAX_CONNECTIONS,
    RATE,
    SHAKING,
    SHAKING_ALONE,
    SHAKING_EACH,
    STRANGERS_EACH,
    Entrance,
)


@pytest.fixture
def clock() -> HandClock:
    return HandClock(monotonic=1000.0)


@pytest.fixture
def entrance(clock: HandClock) -> Entrance[str]:
    return Entrance(clock)


def admitted(entrance: Entrance[str], source: str, most: int = 1000) -> int:
    """Return how many connections ``source`` may open at this moment."""
    for number in range(most):
        try:
            entrance.knock(source)
        except Busy:
            return number
    return most


def test_a_source_may_open_many_at_once_and_then_a_few_a_second(entrance: Entrance[str], clock: HandClock) -> None:
    assert admitted(entrance, "a") == BURST
    clock.pass_time(1.0)
    assert admitted(entrance, "a") == RATE


def test_what_a_source_was_refused_costs_it_nothing(entrance: Entrance[str], clock: HandClock) -> None:
    for _ in range(10):
        admitted(entrance, "a")
    clock.pass_time(BURST / RATE)
    assert admitted(entrance, "a") == BURST


def test_another_source_has_its_own_number(entrance: Entrance[str]) -> None:
    admitted(entrance, "a")
    assert admitted(entrance, "b") == BURST


def test_the_oldest_handshake_of_a_source_goes_for_its_next(entrance: Entrance[str]) -> None:
    for number in range(SHAKING_EACH):
        assert entrance.shake(f"a{number}", "a") is None
    assert entrance.shake("one more", "a") == "a0"


def test_one_that_left_makes_room(entrance: Entrance[str]) -> None:
    for number in range(SHAKING_EACH):
        entrance.shake(f"a{number}", "a")
    entrance.left("a3")
    assert entrance.shake("one more", "a") is None


def test_one_whose_handshake_is_over_makes_room(entrance: Entrance[str]) -> None:
    for number in range(SHAKING_EACH):
        entrance.shake(f"a{number}", "a")
    entrance.proven("a0", "certificate")
    entrance.stranger("a1", "a")
    assert entrance.shake("one more", "a") is None
    assert entrance.shake("and one more", "a") is None
    assert entrance.shake("too many", "a") == "a2"


def test_with_all_places_taken_one_of_the_greediest_goes(entrance: Entrance[str]) -> None:
    sources = SHAKING // SHAKING_EACH
    for source in range(sources - 1):
        for number in range(SHAKING_EACH):
            entrance.shake(f"{source}.{number}", str(source))
    for number in range(SHAKING_EACH):
        entrance.shake(f"single {number}", f"single {number}")
    assert entrance.shake("new", "new") == "0.0"


def test_those_who_are_alone_at_their_source_do_not_push_each_other_out(entrance: Entrance[str]) -> None:
    for number in range(SHAKING_ALONE):
        assert entrance.shake(f"agent {number}", f"host {number}") is None
    assert entrance.shake("one more", "one more") == "agent 0"


def test_a_share_that_is_full_takes_no_more_until_one_leaves(entrance: Entrance[str]) -> None:
    for number in range(MAX_CONNECTIONS):
        entrance.proven(str(number), "vm")
    with pytest.raises(Busy):
        entrance.proven("one more", "vm")
    entrance.left("one more")
    entrance.left("0")
    entrance.proven("again", "vm")


def test_strangers_do_not_count_as_handshakes(entrance: Entrance[str]) -> None:
    for number in range(STRANGERS_EACH):
        assert entrance.stranger(str(number), "a") is None
    assert entrance.shake("b", "a") is None
    assert entrance.stranger("one more", "a") == "0"


def test_a_stranger_that_left_makes_room(entrance: Entrance[str]) -> None:
    for number in range(STRANGERS_EACH):
        entrance.stranger(str(number), "a")
    entrance.left("2")
    assert entrance.stranger("one more", "a") is None


def test_who_leaves_twice_leaves_once(entrance: Entrance[str]) -> None:
    entrance.proven("x", "vm")
    entrance.proven("y", "vm")
    entrance.left("x")
    entrance.left("x")
    for number in range(MAX_CONNECTIONS - 1):
        entrance.proven(str(number), "vm")
    with pytest.raises(Busy):
        entrance.proven("one more", "vm")


def test_sources_that_come_and_go_do_not_fill_the_memory(entrance: Entrance[str]) -> None:
    for number in range(2 * _SOURCES_KEPT):
        entrance.knock(f"host {number}")
        entrance.shake("somebody", f"host {number}")
        entrance.stranger("somebody", f"host {number}")
        entrance.proven("somebody", f"vm {number}")
        entrance.left("somebody")
    assert len(entrance._paid) <= _SOURCES_KEPT
    assert (entrance._shaking._by_source, entrance._strangers._by_source) == ({}, {})
    assert (entrance._shares, dict(entrance._counts)) == ({}, {})
