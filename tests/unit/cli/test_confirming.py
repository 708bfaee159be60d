"""Nothing is lost without a word: what is lost is said, and without somebody to ask nothing is done."""

from __future__ import annotations

import io

import click
import pytest

from vmdkvol.cli.confirming import confirm
from vmdkvol.errors import BadRequest

LOSS = "volume db (20gb, last used by vm-a) is deleted with its data; this cannot be undone"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_who_says_yes_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    confirm([LOSS], "Remove it?", yes=False, answers=Terminal("y\n"))

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"{LOSS}\nRemove it? [y/N] "


@pytest.mark.parametrize("answer", ["\n", "n\n", "no\n", "yep\n", "", "db\n", "\x00\n"])
def test_everything_else_is_a_no(answer: str) -> None:
    with pytest.raises(click.Abort):
        confirm([LOSS], "Remove it?", yes=False, answers=Terminal(answer))


def test_without_a_terminal_nothing_is_done_and_a_yes_in_the_pipe_does_not_count(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadRequest, match="nobody can be asked") as refused:
        confirm([LOSS], "Remove it?", yes=False, answers=io.StringIO("y\n"))

    assert "--yes" in refused.value.remedy
    assert LOSS in capsys.readouterr().err


def test_who_said_yes_before_is_told_what_is_lost_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    confirm([LOSS], "Remove it?", yes=True, answers=io.StringIO())

    assert capsys.readouterr().err == f"{LOSS}\n"


def test_nothing_lost_nothing_asked(capsys: pytest.CaptureFixture[str]) -> None:
    confirm([], "Remove it?", yes=False, answers=io.StringIO())

    assert capsys.readouterr() == ("", "")


def test_many_at_once_want_their_word(capsys: pytest.CaptureFixture[str]) -> None:
    confirm([LOSS, LOSS], "Remove prod and 2 volumes?", yes=False, word="prod", answers=Terminal("prod\n"))

    assert "type prod to go on" in capsys.readouterr().err


@pytest.mark.parametrize("answer", ["y\n", "yes\n", "PROD\n", "\n", ""])
def test_a_yes_is_not_the_word(answer: str) -> None:
    with pytest.raises(click.Abort):
        confirm([LOSS], "Remove prod?", yes=False, word="prod", answers=Terminal(answer))


def test_a_name_draws_nothing_in_the_question(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(click.Abort):
        confirm(["evil\x1b[2J\nall is well"], "Remove \x1b[2J?", yes=False, word="\x1b[2J", answers=Terminal("y\n"))

    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert not [line for line in said.splitlines() if line.startswith("all is well")]
