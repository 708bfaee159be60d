"""`vmdkvol task`, `orphans`, `audit` and `status`: what they show and what they ask of the API."""

from __future__ import annotations

import json
from uuid import UUID

import pytest

from tests.doubles.small_api import Says, problem
from tests.unit.cli.asked import Terminal, outcome
from tests.unit.cli.asked import terminal as terminal
from vmdkvol.audit_messages import AuditEntry, AuditLines, AuditPage
from vmdkvol.cli.moments import iso, parse_moment
from vmdkvol.errors import BadRequest
from vmdkvol.orphan_messages import Mending, Orphan, OrphanKind, Orphans
from vmdkvol.task_messages import Count, SiteInfo, TaskInfo, Tasks, TaskState
from vmdkvol.volume import Doing, VolumeId
from vmdkvol.wire import dump

TASK = TaskInfo(UUID(int=7), VolumeId(UUID(int=9)), "db", Doing.CLONE, TaskState.RUNNING, 1764081706.0, "web1", 40, 90)
ORPHAN = Orphan(
    OrphanKind.DISK,
    "[ds1] vmdkvol/x/db.vmdk",
    "no record names it",
    "db",
    1 << 30,
    (Mending.ADOPT,),
    "vmdkvol orphans mend ...",
)
SITE = SiteInfo("0.1.0", 12, 90.5, (Count("ready", 3),), 1, ("web1", "web2"), 2)
ENTRY = AuditEntry(
    5, 1764081706.0, "root", "admin", "unix", "RemoveVmgroup", "prod", "done", UUID(int=4), "with 2 volumes", True
)


def test_tasks_say_how_far_they_are(terminal: Terminal) -> None:
    said = terminal.answers(Says(dump(Tasks((TASK,))))).run("task", "ls")

    assert said.out.splitlines()[1].split()[1:7] == ["db", "clone", "running", "40", "90", "seconds"]
    assert terminal.asked[0].target == "/v1/tasks?ended=false&limit=200"


def test_ended_tasks_are_asked_for(terminal: Terminal) -> None:
    terminal.answers(Says(dump(Tasks(())))).run("task", "ls", "--all")

    assert "ended=true" in terminal.asked[0].target


def test_of_several_tasks_each_is_waited_for(terminal: Terminal) -> None:
    terminal.answers(problem("task-not-found", "no task 1", 404), Says(dump(TASK) | {"state": "done"}))
    said = terminal.run("task", "wait", str(UUID(int=1)), str(UUID(int=2)))

    assert said.code == 3
    assert said.err.splitlines()[-2:] == [f"task {UUID(int=2)} is done", "vmdkvol: 1 of 2 were done [partial]"]


def test_a_task_is_shown_by_its_volumes_name(terminal: Terminal) -> None:
    said = terminal.answers(Says(dump(TASK)), Says(dump(TASK)), Says(dump(TASK) | {"state": "done"})).run(
        "task", "wait", str(TASK.id)
    )

    assert said.err.startswith(f"volume {TASK.volume_name}: being ")


@pytest.mark.parametrize("verb", ["wait", "cancel"])
def test_what_is_no_id_of_a_task_is_not_asked_for(terminal: Terminal, verb: str) -> None:
    said = terminal.answers(problem("task-not-found")).run("task", verb, "db")

    assert (said.code, terminal.asked) == (4, [])
    assert said.err == "vmdkvol: 'db' is no task's id; see `vmdkvol task ls --all` for the ids [task-not-found]\n"


def test_a_task_that_cannot_be_stopped_says_why(terminal: Terminal) -> None:
    said = terminal.answers(problem("not-cancellable", "the copy is done")).run("task", "cancel", str(UUID(int=7)))

    assert (said.code, terminal.asked[0].target) == (5, f"/v1/tasks/{UUID(int=7)}/cancel")


def test_orphans_come_with_the_command_that_mends_them(terminal: Terminal) -> None:
    said = terminal.answers(Says(dump(Orphans((ORPHAN,), ("ds2",), 3)))).run("orphans", "ls")

    assert "  vmdkvol orphans mend ..." in said.out.splitlines()
    assert "not known: ds2" in said.err
    assert "3 more" in said.err


def test_for_programs_only_orphans_are_on_stdout(terminal: Terminal) -> None:
    (row,) = json.loads(terminal.answers(Says(dump(Orphans((ORPHAN,))))).run("orphans", "ls", "-o", "json").out)

    assert (row["where"], row["size"], row["actions"]) == (ORPHAN.where, "1gb", ["adopt"])


