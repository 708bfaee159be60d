"""What has lost its other half is found and told with what mends it, and nothing is mended but by an order for that place."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import click
import pytest

from tests.doubles.faulty import Faults
from tests.unit.esx.admin_site import AdminSite
from tests.unit.esx.site import DS1, DS2, GB, A, Killed
from tests.unit.esx.test_crashes import Passed
from vmdkvol import frames
from vmdkvol.admin_errors import ProofNeeded
from vmdkvol.cli.main import cli
from vmdkvol.errors import Conflict, NameConflict, NotFound, TruthUnknown
from vmdkvol.orders import Outcome
from vmdkvol.orphan_messages import ListOrphans, Mending, MendOrphan, Orphan, OrphanKind, Orphans
from vmdkvol.vmgroup_messages import UpdateVmgroup
from vmdkvol.volume import DEFAULT_VMGROUP, Content, State, VmgroupId, VolumeId, new_disk_uuid
from vmdkvol.volume_orders import DestroyVolume, RestoreVolume
from vmdkvol.wire import dump
from vmdkvol_esx.mending import MendingOrphans
from vmdkvol_esx.orphans import Known, of_records
from vmdkvol_esx.paths import disk_path, disk_ref
from vmdkvol_esx.ports import AttachDisk, CreateDisk, DetachDisk, DiskPath, DiskRef
from vmdkvol_esx.records import VolumeRecord


@pytest.fixture
def site() -> AdminSite:
    return AdminSite(datastores=(DS1, DS2))


@pytest.fixture
def orphan(site: AdminSite) -> VolumeRecord:
    """A disk with data and its second copy, whose record is gone: as after a lost database."""
    volume = site.create("db", datastore="ds1").id
    site.format(volume)
    site.housekeeping.scan()
    record = site.record(volume)
    site.store.delete(volume, expect=record.generation)
    return record


def found(site: AdminSite) -> list[Orphan]:
    told: Orphans = site.order(ListOrphans())
    assert told.unread == ()
    return list(told.orphans)


def mend(site: AdminSite, where: object, action: Mending, word: str | None = None, **more: Any) -> Outcome:
    outcome: Outcome = site.order(MendOrphan(where=str(where), action=action, i_know=word or "", **more))
    return outcome


def place(record: VolumeRecord) -> str:
    return str(disk_path(record))


def bare_disk(site: AdminSite, name: str = "x.vmdk") -> DiskRef:
    """A disk in our folder that nobody ever wrote a record of."""
    ref = DiskRef(new_disk_uuid(uuid4()), DiskPath(DS1, f"vmdkvol/{DEFAULT_VMGROUP}/{name}"))
    site.hypervisor.submit(CreateDisk(ref, GB, "thin", {}), uuid4())
    site.hypervisor.put_content(ref.uuid, "somebody's")
    return ref


# --- looking -----------------------------------------------------------------------------------------------------


def test_a_sound_site_has_no_orphans(site: AdminSite) -> None:
    site.attach(site.create("db", datastore="ds1").id)
    site.remove(site.create("old", datastore="ds2").id)
    assert found(site) == []


def test_a_disk_without_a_record_is_told_with_what_mends_it(site: AdminSite, orphan: VolumeRecord) -> None:
    (told,) = found(site)
    assert (told.kind, told.where, told.volume) == (OrphanKind.DISK, place(orphan), "db")
    assert told.actions == (Mending.ADOPT, Mending.TRASH)
    assert told.command == f"vmdkvol orphans mend '{place(orphan)}' adopt --dry-run"


def test_the_command_that_is_told_is_one_that_the_command_line_takes(site: AdminSite, orphan: VolumeRecord) -> None:
    (told,) = found(site)
    program, *words = shlex.split(told.command)
    assert program == "vmdkvol"

    group, words = words[0], words[1:]
    taken = cli.get_command(click.Context(cli), group)
    assert isinstance(taken, click.Group)
    name, command, left = taken.resolve_command(click.Context(taken), words)
    assert command is not None
    assert command.make_context(name, left).params["where"] == place(orphan)


def test_a_disk_without_a_second_copy_is_not_adopted(site: AdminSite) -> None:
    ref = bare_disk(site)
    (told,) = found(site)
    assert (told.kind, told.where, told.volume, told.actions) == (OrphanKind.DISK, str(ref.path), None, (Mending.TRASH,))


def test_a_damaged_disk_is_told_and_left_to_a_person(site: AdminSite) -> None:
    record = site.record(site.create("db", datastore="ds1").id)
    site.hypervisor.damage(disk_path(record), "its descriptor is cut off")
    (told,) = found(site)
    assert (told.kind, told.volume, told.actions) == (OrphanKind.DAMAGED_DISK, "db", ())
    assert "cut off" in told.detail


@pytest.mark.parametrize("known_by", ["record", "sidecar"])
def test_a_disk_whose_extent_is_short_is_told_as_damaged_once_with_its_code(site: AdminSite, known_by: str) -> None:
    """Its descriptor is whole: who asks for another identity hears that first."""
    record = site.record(site.create("db", datastore="ds1").id)
    if known_by == "sidecar":
        site.store.delete(record.id, expect=record.generation)
    site.hypervisor.damage(disk_path(record), "its extent is too short", tells_identity=True)
    (told,) = found(site)
    assert (told.kind, told.where) == (OrphanKind.DAMAGED_DISK, str(disk_path(record)))
    assert told.detail == f"{disk_path(record)}: its extent is too short [metadata-damaged]"


def test_a_damaged_disk_whose_copy_is_damaged_too_is_known_by_its_record(site: AdminSite) -> None:
    record = site.record(site.create("db", datastore="ds1").id)
    site.hypervisor.write_sidecar(disk_path(record), b"{")
    site.hypervisor.damage(disk_path(record), "its extent is too short", tells_identity=True)
    (told,) = found(site)
    assert (told.kind, told.volume) == (OrphanKind.DAMAGED_DISK, "db")


def test_a_damaged_disk_that_has_neither_record_nor_copy_is_told_as_what_it_is(site: AdminSite) -> None:
    """Who it is says the disk itself; it was told as one that came or changed at this moment, each time."""
    ref = bare_disk(site)
    site.hypervisor.damage(ref.path, "its extent is too short", tells_identity=True)
    (told,) = found(site)
    assert (told.kind, told.where, told.actions) == (OrphanKind.DAMAGED_DISK, str(ref.path), ())
    assert told.detail == f"{ref.path}: its extent is too short [metadata-damaged]"


def test_a_copy_that_stayed_where_its_disk_was_moved_from_is_told(site: AdminSite) -> None:
    record = site.record(site.create("db", datastore="ds1").id)
    stray = DiskPath(DS2, "vmdkvol/elsewhere/db.vmdk")
    site.hypervisor.write_sidecar(stray, site.hypervisor.read_sidecar(disk_path(record)))
    (told,) = found(site)
    assert (told.kind, told.where, told.volume) == (OrphanKind.SIDECAR, str(stray), "db")
    assert told.actions == (Mending.REMOVE_SIDECAR,)


def test_of_a_damaged_volume_whose_disk_is_gone_no_scan_decides_and_the_way_out_is_told(site: AdminSite) -> None:
    record = site.record(site.create("db", datastore="ds1").id)
    site.store.update(replace(record, state=State.DAMAGED), expect=record.generation)
    site.hypervisor.lose(disk_path(record))
    for _ in range(3):
        site.housekeeping.scan()
    (told,) = found(site)
    assert "the next scans decide" not in told.detail
    assert told.command == f"vmdkvol volume rm --permanently --dry-run {record.id}"
    program, group, *words = shlex.split(told.command)
    taken = cli.get_command(click.Context(cli), group)
    assert isinstance(taken, click.Group)
    name, command, left = taken.resolve_command(click.Context(taken), words)
    assert command is not None
    assert (program, command.make_context(name, left).params["names"]) == ("vmdkvol", (str(record.id),))
    site.order(DestroyVolume(volume=str(record.id), i_know="db"))
    assert (found(site), site.records()) == ([], [])


def test_a_lost_volume_is_told_once(site: AdminSite) -> None:
    record = site.record(site.create("db", datastore="ds1").id)
    site.hypervisor.lose(disk_path(record))
    site.store.update(replace(record, state=State.LOST), expect=record.generation)
    (told,) = found(site)
    assert (told.kind, told.where, told.actions) == (OrphanKind.LOST, str(record.id), (Mending.FORGET,))


def test_a_disk_that_a_machine_has_and_no_record_names_is_told(site: AdminSite) -> None:
    ref = bare_disk(site)
    site.hypervisor.submit(AttachDisk(A, ref, "persistent"), uuid4())
    (told,) = found(site)
    assert (told.kind, told.actions) == (OrphanKind.DISK, ())
    assert "host-a has it" in told.detail
    site.hypervisor.leaves_out_disks = True
    # Not in our folders any more: the machine's list alone knows of it.
    assert OrphanKind.ATTACHED in [each.kind for each in site.order(ListOrphans()).orphans]


def test_a_copy_of_a_volume_s_disk_is_told_and_left_alone(site: AdminSite) -> None:
    record = site.record(site.create("db", datastore="ds1").id)
    copy = DiskRef(record.disk_uuid, DiskPath(DS2, "vmdkvol/restored/db.vmdk"))
    site.hypervisor.submit(CreateDisk(copy, record.size_bytes, "thin", {}), uuid4())
    (told,) = found(site)
    assert (told.where, told.actions) == (str(copy.path), ())
    assert "a copy?" in told.detail
    with pytest.raises(Conflict):
        mend(site, copy.path, Mending.TRASH, str(copy.path))


@pytest.mark.parametrize("copy", ["with-its-copy-left", "with-its-copy-gone"])
def test_a_disk_that_is_gone_is_told_before_any_scan_has_decided_and_nothing_can_be_ordered(site: AdminSite, copy: str) -> None:
    record = site.record(site.create("db", datastore="ds1").id)
    site.hypervisor.lose(disk_path(record))
    if copy == "with-its-copy-gone":
        site.hypervisor.write_sidecar(disk_path(record), None)
    (told,) = found(site)
    assert (told.kind, told.where, told.volume, told.actions) == (OrphanKind.LOST, str(record.id), "db", ())
    assert "is not at [ds1]" in told.detail
    with pytest.raises(Conflict):
        mend(site, record.id, Mending.FORGET, str(record.id))
    for _ in range(2):
        site.housekeeping.scan()
    (decided,) = found(site)
    assert (decided.where, decided.actions) == (str(record.id), (Mending.FORGET,))


def test_a_disk_of_which_it_cannot_be_said_whether_it_is_there_is_not_told_as_gone(site: AdminSite) -> None:
    record = site.record(site.create("db", datastore="ds1").id)
    site.hypervisor.lose(disk_path(record))
    faults = Faults(site.clock)
    site.hypervisor.write_sidecar(disk_path(record), None)
    faults.fail_before("disk", TruthUnknown("the datastore does not answer"))
    told = seeing(site, hypervisor=faults.around(site.hypervisor)).look()
    assert told.orphans == ()
    assert told.unread == ("volume db: the datastore does not answer",)


def test_a_volume_that_is_removed_meanwhile_is_not_told_as_gone(site: AdminSite) -> None:
    record = site.record(site.create("db", datastore="ds1").id)
    site.hypervisor.lose(disk_path(record))
    site.hypervisor.write_sidecar(disk_path(record), None)
    assert seeing(site, store=Removing(site.store)).look().orphans == ()


def seeing(site: AdminSite, **parts: Any) -> MendingOrphans:
    nobody: Any = None
    return MendingOrphans(replace(site.verbs.parts, **parts), site.choosing, nobody)


class Removing:
    """A store whose volumes are gone when one of them is asked for by itself."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def volume(self, volume: VolumeId) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def test_a_vmgroup_that_was_lost_is_told_once_for_all_its_volumes(site: AdminSite) -> None:
    group = VmgroupId(uuid4())
    for name in ("a", "b"):
        record = site.record(site.create(name, datastore="ds1").id)
        site.store.delete(record.id, expect=record.generation)
        site.store.restore(replace(record, vmgroup=group))
    (told,) = found(site)
    assert (told.kind, told.where) == (OrphanKind.VMGROUP, str(group))
    assert told.detail.startswith("2 volumes")
    name = f"found-{str(group)[:8]}"
    update = f"vmdkvol vmgroup update {group} --new-name {name} --default-datastore ds1 --dry-run"
    assert told.command == update
    site.order(UpdateVmgroup(name=str(group), new_name=name, default_datastore="ds1"))
    assert found(site) == []


