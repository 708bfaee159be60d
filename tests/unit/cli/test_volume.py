"""`vmdkvol volume`: what is shown of volumes, what each change asks of the API, and what is refused before that."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from tests.doubles.small_api import Says, problem
from tests.unit.cli.asked import Terminal, outcome
from tests.unit.cli.asked import terminal as terminal
from vmdkvol.options import CreateOptions
from vmdkvol.task_messages import Failure, TaskInfo, TaskState
from vmdkvol.volume import Content, Doing, State, VmId, VolumeId
from vmdkvol.volume_orders import VolumeDetail, VolumeRow, VolumeRows
from vmdkvol.wire import dump

ID = VolumeId(UUID(int=0xDB))
TASK = UUID(int=0x7A)
DB = VolumeRow(
    id=ID,
    name="db",
    vmgroup="prod",
    datastore="ds1",
    path="[ds1] vmdkvol/x/db.vmdk",
    size_bytes=20 << 30,
    allocated_bytes=1 << 30,
    policy=None,
    diskformat="thin",
    fstype="ext4",
    access="read-write",
    attach_as="independent_persistent",
    state=State.READY,
    content=Content.FORMATTED,
    must_check=False,
    vm="web1",
    running=True,
    unsure=False,
    last_vm="web1",
    doing=None,
    percent=None,
    created_at=1764081706.0,
    created_by="web1",
    trashed_at=None,
    revision=3,
)
SCRATCH = replace(DB, id=VolumeId(UUID(int=1)), name="scratch", vmgroup="test", vm=None, running=None, size_bytes=1 << 20)
DETAIL = VolumeDetail(
    DB,
    CreateOptions.parse({"size": "20gb", "label": "team=shop"}),
    "60c2912f",
    None,
    "1111",
    vm=VmId(UUID(int=9)),
    address="scsi1:8",
    trouble=("the next mount checks all of it",),
)
DONE = Says(outcome("set-volume"))


def listed(*rows: VolumeRow, warnings: tuple[str, ...] = ()) -> Says:
    return Says(dump(VolumeRows(rows, None, warnings)))


def test_the_list_says_who_uses_what(terminal: Terminal) -> None:
    lines = terminal.answers(listed(SCRATCH, DB)).run("volume", "ls").out.splitlines()

    assert lines[0].split() == ["NAME", "VMGROUP", "DATASTORE", "SIZE", "STATE", "ATTACHED", "TO"]
    assert [line.split() for line in lines[1:]] == [
        ["db", "prod", "ds1", "20gb", "ready", "web1"],
        ["scratch", "test", "ds1", "1mb", "ready", "-"],
    ]


def test_work_under_way_has_a_column_of_its_own(terminal: Terminal) -> None:
    said = terminal.answers(listed(replace(DB, state=State.PREPARING, doing=Doing.CLONE, percent=43))).run("volume", "ls")

    assert "PROGRESS" in said.out
    assert "being cloned, 43 % done" in said.out


def test_every_key_of_the_list_can_be_filtered_and_shown(terminal: Terminal) -> None:
    (row,) = json.loads(terminal.answers(listed(DB)).run("volume", "ls", "-o", "json").out)
    for key in row:
        assert terminal.run("volume", "ls", "--filter", f"{key}!=x", "--sort", key, "-c", key).code == 0


def test_the_columns_of_vdvs_are_understood(terminal: Terminal) -> None:
    old = "volume,datastore,vmgroup,capacity,used,fstype,policy,disk-format,attached-to,access,attach-as,created-by,created"
    said = terminal.answers(listed(DB)).run("volume", "ls", "-c", old, "--sort", "-capacity", "--filter", "disk-format=thin")

    assert said.code == 0
    assert said.out.split("\n")[0].split()[:4] == ["NAME", "DATASTORE", "VMGROUP", "SIZE"]


def test_vdvs_glob_of_vmgroups_and_filters_choose(terminal: Terminal) -> None:
    terminal.answers(listed(SCRATCH, DB))

    assert terminal.run("volume", "ls", "--vmgroup", "p*", "-o", "name").out == "db\n"
    assert terminal.run("volume", "ls", "--filter", "attached-to=", "-o", "name").out == "scratch\n"
    assert terminal.run("volume", "ls", "--sort", "-size", "-o", "name").out == "db\nscratch\n"


def test_the_trash_is_asked_for(terminal: Terminal) -> None:
    terminal.answers(listed()).run("volume", "ls", "--trash")

    assert "trash=true" in terminal.asked[0].target


def test_what_is_not_known_is_said_beside_the_list(terminal: Terminal) -> None:
    said = terminal.answers(listed(DB, warnings=("ds2 does not answer\x1b[2J",))).run("volume", "ls", "-o", "name")

    assert said.out == "db\n"
    assert said.err == "vmdkvol: ds2 does not answer\\x1b[2J\n"


def test_one_is_shown_as_it_was_understood(terminal: Terminal) -> None:
    said = terminal.answers(Says(dump(DETAIL))).run("volume", "inspect", "db", "--vmgroup", "prod")

    assert terminal.asked[0].target == "/v1/volumes/db?vmgroup=prod"
    facts = dict(line.split("   ", 1) for line in said.out.splitlines())
    assert facts["SIZE"].strip() == "20gb = 21474836480 bytes"
    assert facts["OPTION LABEL"].strip() == "team=shop"
    assert facts["TROUBLE 1"].strip() == "the next mount checks all of it"


def test_for_programs_options_are_as_after_o(terminal: Terminal) -> None:
    (row,) = json.loads(terminal.answers(Says(dump(DETAIL))).run("volume", "inspect", "db", "-o", "json").out)

    assert row["options"] == {"size": "20gb", "label": "team=shop"}
    assert (row["device"], row["size_bytes"]) == ("scsi1:8", 20 << 30)


def test_an_option_of_a_newer_service_is_shown_as_it_came(terminal: Terminal) -> None:
    detail = dump(DETAIL)
    detail["options"] |= {"given": ["size_bytes", "cachemode"], "cachemode": "fast"}
    (row,) = json.loads(terminal.answers(Says(detail)).run("volume", "inspect", "db", "-o", "json").out)

    assert row["options"] == {"size_bytes": 20 << 30, "cachemode": "fast"}


def test_of_several_the_others_are_shown(terminal: Terminal) -> None:
    terminal.answers(Says(dump(DETAIL)), problem("volume-not-found", "no volume x", 404))
    said = terminal.run("volume", "inspect", "db", "x", "-o", "name")

    assert (said.code, said.out) == (3, "db\n")


CREATE = {"vmgroup": "_DEFAULT", "name": "db", "options": [], "over_quota": False}


@pytest.mark.parametrize(
    ("command", "method", "path", "body"),
    [
        pytest.param("create db", "POST", "/v1/volumes", CREATE, id="create"),
        pytest.param(
            "create db --vmgroup prod -o size=20gb -o label=a=b --over-quota",
            "POST",
            "/v1/volumes",
            {"vmgroup": "prod", "name": "db", "options": [["size", "20gb"], ["label", "a=b"]], "over_quota": True},
            id="create-with-options",
        ),
        pytest.param("rm db --yes", "DELETE", "/v1/volumes/db", None, id="trash"),
        pytest.param("rm db --yes --vmgroup prod", "DELETE", "/v1/volumes/db?vmgroup=prod", None, id="trash-of-a-vmgroup"),
        pytest.param("rm db --yes --permanently", "POST", "/v1/volumes/db/destroy", {"i_know": "db"}, id="for-good"),
        pytest.param(
            f"rm {ID} --yes --permanently --i-know db",
            "POST",
            f"/v1/volumes/{ID}/destroy",
            {"i_know": "db"},
            id="for-good-by-id",
        ),
        pytest.param("restore db", "POST", "/v1/volumes/db/restore", {}, id="restore"),
        pytest.param(
            "restore db --new-name old --vmgroup prod",
            "POST",
            "/v1/volumes/db/restore",
            {"vmgroup": "prod", "new_name": "old"},
            id="restore-as",
        ),
        pytest.param(
            "set db access=read-only --unset label",
            "PATCH",
            "/v1/volumes/db",
            {"options": [["access", "read-only"]], "unset": ["label"]},
            id="set",
        ),
        pytest.param("rename db db2 --yes", "POST", "/v1/volumes/db/rename", {"new_name": "db2"}, id="rename"),
        pytest.param(
            "move db --to-vmgroup prod --yes",
            "POST",
            "/v1/volumes/db/move",
            {"to_vmgroup": "prod", "over_quota": False},
            id="move",
        ),
        pytest.param(
            "move db --vmgroup dev --to-vmgroup prod --over-quota --yes",
            "POST",
            "/v1/volumes/db/move",
            {"vmgroup": "dev", "to_vmgroup": "prod", "over_quota": True},
            id="move-of-a-vmgroup",
        ),
        pytest.param("detach db", "POST", "/v1/volumes/db/detach", {"force": False}, id="detach"),
        pytest.param(
            "detach db --force --i-know web1 --yes",
            "POST",
            "/v1/volumes/db/detach",
            {"force": True, "i_know": "web1"},
            id="detach-with-proof",
        ),
    ],
)
def test_each_change_asks_exactly_this(terminal: Terminal, command: str, method: str, path: str, body: object) -> None:
    said = terminal.answers(DONE).run("volume", *command.split())

    assert said.code == 0, said.err
    asked = terminal.asked[-1]
    assert (asked.method, asked.target, asked.body) == (method, path, body)
    assert "volume db " in said.err


def test_set_reads_what_vdvs_wrote(terminal: Terminal) -> None:
    terminal.answers(DONE).run(
        "volume", "set", "--volume", "db", "--vmgroup", "prod", "--options", "access=read-only, attach-as=persistent"
    )

    assert terminal.asked[0].body == {
        "vmgroup": "prod",
        "options": [["access", "read-only"], ["attach-as", "persistent"]],
        "unset": [],
    }


def test_resize_asks_for_bytes_of_the_one_volume_that_was_meant(terminal: Terminal) -> None:
    said = terminal.answers(Says(dump(DETAIL)), DONE).run("volume", "resize", "db", "40gb", "--vmgroup", "prod")

    assert [asked.target for asked in terminal.asked] == ["/v1/volumes/db?vmgroup=prod", f"/v1/volumes/{ID}/resize"]
    assert terminal.asked[1].body == {"size_bytes": 40 << 30}
    assert said.err.startswith("volume db has 40gb = 42949672960 bytes")


@pytest.mark.parametrize(
    ("row", "follows"),
    [
        (DB, "; its file system follows on web1, and `vmdkvol volume inspect` tells if it does not\n"),
        (replace(DB, vm=None, running=None), "; its file system follows at the next mount\n"),
        (replace(DB, running=False), "; its file system follows at the next mount\n"),
        (replace(DB, content=Content.UNFORMATTED), "\n"),
        (replace(DB, access="read-only"), "\n"),
    ],
    ids=["running", "on-none", "off", "unformatted", "read-only"],
)
def test_resize_says_who_enlarges_the_file_system(terminal: Terminal, row: VolumeRow, follows: str) -> None:
    said = terminal.answers(Says(dump(replace(DETAIL, row=row))), DONE).run("volume", "resize", "db", "40gb")

    assert said.err == f"volume db has 40gb = 42949672960 bytes{follows}"


def test_an_unknown_key_is_refused_after_all_that_there_are(terminal: Terminal) -> None:
    """They are more than an error's line has room for, and the one that is looked for may be the last."""
    (shown,) = json.loads(terminal.answers(listed(DB)).run("volume", "ls", "-o", "json").out)
    said = terminal.run("volume", "ls", "--filter", "vm=web1")

    keys, refusal = said.err.splitlines()
    assert keys == f"keys: {', '.join(sorted(shown))}"
    assert "there is no key 'vm'" in refusal
    assert (said.code, refusal.endswith("[bad-request]")) == (2, True)


