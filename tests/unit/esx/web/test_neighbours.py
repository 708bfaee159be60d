"""A crowd from one place waits for itself: the others have a turn whoever is there, and nobody is forgotten."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmdkvol_esx.web.neighbours import Neighbours


def test_of_a_crowd_a_few_have_a_turn_and_a_neighbour_of_nobody_has_one_at_once() -> None:
    turns = Neighbours[int](2)
    assert [turns.begin("crowd", number) for number in range(100)] == [True, True] + [False] * 98
    assert turns.begin("elsewhere", 100)
    assert sorted(turns.having()) == [0, 1, 100]


def test_who_waits_has_a_turn_in_its_order() -> None:
    turns = Neighbours[int](1)
    for number in range(4):
        turns.begin("crowd", number)
    assert [turns.end("crowd", 0), turns.end("crowd", 1)] == [1, 2]
    assert list(turns.waiting()) == [3]


def test_who_has_no_turn_ends_none() -> None:
    turns = Neighbours[int](1)
    turns.begin("crowd", 0)
    turns.begin("crowd", 1)
    assert turns.end("crowd", 1) is None
    assert turns.end("nowhere", 0) is None
    assert list(turns.having()) == [0]


def test_who_waits_longest_makes_room_and_who_has_a_turn_does_not() -> None:
    turns = Neighbours[int](1)
    for number in range(3):
        turns.begin("crowd", number)
    assert [turns.leaves("crowd"), turns.leaves("crowd")] == [1, 2]
    with pytest.raises(IndexError):
        turns.leaves("crowd")
    assert turns.end("crowd", 0) is None


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=60))
def test_everybody_has_one_turn_and_no_place_is_remembered_that_nobody_is_at(steps: list[tuple[str, bool]]) -> None:
    turns, came, had = Neighbours[int](2), 0, list[int]()
    having: dict[str, list[int]] = {"a": [], "b": []}
    for place, comes in steps:
        if comes:
            if turns.begin(place, came):
                having[place].append(came)
            came += 1
        elif having[place]:
            ended = having[place].pop(0)
            had.append(ended)
            following = turns.end(place, ended)
            having[place] += [] if following is None else [following]
        assert all(len(each) <= 2 for each in having.values())
    for place, each in having.items():
        while each:
            ended = each.pop(0)
            had.append(ended)
            following = turns.end(place, ended)
            each += [] if following is None else [following]
    assert sorted(had) == list(range(came))
    assert [*turns.having(), *turns.waiting()] == []