def test_a_vmgroup_that_has_no_row_even_has_no_command() -> None:
    group = VmgroupId(uuid4())
    site = AdminSite()
    record = replace(site.record(site.create("a", datastore="ds1").id), vmgroup=group)
    (told,) = of_records(Known({record.disk_uuid: record}, {}, {}))
    assert (told.where, told.command) == (str(group), "")


def test_what_cannot_be_looked_at_is_told_and_nothing_is_said_of_it(site: AdminSite, orphan: VolumeRecord) -> None:
    site.hypervisor.unreadable(DS1)
    site.hypervisor.unread(A)
    told: Orphans = site.order(ListOrphans())
    assert told.orphans == ()
    assert sorted(line.split(":")[0] for line in told.unread) == ["datastore ds1", "machine host-a"]


def test_more_than_fit_into_a_frame_are_counted(site: AdminSite) -> None:
    for number in range(300):
        bare_disk(site, f"{number}-{'x' * 60}.vmdk")
    told: Orphans = site.order(ListOrphans())
    assert len(told.orphans) + told.more == 300
    assert told.more > 0
    assert len(frames.encode(dump(told))) < frames.MAX_FRAME


@pytest.mark.parametrize("name", ["it's.vmdk", "$(reboot).vmdk", "a b.vmdk", "\u202e.vmdk", "a\nb.vmdk", "x" * 200 + ".vmdk"])
def test_a_foreign_file_s_name_forges_no_command(site: AdminSite, name: str) -> None:
    bare_disk(site, name)
    (told,) = found(site)
    assert "\n" not in told.command
    assert "\u202e" not in told.command
    if name == "it's.vmdk":
        assert "'\\''" in told.command


