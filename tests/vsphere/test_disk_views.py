"""What is said of disks, datastores and sidecars, on simulators as vCenter and as ESXi."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from uuid import uuid4

import pytest

from tests.vsphere.disk_world import DS, MIB, OTHER_DS, PLAIN, World, new_ref, world_of
from tests.vsphere.simulators import Simulator
from tests.vsphere.stage import Stage, soon
from vmdkvol.errors import (
    MetadataDamaged,
    NotPermitted,
    TruthUnknown,
    VolumeLost,
    WrongDisk,
)
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.ports import CreateDisk, DiskPath, DiskRef
from vmdkvol_esx.vsphere.anew import LIMIT
from vmdkvol_esx.vsphere.labels import LABEL, NEW_SIDECAR, SIDECAR, Label
from vmdkvol_esx.vsphere.uuids import spaced

# Identities that are stored, and disks that are more than empty files, are our own additions to the simulator.
pytestmark = [pytest.mark.integration, pytest.mark.vcsim_injected]


@pytest.fixture
def world(shared: Simulator, stage: Stage) -> Iterator[World]:
    with world_of(shared, stage) as found:
        yield found


@pytest.fixture
def strict(request: pytest.FixtureRequest, own: Callable[..., Simulator], stage: Stage) -> Iterator[World]:
    with world_of(own(getattr(request, "param", "vcenter"), "-strict"), stage) as found:
        yield found


both = pytest.mark.parametrize("strict", ["vcenter", "esxi"], indirect=True)


def another(ref: DiskRef) -> DiskRef:
    return DiskRef(DiskUuid(uuid4()), ref.path)


# --- looking ---------------------------------------------------------------------------------------------------------


def test_a_disk_that_was_never_made_is_absent(world: World) -> None:
    assert world.disks.disk(new_ref()) is None


def test_another_disk_in_its_place_is_neither_there_nor_absent(world: World) -> None:
    ref = world.made()

    with pytest.raises(WrongDisk):
        world.disks.disk(another(ref))
    with pytest.raises(WrongDisk):
        world.disks.check(another(ref), soon(), "")


def test_a_disk_of_ours_without_its_identity_is_damaged(world: World) -> None:
    ref = new_ref()
    world.strange(ref)
    world.put_label(ref, Label(ref.uuid, 4 * MIB, "thin", {}))

    questions: list[Callable[[], object]] = [lambda: world.disks.disk(ref), lambda: world.disks.check(ref, soon(), "")]
    for question in questions:
        with pytest.raises(MetadataDamaged, match="did not get its identity"):
            question()
    assert ref.path not in [disk.ref.path for disk in world.disks.disks(DS)]
    assert ref.path in world.disks.traces(DS)


def test_a_disk_whose_deletion_has_begun_is_neither_there_nor_absent_until_nothing_of_it_is_left(world: World) -> None:
    """A removal goes on with it; a create that was being undone is not finished by it."""
    ref = world.made()
    world.put_label(ref, replace(world.label(ref), deleting=True))
    with pytest.raises(MetadataDamaged, match="deletion has begun"):
        world.disks.disk(ref)
    assert ref.path not in [disk.ref.path for disk in world.disks.disks(DS)]

    world.outside.delete(str(ref.path))
    with pytest.raises(MetadataDamaged, match="deletion has begun"):
        world.disks.disk(ref)
    world.deleted(ref)
    assert world.disks.disk(ref) is None


def test_a_disk_that_somebody_deleted_past_us_is_absent(world: World) -> None:
    ref = world.made()
    world.outside.delete(str(ref.path))

    assert world.disks.disk(ref) is None
    with pytest.raises(VolumeLost):
        world.disks.check(ref, soon(), "")


@both
def test_the_size_of_a_disk_without_its_label_is_read_from_the_disk(strict: World) -> None:
    ref = strict.made(size=3 * MIB)
    strict.file(ref, LABEL).unlink()

    found = strict.disks.disk(ref)

    assert found is not None
    assert (found.size_bytes, found.note) == (3 * MIB, {})
    assert [disk.size_bytes for disk in strict.disks.disks(DS)] == [3 * MIB]


def test_a_disk_without_a_label_whose_size_nobody_says_is_damaged(world: World) -> None:
    ref = world.made()
    world.file(ref, LABEL).write_bytes(b"torn")

    with pytest.raises(MetadataDamaged, match="does not say its size"):
        world.disks.disk(ref)


@pytest.mark.parametrize("fault", ["FileLocked", "CannotAccessFile", "InvalidDatastore", "NoPermission"])
def test_what_cannot_be_said_is_not_absent(world: World, fault: str) -> None:
    ref = new_ref()
    world.simulator.next("QueryVirtualDiskUuid", "soap", fault=fault, times=9, match=ref.path.path)

    try:
        with pytest.raises((TruthUnknown, NotPermitted)):
            world.disks.disk(ref)
    finally:
        world.simulator.clear()


def test_a_disk_is_verified_by_one_call(world: World) -> None:
    ref = world.made()
    before = sum(world.simulator.calls().values())

    world.disks.check(ref, soon(), "")

    assert sum(world.simulator.calls().values()) == before + 1


@both
def test_a_datastore_that_no_host_reaches_says_nothing_about_its_disks(strict: World) -> None:
    ref = strict.made()
    strict.simulator.datastore(DS, "inaccessible")

    questions: list[Callable[[], object]] = [
        lambda: strict.disks.disk(ref),
        lambda: strict.disks.disk(new_ref()),
        lambda: strict.disks.disks(DS),
        lambda: strict.disks.traces(DS),
        lambda: strict.disks.check(ref, soon(), ""),
        lambda: strict.deleted(ref),
    ]
    for question in questions:
        with pytest.raises(TruthUnknown, match="no host can reach it") as told:
            question()
        assert told.value.remedy.startswith("an administrator must look at the datastores in vSphere")
    assert strict.disks.allocated([ref]) == {}
    [state] = [state for state in strict.disks.datastores() if state.name == DS]
    assert "no host" in (state.problem or "")


@both
@pytest.mark.parametrize("name", ["disks [50%25] für b", "a] b", "x  y", "(1) #2 &c"])
def test_a_renamed_datastore_keeps_its_disks(strict: World, name: str) -> None:
    ref, other = strict.made(), strict.made()
    strict.disks.write_sidecar(ref.path, b"{}")
    strict.simulator.datastore(DS, "rename", to=name)

    # What is known of its name is seconds old.
    found = strict.disks.disk(ref)
    assert found is not None
    assert found.ref == ref
    strict.disks.check(other, soon(), "")
    assert strict.disks.read_sidecar(ref.path) == b"{}"
    assert {disk.ref for disk in strict.disks.disks(DS)} == {ref, other}
    new = strict.made()
    strict.cloned(new)
    strict.deleted(other)
    assert strict.disks.disk(other) is None


# --- what lies on a datastore ----------------------------------------------------------------------------------------


def test_each_datastore_lists_its_own_disks(strict: World) -> None:
    one, other = strict.made(), strict.made(datastore=OTHER_DS, note={"name": "other"})

    assert [disk.ref for disk in strict.disks.disks(DS)] == [one]
    assert [(disk.ref, dict(disk.note)) for disk in strict.disks.disks(OTHER_DS)] == [(other, {"name": "other"})]


def test_a_datastore_without_our_folder_has_no_disks_and_is_fresh(strict: World) -> None:
    assert (list(strict.disks.disks(DS)), list(strict.disks.traces(DS))) == ([], [])
    assert [state.fresh for state in strict.disks.datastores()] == [True, True]

    strict.made()

    assert [state.fresh for state in strict.disks.datastores()] == [False, True]


@both
def test_a_thick_disk_takes_its_room_and_a_thin_one_none(strict: World) -> None:
    thin, thick = strict.made(), new_ref()
    strict.do(CreateDisk(thick, 4 * MIB, "zeroedthick", {}))

    assert strict.disks.allocated([thin, thick, new_ref()]) == {thin.uuid: 0, thick.uuid: 4 * MIB}
    assert {disk.ref: disk.allocated_bytes for disk in strict.disks.disks(DS)} == {thin: 0, thick: 4 * MIB}
    assert strict.disks.disk(thick) in strict.disks.disks(DS)


def test_the_room_of_many_disks_is_asked_for_at_once(strict: World) -> None:
    disks = [strict.made() for _ in range(4)]
    before = sum(strict.simulator.calls().values())

    found = strict.disks.allocated(disks)

    assert found.keys() == {disk.uuid for disk in disks}
    assert sum(strict.simulator.calls().values()) - before <= 3


def test_a_second_listing_reads_no_label_and_no_identity_again(strict: World) -> None:
    for _ in range(3):
        strict.made()
    first = strict.disks.disks(DS)
    before = strict.simulator.calls()

    assert strict.disks.disks(DS) == first

    after = strict.simulator.calls()
    assert [after.get(each, 0) - before.get(each, 0) for each in ("GET /folder", "QueryVirtualDiskUuid")] == [0, 0]


def test_datastores_that_were_never_used_are_not_looked_at_for_each_create(strict: World) -> None:
    strict.disks.datastores()
    before = strict.calls("SearchDatastore_Task")

    assert [state.fresh for state in strict.disks.datastores()] == [True, True]

    assert strict.calls("SearchDatastore_Task") == before


def test_of_many_disks_that_are_written_to_a_listing_asks_for_the_identities_of_some(strict: World) -> None:
    many = LIMIT + 20
    disks = [strict.made() for _ in range(many)]
    assert len(strict.disks.disks(DS)) == many
    for ref in disks:
        os.utime(strict.file(ref), (2e9, 2e9))
    before = strict.calls("QueryVirtualDiskUuid")

    assert len(strict.disks.disks(DS)) == many

    assert strict.calls("QueryVirtualDiskUuid") - before == LIMIT


def test_a_disk_that_stays_in_use_is_asked_for_once(strict: World) -> None:
    ref = strict.made()
    strict.simulator.next("QueryVirtualDiskUuid", "soap", fault="FileLocked", match=ref.path.path, times=9)
    strict.disks.disks(DS)
    before = strict.calls("QueryVirtualDiskUuid")

    assert [disk.ref for disk in strict.disks.disks(DS)] == [ref]

    assert strict.calls("QueryVirtualDiskUuid") == before


def test_a_listing_shows_what_was_changed_since_the_last_one(strict: World) -> None:
    kept, swapped, gone = strict.made(), strict.made(), strict.made()
    assert len(strict.disks.disks(DS)) == 3

    strict.deleted(gone)
    strict.outside.delete(str(swapped.path))
    strict.outside.create(str(swapped.path))

    assert [disk.ref for disk in strict.disks.disks(DS)] == [kept]


def test_a_listing_leaves_out_what_cannot_be_read_and_shows_the_others(strict: World) -> None:
    good, broken = strict.made(), strict.made()
    strict.simulator.next("QueryVirtualDiskUuid", "soap", fault="InvalidDiskFormat", match=broken.path.path)

    assert [disk.ref for disk in strict.disks.disks(DS)] == [good]
    assert set(strict.disks.traces(DS)) == {good.path, broken.path}


def test_a_disk_in_use_is_listed_by_its_label(strict: World) -> None:
    ref = strict.made()
    strict.simulator.next("QueryVirtualDiskUuid", "soap", fault="FileLocked", match=ref.path.path)

    assert [disk.ref for disk in strict.disks.disks(DS)] == [ref]


def test_the_child_of_a_snapshot_is_no_disk_of_its_own(strict: World) -> None:
    ref = strict.made()
    child = DiskPath(DS, ref.path.path.replace(".vmdk", "-000001.vmdk"))
    strict.outside.copy(str(ref.path), str(child))
    strict.outside.disks.SetVirtualDiskUuid(str(child), strict.outside.datacenter, spaced(ref.uuid))

    assert [disk.ref for disk in strict.disks.disks(DS)] == [ref]


def test_traces_are_of_whole_disks_and_of_what_is_left_of_others(strict: World) -> None:
    whole, sidecar, label, new = strict.made(), new_ref(), new_ref(), new_ref()
    strict.disks.write_sidecar(sidecar.path, b"{}")
    strict.put_label(label, Label(label.uuid, MIB, "thin", {}))
    strict.file(new, NEW_SIDECAR).write_bytes(b"x")
    strict.file(new, ".txt").write_bytes(b"none of ours")

    assert set(strict.disks.traces(DS)) == {whole.path, sidecar.path, label.path, new.path}


# --- sidecars --------------------------------------------------------------------------------------------------------


def test_a_sidecar_is_read_as_it_was_last_written(world: World) -> None:
    ref = world.made()

    for content in (b'{"generation": 1}', b"\0\xff" * 5000, b"<html>", b""):
        world.disks.write_sidecar(ref.path, content)
        assert world.disks.read_sidecar(ref.path) == content
    assert world.lying(ref) == PLAIN | {SIDECAR}


def test_a_sidecar_that_was_never_written_is_absent(world: World) -> None:
    assert world.disks.read_sidecar(new_ref().path) is None


def test_a_sidecar_is_read_by_people_from_its_second_line_on(world: World) -> None:
    ref = world.made()
    world.disks.write_sidecar(ref.path, b'{"a": 1}\n')

    assert world.file(ref, SIDECAR).read_text().splitlines()[1:] == ['{"a": 1}']
