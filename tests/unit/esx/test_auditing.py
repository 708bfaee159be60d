"""The audit as the service uses it: nothing is lost without a word, a flood does not fill it, what is told is bounded."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.doubles.hand_clock import HandClock
from tests.unit.esx.site import Kept as KeptLog
from vmdkvol.audit_messages import AuditEntry, AuditPage, ExportAudit, Form, NoteLogin, QueryAudit
from vmdkvol.clock import Deadline
from vmdkvol.errors import BadRequest, NoSpace, NotPermitted, VolumeError
from vmdkvol.messages import Call
from vmdkvol.orders import Actor, Role
from vmdkvol.volume import VmId
from vmdkvol.wire import answer_size
from vmdkvol_esx.auditing import GUESTS_RECORDS, GUESTS_TIME_S, NEVER_AGED, PERSONS_RECORDS, Auditing
from vmdkvol_esx.records import AuditRecord
from vmdkvol_esx.store import open_store
from vmdkvol_esx.trail import Extent, Trail

DAY_S = 86400.0
A, B = VmId(UUID(int=0xA)), VmId(UUID(int=0xB))


class Full:
    """A trail on a disk that is full as long as ``error`` is set."""

    def __init__(self, trail: Trail) -> None:
        self._trail = trail
        self.error: VolumeError | None = None
        self.taken_away = 0

    def append(self, record: AuditRecord) -> int:
        if self.error is not None:
            raise self.error
        return self._trail.append(record)

    def extent(self) -> Extent:
        found = self._trail.extent()
        return replace(found, count=found.count - self.taken_away)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trail, name)


class Bench:
    def __init__(self, *, retention_s: float = 365 * DAY_S, most: int = 100_000, machines: int = 1000) -> None:
        self.clock = HandClock(wall=1_000_000.0)
        self.store = open_store(None, self.clock)
        self.trail = Full(self.store.trail)
        self.log = KeptLog()
        self.auditing = Auditing(self.trail, self.clock, self.log, uuid4, retention_s=retention_s, most=most, machines=machines)

    def record(self, number: int = 1, **changed: object) -> AuditRecord:
        made = AuditRecord(self.clock.wall(), "alice", "admin", "unix", "rm", f"v{number}", "done", UUID(int=number))
        return replace(made, **changed)  # type: ignore[arg-type]

    def ask(self, request: Any) -> Any:
        row = self.auditing.rows()[type(request)]
        return row(request, Call(uuid4(), Deadline.after(self.clock, 10.0)))

    def entries(self, **filters: Any) -> Sequence[AuditEntry]:
        page: AuditPage = self.ask(QueryAudit(**filters))
        return page.entries

    def told(self, **filters: Any) -> list[tuple[str, str]]:
        return [(each.verb, each.target) for each in self.entries(**filters)]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.store.close()


# --- logins ------------------------------------------------------------------------------------------------------


def test_who_was_not_let_in_is_nobody_known_from_somewhere(bench: Bench) -> None:
    bench.ask(NoteLogin(door="api", source="192.0.2.1", refused="the token is unknown"))
    (entry,) = bench.entries()
    assert (entry.actor, entry.role, entry.source) == ("unknown", "none", "192.0.2.1")
    assert (entry.verb, entry.target, entry.result) == ("log-in", "api", "not-authenticated")
    assert entry.detail == "the token is unknown"


def test_who_logged_in_is_told_by_name_and_role(bench: Bench) -> None:
    bench.ask(NoteLogin(by=Actor("alice", Role.OPERATOR, "192.0.2.9"), door="page", source="192.0.2.9"))
    (entry,) = bench.entries()
    assert (entry.actor, entry.role, entry.target, entry.result) == ("alice", "operator", "page", "done")


def test_a_login_that_the_database_does_not_take_is_said_to_who_tells_it_so_that_it_is_told_again(bench: Bench) -> None:
    bench.trail.error = NoSpace("the disk is full")
    with pytest.raises(NoSpace):
        bench.ask(NoteLogin(door="api", source="192.0.2.1", refused="the token is unknown"))


# --- writing -----------------------------------------------------------------------------------------------------


def test_what_is_noted_is_found(bench: Bench) -> None:
    bench.auditing.note(bench.record(1, detail="by hand"))
    (entry,) = bench.entries()
    assert (entry.seq, entry.actor, entry.target, entry.detail, entry.intact) == (1, "alice", "v1", "by hand", True)


def test_a_full_disk_hides_no_change_the_log_has_it_and_it_is_counted(bench: Bench) -> None:
    bench.trail.error = NoSpace("the database is full")
    bench.auditing.note(bench.record(1, target="two\nlines"))
    assert bench.auditing.unwritten == 1
    (line,) = bench.log.lines
    assert (line.level, line.event) == ("error", "audit record not written")
    assert (line.fields["actor"], line.fields["target"], line.fields["verb"]) == ("alice", "two\\nlines", "rm")
    assert line.fields["request_id"] == str(UUID(int=1))


def test_after_a_full_disk_the_next_record_is_written_again(bench: Bench) -> None:
    bench.trail.error = NoSpace("the database is full")
    bench.auditing.note(bench.record(1))
    bench.trail.error = None
    bench.auditing.note(bench.record(2))
    assert bench.told() == [("rm", "v2")]
    assert bench.auditing.unwritten == 1


# --- a flood -----------------------------------------------------------------------------------------------------


def flood(bench: Bench, vm: VmId, count: int) -> None:
    for number in range(count):
        bench.auditing.note_guest(vm, bench.record(number, actor=f"host-{vm.int:x}", role="guest", result="not-permitted"))


def test_a_machine_that_floods_has_its_share_and_no_more(bench: Bench) -> None:
    flood(bench, A, GUESTS_RECORDS + 1000)
    assert bench.store.trail.extent().count == GUESTS_RECORDS


def test_how_many_more_there_were_is_told_when_the_time_is_over(bench: Bench) -> None:
    flood(bench, A, GUESTS_RECORDS + 1000)
    bench.clock.pass_time(GUESTS_TIME_S)
    flood(bench, A, 1)
    newest, more = bench.entries(limit=2)
    assert newest.verb == "rm"
    assert (more.verb, more.actor, more.result, more.source) == ("and-more", "host-a", "not-permitted", f"vm:{A}")
    assert more.detail.startswith("1000 more records")


def test_it_is_told_too_when_the_machine_says_nothing_more(bench: Bench) -> None:
    flood(bench, A, GUESTS_RECORDS + 3)
    bench.auditing.tidy()
    assert bench.told(verb="and-more") == []
    bench.clock.pass_time(GUESTS_TIME_S)
    bench.auditing.tidy()
    bench.auditing.tidy()
    assert bench.told(verb="and-more") == [("and-more", "audit")]


def test_who_stays_within_the_share_is_not_told_of(bench: Bench) -> None:
    flood(bench, A, GUESTS_RECORDS)
    bench.clock.pass_time(GUESTS_TIME_S)
    bench.auditing.tidy()
    assert bench.told(verb="and-more") == []


def test_one_machines_flood_takes_nothing_from_another_or_from_an_administrator(bench: Bench) -> None:
    flood(bench, A, GUESTS_RECORDS + 10)
    flood(bench, B, 1)
    bench.auditing.note(bench.record(7))
    assert [each.actor for each in bench.entries(limit=2)] == ["alice", "host-b"]


def test_machines_without_end_are_counted_together() -> None:
    bench = Bench(machines=3)
    for number in range(1, 3 + 2 * GUESTS_RECORDS):
        flood(bench, VmId(UUID(int=number)), 1)
    assert bench.store.trail.extent().count == 3 + GUESTS_RECORDS


def forbidden(bench: Bench, name: str, count: int) -> None:
    told = {"actor": name, "role": "viewer", "source": "192.0.2.7", "verb": "destroy-volume", "result": NotPermitted.code}
    for number in range(count):
        bench.auditing.note(bench.record(number, **told))


def test_a_viewer_who_is_refused_without_end_pushes_nothing_out_of_the_audit() -> None:
    bench = Bench(most=1000)
    bench.auditing.note(bench.record(1, target="the-evidence"))
    forbidden(bench, "vera", 3000)
    bench.auditing.tidy()
    assert bench.told(target="the-evidence") == [("rm", "the-evidence")]
    assert bench.store.trail.extent().count == 1 + PERSONS_RECORDS


def test_how_often_more_a_viewer_was_refused_is_told_of_it_by_name_role_and_source(bench: Bench) -> None:
    forbidden(bench, "vera", PERSONS_RECORDS + 50)
    bench.clock.pass_time(GUESTS_TIME_S)
    bench.auditing.tidy()
    (more,) = bench.entries(verb="and-more")
    assert (more.actor, more.role, more.source, more.result) == ("vera", "viewer", "192.0.2.7", NotPermitted.code)
    assert more.detail.startswith("50 more records")


@pytest.mark.parametrize("result", ["dry-run", "volume-not-found", "invalid-option", "volume-in-use", "no-space", "busy"])
def test_an_operator_whose_orders_change_nothing_pushes_nothing_out_of_the_audit(result: str) -> None:
    bench = Bench(most=1000)
    bench.auditing.note(bench.record(1, target="the-evidence"))
    for number in range(3000):
        bench.auditing.note(bench.record(number, actor="olga", role="operator", result=result))
    bench.clock.pass_time(GUESTS_TIME_S)
    bench.auditing.tidy()
    assert bench.told(target="the-evidence") == [("rm", "the-evidence")]
    (more,) = bench.entries(verb="and-more")
    assert (more.actor, more.result, more.detail[:4]) == ("olga", result, f"{3000 - PERSONS_RECORDS}")


def test_a_flood_of_dry_runs_hides_no_try_at_what_is_forbidden(bench: Bench) -> None:
    for number in range(PERSONS_RECORDS + 1):
        bench.auditing.note(bench.record(number, actor="vera", role="operator", result="dry-run"))
    forbidden(bench, "vera", 1)
    assert bench.entries(limit=1)[0].result == NotPermitted.code


@pytest.mark.parametrize("result", ["done", "started", "still-working", "outcome-unknown", "check-failed", "internal"])
def test_what_changed_something_or_may_have_is_always_written(bench: Bench, result: str) -> None:
    for number in range(3 * PERSONS_RECORDS):
        bench.auditing.note(bench.record(number, result=result))
    assert bench.store.trail.extent().count == 3 * PERSONS_RECORDS


def test_one_viewers_flood_takes_nothing_from_another_administrator(bench: Bench) -> None:
    forbidden(bench, "vera", PERSONS_RECORDS + 1)
    forbidden(bench, "vito", 1)
    assert bench.entries(limit=1)[0].actor == "vito"


def test_what_an_administrator_changed_is_written_however_often_it_was_refused_before(bench: Bench) -> None:
    forbidden(bench, "vera", PERSONS_RECORDS + 1)
    bench.auditing.note(bench.record(1, actor="vera", role="viewer", target="done-by-vera"))
    assert bench.told(target="done-by-vera") == [("rm", "done-by-vera")]


def test_who_logs_in_without_end_has_a_share_too(bench: Bench) -> None:
    by = Actor("vera", Role.VIEWER, "192.0.2.7")
    for _ in range(PERSONS_RECORDS + 20):
        bench.ask(NoteLogin(by=by, door="page", source=by.source))
    assert bench.store.trail.extent().count == PERSONS_RECORDS
    bench.clock.pass_time(GUESTS_TIME_S)
    bench.auditing.tidy()
    (more,) = bench.entries(verb="and-more")
    assert (more.actor, more.role, more.result) == ("vera", "viewer", "done")


# --- retention ---------------------------------------------------------------------------------------------------


def test_more_records_than_are_kept_are_forgotten_and_that_is_audited() -> None:
    bench = Bench(most=10)
    for number in range(25):
        bench.auditing.note(bench.record(number))
    bench.auditing.tidy()
    told = bench.told()
    assert told[0] == ("forget-audit", "audit")
    assert told[1:] == [("rm", f"v{number}") for number in range(24, 14, -1)]
    assert all(each.intact for each in bench.entries())


def test_the_audit_is_bounded_without_anybody_s_doing() -> None:
    bench = Bench(most=100)
    for number in range(1000):
        bench.auditing.note(bench.record(number))
    assert bench.store.trail.extent().count < 400


def test_old_records_are_forgotten_and_the_newest_of_them_never() -> None:
    bench = Bench(retention_s=30 * DAY_S)
    for number in range(NEVER_AGED + 5):
        bench.auditing.note(bench.record(number))
    bench.clock.pass_time(31 * DAY_S)
    bench.auditing.tidy()
    extent = bench.store.trail.extent()
    assert (extent.first, extent.last) == (6, NEVER_AGED + 6)


def test_f33_a_clock_that_jumps_ahead_forgets_nothing() -> None:
    bench = Bench(retention_s=30 * DAY_S)
    for number in range(NEVER_AGED + 5):
        bench.auditing.note(bench.record(number))
    bench.clock.jump(3650 * DAY_S)
    bench.auditing.tidy()
    assert bench.store.trail.extent().first == 1


def test_a_tidy_that_finds_nothing_leaves_no_record(bench: Bench) -> None:
    bench.auditing.tidy()
    bench.auditing.note(bench.record(1))
    bench.auditing.tidy()
    assert bench.told() == [("rm", "v1")]


# --- questions ---------------------------------------------------------------------------------------------------


def test_pages_lead_to_the_last_record_and_no_record_twice(bench: Bench) -> None:
    for number in range(7):
        bench.auditing.note(bench.record(number))
    seen: list[int] = []
    before: int | None = None
    for _ in range(4):
        page: AuditPage = bench.ask(QueryAudit(limit=2, before=before))
        seen += [each.seq for each in page.entries]
        before = page.next
    assert (seen, before) == ([7, 6, 5, 4, 3, 2, 1], None)


def test_a_page_that_is_just_full_is_the_last(bench: Bench) -> None:
    for number in range(2):
        bench.auditing.note(bench.record(number))
    assert bench.ask(QueryAudit(limit=2)).next is None


def test_a_page_fits_a_frame_however_long_the_records_are(bench: Bench) -> None:
    wide = "\N{OLD PERSIAN SIGN A}" * 1000
    for _ in range(500):
        bench.auditing.note(bench.record(1, actor=wide, source=wide, target=wide, detail=wide))
    page: AuditPage = bench.ask(QueryAudit(limit=500))
    assert answer_size(page) <= 1 << 20
    assert len(page.entries) < 500
    assert page.next == page.entries[-1].seq
    lines = bench.ask(ExportAudit(limit=500))
    assert answer_size(lines) <= 1 << 20
    assert lines.next == len(lines.lines)


@pytest.mark.parametrize(
    "filters",
    [
        pytest.param({"limit": 0}, id="no-record"),
        pytest.param({"limit": 501}, id="too-many"),
        pytest.param({"since": float("nan")}, id="a-time-that-is-none"),
        pytest.param({"until": float("inf")}, id="no-end"),
        pytest.param({"actor": "x" * 241}, id="a-long-name"),
        pytest.param({"target": "x" * (1 << 20)}, id="a-megabyte"),
        pytest.param({"target": "*a" * 9}, id="many-stars"),
        pytest.param({"verb": "a\nb"}, id="two-lines"),
        pytest.param({"result": "\0"}, id="nul"),
        pytest.param({"actor": "\ud800"}, id="half-a-character"),
        pytest.param({"before": -1}, id="before-the-first"),
        pytest.param({"before": 1 << 63}, id="beyond-every-number"),
    ],
)
def test_a_filter_that_cannot_be_one_is_refused(bench: Bench, filters: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        bench.ask(QueryAudit(**filters))


def test_what_is_missing_is_told(bench: Bench) -> None:
    for number in range(3):
        bench.auditing.note(bench.record(number))
    assert bench.ask(QueryAudit()).missing == 0
    bench.trail.taken_away = 2
    assert bench.ask(QueryAudit()).missing == 2


# --- export ------------------------------------------------------------------------------------------------------


def exported(bench: Bench, form: Form, limit: int = 2) -> list[str]:
    lines: list[str] = []
    after: int | None = 0
    while after is not None:
        page = bench.ask(ExportAudit(form=form, after=after, limit=limit))
        lines += page.lines
        after = page.next
    return lines


def test_an_export_has_every_record_once_oldest_first(bench: Bench) -> None:
    for number in range(5):
        bench.auditing.note(bench.record(number))
    told = [json.loads(line) for line in exported(bench, Form.JSON)]
    assert [each["seq"] for each in told] == [1, 2, 3, 4, 5]
    assert told[0]["time"] == "1970-01-12T13:46:40.000+00:00"
    assert told[0]["request_id"] == str(UUID(int=0))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "=HYPERLINK(1)"])
def test_no_cell_of_a_csv_is_a_formula(bench: Bench, text: str) -> None:
    bench.auditing.note(bench.record(1, actor=text, target=text, detail=text))
    heading, row = csv.reader(io.StringIO("\n".join(exported(bench, Form.CSV))))
    told = dict(zip(heading, row, strict=True))
    assert [told[name] for name in ("actor", "target", "detail")] == [f"'{text}"] * 3


@pytest.mark.parametrize("text", ['a,"b",c', "a;b", '"', "tab\tseparated", "a\r\n=1+1"])
def test_no_text_makes_a_second_cell_or_line(bench: Bench, text: str) -> None:
    bench.auditing.note(bench.record(1, target=text))
    lines = exported(bench, Form.CSV)
    assert len(lines) == 2
    heading, row = csv.reader(io.StringIO("\n".join(lines)))
    assert len(heading) == len(row)
    assert len(exported(bench, Form.JSON)) == 1


def test_a_time_that_no_calendar_has_is_no_error(bench: Bench) -> None:
    bench.auditing.note(bench.record(1, at=1e300))
    assert json.loads(exported(bench, Form.JSON)[0])["time"] == ""