# --- adopting ----------------------------------------------------------------------------------------------------


def test_an_adopted_volume_is_there_with_its_data(site: AdminSite, orphan: VolumeRecord) -> None:
    told = mend(site, place(orphan), Mending.ADOPT)
    record = site.record(orphan.id)
    assert (told.done, told.subject, record.state, record.name) == (True, str(orphan.id), State.READY, "db")
    assert record.generation > orphan.generation + 1000
    assert site.get("db").content is Content.FORMATTED
    assert found(site) == []
    site.housekeeping.scan()
    assert replace(site.copy_of(record), generation=record.generation, last_vm=None) == record
    site.check_settled()


def test_a_dry_run_adopts_nothing_and_makes_the_same_plan(site: AdminSite, orphan: VolumeRecord) -> None:
    dry = mend(site, place(orphan), Mending.ADOPT, dry_run=True)
    assert (site.records(), dry.done) == ([], False)
    assert mend(site, place(orphan), Mending.ADOPT).plan == dry.plan


def test_adopted_again_it_is_no_orphan_any_more(site: AdminSite, orphan: VolumeRecord) -> None:
    mend(site, place(orphan), Mending.ADOPT)
    with pytest.raises(Conflict, match="no orphan"):
        mend(site, place(orphan), Mending.ADOPT)


