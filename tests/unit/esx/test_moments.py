"""Each thing is told at its moment, at an earlier one if that was set before, and never once it is forgotten."""

from __future__ import annotations

from vmdkvol_esx.moments import Moments


def test_each_is_told_once_when_its_moment_has_come() -> None:
    moments: Moments[str] = Moments()
    moments.set("late", 3.0)
    moments.set("early", 1.0)
    assert moments.next == 1.0
    assert moments.due(0.9) == []
    assert moments.due(1.0) == ["early"]
    assert moments.due(5.0) == ["late"]
    assert moments.due(9.0) == []


def test_an_earlier_moment_counts_and_a_later_one_does_not() -> None:
    moments: Moments[str] = Moments()
    for moment in (5.0, 2.0, 7.0):
        moments.set("thing", moment)
    assert moments.due(2.0) == ["thing"]
    assert moments.due(9.0) == []


def test_a_moment_may_be_set_again_when_it_has_come() -> None:
    moments: Moments[str] = Moments()
    moments.set("thing", 5.0)
    moments.set("thing", 2.0)
    moments.due(2.0)
    moments.set("thing", 3.0)
    assert moments.due(5.0) == ["thing"]


def test_what_is_forgotten_is_not_told() -> None:
    moments: Moments[str] = Moments()
    moments.set("thing", 1.0)
    moments.forget("thing")
    moments.forget("another")
    assert moments.due(9.0) == []


def test_no_moment_is_no_moment() -> None:
    moments: Moments[str] = Moments()
    moments.set("thing", None)
    assert (moments.next, moments.due(9.0)) == (None, [])


def test_things_of_the_same_moment_come_in_the_order_in_which_they_were_set() -> None:
    moments: Moments[object] = Moments()
    things = [object() for _ in range(3)]
    for thing in things:
        moments.set(thing, 1.0)
    assert moments.due(1.0) == things