@pytest.mark.parametrize(("row", "holders"), [(DB, ["web1"]), (SCRATCH, [])], ids=["on-web1", "on-none"])
def test_the_holders_are_the_machines_that_may_have_it_mounted(terminal: Terminal, row: VolumeRow, holders: list[str]) -> None:
    (shown,) = json.loads(terminal.answers(listed(row)).run("volume", "ls", "-o", "json").out)
    assert shown["holders"] == holders


@pytest.mark.parametrize(
    "command",
    [
        "create",
        "create db -o size",
        "create db -o =1",
        "rm",
        "set",
        "set db",
        "set db access",
        "set --volume db",
        "rename db",
        "resize db",
        "resize db 40",
        "resize db -1gb",
        "resize db 0gb",
        "resize db 63tb",
        "detach db --i-know web1",
        "ls --filter size>big",
        "wait",
        "inspect",
    ],
)
def test_what_cannot_be_meant_is_asked_of_nobody(terminal: Terminal, command: str) -> None:
    said = terminal.answers(listed(DB)).run("volume", *command.split())

    assert said.code == 2
    assert [asked.method for asked in terminal.asked if asked.method != "GET"] == []


def test_nothing_is_deleted_for_good_without_a_word(terminal: Terminal) -> None:
    terminal.answers(Says(outcome("destroy-volume", loses="volume db (20gb, last used by web1) is deleted with its data")))
    said = terminal.run("volume", "rm", "db", "--permanently")

    assert said.code == 2
    assert "last used by web1" in said.err
    assert [asked.target for asked in terminal.asked] == ["/v1/volumes/db/destroy?dry_run=true"]


