"""F40 and F19 together: an old database was put back, and a machine's disk lies elsewhere than its record says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import pytest

from tests.unit.esx.admin_site import AdminSite
from tests.unit.esx.site import DS1, DS2, A
from tests.unit.esx.test_adopting import adopted, put
from tests.unit.esx.test_comparing import newer_version
from vmdkvol.errors import MetadataDamaged, NoSpace, TruthUnknown
from vmdkvol.messages import Detach
from vmdkvol.vmgroup_messages import CreateVmgroup
from vmdkvol.volume import Content
from vmdkvol.volume_orders import DetachVolume, MoveVolume
from vmdkvol_esx import sidecar
from vmdkvol_esx.paths import copy_path, disk_path, disk_ref
from vmdkvol_esx.ports import AttachDisk, DiskPath
from vmdkvol_esx.records import VolumeRecord

THERE = DiskPath(DS2, "host-a/host-a_1.vmdk")

Follow = Callable[[AdminSite, VolumeRecord], object]


def _force(site: AdminSite, _: VolumeRecord) -> object:
    del site.agents[A]
    return site.order(DetachVolume(volume="db@ds1", force=True, i_know="host-a"))


FOLLOWERS = [
    pytest.param(lambda site, old: site.ask(Detach(old.id, old.generation)), id="detach"),
    pytest.param(lambda site, old: site.housekeeping.scan(), id="scan"),
]


@pytest.fixture
def site() -> AdminSite:
    site = AdminSite(datastores=(DS1, DS2))
    site.order(CreateVmgroup(name="shop", default_datastore="ds1"))
    return site


@pytest.fixture
def old(site: AdminSite) -> VolumeRecord:
    """The record of before the volume was formatted and given to another vmgroup. Its disk is on a machine, and was moved."""
    record = site.record(site.create("db@ds1").id)
    site.format(record.id)
    site.order(MoveVolume(volume="db@ds1", to_vmgroup="shop"))
    site.store.delete(record.id, expect=site.record(record.id).generation)
    site.store.restore(record)
    moved(site, record)
    return record


def moved(site: AdminSite, record: VolumeRecord) -> None:
    site.hypervisor.submit(AttachDisk(A, disk_ref(record), "persistent"), uuid4())
    site.hypervisor.move(record.disk_uuid, THERE)
    site.restart()


def refused(site: AdminSite, record: VolumeRecord) -> None:
    with pytest.raises(MetadataDamaged, match="is older than its sidecar"):
        site.attach(record.id)


@pytest.mark.parametrize("follow", FOLLOWERS)
def test_the_copy_that_knows_more_goes_where_the_disk_went(site: AdminSite, old: VolumeRecord, follow: Follow) -> None:
    newer = site.copy_of(old)
    follow(site, old)
    now = site.record(old.id)
    assert (disk_path(now), site.copy_of(now)) == (THERE, replace(newer, datastore=DS2, path=THERE.path))
    assert newer.content is Content.FORMATTED
    assert site.hypervisor.read_sidecar(copy_path(old)) is None


@pytest.mark.parametrize("follow", FOLLOWERS)
def test_a_moved_disk_is_nobody_s_by_an_old_database(site: AdminSite, old: VolumeRecord, follow: Follow) -> None:
    follow(site, old)
    refused(site, old)


@pytest.mark.parametrize("follow", FOLLOWERS)
def test_nor_is_it_in_the_next_process(site: AdminSite, old: VolumeRecord, follow: Follow) -> None:
    follow(site, old)
    site.restart()
    refused(site, old)


def test_who_attaches_a_moved_disk_first_is_refused_by_what_lies_there(site: AdminSite, old: VolumeRecord) -> None:
    """Where the record says that it lies there is no copy: the one that knows more went along before."""
    newer = site.copy_of(old)
    site.hypervisor.write_sidecar(THERE, sidecar.encode(newer))
    site.hypervisor.write_sidecar(copy_path(old), None)
    refused(site, old)
    assert site.copy_of(site.record(old.id)) == newer


def test_a_copy_that_could_not_go_along_does_so_later(site: AdminSite, old: VolumeRecord) -> None:
    newer = site.copy_of(old)
    site.hypervisor.sidecars_fail = NoSpace("full")
    site.ask(Detach(old.id, old.generation))
    site.hypervisor.sidecars_fail = None
    assert site.copy_of(old) == newer
    site.housekeeping.scan()
    assert site.copy_of(site.record(old.id)).generation == newer.generation
    site.restart()
    refused(site, old)


def test_a_doubt_from_before_the_move_goes_along(site: AdminSite) -> None:
    record = site.record(site.create("db@ds1").id)
    newer = replace(record, generation=99)
    site.hypervisor.write_sidecar(copy_path(record), sidecar.encode(newer))
    site.restart()
    site.housekeeping.scan()
    site.hypervisor.submit(AttachDisk(A, disk_ref(record), "persistent"), uuid4())
    site.hypervisor.move(record.disk_uuid, THERE)
    site.ask(Detach(record.id, record.generation))
    assert site.copy_of(site.record(record.id)).generation == 99


@pytest.mark.parametrize("follow", FOLLOWERS)
def test_what_a_newer_version_wrote_goes_along_as_it_is(site: AdminSite, old: VolumeRecord, follow: Follow) -> None:
    content = newer_version(site.copy_of(old))
    site.hypervisor.write_sidecar(copy_path(old), content)
    follow(site, old)
    assert site.hypervisor.read_sidecar(THERE) == content
    site.restart()
    with pytest.raises(MetadataDamaged, match="a newer version of the service wrote"):
        site.attach(old.id)


@pytest.mark.parametrize("follow", [*FOLLOWERS, pytest.param(_force, id="force")])
def test_a_copy_that_cannot_be_read_stays_where_it_is(site: AdminSite, old: VolumeRecord, follow: Follow) -> None:
    newer = site.copy_of(old)
    site.hypervisor.sidecars_unread = TruthUnknown("503")
    follow(site, old)
    site.hypervisor.sidecars_unread = None
    assert (site.copy_of(old), site.hypervisor.read_sidecar(THERE)) == (newer, None)
    assert disk_path(site.record(old.id)) == THERE


def test_nobody_gets_the_volume_before_that_copy_was_read(site: AdminSite, old: VolumeRecord) -> None:
    site.hypervisor.sidecars_unread = TruthUnknown("503")
    site.ask(Detach(old.id, old.generation))
    with pytest.raises(TruthUnknown, match="503"):
        site.attach(old.id)
    site.hypervisor.sidecars_unread = None
    refused(site, old)
    assert site.copy_of(site.record(old.id)).content is Content.FORMATTED


def test_an_honest_record_is_the_volume_s_again_once_that_copy_was_read(site: AdminSite) -> None:
    record = site.record(site.create("db@ds1").id)
    moved(site, record)
    site.hypervisor.sidecars_unread = TruthUnknown("503")
    site.ask(Detach(record.id, record.generation))
    site.hypervisor.sidecars_unread = None
    assert site.attach(record.id).volume == record.id


def test_two_copies_that_know_more_stay_where_they_are(site: AdminSite, old: VolumeRecord) -> None:
    newer = site.copy_of(old)
    later = replace(newer, generation=newer.generation + 1)
    site.hypervisor.write_sidecar(THERE, sidecar.encode(later))
    site.ask(Detach(old.id, old.generation))
    assert (site.copy_of(old), site.copy_of(site.record(old.id))) == (newer, later)


def test_another_volume_s_copy_is_not_removed_where_the_disk_lay(site: AdminSite) -> None:
    record = site.record(site.create("db@ds1").id)
    stray = replace(record, id=site.create("gone@ds1").id, generation=7)
    site.store.delete(stray.id, expect=site.record(stray.id).generation)
    site.hypervisor.write_sidecar(copy_path(record), sidecar.encode(stray))
    moved(site, record)
    site.ask(Detach(record.id, record.generation))
    assert site.copy_of(record) == stray


def test_where_its_datastore_was_taken_away_nothing_knows_more(site: AdminSite) -> None:
    record = site.record(site.create("db@ds1").id)
    moved(site, record)
    site.hypervisor.take_away(DS1)
    site.ask(Detach(record.id, record.generation))
    assert site.attach(record.id).volume == record.id


@pytest.mark.parametrize("follow", FOLLOWERS)
def test_of_an_honest_record_no_copy_stays_behind(site: AdminSite, follow: Follow) -> None:
    record = site.record(site.create("db@ds1").id)
    moved(site, record)
    follow(site, record)
    assert site.hypervisor.read_sidecar(copy_path(record)) is None
    assert site.copy_of(site.record(record.id)).id == record.id


def test_a_moved_adopted_disk_is_not_another_volume_s_for_its_own_copy(site: AdminSite) -> None:
    disk = put(site)
    record = adopted(site)
    site.hypervisor.submit(AttachDisk(A, disk, "independent_persistent"), uuid4())
    site.hypervisor.move(disk.uuid, THERE)
    site.restart()
    site.ask(Detach(record.id, record.generation))
    now = site.record(record.id)
    assert (site.copy_of(now).path, site.hypervisor.read_sidecar(copy_path(record))) == (THERE.path, None)
    assert site.attach(record.id).volume == record.id
