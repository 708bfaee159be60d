"""The table: every line of the code, whatever a run has of it; and the pages that are made from the last run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.bench.figures import Goal, Measured, Spread, Unit, counted
from tests.bench.inside import ROWS
from tests.bench.page import cells, markdown, summary, terminal
from tests.bench.picture import picture
from tests.bench.told import amount, told
from tests.bench.written import PICTURE, last_run, renew
from tests.unit.bench.runs import line, row, run, shown, unmeasured

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "bench.md"
TIME = line("time", "a call", Goal(2))
FREE = line("free", "another")
ROW = row("r", TIME, FREE)
GOOD = Measured(value=1.5, ours=3e-3, floor=2e-3, ratio=Spread(1.4, 1.5, 1.6), same=0.99)


def test_a_line_has_ours_floor_ratio_quartiles_a_a_goal_and_result() -> None:
    (each, _) = told([ROW], run(shown(ROW, TIME, GOOD)))

    assert cells(each) == ("a call", "3 ms", "2 ms", "a floor", "1.5 (1.4 to 1.6)", "0.99", "<= 2", "met")


def test_a_failed_row_is_told_with_its_error() -> None:
    (each, _) = told([ROW], run(unmeasured(ROW, TIME, "error: OSError: no room")))

    assert cells(each)[-1] == "error: OSError: no room"


def test_a_line_that_the_run_does_not_have_is_not_run() -> None:
    assert [cells(each)[-1] for each in told([ROW], run())] == ["not run", "not run"]


def test_what_the_run_has_and_the_code_has_not_is_not_shown() -> None:
    assert "gone" not in markdown([ROW], run(unmeasured(ROW, line("gone", "gone"))))


def test_the_goal_of_the_code_judges_an_older_run() -> None:
    stricter = row("r", line("time", "a call", Goal(1)))

    assert cells(told([stricter], run(shown(ROW, TIME, GOOD)))[0])[-1] == "not met"


def test_the_summary_names_what_is_missed_and_leaves_out_what_has_no_goal() -> None:
    bad = Measured(value=9, ours=9, floor=1, ratio=Spread(9, 9, 9), same=1.0)

    assert summary([ROW], run(shown(ROW, TIME, bad), shown(ROW, FREE, bad))) == (
        "0 of 1 goals are met. Not met: a call (9, goal <= 2)."
    )


def test_the_summary_does_not_count_noise_as_met() -> None:
    noisy = Measured(value=1, ours=1, floor=1, ratio=Spread(1, 1, 1), same=2.0)

    assert summary([ROW], run(shown(ROW, TIME, noisy))).startswith("0 of 1 goals are met. Void")


def test_dropped_rounds_and_remarks_stand_below_the_table() -> None:
    data = run(shown(ROW, TIME, Measured(value=1, ours=1, floor=1, rounds=13, dropped=2, notes="by hand")))

    assert "- a call: by hand; 2 of 15 rounds dropped." in markdown([ROW], data)


def test_a_smoke_run_is_called_one() -> None:
    assert "A smoke run" in terminal([ROW], run(quick=True))
    assert "A smoke run" not in terminal([ROW], run())


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0000005, Unit.SECONDS, "0 us"),
        (0.00052, Unit.SECONDS, "520 us"),
        (0.0123, Unit.SECONDS, "12.3 ms"),
        (1.5, Unit.SECONDS, "1.50 s"),
        (0, Unit.COUNT, "0"),
        (5.4e6, Unit.BYTES, "5.4 MB"),
        (512, Unit.BYTES, "512 B"),
        (1234.4, Unit.RATE, "1234/s"),
        (None, Unit.SECONDS, ""),
    ],
)
def test_a_figure_has_its_unit(value: float | None, unit: Unit, text: str) -> None:
    assert amount(value, unit) == text


def test_a_row_that_is_taken_again_stands_in_the_place_of_the_old_one_and_says_so() -> None:
    old, other, new = (shown(ROW, line(key), counted(number)) for key, number in (("a", 1), ("b", 2), ("a", 3)))

    renewed = renew(run(new, unmeasured(ROW, line("b"), "failed")), run(old, other))

    assert [(line["key"], line["value"], line["notes"]) for line in renewed["lines"]] == [
        ("a", 3, "taken in a run of its own on 2026-01-31, load 0.1 to 1.1"),
        ("b", 2, ""),
    ]


def test_the_rows_of_the_page_are_the_rows_of_the_code() -> None:
    table = re.findall(r"^\| (?!figure|---)(.+?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)

    assert table == [line.figure for row in ROWS for line in row.lines]


def test_each_row_of_the_page_says_how_it_is_measured() -> None:
    named = re.findall(r"^\*\*`([a-z-]+)`\*\*", PAGE.read_text(encoding="utf-8"), re.MULTILINE)

    assert named == [row.name for row in ROWS]


def test_the_picture_is_that_of_the_data_that_the_page_is_made_from() -> None:
    assert PICTURE.read_text(encoding="utf-8") == picture(ROWS, last_run()), "run: python -m tests.bench.written"
