"""`vmdkvol policy`: what each command asks of the API, and what it shows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.doubles.small_api import Says, problem
from tests.unit.cli.asked import Terminal, outcome
from tests.unit.cli.asked import terminal as terminal
from vmdkvol.policy_messages import AWAIT_ATTACH

GOLD: dict[str, Any] = {
    "name": "gold",
    "kind": "local",
    "description": "room",
    "diskformat": "thick",
    "volumes": 3,
    "allowed_for": 2,
    "named_by": 1,
    "compliance": {"compliant": 2, "not_compliant": 1, "out_of_date": 0, "not_applicable": 0, "unknown": 0},
    "revision": 4,
}
GONE = {**GOLD, "name": "old", "kind": "missing", "description": "", "compliance": None, "revision": None}
VOLUME: dict[str, Any] = {
    "id": "1a2b",
    "name": "db",
    "vmgroup": "dev",
    "datastore": "ds1",
    "state": "ready",
    "compliance": "out-of-date",
    "follows": "silver",
    "checked_at": 1796000000.0,
    "reason": "its disk is under policy 'silver'",
}


def test_the_list_says_who_uses_each_and_how_disks_stand(terminal: Terminal) -> None:
    lines = terminal.answers(Says({"policies": [GOLD, GONE], "next": None})).run("policy", "ls").out.splitlines()
    assert lines[1].split() == ["gold", "local", "3", "2", "2", "compliant,", "1", "not-compliant", "room"]
    assert lines[2].split() == ["old", "missing", "3", "2", "-", "-"]
    assert terminal.asked[0].target == "/v1/policies?limit=1000&compliance=true"


def test_for_programs_every_key_is_there(terminal: Terminal) -> None:
    detail = {"policy": GOLD, "vmgroups": ["dev"]}
    (row,) = json.loads(terminal.answers(Says(detail)).run("policy", "inspect", "gold", "-o", "json").out)
    assert (row["compliant"], row["not_compliant"], row["unknown"], row["named_by"], row["revision"]) == (2, 1, 0, ["dev"], 4)


def test_what_is_not_known_is_null_and_not_zero(terminal: Terminal) -> None:
    terminal.answers(Says({"policies": [GONE], "next": None}))
    (row,) = json.loads(terminal.run("policy", "ls", "-o", "json").out)
    assert (row["compliance"], row["compliant"], row["unknown"]) == (None, None, None)


def test_volumes_are_filtered_by_how_they_stand(terminal: Terminal) -> None:
    fine = {**VOLUME, "name": "web", "compliance": "compliant", "follows": "gold", "reason": ""}
    terminal.answers(Says({"volumes": [VOLUME, fine], "next": None}))
    said = terminal.run("policy", "volumes", "gold", "--filter", "compliance!=compliant", "-o", "json")
    (row,) = json.loads(said.out)
    assert (row["volume"], row["follows"], row["checked"]) == ("db", "silver", "2026-11-30T00:53:20+00:00")
    assert terminal.asked[0].target.split("?")[0] == "/v1/policies/gold/volumes"


@pytest.mark.parametrize(
    ("command", "method", "path", "body"),
    [
        ("create gold", "POST", "/v1/policies", {"name": "gold", "description": "", "diskformat": None}),
        (
            "create --name gold --diskformat thick --description x",
            "POST",
            "/v1/policies",
            {"name": "gold", "description": "x", "diskformat": "thick"},
        ),
        ("update gold --diskformat thin", "PATCH", "/v1/policies/gold", {"diskformat": "thin"}),
        ("update --name gold --unset diskformat", "PATCH", "/v1/policies/gold", {"unset": ["diskformat"]}),
        ("update gold --description=", "PATCH", "/v1/policies/gold", {"description": ""}),
        ("apply gold db", "POST", "/v1/volumes/db/policy", {"policy": "gold", "over_allowed": False}),
        (
            "apply gold db --vmgroup dev --over-allowed",
            "POST",
            "/v1/volumes/db/policy",
            {"policy": "gold", "over_allowed": True, "vmgroup": "dev"},
        ),
        ("unset db", "POST", "/v1/volumes/db/policy", {"policy": None}),
        ("rm gold", "DELETE", "/v1/policies/gold", None),
        ("rm --name gold --dry-run", "DELETE", "/v1/policies/gold?dry_run=true", None),
    ],
)
def test_each_change_asks_exactly_this(terminal: Terminal, command: str, method: str, path: str, body: object) -> None:
    said = terminal.answers(Says(outcome("create-policy"))).run("policy", *command.split())
    assert said.code == 0, said.err
    asked = terminal.asked[-1]
    assert (asked.method, asked.target, asked.body) == (method, path, body)
    plans = [f"{path}?dry_run=true"] if method == "PATCH" else []
    assert [each.target for each in terminal.asked[:-1]] == plans


def test_one_that_is_used_does_not_keep_the_others(terminal: Terminal) -> None:
    terminal.answers(problem("policy-in-use", "storage policy 'a' is used by 1 volume"), Says(outcome("remove-policy")))
    said = terminal.run("policy", "rm", "a", "b")
    assert said.code == 3
    assert "is used by 1 volume" in said.err
    assert "policy b is removed" in said.err


def test_what_waits_for_an_attach_is_not_told_as_done(terminal: Terminal) -> None:
    said = terminal.answers(Says(outcome(AWAIT_ATTACH))).run("policy", "apply", "silver", "db").err
    assert said.strip() == "volume db is under policy silver from its next attach on"


def test_what_a_name_draws_on_the_terminal_is_escaped(terminal: Terminal) -> None:
    evil = {**GOLD, "name": "\x1b[2Jgold", "description": "a\nroot"}
    out = terminal.answers(Says({"policies": [evil], "next": None})).run("policy", "ls").out
    assert "\x1b[2J" not in out
    assert len(out.splitlines()) == 2


@pytest.mark.parametrize(
    "command",
    [
        "create",
        "create a --name b",
        "create a --diskformat zeroedthick",
        "update a",
        "update a --unset name",
        "rm",
        "volumes",
        "apply gold",
        "unset",
    ],
)
def test_what_cannot_be_meant_is_asked_of_nobody(terminal: Terminal, command: str) -> None:
    said = terminal.answers(Says({})).run("policy", *command.split())
    assert (said.code, said.out, terminal.asked) == (2, "", [])
