"""`vmdkvol vmgroup`: what each command asks of the API, and what it refuses before it asks anything."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from tests.doubles.small_api import Says, problem
from tests.unit.cli.asked import Terminal, outcome
from tests.unit.cli.asked import terminal as terminal
from vmdkvol.names import DatastoreName
from vmdkvol.vmgroup_messages import DatastoreUsage, MemberInfo, MemberPage, RightInfo, VmgroupInfo
from vmdkvol.volume import VmgroupId, VmId
from vmdkvol.wire import dump

GB = 1 << 30
RIGHT = RightInfo(DatastoreName("ds1"), True, 10 * GB, None, (), 3 * GB)
ALL = RightInfo(DatastoreName("_ALL_DS"), False, None, None, (), None)
ID = "6d3f0a7e-3c67-4d8b-9e1a-0c2b4a5d6e7f"
PROD: dict[str, Any] = dump(
    VmgroupInfo(
        id=VmgroupId(UUID(int=7)),
        name="prod",
        description="the shop",
        default_datastore=DatastoreName("ds1"),
        defaults=(("size", "20gb"),),
        policies=(),
        rights=(RIGHT, ALL),
        usage=(DatastoreUsage(DatastoreName("ds1"), 3 * GB),),
        volumes=2,
        members=(MemberInfo(VmId(UUID(int=10)), "web1", True),),
        member_count=1,
        revision=7,
    )
)
DONE = Says(outcome("set-right"))


def test_the_list_has_vdvs_facts_and_what_is_used(terminal: Terminal) -> None:
    terminal.answers(Says({"vmgroups": [PROD], "next": None}))

    lines = terminal.run("vmgroup", "ls").out.splitlines()
    assert lines[0].split("   ") == ["NAME", "DEFAULT DATASTORE", "VM COUNT", "VOLUMES", "USED", "DESCRIPTION"]
    assert lines[1].split() == ["prod", "ds1", "1", "2", "3gb", "the", "shop"]


def test_for_programs_every_key_is_there(terminal: Terminal) -> None:
    terminal.answers(Says({"vmgroups": [PROD], "next": None}))

    (row,) = json.loads(terminal.run("vmgroup", "ls", "-o", "json").out)
    assert (row["vms"], row["used_bytes"], row["defaults"], row["revision"]) == (["web1"], 3 * GB, {"size": "20gb"}, 7)
    assert row["rights"][0]["max_volume_size"] == "10gb"


def test_one_is_shown_with_its_rights_in_words(terminal: Terminal) -> None:
    said = terminal.answers(Says(PROD)).run("vmgroup", "inspect", "prod")

    assert "RIGHT ds1           create; a volume up to 10gb; 3gb used" in said.out.replace("RIGHT DS1", "RIGHT ds1")
    assert "mount only" in said.out


def test_rights_are_listed_with_their_limits(terminal: Terminal) -> None:
    said = terminal.answers(Says(PROD)).run("vmgroup", "access", "ls", "--name", "prod")

    assert [line.split() for line in said.out.splitlines()[1:]] == [
        ["ds1", "yes", "10gb", "-", "3gb"],
        ["_ALL_DS", "no", "-", "-", "-"],
    ]


def test_members_are_listed_by_name(terminal: Terminal) -> None:
    members = tuple(MemberInfo(VmId(UUID(int=at)), name, None) for at, name in enumerate(("web2", "web1")))
    said = terminal.answers(Says(dump(MemberPage(members)))).run("vmgroup", "vm", "ls", "prod", "-o", "name")

    assert said.out == "web1\nweb2\n"


CREATED = {"name": "prod", "default_datastore": "ds1", "description": "", "vms": [], "defaults": [], "policies": []}


@pytest.mark.parametrize(
    ("command", "method", "path", "body"),
    [
        pytest.param("create prod --default-datastore ds1", "POST", "/v1/vmgroups", CREATED, id="create"),
        pytest.param(
            "create --name prod --default-datastore ds1 --vm-list a,b --vm c --default size=20gb --policy gold",
            "POST",
            "/v1/vmgroups",
            {**CREATED, "vms": ["a", "b", "c"], "defaults": [["size", "20gb"]], "policies": ["gold"]},
            id="create-as-vdvs",
        ),
        pytest.param(
            "create prod --default-datastore ds1 --vm-list a,a",
            "POST",
            "/v1/vmgroups",
            {**CREATED, "vms": ["a", "a"]},
            id="the-service-refuses-one-twice",
        ),
        pytest.param(
            "update prod --new-name live", "PATCH", "/v1/vmgroups/prod", {"new_name": "live"}, id="rename-and-nothing-else"
        ),
        pytest.param(
            "update --name prod --default fstype= --unset policies",
            "PATCH",
            "/v1/vmgroups/prod",
            {"defaults": [["fstype", ""]], "unset": ["policies"]},
            id="take-away",
        ),
        pytest.param("vm add prod a b", "POST", "/v1/vmgroups/prod/members", {"vms": ["a", "b"]}, id="add"),
        pytest.param(
            "vm add --name prod --vm-list a,b", "POST", "/v1/vmgroups/prod/members", {"vms": ["a", "b"]}, id="add-vdvs"
        ),
        pytest.param("vm rm prod a b", "POST", "/v1/vmgroups/prod/members/remove", {"vms": ["a", "b"]}, id="take-out"),
        pytest.param("vm replace prod a --vm b", "PUT", "/v1/vmgroups/prod/members", {"vms": ["a", "b"]}, id="replace"),
        pytest.param(
            "access set prod --datastore ds1 --allow-create False --volume-maxsize none --volume-totalsize 1TB",
            "PATCH",
            "/v1/vmgroups/prod/rights/ds1",
            {"allow_create": False, "total_bytes": 1 << 40, "unset": ["max_bytes"]},
            id="set",
        ),
        pytest.param(
            "access set prod --datastore ds1 --policy none",
            "PATCH",
            "/v1/vmgroups/prod/rights/ds1",
            {"unset": ["policies"]},
            id="any",
        ),
        pytest.param("access rm prod --datastore _ALL_DS", "DELETE", "/v1/vmgroups/prod/rights/_ALL_DS", None, id="no-right"),
    ],
)
def test_each_change_asks_exactly_this(terminal: Terminal, command: str, method: str, path: str, body: object) -> None:
    said = terminal.answers(DONE).run("vmgroup", *command.split())

    assert said.code == 0, said.err
    asked = terminal.asked[-1]
    assert (asked.method, asked.target, asked.body) == (method, path, body)
    # What replaces something is planned first, and is for what its plan was made from.
    plans = [(method, f"{path}?dry_run=true")] if method in ("PATCH", "PUT") else []
    assert [(each.method, each.target) for each in terminal.asked[:-1]] == plans
    assert said.out == ""
    assert "vmgroup prod " in said.err


def test_a_dry_run_shows_the_plan_and_only_that(terminal: Terminal) -> None:
    said = terminal.answers(Says(outcome("create-vmgroup", "add-right"))).run(
        "vmgroup", "create", "prod", "--default-datastore", "ds1", "--dry-run"
    )

    assert [asked.target for asked in terminal.asked] == ["/v1/vmgroups?dry_run=true"]
    assert [line.split()[0] for line in said.out.splitlines()] == ["STEP", "create-vmgroup", "add-right"]
    assert said.err == ""


def test_what_is_so_already_says_so(terminal: Terminal) -> None:
    said = terminal.answers(Says(outcome())).run("vmgroup", "vm", "add", "prod", "a")

    assert said.err == "vmgroup prod has a (it was so already)\n"


@pytest.mark.parametrize(
    "command",
    ["update prod --description=x", "access set prod --datastore ds1 --allow-create true", "vm replace prod a"],
    ids=["update", "right", "machines"],
)
def test_what_somebody_else_has_just_written_is_not_written_over(terminal: Terminal, command: str) -> None:
    lost = problem("stale-request", "vmgroup prod has revision 8, not 7: somebody else changed it", 412)
    said = terminal.answers(Says(outcome("set-description", revision=7)), lost).run("vmgroup", *command.split())

    assert ["dry_run=true" in asked.target for asked in terminal.asked] == [True, False]
    assert terminal.asked[1].headers["If-Match"] == '"7"'
    assert (said.code, "revision 8, not 7" in said.err) == (5, True)


def test_what_was_there_before_is_told(terminal: Terminal) -> None:
    told = outcome("set-description")
    told["plan"]["steps"][0] |= {"before": "web shop", "after": "shop"}
    said = terminal.answers(Says(told)).run("vmgroup", "update", "prod", "--description", "shop")

    assert said.err == "vmgroup prod is changed (set-description: web shop -> shop)\n"


def test_a_revision_that_was_named_is_the_one(terminal: Terminal) -> None:
    terminal.answers(DONE).run("vmgroup", "update", "prod", "--description=x", "--if-revision", "3")

    assert [asked.headers.get("If-Match") for asked in terminal.asked] == ['"3"']


@pytest.mark.parametrize("written", [ID, ID.replace("-", ""), ID.upper()])
def test_a_revision_may_be_that_of_one_object(terminal: Terminal, written: str) -> None:
    """The next vmgroup of its name has the same first revisions."""
    terminal.answers(DONE).run("vmgroup", "update", "prod", "--description=x", "--if-revision", f"3.{written}")

    assert [asked.headers.get("If-Match") for asked in terminal.asked] == ['"3.6d3f0a7e3c674d8b9e1a0c2b4a5d6e7f"']


@pytest.mark.parametrize(
    "written", ["", "x", "-1", "3.", "3.prod", ".6d3f0a7e3c674d8b9e1a0c2b4a5d6e7f", "3.1.2", "9" * 19, "\u0663"]
)
def test_what_is_no_revision_is_asked_of_nobody(terminal: Terminal, written: str) -> None:
    said = terminal.answers(DONE).run("vmgroup", "update", "prod", "--description=x", "--if-revision", written)

    assert (said.code, terminal.asked) == (2, [])
    assert "is not NUMBER, or NUMBER.ID" in said.err


@pytest.mark.parametrize("command", ["vm replace prod a", "vm add prod a"])
def test_machines_are_those_of_the_plan_if_there_was_one(terminal: Terminal, command: str) -> None:
    planned = outcome("add-member", revision=4, subject=ID)
    planned["plan"]["digest"] = "0a1b"
    terminal.answers(Says(planned), Says(outcome("add-member"))).run("vmgroup", *command.split())

    *_, last = terminal.asked
    assert (last.body or {}).get("digest") == ("0a1b" if len(terminal.asked) > 1 else None)


def test_the_machine_that_was_confirmed_is_the_one_that_is_revoked(terminal: Terminal) -> None:
    planned = outcome("revoke", revision=None, subject=ID)
    terminal.answers(Says(planned), Says(outcome("revoke", revision=None))).run("vm", "revoke", "docker1")

    assert [asked.headers.get("If-Match") for asked in terminal.asked] == [None, '".6d3f0a7e3c674d8b9e1a0c2b4a5d6e7f"']


def test_a_right_is_added_to_the_vmgroup_that_was_looked_at(terminal: Terminal) -> None:
    terminal.answers(Says(PROD), DONE)
    said = terminal.run("vmgroup", "access", "add", "prod", "--datastore", "ds2", "--volume-maxsize", "10GB")

    assert said.code == 0
    assert terminal.asked[1].headers["If-Match"] == f'"7.{UUID(PROD["id"]).hex}"'
    assert terminal.asked[1].body == {"allow_create": False, "max_bytes": 10 * GB}


def test_a_right_that_is_there_is_not_added_again(terminal: Terminal) -> None:
    said = terminal.answers(Says(PROD)).run("vmgroup", "access", "add", "prod", "--datastore", "ds1")

    assert (said.code, len(terminal.asked)) == (5, 1)
    assert "access set" in said.err


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("create --default-datastore ds1", id="no-name"),
        pytest.param("create a --name b --default-datastore ds1", id="two-names"),
        pytest.param("create prod", id="no-default-datastore"),
        pytest.param("create prod --default-datastore ds1 --vm-list ,", id="empty-list"),
        pytest.param("create prod --default-datastore ds1 --default size", id="default-without-value"),
        pytest.param("update prod", id="nothing-to-change"),
        pytest.param("update prod --unset name", id="unset-of-what-cannot-be"),
        pytest.param("rm", id="rm-nothing"),
        pytest.param("vm add prod", id="no-machines"),
        pytest.param("vm add", id="nothing-at-all"),
        pytest.param("vm rm prod --vm-list a,,b", id="an-empty-machine"),
        pytest.param("access set prod --datastore ds1", id="set-nothing"),
        pytest.param("access set prod --datastore ds1 --volume-maxsize 0", id="zero-is-no-limit"),
        pytest.param("access set prod --datastore ds1 --volume-maxsize 0gb", id="zero-with-a-unit"),
        pytest.param("access set prod --datastore ds1 --volume-maxsize 10", id="no-unit"),
        pytest.param("access set prod --datastore ds1 --volume-totalsize -1gb", id="negative"),
        pytest.param("access set prod --datastore ds1 --allow-create perhaps", id="no-truth"),
        pytest.param("access add prod", id="no-datastore"),
        pytest.param("ls --filter nmae=x", id="unknown-key"),
        pytest.param("ls --sort volume", id="unknown-sort-key"),
    ],
)
def test_what_cannot_be_meant_is_asked_of_nobody(terminal: Terminal, command: str) -> None:
    said = terminal.answers(Says({})).run("vmgroup", *command.split())

    assert (said.code, said.out, terminal.asked) == (2, "", [])


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_would_be_another_path_is_asked_of_nobody(terminal: Terminal, name: str) -> None:
    said = terminal.answers(Says({})).run("vmgroup", "rm", name, "--yes")

    assert (said.code, terminal.asked) == (2, [])


def test_nothing_is_removed_without_a_word(terminal: Terminal) -> None:
    said = terminal.answers(Says(outcome("remove-vmgroup", loses="vmgroup prod with 2 volumes (30gb) is removed"))).run(
        "vmgroup", "rm", "prod", "--remove-volumes"
    )

    assert said.code == 2
    assert said.err.startswith("lost with prod: vmgroup prod with 2 volumes (30gb) is removed\n")
    assert [asked.target for asked in terminal.asked] == ["/v1/vmgroups/prod?remove_volumes=true&dry_run=true"]


def test_what_loses_nothing_is_not_asked_and_is_done_as_it_was_planned(terminal: Terminal) -> None:
    said = terminal.answers(Says(outcome("remove-vmgroup", revision=4)), Says(outcome("remove-vmgroup"))).run(
        "vmgroup", "rm", "prod"
    )

    assert (said.code, said.err) == (0, "vmgroup prod is removed\n")
    assert [asked.headers.get("If-Match") for asked in terminal.asked] == [None, '"4"']


def test_what_was_confirmed_is_for_the_vmgroup_of_that_id(terminal: Terminal) -> None:
    planned = outcome("remove-vmgroup", revision=4, subject=ID)
    terminal.answers(Says(planned), Says(outcome("remove-vmgroup"))).run("vmgroup", "rm", "prod")

    assert terminal.asked[1].headers["If-Match"] == '"4.6d3f0a7e3c674d8b9e1a0c2b4a5d6e7f"'


def test_what_goes_with_it_is_what_the_plan_showed(terminal: Terminal) -> None:
    planned = outcome("remove-vmgroup", revision=4)
    planned["plan"]["digest"] = "0a1b"
    terminal.answers(Says(planned), Says(outcome("remove-vmgroup"))).run("vmgroup", "rm", "prod", "--remove-volumes")

    assert terminal.asked[1].target == "/v1/vmgroups/prod?remove_volumes=true&digest=0a1b"


def test_with_yes_it_is_one_order(terminal: Terminal) -> None:
    said = terminal.answers(Says(outcome("remove-vmgroup", loses="all of it"))).run("vmgroup", "rm", "prod", "--force", "--yes")

    assert said.code == 0
    assert [asked.target for asked in terminal.asked] == ["/v1/vmgroups/prod?force=true"]


def test_what_is_destroyed_for_good_is_what_the_plan_showed_also_with_yes(terminal: Terminal) -> None:
    planned = outcome("remove-vmgroup", loses="vmgroup prod, and all that is on its 2 volumes", revision=4)
    planned["plan"]["digest"] = "0a1b"
    terminal.answers(Says(planned), Says(outcome("remove-vmgroup")))
    said = terminal.run("vmgroup", "rm", "prod", "--empty-trash", "--yes")

    assert said.code == 0
    assert said.err.startswith("lost with prod: vmgroup prod, and all that is on its 2 volumes\n")
    assert [asked.target for asked in terminal.asked] == [
        "/v1/vmgroups/prod?empty_trash=true&dry_run=true",
        "/v1/vmgroups/prod?empty_trash=true&digest=0a1b",
    ]
    assert terminal.asked[1].headers["If-Match"] == '"4"'


def test_of_several_each_is_tried_and_3_says_that_some_failed(terminal: Terminal) -> None:
    terminal.answers(problem("vmgroup-not-found", "no vmgroup a", 404), Says(outcome("remove-vmgroup")))
    said = terminal.run("vmgroup", "rm", "a", "b", "--yes", "-o", "json")

    assert said.code == 3
    assert len(json.loads(said.out)) == 1
    assert said.err.splitlines()[0].endswith("[vmgroup-not-found]")


@pytest.mark.parametrize(
    ("code", "status", "exit_code"),
    [
        ("vmgroup-not-found", 404, 4),
        ("vmgroup-not-empty", 409, 5),
        ("stale-request", 412, 5),
        ("not-permitted", 403, 7),
        ("default-vmgroup", 400, 2),
        ("service-unreachable", 503, 6),
    ],
)
def test_each_refusal_has_its_exit_code(terminal: Terminal, code: str, status: int, exit_code: int) -> None:
    said = terminal.answers(problem(code, "it is so", status)).run("vmgroup", "rm", "prod", "--yes")

    assert (said.code, said.out) == (exit_code, "")
    assert said.err.endswith(f"[{code}]\n")


def test_foreign_names_draw_nothing(terminal: Terminal) -> None:
    evil = {**PROD, "name": "\x1b[2Jprod", "description": "a\nroot   b", "default_datastore": "\u202edead"}
    for command in (["ls"], ["ls", "-o", "wide"], ["ls", "-o", "name"]):
        said = terminal.answers(Says({"vmgroups": [evil], "next": None})).run("vmgroup", *command)
        assert said.out.replace("\n", "").isprintable()
        assert len(said.out.splitlines()) == 2 - (command[-1] == "name")


def test_a_right_is_given_or_not(terminal: Terminal) -> None:
    said = terminal.answers(Says(outcome("set-right"))).run(
        *["vmgroup", "access", "set", "prod", "--datastore", "ds1", "--allow-create", "perhaps"]
    )

    assert (said.code, terminal.asked) == (2, [])
    assert "'perhaps' is not one of 'true', 'false'" in said.err
