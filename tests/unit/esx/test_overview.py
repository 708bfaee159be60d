"""All volumes as an administrator sees them: filters, pages, who has them, what is not known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.doubles.faulty import Faults
from tests.unit.esx.admin_site import AdminSite
from tests.unit.esx.site import DS1, DS2, GB, A, B
from vmdkvol import frames
from vmdkvol.errors import BadRequest, Conflict, HypervisorUnreachable, NotFound, VolumeNotFound
from vmdkvol.messages import CreateVolume
from vmdkvol.names import VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.volume import DEFAULT_VMGROUP, Content, Doing, State, VmgroupId, VmId, VolumeId, new_disk_uuid
from vmdkvol.volume_orders import InspectVolume, ListAllVolumes, RestoreVolume, VolumeDetail, VolumeRow, VolumeRows
from vmdkvol.wire import dump
from vmdkvol_esx.choosing import Choosing
from vmdkvol_esx.glance import Glance
from vmdkvol_esx.overview import Overview, size
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.ports import AttachDisk, CreateDisk, Hypervisor
from vmdkvol_esx.records import VolumeRecord

OTHER = VmgroupId(UUID(int=0x77))


@pytest.fixture
def site() -> AdminSite:
    return AdminSite(datastores=(DS1, DS2))


def listed(site: AdminSite, **filters: object) -> list[str]:
    page: VolumeRows = site.order(ListAllVolumes(**filters))  # type: ignore[arg-type]
    assert page.next is None
    return sorted(row.name for row in page.rows)


def row(site: AdminSite, name: str) -> VolumeRow:
    detail: VolumeDetail = site.order(InspectVolume(volume=name))
    return detail.row


def fill(site: AdminSite, count: int, word: str = "many") -> list[VolumeId]:
    """Put records without disks into the store, as a large site has them."""
    records = [
        VolumeRecord(
            id=VolumeId(uuid4()),
            vmgroup=DEFAULT_VMGROUP,
            name=f"{word}{number}",
            datastore=DS1,
            path=f"vmdkvol/{DEFAULT_VMGROUP}/many-{number}.vmdk",
            disk_uuid=new_disk_uuid(uuid4()),
            size_bytes=GB,
            state=State.READY,
            content=Content.UNFORMATTED,
            filesystem_uuid=None,
            options=CreateOptions(),
            generation=1,
            created_at=1.0,
            created_by="host-a",
        )
        for number in range(count)
    ]
    site.store.restore(*records)
    return sorted((record.id for record in records), key=str)


# --- one row -----------------------------------------------------------------------------------------------------


def test_a_volume_on_a_machine_is_told_with_who_has_it(site: AdminSite) -> None:
    volume = site.create("db@ds1", size="1gb", access="read-only").id
    site.format(volume)
    site.attach(volume, B)

    found = row(site, "db@ds1")

    assert (found.vm, found.running, found.unsure, found.last_vm) == ("host-b", True, False, "host-b")
    assert (found.vmgroup, found.datastore, found.size_bytes, found.access) == ("_DEFAULT", "ds1", GB, "read-only")
    assert (found.state, found.content, found.created_by) == (State.READY, Content.FORMATTED, "host-a")
    assert found.revision == site.record(volume).generation


def test_a_volume_on_no_machine_has_none(site: AdminSite) -> None:
    site.create("db@ds1")
    found = row(site, "db@ds1")
    assert (found.vm, found.running, found.unsure) == (None, None, False)


def test_a_machine_that_is_off_is_not_running(site: AdminSite) -> None:
    site.attach(site.create("db@ds1").id)
    site.hypervisor.power(A, running=False)
    site.clock.sleep(3.0)
    assert (row(site, "db@ds1").vm, row(site, "db@ds1").running) == ("host-a", False)


def test_what_a_machine_that_does_not_answer_has_is_unsure(site: AdminSite) -> None:
    """Never "on nobody": the last one may write to it this moment."""
    volume = site.create("db@ds1").id
    site.attach(volume)
    site.hypervisor.unread(A)
    site.clock.sleep(3.0)

    found = site.order(InspectVolume(volume=str(volume)))

    assert (found.row.vm, found.row.running, found.row.unsure) == (None, None, True)
    assert found.trouble == ("it may be on host-a, which does not answer",)


def test_work_under_way_is_told(site: AdminSite) -> None:
    site.hypervisor.takes(CreateDisk, 100.0)
    site.leave(CreateVolume(VolumeRef.parse("big"), CreateOptions.parse({"datastore": "ds1"})))
    site.clock.sleep(1.0)
    found = site.order(InspectVolume(volume="big"))
    assert (found.row.state, found.row.doing) == (State.PREPARING, Doing.CREATE)
    assert found.work_since is not None


def test_a_clone_before_its_first_mount_must_be_checked(site: AdminSite) -> None:
    site.format(site.create("src@ds1").id)
    site.create("copy@ds1", clone_from="src@ds1")
    assert (row(site, "src@ds1").must_check, row(site, "copy@ds1").must_check) == (False, True)


def test_a_lost_volume_says_what_stands_against_it(site: AdminSite) -> None:
    volume = site.create("db@ds1").id
    record = site.record(volume)
    site.store.update(replace(record, state=State.LOST), expect=record.generation)
    found = site.order(InspectVolume(volume="db@ds1"))
    assert found.row.state is State.LOST
    assert "was not found" in found.trouble[0]


# --- the hypervisor is away --------------------------------------------------------------------------------------


def unreachable(site: AdminSite) -> Overview:
    faults = Faults(site.clock)
    asked: Hypervisor = faults.around(site.hypervisor)
    for method in ("devices", "allocated", "vm", "vms"):
        faults.fail_before(method, HypervisorUnreachable("vCenter does not answer"), times=100)
    parts = replace(site.verbs.parts, hypervisor=asked)
    return Overview(parts, site.choosing, site.verbs.underway, Glance(parts))


def test_without_the_hypervisor_the_records_are_listed_and_nothing_is_claimed(site: AdminSite) -> None:
    site.attach(site.create("db@ds1").id)
    found = unreachable(site).page(ListAllVolumes())
    assert [(each.name, each.vm, each.unsure, each.allocated_bytes) for each in found.rows] == [("db@ds1", None, True, None)]
    assert "vCenter does not answer" in found.warnings[0]


def test_without_the_hypervisor_one_volume_says_so_too(site: AdminSite) -> None:
    site.create("db@ds1")
    found = unreachable(site).inspect(InspectVolume(volume="db@ds1"))
    assert "vCenter does not answer" in found.trouble[-1]


# --- filters -----------------------------------------------------------------------------------------------------


def test_each_filter_leaves_out_what_does_not_fit(site: AdminSite) -> None:
    site.create("web@ds1")
    site.create("db1@ds1")
    on_b = site.create("db2@ds2").id
    site.attach(on_b, B)

    assert listed(site) == ["db1@ds1", "db2@ds2", "web@ds1"]
    assert listed(site, name="db*") == ["db1@ds1", "db2@ds2"]
    assert listed(site, name="db[2-9]@*") == ["db2@ds2"]
    assert listed(site, name="DB*") == []
    assert listed(site, name="db") == []
    assert listed(site, datastore="ds2") == ["db2@ds2"]
    assert listed(site, vm="host-b") == ["db2@ds2"]
    assert listed(site, vm=str(B)) == ["db2@ds2"]
    assert listed(site, vm="host-a") == []
    assert listed(site, state=State.LOST) == []
    assert listed(site, vmgroup="_DEFAULT", name="w*", datastore="ds1") == ["web@ds1"]


def test_the_trash_is_told_on_demand_only(site: AdminSite) -> None:
    site.remove(site.create("old@ds1").id)
    site.create("new@ds1")
    assert listed(site) == ["new@ds1"]
    assert listed(site, trash=True) == ["new@ds1", "old@ds1"]
    assert listed(site, state=State.TRASHED) == ["old@ds1"]


@pytest.mark.parametrize("pattern", ["*a" * 80 + "b", "[" * 50, "[!", "\\", "(?P<x>", "**" * 90])
def test_no_pattern_is_an_error_or_slow(site: AdminSite, pattern: str) -> None:
    site.create(f"{'a' * 90}@ds1")
    assert listed(site, name=pattern) == ([] if pattern.strip("*") else [f"{'a' * 90}@ds1"])


def test_a_pattern_of_a_megabyte_is_refused(site: AdminSite) -> None:
    with pytest.raises(BadRequest):
        site.order(ListAllVolumes(name="*" * (1 << 20)))


def test_a_vmgroup_that_there_is_not_is_not_found(site: AdminSite) -> None:
    with pytest.raises(NotFound, match="vmgroup"):
        site.order(ListAllVolumes(vmgroup="nobody"))


# --- pages -------------------------------------------------------------------------------------------------------


def all_pages(site: AdminSite, **filters: object) -> list[VolumeRows]:
    pages: list[VolumeRows] = [site.order(ListAllVolumes(**filters))]  # type: ignore[arg-type]
    while pages[-1].next is not None:
        pages.append(site.order(ListAllVolumes(after=pages[-1].next, **filters)))  # type: ignore[arg-type]
    return pages


@pytest.mark.parametrize("limit", [1, 7, 500])
def test_the_pages_together_have_each_volume_once(site: AdminSite, limit: int) -> None:
    wanted = fill(site, 321)
    pages = all_pages(site, limit=limit)
    assert [each.id for page in pages for each in page.rows] == wanted
    assert max(len(page.rows) for page in pages) <= limit


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_page_of_no_or_too_many_volumes_is_refused(site: AdminSite, limit: int) -> None:
    with pytest.raises(BadRequest):
        site.order(ListAllVolumes(limit=limit))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        pytest.param("db", "the one on ds1 is named 'db@ds1'", id="without-its-datastore"),
        pytest.param("web@ds1", "the one on ds1 is named 'web'", id="with-one-as-in-vdvs"),
        pytest.param("web@ds2", "see `vmdkvol volume ls", id="with-another-one"),
        pytest.param("nothing", "see `vmdkvol volume ls", id="none"),
    ],
)
def test_another_spelling_is_told_how_the_volume_is_named(site: AdminSite, text: str, named: str) -> None:
    site.create("db@ds1")
    site.create("web", datastore="ds1")

    with pytest.raises(VolumeNotFound, match=named):
        site.order(InspectVolume(volume=text))


def test_what_is_not_in_the_trash_is_looked_for_there(site: AdminSite) -> None:
    with pytest.raises(VolumeNotFound, match="`vmdkvol volume ls --trash`"):
        site.order(RestoreVolume(volume="nothing"))


def test_a_filter_that_nothing_fits_comes_to_its_end_in_bounded_steps(site: AdminSite) -> None:
    fill(site, 4500)
    pages = all_pages(site, name="nothing", limit=100)
    assert [len(page.rows) for page in pages] == [0, 0, 0]


def test_a_page_is_within_a_frame_and_a_row_within_its_estimate(site: AdminSite) -> None:
    fill(site, 1500)
    pages = all_pages(site, limit=1000)
    assert [len(page.rows) for page in pages] == [1000, 500]
    assert max(len(frames.encode(dump(page))) for page in pages) <= frames.MAX_LISTING - 1024


def test_rows_that_are_too_long_for_one_frame_come_in_several(site: AdminSite) -> None:
    wanted = fill(site, 1000, "\u0007" * 90)
    pages = all_pages(site, limit=1000)
    assert len(pages) > 1
    assert [each.id for page in pages for each in page.rows] == wanted
    assert max(len(frames.encode(dump(page))) for page in pages) <= frames.MAX_LISTING - 1024


@pytest.mark.parametrize("text", ["x", '"' * 100, "\U0001f600" * 100, "\u0007" * 100, "é" * 100, "\ud800" * 50, ""])
def test_the_estimate_of_a_row_is_never_too_small(site: AdminSite, text: str) -> None:
    site.create("db@ds1")
    texts = dict.fromkeys(("name", "vmgroup", "datastore", "path", "policy", "vm", "last_vm", "created_by"), text)
    numbers = dict.fromkeys(("size_bytes", "allocated_bytes", "percent", "revision"), 2**62)
    times = dict.fromkeys(("created_at", "trashed_at"), 1796000000.123456)
    found = replace(row(site, "db@ds1"), **texts, **numbers, **times, running=False)  # type: ignore[arg-type]
    long = replace(found, diskformat="eagerzeroedthick", content=Content.UNFORMATTED, doing=Doing.CREATE, unsure=False)
    assert len(frames.encode(dump(replace(long, state=State.PREPARING)))) + 1 <= size(long)


def test_a_listing_asks_the_hypervisor_nothing_for_a_volume_by_itself(site: AdminSite) -> None:
    """The figure: 10,000 volumes in a second."""
    fill(site, 1000)
    site.housekeeping.scan()
    faults = Faults(site.clock)
    asked: Hypervisor = faults.around(site.hypervisor)
    parts = replace(site.verbs.parts, hypervisor=asked)
    overview = Overview(parts, site.choosing, site.verbs.underway, Glance(parts))
    after, pages = None, 0
    while pages == 0 or after is not None:
        after, pages = overview.page(ListAllVolumes(after=after)).next, pages + 1
    assert len(faults.calls) <= 3 * pages < 50


def test_what_was_scanned_is_told_of_a_large_site(site: AdminSite) -> None:
    volume = site.create("db@ds1", size="1gb", diskformat="zeroedthick").id
    fill(site, 150)
    site.housekeeping.scan()
    site.clock.sleep(10.0)
    pages = all_pages(site, limit=10)
    found = {each.id: each for page in pages for each in page.rows}
    assert found[volume].allocated_bytes == GB


# --- which volume ------------------------------------------------------------------------------------------------


def test_a_volume_is_found_by_its_id_or_its_name(site: AdminSite) -> None:
    volume = site.create("db@ds1").id
    assert row(site, str(volume)).name == "db@ds1"
    assert row(site, str(volume).upper()).name == "db@ds1"
    assert row(site, "db@ds1").id == volume


@pytest.mark.parametrize(
    "text", ["db", "DB@ds1", "db*", "", "x" * 10_000, str(UUID(int=5)), "{00000000-0000-0000-0000-000000000005}", "\ud800"]
)
def test_what_is_no_volume_is_not_found(site: AdminSite, text: str) -> None:
    site.create("db@ds1")
    with pytest.raises(VolumeNotFound) as told:
        site.order(InspectVolume(volume=text))
    assert len(str(told.value)) <= 300


class TwoGroups:
    """A store in which the one volume of ``site`` has a namesake in a second vmgroup."""

    def __init__(self, site: AdminSite) -> None:
        self._store = site.store
        self.record = replace(site.records()[0], id=VolumeId(uuid4()), vmgroup=OTHER)

    def change_number(self) -> int:
        return 1

    def usage(self, _: VmgroupId) -> dict[str, int]:
        return {}

    def vmgroup_names(self) -> dict[VmgroupId, str]:
        return {DEFAULT_VMGROUP: "_DEFAULT", OTHER: "other"}

    def find(self, vmgroup: VmgroupId, text: str) -> VolumeRecord | None:
        if vmgroup == OTHER:
            return self.record if text == self.record.name else None
        found: VolumeRecord | None = self._store.find(vmgroup, text)
        return found

    def volume(self, volume: VolumeId) -> VolumeRecord | None:
        found: VolumeRecord | None = self.record if volume == self.record.id else self._store.volume(volume)
        return found


@pytest.fixture
def namesakes(site: AdminSite) -> tuple[VolumeId, VolumeId, Choosing]:
    volume = site.create("db@ds1").id
    groups: Any = TwoGroups(site)
    return volume, groups.record.id, Choosing(groups)


def test_two_volumes_of_one_name_are_told_apart_by_vmgroup_or_id(namesakes: tuple[VolumeId, VolumeId, Choosing]) -> None:
    volume, other, choosing = namesakes
    with pytest.raises(Conflict) as told:
        choosing.volume("db@ds1", None)
    assert str(volume) in str(told.value)
    assert str(other) in str(told.value)
    for said in ("of '_DEFAULT'", "of 'other'", "--vmgroup"):
        assert said in str(told.value)
    assert choosing.volume("db@ds1", "other").id == other
    assert choosing.volume("db@ds1", "_DEFAULT").id == volume
    assert choosing.volume(str(other), None).id == other


def test_an_id_of_another_vmgroup_than_the_one_named_is_not_found(namesakes: tuple[VolumeId, VolumeId, Choosing]) -> None:
    volume, _, choosing = namesakes
    with pytest.raises(VolumeNotFound):
        choosing.volume(str(volume), "other")


def test_a_volume_in_the_trash_is_found_by_name_if_no_live_one_has_it(site: AdminSite) -> None:
    gone = site.create("db@ds1").id
    site.remove(gone)
    assert row(site, "db@ds1").id == gone
    live = site.create("db@ds1").id
    assert row(site, "db@ds1").id == live


def test_a_disk_that_somebody_attached_by_hand_is_told(site: AdminSite) -> None:
    volume = site.create("db@ds1").id
    site.clock.sleep(3.0)
    site.hypervisor.submit(AttachDisk(VmId(B), disk_ref(site.record(volume)), "independent_persistent"), uuid4())
    site.clock.sleep(3.0)
    assert row(site, "db@ds1").vm == "host-b"