def test_a_name_that_is_taken_meanwhile_is_not_taken_away(site: AdminSite, orphan: VolumeRecord) -> None:
    live = site.create("db", datastore="ds2").id
    for dry_run in (True, False):
        with pytest.raises(NameConflict):
            mend(site, place(orphan), Mending.ADOPT, dry_run=dry_run)
    assert [record.id for record in site.records()] == [live]


def test_a_disk_in_use_is_adopted_where_its_copy_says_whose_it_is(site: AdminSite, orphan: VolumeRecord) -> None:
    site.hypervisor.submit(AttachDisk(A, disk_ref(orphan), "independent_persistent"), uuid4())
    mend(site, place(orphan), Mending.ADOPT)
    assert site.attach(orphan.id).generation > orphan.generation


def test_a_disk_in_use_is_not_trashed(site: AdminSite, orphan: VolumeRecord) -> None:
    site.hypervisor.submit(AttachDisk(A, disk_ref(orphan), "independent_persistent"), uuid4())
    with pytest.raises(Conflict, match="host-a has it"):
        mend(site, place(orphan), Mending.TRASH, place(orphan))


@pytest.mark.parametrize("damage", [b"", b"{", b"\x00" * 100, b"not ours"])
def test_a_damaged_copy_is_not_believed(site: AdminSite, orphan: VolumeRecord, damage: bytes) -> None:
    site.hypervisor.write_sidecar(disk_path(orphan), damage)
    with pytest.raises(Conflict):
        mend(site, place(orphan), Mending.ADOPT)
    assert site.records() == []