def test_a_machine_that_may_run_needs_its_name(terminal: Terminal) -> None:
    terminal.answers(problem("proof-needed", "web1 may be running", remedy="repeat it with --i-know web1"))
    said = terminal.run("volume", "detach", "db", "--force")

    assert said.code == 5
    assert said.err.endswith("web1 may be running; repeat it with --i-know web1 [proof-needed]\n")


@pytest.mark.parametrize(
    ("left", "says"),
    [
        pytest.param(
            "its disk stays at [ds1] web/db.vmdk", "volume db is deleted for good (its disk stays at [ds1] web/db.vmdk)"
        ),
        pytest.param(None, "volume db is deleted for good"),
    ],
    ids=["adopted", "ours"],
)
def test_of_an_adopted_disk_it_is_not_said_that_it_is_gone(terminal: Terminal, left: str | None, says: str) -> None:
    told = outcome("destroy-volume")
    told["plan"]["steps"][0]["after"] = left
    said = terminal.answers(Says(told)).run("volume", "rm", "db", "--permanently", "--yes")

    assert said.err == f"{says}\n"


def test_a_proof_for_nothing_is_refused(terminal: Terminal) -> None:
    assert terminal.run("volume", "rm", "db", "--yes", "--i-know", "db").code == 2


def task(state: TaskState, percent: int | None = None) -> Says:
    return Says(dump(TaskInfo(TASK, ID, "db", Doing.CREATE, state, 1.0, None, percent)))


