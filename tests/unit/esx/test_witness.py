"""What guests do and are refused stands in the audit, once, with the request's id; what hinders the audit hinders no guest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from tests.unit.esx.site import A, B, Killed, Site
from vmdkvol.audit_messages import AuditEntry, QueryAudit
from vmdkvol.errors import (
    InvalidName,
    NameConflict,
    NoSpace,
    StaleRequest,
    StillWorking,
    VolumeError,
    VolumeInUse,
    VolumeNotFound,
)
from vmdkvol.messages import Attach, CreateVolume, Detach, GetVolume, Mark, RemoveVolume, Request
from vmdkvol.names import VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.points import Point
from vmdkvol.request_ids import derived, mark
from vmdkvol.volume import Content
from vmdkvol_esx.ports import CreateDisk
from vmdkvol_esx.store import SqlStore


@pytest.fixture
def site() -> Site:
    return Site()


def entries(site: Site, request: UUID | None = None) -> Sequence[AuditEntry]:
    return site.auditing.page(QueryAudit(request=request)).entries


def told(site: Site) -> list[tuple[str, str, str]]:
    """Return who did what with which result, the oldest first."""
    return [(each.actor, each.verb, each.result) for each in reversed(entries(site))]


# --- changes -----------------------------------------------------------------------------------------------------


def test_a_volume_s_life_is_told_by_who_did_what_to_which(site: Site) -> None:
    volume = site.create("db").id
    site.detach(site.attach(volume, B), B)
    site.remove(volume)
    assert told(site) == [
        ("host-a", "CreateDisk", "done"),
        ("host-b", "AttachDisk", "done"),
        ("host-b", "DetachDisk", "done"),
        ("service", "DeleteDisk", "done"),
        ("host-a", "RemoveVolume", "done"),
    ]
    assert {each.target for each in entries(site)} == {"db"}
    assert {(each.role, each.source) for each in entries(site) if each.actor == "host-b"} == {("guest", f"vm:{B}")}


def test_what_holds_already_is_no_change_and_not_told(site: Site) -> None:
    site.create("db")
    site.create("db")
    assert told(site) == [("host-a", "CreateDisk", "done")]


def test_one_id_finds_the_call_and_all_that_it_led_to(site: Site) -> None:
    volume = site.create("db").id
    call = uuid4()
    site.ask(RemoveVolume(volume), call=call)
    found = entries(site, derived(call, uuid4()))
    assert [each.verb for each in found] == ["RemoveVolume", "DeleteDisk"]
    assert {each.request_id for each in found} == {call}
    assert f"operation={mark(call)}" in found[1].detail


def test_the_hypervisor_hears_an_operation_that_begins_as_the_call_does(site: Site) -> None:
    call = uuid4()
    site.ask(CreateVolume(VolumeRef.parse("db"), CreateOptions.parse({})), call=call)
    heard = site.hypervisor.operations
    assert [mark(each) for each in heard] == [mark(call)]
    assert heard != [call]


def test_two_calls_with_one_id_from_two_machines_are_two_operations(site: Site) -> None:
    call = uuid4()
    for vm, name in ((A, "one"), (B, "two")):
        site.ask(CreateVolume(VolumeRef.parse(name), CreateOptions.parse({})), vm, call=call)
    assert [each.target for each in entries(site, call)] == ["two", "one"]


def test_a_call_that_is_asked_again_is_told_once(site: Site) -> None:
    volume, call = site.create("db").id, uuid4()
    for _ in range(3):
        site.ask(RemoveVolume(volume), call=call)
    assert [each.verb for each in entries(site, call)] == ["RemoveVolume", "DeleteDisk"]


def test_killed_before_the_end_the_change_is_told_once_it_is_settled_with_the_id_of_its_call(site: Site) -> None:
    def at(point: Point) -> None:
        if point is Point.CHANGE_DONE:
            raise Killed

    site.restart(at)
    call = uuid4()
    with pytest.raises(Killed):
        site.ask(CreateVolume(VolumeRef.parse("db"), CreateOptions.parse({})), call=call)
    assert told(site) == []
    site.restart()
    assert [(each.verb, each.actor) for each in entries(site, call)] == [("CreateDisk", "host-a")]


def test_killed_after_the_end_it_is_told_already(site: Site) -> None:
    def at(point: Point) -> None:
        if point is Point.CHANGE_FINISHED:
            raise Killed

    site.restart(at)
    with pytest.raises(Killed):
        site.create("db")
    site.restart()
    assert told(site) == [("host-a", "CreateDisk", "done")]


def test_work_that_outlasts_its_caller_is_told_when_it_ends(site: Site) -> None:
    site.hypervisor.takes(CreateDisk, 30.0)
    call = uuid4()
    with pytest.raises(StillWorking):
        site.ask(CreateVolume(VolumeRef.parse("db"), CreateOptions.parse({})), seconds=0.5, call=call)
    assert told(site) == []
    site.clock.sleep(60.0)
    site.calm_down()
    assert [each.verb for each in entries(site, call)] == ["CreateDisk"]


def test_damage_that_an_agent_reports_is_told(site: Site) -> None:
    attachment = site.attach(site.create("db").id)
    site.ask(Mark(attachment.volume, attachment.generation, Content.UNFORMATTED, None, damage="e2fsck: 4"))
    newest = entries(site)[0]
    assert (newest.verb, newest.target, newest.result) == ("Mark", "db", "done")
    assert "e2fsck" in newest.detail


def test_what_a_disk_holds_is_no_record_of_its_own(site: Site) -> None:
    site.format(site.create("db").id)
    assert "Mark" not in {verb for _, verb, _ in told(site)}


# --- refusals ----------------------------------------------------------------------------------------------------


def held(site: Site) -> Request[object]:
    volume = site.create("db").id
    site.attach(volume, B)
    return Attach(volume)


def in_use(site: Site) -> Request[object]:
    attach = held(site)
    assert isinstance(attach, Attach)
    return RemoveVolume(attach.volume)


def conflicting(site: Site) -> Request[object]:
    site.create("db")
    return CreateVolume(VolumeRef.parse("db"), CreateOptions.parse({"size": "7gb"}))


def too_large(site: Site) -> Request[object]:
    return CreateVolume(VolumeRef.parse("db"), CreateOptions.parse({"size": "200gb", "diskformat": "eagerzeroedthick"}))


@pytest.mark.parametrize(
    ("make", "error"),
    [
        pytest.param(held, VolumeInUse, id="attach-of-what-another-one-has"),
        pytest.param(in_use, VolumeInUse, id="removal-of-what-is-in-use"),
        pytest.param(conflicting, NameConflict, id="a-name-that-is-taken"),
        pytest.param(too_large, NoSpace, id="no-room"),
    ],
)
def test_a_refusal_that_matters_is_told_with_its_code(
    site: Site, make: Callable[[Site], Request[object]], error: type[VolumeError]
) -> None:
    request, call = make(site), uuid4()
    with pytest.raises(error):
        site.ask(request, call=call)
    (found,) = entries(site, call)
    assert (found.actor, found.verb, found.target, found.result) == ("host-a", type(request).__name__, "db", error.code)


def missing(site: Site) -> Request[object]:
    return GetVolume(VolumeRef.parse("nothing"))


def stale(site: Site) -> Request[object]:
    attachment = site.attach(site.create("db").id)
    return Detach(attachment.volume, attachment.generation - 1)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        pytest.param(missing, VolumeNotFound, id="what-is-not-there"),
        pytest.param(stale, StaleRequest, id="a-copy-that-comes-late"),
    ],
)
def test_what_is_late_or_misspelt_is_not_told(
    site: Site, make: Callable[[Site], Request[object]], error: type[VolumeError]
) -> None:
    request, call = make(site), uuid4()
    with pytest.raises(error):
        site.ask(request, call=call)
    assert entries(site, call) == ()


def test_a_refusal_that_is_asked_for_again_is_told_once(site: Site) -> None:
    request, call = held(site), uuid4()
    for _ in range(3):
        with pytest.raises(VolumeInUse):
            site.ask(request, call=call)
    assert len(entries(site, call)) == 1


def test_hostile_text_in_a_name_is_one_line(site: Site) -> None:
    with pytest.raises(InvalidName):
        site.create("db\n[ERROR] forged")
    site.attach(site.create("\N{RIGHT SINGLE QUOTATION MARK}'; DROP TABLE audit; --").id)
    assert all(each.target.isprintable() for each in entries(site))


# --- an audit that cannot be written -----------------------------------------------------------------------------


def without_ends(store: SqlStore) -> None:
    with store._database.altering() as connection:
        triggers = connection.exec_driver_sql("SELECT name FROM sqlite_schema WHERE type = 'trigger'").scalars().all()
        for name in triggers:
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
        connection.exec_driver_sql("DELETE FROM audit_ends")


def test_a_broken_audit_hinders_no_change_the_log_has_the_record_and_it_is_counted(site: Site) -> None:
    without_ends(site.store)
    volume = site.create("db").id
    site.remove(volume)
    site.check_settled()
    lost = [line.fields for line in site.log.lines if line.event == "audit record not written"]
    assert [each["verb"] for each in lost] == ["CreateDisk", "DeleteDisk", "RemoveVolume"]
    assert site.auditing.unwritten == 3


def test_the_answer_is_kept_although_the_audit_is_broken(site: Site) -> None:
    without_ends(site.store)
    call = uuid4()
    request = CreateVolume(VolumeRef.parse("db"), CreateOptions.parse({}))
    first = site.ask(request, call=call)
    assert replace(site.ask(request, call=call)) == first