def test_another_disk_s_copy_is_not_believed(site: AdminSite, orphan: VolumeRecord) -> None:
    other = bare_disk(site)
    site.hypervisor.write_sidecar(other.path, site.hypervisor.read_sidecar(disk_path(orphan)))
    with pytest.raises(Conflict):
        mend(site, other.path, Mending.ADOPT)


# --- into the trash ----------------------------------------------------------------------------------------------


def test_an_orphan_goes_into_the_trash_and_can_be_restored(site: AdminSite, orphan: VolumeRecord) -> None:
    told = mend(site, place(orphan), Mending.TRASH, place(orphan))
    assert "when the trash is emptied" in (told.plan.loses or "")
    record = site.record(orphan.id)
    assert (record.state, record.trashed_at is not None) == (State.TRASHED, True)
    assert site.copy_of(record) == record
    site.order(RestoreVolume(volume=str(orphan.id)))
    assert site.hypervisor.content(orphan.disk_uuid) == f"data of {orphan.id}"


def test_a_disk_of_which_nothing_is_known_goes_into_the_trash_under_a_name_of_its_own(site: AdminSite) -> None:
    ref = bare_disk(site)
    told = mend(site, ref.path, Mending.TRASH, str(ref.path))
    record = site.record(VolumeId(UUID(told.subject)))
    assert (record.vmgroup, record.name) == (DEFAULT_VMGROUP, f"orphan-{ref.uuid.hex[-8:]}")
    # Whoever restores it has it checked first; it is never formatted.
    assert (record.content, record.filesystem_uuid) == (Content.FORMATTED, None)
    site.order(DestroyVolume(volume=told.subject, i_know=record.name))
    assert site.hypervisor.truth().disks == {}
    site.check_settled()


@pytest.mark.parametrize("word", ["", "yes", "db", "*"])
def test_without_its_place_as_a_word_nothing_is_trashed(site: AdminSite, orphan: VolumeRecord, word: str) -> None:
    with pytest.raises(ProofNeeded):
        mend(site, place(orphan), Mending.TRASH, word)
    assert site.records() == []


def test_while_a_machine_does_not_answer_nothing_is_trashed(site: AdminSite, orphan: VolumeRecord) -> None:
    site.hypervisor.unread(A)
    with pytest.raises(TruthUnknown):
        mend(site, place(orphan), Mending.TRASH, place(orphan))
    assert site.records() == []


