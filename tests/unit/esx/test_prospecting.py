"""Disks that somebody else made are told with what stands against taking one; looking changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from tests.unit.esx.admin_site import AdminSite
from tests.unit.esx.site import DS1, DS2, GB, A, B
from tests.unit.esx.test_adopting import adopt
from vmdkvol import frames
from vmdkvol.adoption_messages import FoundDisk, FoundDisks, ScanDisks
from vmdkvol.clock import Deadline
from vmdkvol.errors import BadRequest, Busy, DatastoreNotFound, NotFound, TruthUnknown, VolumeInUse
from vmdkvol.volume import new_disk_uuid
from vmdkvol.wire import dump
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.ports import AttachDisk, CreateDisk, DiskPath, DiskRef
from vmdkvol_esx.prospecting import Prospecting


@pytest.fixture
def site() -> AdminSite:
    return AdminSite(datastores=(DS1, DS2))


def put(site: AdminSite, path: str = "theirs/x.vmdk") -> DiskRef:
    """A disk that somebody else made."""
    ref = DiskRef(new_disk_uuid(uuid4()), DiskPath(DS1, path))
    site.hypervisor.submit(CreateDisk(ref, GB, "thin", {}), uuid4())
    return ref


def found(site: AdminSite, folder: str = "") -> list[FoundDisk]:
    told: FoundDisks = site.order(ScanDisks(datastore="ds1", folder=folder))
    assert told.next is None
    return list(told.disks)


def test_a_disk_of_nobody_s_can_be_adopted(site: AdminSite) -> None:
    ref = put(site)
    (told,) = found(site)
    assert (told.place, told.adoptable, told.reason) == ("[ds1] theirs/x.vmdk", True, "")
    assert (told.uuid, told.size_bytes, told.diskformat) == (str(ref.uuid), GB, "thin")


def test_volumes_are_none_of_them(site: AdminSite) -> None:
    site.create("db", datastore="ds1")
    assert found(site) == []


def test_what_stands_against_a_disk_is_told(site: AdminSite) -> None:
    site.hypervisor.obstacles[put(site).path] = "it is a child\nof a snapshot"
    (told,) = found(site)
    assert (told.adoptable, "\n" in told.reason, "snapshot" in told.reason) == (False, False, True)


def test_a_disk_that_a_machine_has_is_told_with_the_machine(site: AdminSite) -> None:
    site.hypervisor.submit(AttachDisk(A, put(site), "persistent"), uuid4())
    site.hypervisor.power(A, running=False)
    (told,) = found(site)
    assert (told.adoptable, told.used_by, told.reason) == (False, "host-a", "host-a has it")


def test_a_disk_of_a_machine_that_does_not_say_who_it_is_is_known_by_its_place(site: AdminSite) -> None:
    ref, other = put(site), DiskPath(DS1, "elsewhere/y.vmdk")
    site.hypervisor.nameless = {B: (ref.path, None), A: (other,)}
    told: FoundDisks = site.order(ScanDisks(datastore="ds1"))
    (disk,) = told.disks
    assert (disk.adoptable, disk.used_by, told.uncompared) == (False, "host-b", 3)
    with pytest.raises(VolumeInUse, match="host-b has it"):
        adopt(site)
    assert site.records() == []


def test_a_disk_that_a_silent_machine_may_have_is_told_as_such_and_does_not_hide_the_page(site: AdminSite) -> None:
    ref = put(site)
    site.hypervisor.unread(B)
    (told,) = found(site)
    assert (told.adoptable, told.uuid, told.used_by, "host-b may have" in told.reason) == (False, str(ref.uuid), None, True)
    with pytest.raises(TruthUnknown, match="host-b may have"):
        adopt(site)
    assert site.records() == []


def test_a_disk_that_something_else_uses_is_told(site: AdminSite) -> None:
    site.hypervisor.strangers[put(site).uuid] = "losetup"
    (told,) = found(site)
    assert (told.adoptable, "losetup" in (told.used_by or "")) == (False, True)


def test_a_copy_of_a_volume_s_disk_is_told_as_one(site: AdminSite) -> None:
    record = site.record(site.create("db", datastore="ds1").id)
    site.hypervisor.submit(CreateDisk(DiskRef(record.disk_uuid, DiskPath(DS1, "theirs/x.vmdk")), GB, "thin", {}), uuid4())
    (told,) = found(site)
    assert (told.adoptable, told.volume, "a copy?" in told.reason) == (False, "_DEFAULT/db", True)
    assert disk_ref(record).path.path in told.reason


def test_a_folder_alone_is_looked_at(site: AdminSite) -> None:
    put(site, "a/x.vmdk")
    put(site, "b/x.vmdk")
    assert [told.place for told in found(site, "b")] == ["[ds1] b/x.vmdk"]


def test_a_disk_that_cannot_be_read_does_not_hide_the_others(site: AdminSite) -> None:
    put(site, "a/x.vmdk")
    site.hypervisor.damage(put(site, "b/x.vmdk").path, "it is cut off")
    assert [(told.place, told.adoptable) for told in found(site)] == [("[ds1] a/x.vmdk", True), ("[ds1] b/x.vmdk", False)]


def test_pages_are_every_disk_once_and_fit_into_a_frame(site: AdminSite) -> None:
    for number in range(250):
        put(site, f"theirs/{'x' * 150}-{number:04}.vmdk")
    places: list[str] = []
    after: str | None = None
    while True:
        page: FoundDisks = site.order(ScanDisks(datastore="ds1", after=after, limit=100))
        assert len(frames.encode(dump(page))) < frames.MAX_FRAME
        places += [told.place for told in page.disks]
        if page.next is None:
            break
        after = page.next
    assert len(places) == len(set(places)) == 250


@pytest.mark.parametrize("limit", [0, 101, -1])
def test_a_page_of_no_size_is_refused(site: AdminSite, limit: int) -> None:
    with pytest.raises(BadRequest):
        site.order(ScanDisks(datastore="ds1", limit=limit))


def test_what_is_not_there_is_not_empty(site: AdminSite) -> None:
    with pytest.raises(DatastoreNotFound, match="ds9"):
        site.order(ScanDisks(datastore="ds9"))
    with pytest.raises(NotFound):
        site.order(ScanDisks(datastore="ds1", folder="nowhere"))
    site.hypervisor.unreadable(DS1)
    with pytest.raises(TruthUnknown):
        site.order(ScanDisks(datastore="ds1"))


def test_looking_changes_nothing(site: AdminSite) -> None:
    put(site)
    before = site.hypervisor.truth()
    found(site)
    after = site.hypervisor.truth()
    assert (after.disks, after.sidecars, site.records()) == (before.disks, before.sidecars, [])


class Slow:
    """A hypervisor where something happens before a disk is looked at."""

    def __init__(self, inner: Any, before: Callable[[], object]) -> None:
        self._inner = inner
        self._before = before

    def foreign_disk(self, path: DiskPath, deadline: Deadline | None = None) -> object:
        self._before()
        if deadline is not None and deadline.passed:
            raise TruthUnknown("the server did not answer in time")
        return self._inner.foreign_disk(path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def prospecting(site: AdminSite, before: Callable[[], object]) -> Prospecting:
    parts = replace(site.verbs.parts, hypervisor=Slow(site.hypervisor, before))  # type: ignore[arg-type]
    return Prospecting(parts, site.choosing)


def test_a_page_ends_before_who_asked_gives_up_and_the_next_one_goes_on(site: AdminSite) -> None:
    refs = [put(site, f"theirs/{number}.vmdk") for number in range(5)]
    slow = prospecting(site, lambda: site.clock.skip(4.0))
    began, seen, after = site.clock.monotonic(), list[str](), None
    for _ in range(10):
        page = slow.scan(ScanDisks(datastore="ds1", after=after), Deadline.after(site.clock, 15.0))
        assert site.clock.monotonic() - began < 15.0
        began, after = site.clock.monotonic(), page.next
        seen += [told.place for told in page.disks]
        if after is None:
            break
    assert seen == [str(ref.path) for ref in refs]


def test_a_page_gets_on_however_little_time_there_is(site: AdminSite) -> None:
    put(site, "theirs/0.vmdk"), put(site, "theirs/1.vmdk")
    page = prospecting(site, lambda: None).scan(ScanDisks(datastore="ds1"), Deadline.after(site.clock, 1.0))
    assert (len(page.disks), page.next) == (1, page.disks[0].place)


def test_a_disk_that_does_not_answer_costs_its_own_time_and_no_more(site: AdminSite) -> None:
    put(site, "theirs/0.vmdk"), put(site, "theirs/1.vmdk")
    pauses = [11.0, 0.0]

    def stand() -> None:
        site.clock.skip(pauses.pop(0))

    page = prospecting(site, stand).scan(ScanDisks(datastore="ds1"), Deadline.after(site.clock, 60.0))
    assert [(told.adoptable, "cannot be read now" in told.reason) for told in page.disks] == [(False, True), (True, False)]


def test_one_scan_at_a_time_keeps_a_worker_and_another_one_is_refused(site: AdminSite) -> None:
    put(site)
    refused: list[str] = []

    def meanwhile() -> None:
        with pytest.raises(Busy) as told:
            slow.scan(ScanDisks(datastore="ds1"), Deadline.after(site.clock, 15.0))
        refused.append(told.value.text)

    slow = prospecting(site, meanwhile)
    for _ in range(2):
        slow.scan(ScanDisks(datastore="ds1"), Deadline.after(site.clock, 15.0))
    assert refused == ["another scan is under way"] * 2


def test_a_scan_that_failed_stands_in_nobody_s_way(site: AdminSite) -> None:
    for _ in range(2):
        with pytest.raises(DatastoreNotFound):
            site.order(ScanDisks(datastore="ds9"))
