"""The picture of a run: well-formed, whole, and readable without colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.bench.figures import Goal, Measured, Spread, Unit
from tests.bench.inside import ROWS
from tests.bench.lines import Row
from tests.bench.picture import picture
from tests.unit.bench.runs import line, row, run, shown, unmeasured

SVG = "{http://www.w3.org/2000/svg}"
COUNT = line("count", "things", Goal(0), Unit.COUNT)
TIME = line("time", "a call", Goal(2))
GOOD = Measured(value=1, ours=1, floor=1, ratio=Spread(0.9, 1, 1.1), same=1.0)
BAD = Measured(value=8, ours=8, floor=1, ratio=Spread(7, 8, 9), same=1.0)
NOISY = Measured(value=8, ours=8, floor=1, ratio=Spread(7, 8, 9), same=3.0)


def drawn(rows: Sequence[Row], data: dict[str, Any]) -> ElementTree.Element:
    return ElementTree.fromstring(picture(rows, data))


def group(rows: Sequence[Row], data: dict[str, Any], key: str) -> ElementTree.Element:
    (found,) = [each for each in drawn(rows, data).iter(f"{SVG}g") if each.get("data-key") == key]
    return found


def words(element: ElementTree.Element) -> str:
    return " ".join(text.text or "" for text in element.iter(f"{SVG}text"))


def of_one(measured: Measured) -> ElementTree.Element:
    rows = [row("r", TIME)]
    return group(rows, run(shown(rows[0], TIME, measured)), "time")


def bar(element: ElementTree.Element) -> ElementTree.Element:
    (found,) = [each for each in element if "bar" in each.get("class", "").split()]
    return found


def test_every_line_with_a_goal_is_in_it_and_every_row() -> None:
    keys = {each.get("data-key") for each in drawn(ROWS, run()).iter(f"{SVG}g")}

    assert keys == {line.key for row in ROWS for line in row.lines if line.goal is not None}
    assert all(any(line.key in keys for line in row.lines) for row in ROWS)


def test_what_is_markup_in_a_text_is_a_text() -> None:
    hostile = line("h", 'a <b> & "c"', Goal(2))
    rows = [row("r", hostile)]
    data = run(shown(rows[0], hostile, GOOD))

    assert 'a <b> & "c"' in words(group(rows, data, "h"))
    assert "Old <Iron> & Co" in words(drawn(rows, data))


def test_date_machine_and_count_of_goals_stand_in_it() -> None:
    rows = [row("r", TIME, COUNT)]
    text = words(drawn(rows, run(shown(rows[0], TIME, GOOD), shown(rows[0], COUNT, Measured(value=1, ours=1)))))

    assert "2026-01-31" in text
    assert "2 cores" in text
    assert "1 of 2 met" in text


def test_met_and_not_met_differ_in_word_and_pattern_not_in_colour_alone() -> None:
    good, bad = of_one(GOOD), of_one(BAD)

    assert "✓ met" in words(good)
    assert "✗ not met" in words(bad)
    assert "missed" in bar(bad).get("class", "").split()
    assert "fill: url(#hatch)" in picture(ROWS, run())


def test_void_is_neither() -> None:
    noisy = of_one(NOISY)

    assert "~ void" in words(noisy)
    assert "void" in bar(noisy).get("class", "").split()


def test_better_is_left_of_the_goal_and_worse_is_right_of_it() -> None:
    good, bad = bar(of_one(GOOD)), bar(of_one(BAD))
    goal = float(bad.get("x", "0"))

    assert float(good.get("x", "0")) + float(good.get("width", "0")) == pytest.approx(goal, abs=0.2)
    assert float(good.get("x", "0")) < goal


def test_a_factor_is_as_long_to_either_side() -> None:
    twice = bar(of_one(Measured(value=4, ours=4, floor=1, same=1.0)))
    half = bar(of_one(Measured(value=1, ours=1, floor=1, same=1.0)))

    assert twice.get("width") == half.get("width")


@pytest.mark.parametrize("value", [1e-9, 1e9])
def test_a_figure_far_off_stays_in_the_picture(value: float) -> None:
    drawn_bar = bar(of_one(Measured(value=value, ours=value, floor=1, ratio=Spread(value, value, value), same=1.0)))

    assert float(drawn_bar.get("x", "-1")) > 0
    assert float(drawn_bar.get("x", "0")) + float(drawn_bar.get("width", "0")) < 1000


@pytest.mark.parametrize(("value", "kind"), [(0, "met"), (3, "missed")])
def test_a_goal_of_zero_is_drawn_too(value: float, kind: str) -> None:
    rows = [row("r", COUNT)]
    found = group(rows, run(shown(rows[0], COUNT, Measured(value=value, ours=value))), "count")

    assert kind in bar(found).get("class", "").split()
    assert f"{value}, goal 0" in words(found)


@pytest.mark.parametrize(("error", "word"), [("error: OSError: full", "! error"), ("", "- not run")])
def test_a_row_without_a_figure_has_its_line_and_no_bar(error: str, word: str) -> None:
    rows = [row("r", TIME)]
    found = group(rows, run(unmeasured(rows[0], TIME, error)), "time")

    assert word in words(found)
    assert not [each for each in found if "bar" in each.get("class", "").split()]


def test_it_fetches_nothing_and_knows_the_dark() -> None:
    text = picture(ROWS, run())

    assert "prefers-color-scheme: dark" in text
    assert "href" not in text
    assert text.count("http") == 1  # the name of the format


def test_a_smoke_run_says_so() -> None:
    assert "a smoke run" in words(drawn(ROWS, run(quick=True)))
    assert "a smoke run" not in words(drawn(ROWS, run()))