def test_killed_before_the_record_is_there_the_same_order_goes_on(site: AdminSite, orphan: VolumeRecord) -> None:
    passed = Passed(0)
    site.restart(passed)
    with pytest.raises(Killed):
        mend(site, place(orphan), Mending.TRASH, place(orphan))
    site.restart()
    assert site.records() == []
    mend(site, place(orphan), Mending.TRASH, place(orphan))
    assert [(record.id, record.state) for record in site.records()] == [(orphan.id, State.TRASHED)]
    site.check_settled()


# --- stray copies ------------------------------------------------------------------------------------------------


@pytest.fixture
def stray(site: AdminSite) -> DiskPath:
    record = site.record(site.create("db", datastore="ds1").id)
    path = DiskPath(DS2, "vmdkvol/elsewhere/db.vmdk")
    site.hypervisor.write_sidecar(path, site.hypervisor.read_sidecar(disk_path(record)))
    return path


def test_a_stray_copy_is_removed(site: AdminSite, stray: DiskPath) -> None:
    assert mend(site, stray, Mending.REMOVE_SIDECAR, str(stray)).done
    assert (site.hypervisor.read_sidecar(stray), found(site)) == (None, [])


def test_without_its_place_as_a_word_no_copy_is_removed(site: AdminSite, stray: DiskPath) -> None:
    with pytest.raises(ProofNeeded):
        mend(site, stray, Mending.REMOVE_SIDECAR)
    assert mend(site, stray, Mending.REMOVE_SIDECAR, dry_run=True).plan.loses is not None
    assert site.hypervisor.read_sidecar(stray) is not None


def test_the_copy_of_a_disk_that_is_there_is_not_removed(site: AdminSite, orphan: VolumeRecord) -> None:
    with pytest.raises(Conflict):
        mend(site, place(orphan), Mending.REMOVE_SIDECAR, place(orphan))
    assert site.hypervisor.read_sidecar(disk_path(orphan)) is not None


def test_the_copy_of_a_volume_whose_disk_is_lost_is_not_removed(site: AdminSite) -> None:
    record = site.record(site.create("db", datastore="ds1").id)
    sidecar = site.hypervisor.read_sidecar(disk_path(record))
    site.hypervisor.lose(disk_path(record))
    site.hypervisor.write_sidecar(disk_path(record), sidecar)
    with pytest.raises(Conflict):
        mend(site, place(record), Mending.REMOVE_SIDECAR, place(record))
    assert site.hypervisor.read_sidecar(disk_path(record)) == sidecar


# --- which place -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "where",
    [
        "",
        "x",
        "[ds1]",
        "[ds1] ",
        "[ds1] ../../etc/passwd",
        "[ds1] /etc/passwd",
        "[ds9] vmdkvol/x.vmdk",
        "[ds1] vmdkvol/nothing.vmdk",
        "[ds1] *",
        "[] x",
        "[ds1] \x00",
        "[ds1] " + "x" * 100_000,
    ],
)
@pytest.mark.parametrize("action", [Mending.ADOPT, Mending.TRASH, Mending.REMOVE_SIDECAR, Mending.FORGET])
def test_only_places_of_ours_are_touched(site: AdminSite, orphan: VolumeRecord, where: str, action: Mending) -> None:
    with pytest.raises(NotFound) as told:
        mend(site, where, action, where)
    assert len(str(told.value)) <= 300


def test_while_its_datastore_is_away_nothing_is_mended(site: AdminSite, orphan: VolumeRecord) -> None:
    site.hypervisor.unreadable(DS1)
    for action in (Mending.ADOPT, Mending.TRASH, Mending.REMOVE_SIDECAR):
        with pytest.raises(TruthUnknown):
            mend(site, place(orphan), action, place(orphan))
    assert site.records() == []


def test_a_disk_that_left_its_machine_is_trashed_after_all(site: AdminSite, orphan: VolumeRecord) -> None:
    site.hypervisor.submit(AttachDisk(A, disk_ref(orphan), "independent_persistent"), uuid4())
    site.hypervisor.submit(DetachDisk(A, disk_ref(orphan)), uuid4())
    assert mend(site, place(orphan), Mending.TRASH, place(orphan)).done