UNDER_WAY = Says(outcome("create-volume", done=False, task=str(TASK)))


def test_long_work_is_waited_for(terminal: Terminal) -> None:
    said = terminal.answers(UNDER_WAY, task(TaskState.RUNNING, 40), task(TaskState.DONE)).run("volume", "create", "db")

    assert said.code == 0
    assert said.err == "volume db: being created, 40 % done\nvolume db is ready\n"
    assert terminal.asked[-1].target == f"/v1/tasks/{TASK}"


def test_long_work_that_nobody_waits_for_is_its_tasks_id(terminal: Terminal) -> None:
    said = terminal.answers(UNDER_WAY).run("volume", "create", "db", "--no-wait")

    assert (said.code, said.out, said.err) == (0, f"{TASK}\n", "")


def test_long_work_is_waited_for_at_its_task_and_not_at_its_order(terminal: Terminal) -> None:
    terminal.answers(UNDER_WAY, task(TaskState.DONE)).run("volume", "create", "db")
    assert terminal.asked[0].headers["Prefer"] == "respond-async, wait=1"
    terminal.answers(UNDER_WAY).run("volume", "create", "db", "--no-wait")
    assert terminal.asked[0].headers["Prefer"] == "respond-async, wait=0"


@pytest.mark.parametrize("no_wait", [[], ["--no-wait"]], ids=["waits", "does-not"])
def test_work_that_waits_for_its_turn_is_asked_for_again_as_the_same_order(terminal: Terminal, no_wait: list[str]) -> None:
    turn = problem("still-working", "creating volume db takes longer", 503)
    said = terminal.answers(turn, turn, UNDER_WAY, task(TaskState.DONE)).run("volume", "create", "db", *no_wait)

    assert said.code == 0
    assert len({each.headers["Idempotency-Key"] for each in terminal.asked[:3]}) == 1
    assert [each.headers["Prefer"] for each in terminal.asked[1:3]] == ["respond-async, wait=10"] * 2
    assert ("db: waits for its turn" in said.err) == (not no_wait)


