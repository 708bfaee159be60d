"""`vmdkvol datastore`: what each command asks of the API, and what it shows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.doubles.small_api import Says, problem
from tests.unit.cli.asked import Terminal, outcome
from tests.unit.cli.asked import terminal as terminal

GB = 1 << 30
DS1: dict[str, Any] = {
    "name": "ds1",
    "capacity_bytes": 100 * GB,
    "free_bytes": 10 * GB + 1,
    "provisioned_bytes": 250 * GB,
    "used_bytes": 90 * GB,
    "overcommit": 2.5,
    "volumes": 3,
    "writable": True,
    "problem": None,
    "cordon": {"by": "ann", "at": 1796000000.0, "reason": "full"},
    "warnings": ["90 % full", "over-committed"],
}
GONE = {
    **DS1,
    "name": "ds2",
    "capacity_bytes": None,
    "free_bytes": None,
    "used_bytes": None,
    "overcommit": None,
    "cordon": None,
    "warnings": [],
}


def test_the_list_says_how_full_each_is_and_what_is_not_known(terminal: Terminal) -> None:
    lines = terminal.answers(Says({"datastores": [DS1, GONE], "next": None})).run("datastore", "ls").out.splitlines()
    assert lines[1].split()[:8] == ["ds1", "100gb", "10.0gb", "90gb", "250gb", "2.5", "3", "yes"]
    assert lines[1].endswith("90 % full,over-committed")
    assert lines[2].split() == ["ds2", "-", "-", "-", "250gb", "-", "3", "no", "-"]


def test_for_programs_every_key_is_there(terminal: Terminal) -> None:
    (row,) = json.loads(terminal.answers(Says(DS1)).run("datastore", "inspect", "ds1", "-o", "json").out)
    assert (row["free_bytes"], row["cordoned"], row["cordoned_by"], row["reason"]) == (10 * GB + 1, True, "ann", "full")
    assert row["cordoned_at"] == "2026-11-30T00:53:20+00:00"
    assert row["warnings"] == ["90 % full", "over-committed"]


def test_space_is_sorted_and_filtered_by_its_bytes(terminal: Terminal) -> None:
    terminal.answers(Says({"datastores": [GONE, DS1], "next": None}))
    said = terminal.run("datastore", "ls", "-o", "name", "--filter", "free<1tb", "--sort", "-free")
    assert said.out == "ds1\n"


@pytest.mark.parametrize(
    ("command", "path", "body"),
    [
        ("cordon ds1", "/v1/datastores/ds1/cordon", {"reason": ""}),
        ("cordon ds1 --reason maintenance", "/v1/datastores/ds1/cordon", {"reason": "maintenance"}),
        ("uncordon ds1", "/v1/datastores/ds1/uncordon", {}),
        ("cordon ds1 --dry-run", "/v1/datastores/ds1/cordon?dry_run=true", {"reason": ""}),
    ],
)
def test_each_change_asks_exactly_this(terminal: Terminal, command: str, path: str, body: object) -> None:
    said = terminal.answers(Says(outcome("cordon-datastore"))).run("datastore", *command.split())
    assert said.code == 0, said.err
    (asked,) = terminal.asked
    assert (asked.method, asked.target, asked.body) == ("POST", path, body)


def test_a_name_with_a_blank_is_one_part_of_the_path(terminal: Terminal) -> None:
    terminal.answers(Says(outcome("cordon-datastore"))).run("datastore", "cordon", "nfs (old)/../x")
    assert terminal.asked[0].target == "/v1/datastores/nfs%20%28old%29%2F..%2Fx/cordon"


def test_one_that_is_not_there_does_not_keep_the_others(terminal: Terminal) -> None:
    terminal.answers(problem("datastore-not-found", "there is no datastore 'ds9'"), Says(outcome("cordon-datastore")))
    said = terminal.run("datastore", "cordon", "ds9", "ds1")
    assert said.code == 3
    assert "there is no datastore 'ds9'" in said.err
    assert "datastore ds1 is cordoned" in said.err


@pytest.mark.parametrize("command", ["cordon", "uncordon", "inspect", "ls --filter sice=1", "cordon ."])
def test_what_cannot_be_meant_is_asked_of_nobody(terminal: Terminal, command: str) -> None:
    said = terminal.answers(Says({})).run("datastore", *command.split())
    assert (said.code, said.out, terminal.asked) == (2, "", [])
