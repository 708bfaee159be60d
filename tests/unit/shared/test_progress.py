"""How long work is told: what is done, how far it is, how long it still takes, and what to do meanwhile."""

from __future__ import annotations

import pytest

from vmdkvol.errors import MAX_LINE
from vmdkvol.progress import duration, still_working, words
from vmdkvol.volume import Doing, Work


def test_the_line_says_what_how_far_how_long_and_what_to_do() -> None:
    error = still_working("big", Work(Doing.CREATE, 43, 0.0, 241))
    assert str(error) == (
        "volume big: still being created, 43 % done, about 4 minutes left; "
        "it goes on; repeat the command or mount it when ready [still-working]"
    )


@pytest.mark.parametrize("doing", list(Doing))
def test_every_kind_of_work_has_its_words(doing: Doing) -> None:
    assert words(Work(doing, 0, 0.0)).startswith("being ")


def test_what_is_not_known_is_not_said() -> None:
    assert words(Work(Doing.CLONE, 0, 0.0)) == "being cloned"


def test_a_detach_is_not_told_to_be_mounted() -> None:
    assert "mount" not in str(still_working("db", Work(Doing.DETACH, 5, 0.0)))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "1 second"),
        (1, "1 second"),
        (2, "2 seconds"),
        (119, "119 seconds"),
        (120, "2 minutes"),
        (241, "4 minutes"),
        (7199, "120 minutes"),
        (7200, "2 hours"),
        (86400, "24 hours"),
        (7 * 86400, "7 days"),
    ],
)
def test_a_time_has_one_unit(seconds: int, said: str) -> None:
    assert duration(seconds) == said


def test_a_program_reads_the_fields() -> None:
    error = still_working("big", Work(Doing.CLONE, 43, 0.0, 241))
    assert error.fields == {"volume": "big", "doing": "clone", "percent": 43, "left_s": 241}


def test_the_longest_name_leaves_room_for_the_percent_and_the_code() -> None:
    line = str(still_working("x" * 100, Work(Doing.CREATE, 99, 0.0, 7100)))
    assert len(line) <= MAX_LINE
    assert "99 % done, about 118 minutes left" in line
    assert line.endswith("[still-working]")