def test_what_an_order_has_made_is_not_called_so_already_when_it_is_given_again(terminal: Terminal) -> None:
    made = outcome("create-volume")
    made["plan"]["steps"] = []
    said = terminal.answers(problem("still-working", "creating volume db takes longer", 503), Says(made)).run(
        "volume", "create", "db"
    )

    assert said.err.splitlines()[-1] == "volume db is ready"


def test_long_work_that_failed_ends_as_if_it_had_been_waited_for(terminal: Terminal) -> None:
    failed = replace(
        TaskInfo(TASK, ID, "db", Doing.CREATE, TaskState.UNDONE, 1.0, None),
        failure=Failure("no-space", "ds1 is full", "take another datastore"),
    )
    said = terminal.answers(UNDER_WAY, Says(dump(failed))).run("volume", "create", "db")

    assert said.code == 1
    assert said.err == "vmdkvol: ds1 is full; take another datastore [no-space]\n"


def test_long_work_that_was_undone_is_no_success(terminal: Terminal) -> None:
    said = terminal.answers(UNDER_WAY, task(TaskState.UNDONE)).run("volume", "create", "db")

    assert said.code == 5
    assert "undone" in said.err


def test_wait_ends_with_the_work(terminal: Terminal) -> None:
    busy = replace(DETAIL, row=replace(DB, doing=Doing.GROW, percent=10))
    said = terminal.answers(Says(dump(busy)), Says(dump(DETAIL))).run("volume", "wait", "db")

    assert (said.code, said.err) == (0, "volume db: being enlarged, 10 % done\nvolume db: ready\n")


@pytest.mark.parametrize(
    ("state", "code"), [(State.TRASHED, 4), (State.REMOVING, 4), (State.LOST, 1), (State.DAMAGED, 1)], ids=str
)
def test_wait_is_no_success_for_what_is_not_ready(terminal: Terminal, state: State, code: int) -> None:
    """A script goes on with the volume when it hears 0."""
    stands = Says(dump(replace(DETAIL, row=replace(DB, state=state))))
    said = terminal.answers(stands, Says(dump(DETAIL))).run("volume", "wait", "old", "db")

    assert said.code == code
    assert said.err.startswith(f"volume old: {state}\nvolume db: ready\n")
    assert f"volume 'old' is {state}" in said.err


def test_wait_says_at_its_limit_how_far_it_is(terminal: Terminal) -> None:
    busy = replace(DETAIL, row=replace(DB, doing=Doing.GROW, percent=10))

    assert terminal.answers(Says(dump(busy))).run("volume", "wait", "db", "--timeout", "0").code == 6


@pytest.mark.parametrize("output", ["table", "wide", "name"])
def test_foreign_texts_draw_nothing(terminal: Terminal, output: str) -> None:
    evil: Any = replace(DB, name="\x1b[2Jdb", vm="a\nroot   b", created_by="\u202ex", path="\x9b", policy="\x07")
    said = terminal.answers(listed(evil)).run("volume", "ls", "-o", output)

    assert said.out.replace("\n", "").isprintable()
    assert len(said.out.splitlines()) == (1 if output == "name" else 2)


def test_a_megabyte_of_labels_is_shown_in_part_and_told_whole(terminal: Terminal) -> None:
    detail = dump(DETAIL)
    detail["options"] |= {"given": ["labels", "newer"], "newer": "x" * (1 << 20)}
    terminal.answers(Says(detail))

    assert max(map(len, terminal.run("volume", "inspect", "db").out.splitlines())) < 1100
    assert len(terminal.run("volume", "inspect", "db", "-o", "json").out) > 1 << 20
