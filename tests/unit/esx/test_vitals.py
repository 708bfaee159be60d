"""Whether the service is well: each thing that is not is named with what to do, and only what stops all work stops "ready"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from tests.unit.esx.site import DS1, A, Site
from vmdkvol.clock import Deadline
from vmdkvol.errors import HypervisorUnreachable, MetadataDamaged, TruthUnknown
from vmdkvol.findings import FAIL, OK, WARN, Finding
from vmdkvol.messages import Call, CreateVolume
from vmdkvol.names import VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.watch_messages import ReadVitals, Vitals
from vmdkvol_esx.expiry import AUTHORITY, Expiry
from vmdkvol_esx.ports import CreateDisk, Datastore
from vmdkvol_esx.vitals import Checking, Looks

GB = 1 << 30


class Bench:
    def __init__(self) -> None:
        self.site = Site()
        self.damage: Exception | None = None
        self.free = 10 * GB
        self.ends: Sequence[Expiry] | Exception = ()
        self.scanned_at = self.site.clock.monotonic()
        self.unwritten = 0
        self.datastores: Any = None

    def check_writable(self) -> None:
        if self.damage is not None:
            raise self.damage

    def certificates(self) -> Sequence[Expiry]:
        if isinstance(self.ends, Exception):
            raise self.ends
        return self.ends

    def ask(self) -> Vitals:
        looks = Looks(
            self.check_writable, lambda: self.free, self.certificates, lambda: self.scanned_at, 60.0, lambda: self.unwritten
        )
        hypervisor: Any = self.site.hypervisor if self.datastores is None else self
        checking = Checking(self.site.store, hypervisor, self.site.store.trail, self.site.clock, looks)
        row = checking.rows()[ReadVitals]
        found = row(ReadVitals(), Call(uuid4(), Deadline.after(self.site.clock, 10.0), A))
        assert isinstance(found, Vitals)
        return found

    def finding(self, check: str) -> Finding:
        (found,) = [each for each in self.ask().findings if each.check == check]
        return found


class Stores:
    """A hypervisor that shows these datastores, or raises."""

    def __init__(self, *shown: Datastore | Exception) -> None:
        self.shown = shown

    def __call__(self) -> list[Datastore]:
        for each in self.shown:
            if isinstance(each, Exception):
                raise each
        return [each for each in self.shown if isinstance(each, Datastore)]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_site_that_is_well_has_nothing_to_mend(bench: Bench) -> None:
    vitals = bench.ask()
    assert vitals.ready
    assert {each.status for each in vitals.findings} == {OK}
    assert {each.check for each in vitals.findings} == {
        "database",
        "hypervisor",
        f"datastore {DS1}",
        "work",
        "audit",
        "housekeeping",
    }


def test_a_database_that_takes_no_writes_is_not_ready_and_says_what_to_do(bench: Bench) -> None:
    bench.damage = MetadataDamaged("the database takes no writes since: disk I/O error", remedy="check the disk under it")
    assert not bench.ask().ready
    found = bench.finding("database")
    assert (found.status, found.fix) == (FAIL, "check the disk under it")


@pytest.mark.parametrize(("free", "status", "ready"), [(2 * GB, OK, True), (GB - 1, WARN, True), ((64 << 20) - 1, FAIL, False)])
def test_space_under_the_database_is_told_before_there_is_none(bench: Bench, free: int, status: str, ready: bool) -> None:
    bench.free = free
    assert (bench.finding("database").status, bench.ask().ready) == (status, ready)


def test_space_that_cannot_be_read_is_no_good_sign(bench: Bench) -> None:
    bench.damage = TruthUnknown("the space cannot be read")
    assert bench.finding("database").status == FAIL


def test_a_hypervisor_that_does_not_answer_is_not_ready(bench: Bench) -> None:
    bench.datastores = Stores(HypervisorUnreachable("vcenter: connection refused"))
    assert not bench.ask().ready
    found = bench.finding("hypervisor")
    assert (found.status, found.finding) == (FAIL, "vcenter: connection refused")


@pytest.mark.parametrize(
    ("store", "status"),
    [
        pytest.param(Datastore(DS1, 100, 16, True), OK, id="some-room"),
        pytest.param(Datastore(DS1, 100, 14, True), WARN, id="nearly-full"),
        pytest.param(Datastore(DS1, 100, 90, False), FAIL, id="read-only"),
        pytest.param(Datastore(DS1, 0, 0, False, problem="its marker is another's"), FAIL, id="not-usable"),
        pytest.param(Datastore(DS1, 0, 0, True), OK, id="of-no-size"),
    ],
)
def test_a_datastore_is_told_and_stops_nothing_else(bench: Bench, store: Datastore, status: str) -> None:
    bench.datastores = Stores(store)
    assert bench.finding(f"datastore {DS1}").status == status
    assert bench.ask().ready


def test_a_change_that_does_not_end_is_told(bench: Bench) -> None:
    site = bench.site
    site.hypervisor.takes(CreateDisk, 100_000.0)
    site.leave(CreateVolume(VolumeRef.parse("db"), CreateOptions.parse({})))
    assert bench.finding("work").status == OK
    site.clock.skip(301.0)
    assert bench.finding("work").status == WARN


@pytest.mark.parametrize("unwritten", [0, 3])
def test_records_that_the_audit_lacks_are_told(bench: Bench, unwritten: int) -> None:
    bench.unwritten = unwritten
    assert bench.finding("audit").status == (WARN if unwritten else OK)


def test_housekeeping_that_has_stopped_is_told(bench: Bench) -> None:
    assert bench.finding("housekeeping").status == OK
    bench.scanned_at -= 601.0
    assert bench.finding("housekeeping").status == WARN


@pytest.mark.parametrize(("days", "status"), [(31.0, OK), (29.0, WARN), (-1.0, FAIL)])
def test_a_certificate_s_end_is_told_a_month_before(bench: Bench, days: float, status: str) -> None:
    bench.ends = [Expiry(AUTHORITY, bench.site.clock.wall() + days * 86400.0)]
    found = bench.finding("certificate of the site's authority")
    assert found.status == status
    assert bool(found.fix) == (status != OK)


def test_everything_that_is_not_well_says_what_to_do(bench: Bench) -> None:
    bench.datastores = Stores(Datastore(DS1, 100, 1, True), replace(Datastore(DS1, 100, 90, False), problem="gone"))
    bench.free, bench.unwritten, bench.scanned_at = 1, 1, -10_000.0
    assert all(each.fix for each in bench.ask().findings if each.status != OK)


def test_certificates_that_cannot_be_looked_at_are_told_and_stop_nothing(bench: Bench) -> None:
    bench.ends = MetadataDamaged("the database takes no reads")
    assert bench.finding("certificates").status == FAIL
    assert bench.ask().ready
