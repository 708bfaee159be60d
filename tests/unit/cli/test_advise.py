"""`vmdkvol advise maintenance`: what it asks of the API, what it shows, and how it ends."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.doubles.small_api import Says, problem
from tests.unit.cli.asked import Terminal
from tests.unit.cli.asked import terminal as terminal

USED = {
    "matter": "attached",
    "blocks": True,
    "about": "db",
    "detail": "docker1 has it",
    "command": "vmdkvol volume detach --vmgroup prod db",
}
NOTE = {"matter": "trash", "blocks": False, "about": "ds1", "detail": "2 volumes", "command": "vmdkvol volume ls --trash"}


def advice(*lines: dict[str, Any], more: int = 0) -> dict[str, Any]:
    ready = not any(line["blocks"] for line in lines)
    return {"target": "ds1", "kind": "datastore", "ready": ready, "advice": list(lines), "more": more}


def test_what_is_in_the_way_is_shown_with_what_to_do_and_ends_as_something_in_use_does(terminal: Terminal) -> None:
    said = terminal.answers(Says(advice(USED, NOTE))).run("advise", "maintenance", "ds1")
    assert said.code == 5
    assert [line.split()[0] for line in said.out.splitlines() if line] == ["STATUS", "BLOCKS", "note", "What", "vmdkvol"]
    assert said.out.endswith("What to do:\n  vmdkvol volume detach --vmgroup prod db\n")


@pytest.mark.parametrize("lines", [(), (NOTE,)], ids=["nothing", "only-notes"])
def test_nothing_in_the_way_is_said_and_is_success(terminal: Terminal, lines: tuple[dict[str, Any], ...]) -> None:
    said = terminal.answers(Says(advice(*lines))).run("advise", "maintenance", "ds1")
    assert (said.code, said.out.splitlines()[-1]) == (0, "datastore ds1: nothing blocks maintenance")


def test_a_program_gets_what_the_api_says_and_the_same_exit_code(terminal: Terminal) -> None:
    said = terminal.answers(Says(advice(USED, NOTE))).run("advise", "maintenance", "ds1", "-o", "name")
    assert (said.code, said.out) == (5, f"{USED['about']}\n")
    assert str(USED["command"]) in terminal.run("advise", "maintenance", "ds1", "-o", "wide").out.split("What to do")[0]
    said = terminal.answers(Says(advice(USED))).run("advise", "maintenance", "ds1", "-o", "json")
    assert (said.code, json.loads(said.out)) == (5, advice(USED))


def test_lines_that_are_not_shown_are_said(terminal: Terminal) -> None:
    said = terminal.answers(Says(advice(USED, more=7))).run("advise", "maintenance", "ds1")
    assert "7 more are not shown" in said.err


@pytest.mark.parametrize(
    ("words", "target"),
    [
        (["ds1"], "/v1/advice/maintenance?target=ds1"),
        (["ds1", "--kind", "host"], "/v1/advice/maintenance?target=ds1&kind=host"),
        (["nfs (old)/&kind=vm"], "/v1/advice/maintenance?target=nfs+%28old%29%2F%26kind%3Dvm"),
    ],
)
def test_a_name_is_one_value_of_the_question(terminal: Terminal, words: list[str], target: str) -> None:
    terminal.answers(Says(advice())).run("advise", "maintenance", *words)
    (asked,) = terminal.asked
    assert (asked.method, asked.target) == ("GET", target)


def test_what_there_is_not_has_the_exit_code_of_that(terminal: Terminal) -> None:
    said = terminal.answers(problem("not-found", "there is no such thing")).run("advise", "maintenance", "ds9")
    assert (said.code, said.out) == (4, "")


@pytest.mark.parametrize("command", ["maintenance", "maintenance ds1 ds2", "maintenance ds1 --kind moon", "upgrade ds1"])
def test_what_cannot_be_meant_is_asked_of_nobody(terminal: Terminal, command: str) -> None:
    said = terminal.answers(Says({})).run("advise", *command.split())
    assert (said.code, terminal.asked) == (2, [])