def test_an_orphan_is_mended_by_its_place(terminal: Terminal) -> None:
    terminal.answers(Says(outcome("adopt")))
    said = terminal.run("orphans", "mend", ORPHAN.where, "adopt", "--dry-run")

    assert said.code == 0
    assert terminal.asked[0].target == "/v1/orphans/mend?dry_run=true"
    assert terminal.asked[0].body == {"where": ORPHAN.where, "action": "adopt", "i_know": ORPHAN.where}


def test_what_cannot_be_taken_back_is_asked_first(terminal: Terminal) -> None:
    terminal.answers(Says(outcome("forget", loses="what is known of db is lost")))

    assert terminal.run("orphans", "mend", ORPHAN.where, "forget").code == 2
    assert [asked.target for asked in terminal.asked] == ["/v1/orphans/mend?dry_run=true"]


def test_the_audit_says_who_did_what(terminal: Terminal) -> None:
    said = terminal.answers(Says(dump(AuditPage((ENTRY,), None, 1)))).run("audit", "ls", "--actor", "root", "--target", "p*")

    assert said.out.splitlines()[1].split() == [
        "2025-11-25T14:41:46+00:00", "root", "RemoveVmgroup", "prod", "done", "with", "2", "volumes",
    ]  # fmt: skip
    assert terminal.asked[0].target == "/v1/audit?limit=100&actor=root&target=p%2A"


def test_no_more_records_than_were_asked_for(terminal: Terminal) -> None:
    page = dump(AuditPage((ENTRY, ENTRY), 4, 1))
    said = terminal.answers(Says(page)).run("audit", "ls", "-n", "2", "-o", "name")

    assert said.out == "5\n5\n"
    assert len(terminal.asked) == 1


def test_a_record_that_was_changed_is_told(terminal: Terminal) -> None:
    page = dump(AuditPage((ENTRY,), None, 1))
    page["entries"][0]["intact"] = False

    assert "not what was once written" in terminal.answers(Says(page)).run("audit", "ls").err


def test_an_export_is_its_lines(terminal: Terminal) -> None:
    pages = (Says(dump(AuditLines(("a,b", "1,'=x"), 5))), Says(dump(AuditLines(("2,y",), None))))
    said = terminal.answers(*pages).run("audit", "export", "--form", "csv", "--since", "2026-11-29")

    assert said.out == "a,b\n1,'=x\n2,y\n"
    assert terminal.asked[1].target.endswith("&after=5")


@pytest.mark.parametrize(
    ("site", "code"),
    [
        pytest.param(SITE, 0, id="well"),
        pytest.param(SiteInfo("0.1.0", 1, 1.0, (), 0, (), 1, ("ds1 is full\x1b",)), 1, id="trouble"),
    ],
)
def test_the_status_says_whether_somebody_should_look(terminal: Terminal, site: SiteInfo, code: int) -> None:
    said = terminal.answers(Says(dump(site))).run("status")

    assert said.code == code
    assert said.out.replace("\n", "").isprintable()


def test_the_status_for_programs(terminal: Terminal) -> None:
    found = json.loads(terminal.answers(Says(dump(SITE))).run("status", "-o", "json").out)

    assert (found["volumes"], found["hosts"], found["uptime"]) == ({"ready": 3}, ["web1", "web2"], "90 seconds")


def test_the_status_in_the_forms_that_everything_has(terminal: Terminal) -> None:
    terminal.answers(Says(dump(SITE)))
    assert terminal.run("status", "-o", "name").out.startswith("unix:///")
    assert "UPTIME S" not in terminal.run("status").out
    assert "UPTIME S" in terminal.run("status", "-o", "wide").out


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2h", 1_000_000 - 7200),
        ("10m", 1_000_000 - 600),
        ("1970-01-02", 86400),
        ("1970-01-01T01:00", 3600),
        ("1970-01-01T01:00+01:00", 0),
    ],
)
def test_a_time_is_read(text: str, seconds: float) -> None:
    assert parse_moment(text, 1_000_000.0) == seconds


@pytest.mark.parametrize("text", ["", "yesterday", "2h ago", "25:00", "2026-13-01", "-2h", "٢h"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        parse_moment(text, 0.0)


@pytest.mark.parametrize("seconds", [1e300, float("nan"), float("-inf")])
def test_a_time_that_no_calendar_has_is_unknown(seconds: float) -> None:
    assert iso(seconds) is None
