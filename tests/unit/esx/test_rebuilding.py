"""A lost database comes back from the sidecars, and nothing comes back that was removed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast
from uuid import uuid4

import pytest

from tests.scale.counted import Counted
from tests.unit.esx.site import DS1, DS2, B, Site
from vmdkvol.errors import BadRequest, HypervisorUnreachable, MetadataDamaged, NoSpace, StaleRequest, TruthUnknown, VolumeError
from vmdkvol.messages import Detach, Mark
from vmdkvol.volume import Content, DiskUuid, State, VolumeId
from vmdkvol_esx import sidecar
from vmdkvol_esx.paths import disk_path, disk_ref
from vmdkvol_esx.ports import CreateDisk, DiskPath, DiskRef, GrowDisk
from vmdkvol_esx.rebuilding import GENERATION_JUMP, Rebuilt, check_new, rebuild
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.store import open_store


def lose_database(site: Site) -> None:
    site.store = open_store(None, site.clock)
    site.restart()


def rebuilt(site: Site) -> Rebuilt:
    lose_database(site)
    return rebuild(site.store, site.hypervisor, site.log, site.clock.wall())


@pytest.fixture
def site() -> Site:
    return Site(datastores=(DS1, DS2), retention_s=1000.0)


def another_disk(site: Site, record: VolumeRecord, path: str, *, disk: DiskUuid | None = None) -> DiskRef:
    """Put a disk with the sidecar of ``record`` somewhere else."""
    ref = DiskRef(disk or DiskUuid(uuid4()), DiskPath(DS2, path))
    site.hypervisor.submit(CreateDisk(ref, record.size_bytes, "thin", {}), uuid4())
    copy = replace(record, id=VolumeId(uuid4()), disk_uuid=ref.uuid, datastore=DS2, path=path)
    site.hypervisor.write_sidecar(ref.path, sidecar.encode(copy))
    return ref


def test_every_volume_comes_back_as_its_sidecar_says(site: Site) -> None:
    site.format(site.create("db@ds1", size="2gb", label="a=b").id)
    site.create("blank@ds2")
    before = {record.name: record for record in site.records()}
    found = rebuilt(site)
    assert not found.left_out
    for record in site.records():
        known = before[record.name]
        assert replace(record, generation=0, last_vm=None) == replace(known, generation=0, last_vm=None)


def test_the_data_is_usable_again(site: Site) -> None:
    volume = site.create("db@ds1").id
    site.format(volume)
    rebuilt(site)
    assert site.attach(volume, B).content is Content.FORMATTED


def test_older_requests_are_refused_after_a_rebuild(site: Site) -> None:
    """The sidecar is behind by the attaches since; the jump is above any generation that was told."""
    volume = site.create("db@ds1").id
    old = [site.attach(volume) for _ in range(5)][-1]
    rebuilt(site)
    assert site.record(volume).generation > old.generation
    with pytest.raises(StaleRequest):
        site.ask(Detach(volume, old.generation))


def test_trashed_stays_trashed_and_its_name_stays_free(site: Site) -> None:
    """Corrections 33."""
    site.remove(site.create("db@ds1").id)
    live = site.create("db@ds1").id
    found = rebuilt(site)
    assert not found.left_out
    assert site.get("db@ds1").id == live
    assert sorted(record.state for record in site.records()) == [State.READY, State.TRASHED]


def test_a_copy_of_a_volume_is_left_out_with_the_place_of_the_one_that_came_back(site: Site) -> None:
    record = site.record(site.create("db@ds1").id)
    copy = DiskRef(DiskUuid(uuid4()), DiskPath(DS2, "vmdkvol/restored/db.vmdk"))
    site.hypervisor.submit(CreateDisk(copy, record.size_bytes, "thin", {}), uuid4())
    twin = replace(record, disk_uuid=copy.uuid, datastore=DS2, path=copy.path.path, generation=record.generation - 1)
    site.hypervisor.write_sidecar(copy.path, sidecar.encode(twin))
    (left,) = rebuilt(site).left_out
    assert left.path == copy.path
    assert f"its disk at [ds1] {record.path}; this one is a copy" in left.problem
    assert "[name-conflict]" in left.problem


def test_what_was_in_the_trash_has_its_whole_time_in_it_again(site: Site) -> None:
    """Its copy may be behind what was ordered last: nothing is deleted before somebody could look."""
    volume = site.create("db@ds1").id
    site.remove(volume)
    site.clock.skip(5000.0)
    rebuilt(site)
    for _ in range(3):
        site.housekeeping.scan()
    site.restart()
    site.housekeeping.scan()
    assert site.record(volume).state is State.TRASHED


def test_of_two_live_claimants_the_higher_generation_keeps_the_name(site: Site) -> None:
    """Corrections 33."""
    record = site.record(site.create("db@ds1").id)
    another_disk(site, replace(record, generation=record.generation + 7), "vmdkvol/x/db-other.vmdk")
    found = rebuilt(site)
    assert [each.path for each in found.left_out] == [disk_path(record)]
    assert "name-conflict" in found.left_out[0].problem
    assert site.store.find(record.vmgroup, "db@ds1").datastore == DS2


def test_the_loser_keeps_its_disk(site: Site) -> None:
    record = site.record(site.create("db@ds1").id)
    another_disk(site, replace(record, generation=9), "vmdkvol/x/db-other.vmdk")
    rebuilt(site)
    for _ in range(3):
        site.housekeeping.scan()
    assert len(site.hypervisor.truth().disks) == 2


def test_a_copied_disk_is_left_out_and_the_one_in_its_place_kept(site: Site) -> None:
    record = site.record(site.create("db@ds1").id)
    copy = DiskPath(DS2, record.path)
    site.hypervisor.submit(CreateDisk(DiskRef(record.disk_uuid, copy), record.size_bytes, "thin", {}), uuid4())
    site.hypervisor.write_sidecar(copy, sidecar.encode(record))
    found = rebuilt(site)
    assert [each.path for each in found.left_out] == [copy]
    assert disk_path(site.record(record.id)) == disk_path(record)


def test_a_moved_disk_is_found_where_it_is(site: Site) -> None:
    record = site.record(site.create("db@ds1").id)
    moved = DiskPath(DS2, "vmdkvol/moved/db.vmdk")
    site.hypervisor.lose(disk_path(record))
    site.hypervisor.submit(CreateDisk(DiskRef(record.disk_uuid, moved), record.size_bytes, "thin", {}), uuid4())
    site.hypervisor.write_sidecar(moved, sidecar.encode(record))
    rebuilt(site)
    assert disk_path(site.record(record.id)) == moved


# --- disks that a machine's move took out of our folders ---------------------------------------------------------


THERE = DiskPath(DS2, "host-a/host-a_1.vmdk")


def moved_with_its_machine(site: Site) -> VolumeRecord:
    """A volume with data whose machine has it, and was moved to another datastore (Storage vMotion)."""
    volume = site.create("db@ds1").id
    site.format(volume)
    site.attach(volume)
    site.hypervisor.move(site.record(volume).disk_uuid, THERE)
    site.housekeeping.scan()
    assert disk_path(site.record(volume)) == THERE
    return site.record(volume)


def given_back(site: Site) -> None:
    site.detach(site.attached()[0])


@pytest.mark.parametrize("then", [pytest.param(lambda site: None, id="in-use"), pytest.param(given_back, id="given-back")])
def test_a_disk_that_went_with_its_machine_comes_back_where_it_lies(site: Site, then: Callable[[Site], None]) -> None:
    """F22: an ordinary day of a site with Storage vMotion, then a lost database."""
    record = moved_with_its_machine(site)
    then(site)
    found = rebuilt(site)
    assert (len(found.restored), found.left_out) == (1, ())
    assert (disk_path(site.record(record.id)), site.record(record.id).content) == (THERE, Content.FORMATTED)
    assert site.attach(record.id).content is Content.FORMATTED


def test_of_a_moved_disk_that_is_gone_the_volume_keeps_its_name(site: Site) -> None:
    record = moved_with_its_machine(site)
    given_back(site)
    site.hypervisor.lose(THERE)
    rebuilt(site)
    for _ in range(2):
        site.housekeeping.scan()
    assert site.record(record.id).state is State.LOST


def test_a_copy_that_was_left_in_a_machine_s_folder_is_no_second_volume(site: Site) -> None:
    record = moved_with_its_machine(site)
    left = DiskPath(DS1, "backup/host-a_1.vmdk")
    site.hypervisor.write_sidecar(left, sidecar.encode(record))
    found = rebuilt(site)
    assert ([each.path for each in found.left_out], disk_path(site.record(record.id))) == ([left], THERE)


def test_a_datastore_that_cannot_be_searched_stops_the_rebuild(site: Site) -> None:
    moved_with_its_machine(site)
    lose_database(site)

    def unread(datastore: object) -> Any:
        raise TruthUnknown("not searched in time")

    site.hypervisor.copies_elsewhere = unread  # type: ignore[method-assign]
    with pytest.raises(TruthUnknown):
        rebuild(site.store, site.hypervisor, site.log, site.clock.wall())
    assert site.records() == []


# --- a file system whose last word was not written ----------------------------------------------------------------


def test_a_file_system_that_a_copy_does_not_know_of_is_checked_and_never_blanked(site: Site) -> None:
    """I1: the datastore took no sidecar when it was made, and a container has it since."""
    volume, uuid = site.create("db@ds1").id, uuid4()
    attachment = site.attach(volume)
    site.ask(Mark(volume, attachment.generation, Content.FORMATTING, uuid))
    site.hypervisor.sidecars_fail = NoSpace("full")
    with pytest.raises(NoSpace):
        site.ask(Mark(volume, attachment.generation, Content.FORMATTED, uuid))
    assert site.attach(volume).content is Content.FORMATTED
    site.hypervisor.sidecars_fail = None

    rebuilt(site)

    told = site.attach(volume)
    # As what was taken from a machine by force: the agent checks all of it, and refuses what is not whole.
    assert (told.content, told.filesystem_uuid, told.copied_uuids) == (Content.FORMATTED, None, (uuid,))


# --- sidecars that cannot be believed ----------------------------------------------------------------------------


@pytest.mark.parametrize("content", [None, b"", b"garbage"])
def test_a_disk_without_a_whole_sidecar_is_left_out_and_named(site: Site, content: bytes | None) -> None:
    good, bad = site.create("good@ds1"), site.record(site.create("bad@ds1").id)
    del site.hypervisor._sidecars[disk_path(bad)]
    if content is not None:
        site.hypervisor.write_sidecar(disk_path(bad), content)
    found = rebuilt(site)
    assert [record.id for record in found.restored] == [good.id]
    assert [each.path for each in found.left_out] == [disk_path(bad)]


def test_a_sidecar_of_another_disk_is_not_believed(site: Site) -> None:
    first, second = site.record(site.create("a@ds1").id), site.record(site.create("b@ds1").id)
    site.hypervisor.write_sidecar(disk_path(second), sidecar.encode(first))
    found = rebuilt(site)
    assert [record.id for record in found.restored] == [first.id]
    assert str(first.disk_uuid) in found.left_out[0].problem


def test_a_disk_that_is_smaller_than_its_sidecar_says_is_not_believed(site: Site) -> None:
    record = site.record(site.create("a@ds1").id)
    site.hypervisor.write_sidecar(disk_path(record), sidecar.encode(replace(record, size_bytes=record.size_bytes + 512)))
    assert not rebuilt(site).restored


def test_a_disk_that_grew_after_its_sidecar_was_written_comes_back_as_large_as_it_is(site: Site) -> None:
    record = site.record(site.create("a@ds1").id)
    site.hypervisor.submit(GrowDisk(disk_ref(record), 2 * record.size_bytes), uuid4())
    assert [each.size_bytes for each in rebuilt(site).restored] == [2 * record.size_bytes]


def test_a_datastore_that_is_away_stops_the_rebuild(site: Site) -> None:
    site.create("a@ds1")
    lose_database(site)
    site.hypervisor.unreadable(DS2)
    with pytest.raises(TruthUnknown):
        rebuild(site.store, site.hypervisor, site.log, site.clock.wall())
    assert site.records() == []


@pytest.mark.parametrize("error", [HypervisorUnreachable("no connection"), TruthUnknown("no host reaches the datastore")])
def test_a_server_that_goes_away_between_two_sidecars_stops_the_rebuild(site: Site, error: VolumeError) -> None:
    """What was not read is no volume less: a new database without it would say "no such volume"."""
    site.create("a@ds1")
    lose_database(site)
    site.hypervisor.sidecars_unread = error
    with pytest.raises(type(error)):
        rebuild(site.store, site.hypervisor, site.log, site.clock.wall())
    assert site.records() == []


def test_a_database_with_volumes_is_not_rebuilt_over(site: Site) -> None:
    site.create("a@ds1")
    with pytest.raises(BadRequest, match="has volumes already"):
        rebuild(site.store, site.hypervisor, site.log, site.clock.wall())


def test_files_are_only_read(site: Site) -> None:
    site.format(site.create("db@ds1").id)
    before = site.hypervisor.truth()
    rebuilt(site)
    after = site.hypervisor.truth()
    assert (after.disks, after.sidecars) == (before.disks, before.sidecars)


def test_a_rebuild_of_a_rebuild_works(site: Site) -> None:
    volume = site.create("db@ds1").id
    rebuilt(site)
    site.format(volume)
    rebuilt(site)
    assert site.record(volume).generation > 2 * GENERATION_JUMP


# --- disks that cannot be read -----------------------------------------------------------------------------------


def test_a_volume_whose_disk_is_damaged_keeps_its_record(site: Site) -> None:
    """Else it would be "no such volume", and its name free for another."""
    volume = site.create("db@ds1").id
    site.hypervisor.damage(disk_path(site.record(volume)), "its extent is too short")
    found = rebuilt(site)
    assert not found.left_out
    with pytest.raises(MetadataDamaged, match="too short"):
        site.attach(volume)


def test_a_volume_whose_disk_is_gone_is_lost_and_not_forgotten(site: Site) -> None:
    volume = site.create("db@ds1").id
    site.hypervisor.lose(disk_path(site.record(volume)))
    rebuilt(site)
    for _ in range(2):
        site.housekeeping.scan()
    assert site.record(volume).state is State.LOST


def test_the_sidecar_that_a_moved_disk_left_behind_does_not_claim_its_name(site: Site) -> None:
    record = site.record(site.create("db@ds1").id)
    moved = DiskPath(DS2, "vmdkvol/moved/db.vmdk")
    site.hypervisor.lose(disk_path(record))
    site.hypervisor.submit(CreateDisk(DiskRef(record.disk_uuid, moved), record.size_bytes, "thin", {}), uuid4())
    site.hypervisor.write_sidecar(moved, sidecar.encode(record))
    site.hypervisor.write_sidecar(disk_path(record), sidecar.encode(replace(record, generation=99)))
    found = rebuilt(site)
    assert disk_path(site.record(record.id)) == moved
    assert [each.path for each in found.left_out] == [disk_path(record)]


def test_a_sidecar_copied_to_a_place_without_a_disk_is_left_out(site: Site) -> None:
    record = site.record(site.create("db@ds1").id)
    copy = DiskPath(DS2, "vmdkvol/copy/db.vmdk")
    site.hypervisor.write_sidecar(copy, sidecar.encode(record))
    found = rebuilt(site)
    assert [each.path for each in found.left_out] == [copy]


# --- whether a database may begin empty --------------------------------------------------------------------------


def test_on_empty_datastores_a_database_may_begin(site: Site) -> None:
    check_new(site.hypervisor, "the.db")


def test_beside_disks_a_missing_database_is_not_replaced_by_an_empty_one(site: Site) -> None:
    site.create("db@ds2")
    with pytest.raises(MetadataDamaged, match="missing.*ds2.*vmdkvol-esxd rebuild"):
        check_new(site.hypervisor, "the.db")


def test_beside_a_damaged_disk_too(site: Site) -> None:
    volume = site.create("db@ds2").id
    site.hypervisor.damage(disk_path(site.record(volume)), "torn")
    with pytest.raises(MetadataDamaged, match="rebuild"):
        check_new(site.hypervisor, "the.db")


def test_beside_a_datastore_that_cannot_be_read_a_missing_database_stays_missing(site: Site) -> None:
    site.hypervisor.unreadable(DS1)
    with pytest.raises(MetadataDamaged, match="ds1 cannot be read.*restart the service"):
        check_new(site.hypervisor, "the.db")


def test_one_that_is_refused_leaves_out_itself_alone_however_many_come_with_it(site: Site) -> None:
    """They are restored in batches; a batch with a refusal in it is taken one by one."""
    names = [f"v{number}@ds1" for number in range(30)]
    for name in names:
        site.create(name)
    record = site.record(site.get("v7@ds1").id)
    another_disk(site, replace(record, generation=record.generation + 7), "vmdkvol/x/other.vmdk")

    found = rebuilt(site)

    assert [each.path for each in found.left_out] == [disk_path(record)]
    assert sorted(restored.name for restored in found.restored) == sorted(names)
    assert sorted(each.name for each in site.records()) == sorted(names)


def test_a_rebuild_of_many_writes_a_few_times(site: Site) -> None:
    for number in range(30):
        site.create(f"v{number}@ds1")
    lose_database(site)
    counted = Counted(site.store)

    rebuild(cast(Any, counted), site.hypervisor, site.log, site.clock.wall())

    assert counted.calls["restore"] == 1
