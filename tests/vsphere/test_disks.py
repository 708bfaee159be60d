"""Disks as ``Hypervisor`` promises them, on simulators as vCenter and as ESXi."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from uuid import uuid4

import pytest

from tests.vsphere.disk_world import DS, LABEL_OF_ANOTHER, MIB, OTHER_DS, PLAIN, World, new_ref, world_of
from tests.vsphere.simulators import Simulator
from tests.vsphere.stage import Stage, soon
from vmdkvol.errors import (
    DatastoreNotFound,
    InvalidOption,
    InvalidSize,
    MetadataDamaged,
    NotPermitted,
    PolicyNotFound,
    VolumeError,
    VolumeInUse,
    VolumeLost,
    WrongDisk,
)
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.local import vmdk
from vmdkvol_esx.ports import CloneDisk, CreateDisk, DeleteDisk, DiskPath, DiskRef
from vmdkvol_esx.vsphere.labels import LABEL, NEW_SIDECAR, SIDECAR, Label
from vmdkvol_esx.vsphere.uuids import read_uuid

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


# --- create ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("diskformat", ["thin", "zeroedthick", "eagerzeroedthick"])
def test_a_created_disk_has_our_identity_its_size_and_its_note(world: World, diskformat: str) -> None:
    ref = new_ref()

    world.do(CreateDisk(ref, 4 * MIB, diskformat, {"name": 'a "b"=ü'}))

    assert read_uuid(world.outside.uuid(str(ref.path))) == ref.uuid
    descriptor = vmdk.read(world.file(ref).read_bytes(), "x")
    assert (descriptor.size_bytes, descriptor.thin) == (4 * MIB, diskformat == "thin")
    found = world.disks.disk(ref)
    assert found is not None
    assert (found.ref, found.size_bytes, dict(found.note)) == (ref, 4 * MIB, {"name": 'a "b"=ü'})
    assert world.label(ref) == Label(ref.uuid, 4 * MIB, diskformat, {"name": 'a "b"=ü'})
    assert world.lying(ref) == PLAIN
    assert world.progress[-1] == 100


def test_creating_it_again_is_success_and_makes_nothing(world: World) -> None:
    ref = world.made()
    before = world.calls("CreateVirtualDisk_Task")

    assert world.begin(CreateDisk(ref, 4 * MIB, "thin", {})) is None

    assert world.calls("CreateVirtualDisk_Task") == before


def test_a_disk_of_another_size_is_not_the_one_that_was_asked_for(world: World) -> None:
    ref = world.made()

    with pytest.raises(WrongDisk, match="4194304 bytes instead of 8388608"):
        world.begin(CreateDisk(ref, 8 * MIB, "thin", {}))


@pytest.mark.parametrize("label", [None, LABEL_OF_ANOTHER, b"torn"], ids=["no-label", "its-own", "torn"])
def test_no_disk_is_made_in_the_place_of_another(world: World, label: Label | bytes | None) -> None:
    ref = new_ref()
    world.strange(ref)
    before, found = world.file(ref).read_bytes(), world.lying(ref)
    if label is not None:
        world.put_label(ref, label)

    with pytest.raises(WrongDisk):
        world.begin(CreateDisk(ref, 4 * MIB, "thin", {}))

    assert world.file(ref).read_bytes() == before
    assert world.lying(ref) == found | ({LABEL} if label else set())


def test_no_disk_is_made_where_the_label_of_another_lies(world: World) -> None:
    ref = new_ref()
    world.put_label(ref, LABEL_OF_ANOTHER)

    with pytest.raises(WrongDisk):
        world.begin(CreateDisk(ref, 4 * MIB, "thin", {}))

    assert world.lying(ref) == {LABEL}


@pytest.mark.parametrize("size", [0, -1024, 512, 4 * MIB + 512])
def test_a_size_that_vsphere_cannot_express_is_refused(world: World, size: int) -> None:
    ref = new_ref()

    with pytest.raises(InvalidSize, match="KiB"):
        world.begin(CreateDisk(ref, size, "thin", {}))

    assert world.lying(ref) == set()


def test_an_unknown_datastore_is_named_with_the_known_ones(world: World) -> None:
    with pytest.raises(DatastoreNotFound, match=r"'nowhere'.*LocalDS_0, LocalDS_1"):
        world.begin(CreateDisk(new_ref(DatastoreName("nowhere")), MIB, "thin", {}))


def test_an_unknown_policy_is_refused_and_leaves_nothing(world: World) -> None:
    ref = new_ref()

    with pytest.raises(PolicyNotFound):
        world.begin(CreateDisk(ref, MIB, "thin", {}, "no such policy"))

    assert world.lying(ref) == set()


@pytest.mark.parametrize("path", ["vmdkvol/../x.vmdk", "/vmdkvol/x.vmdk", "vmdkvol/x", "vmdkvol//x.vmdk"])
def test_a_path_that_leads_out_of_its_place_is_refused(world: World, path: str) -> None:
    with pytest.raises(MetadataDamaged):
        world.begin(CreateDisk(replace(new_ref(), path=DiskPath(DS, path)), MIB, "thin", {}))


@both
@pytest.mark.parametrize("diskformat", ["zeroedthick", "eagerzeroedthick"])
def test_a_thick_disk_that_has_no_room_leaves_nothing(strict: World, diskformat: str) -> None:
    strict.simulator.datastore(DS, "size", bytes=24 * MIB)
    ref = new_ref()

    with pytest.raises(VolumeError) as caught:
        strict.do(CreateDisk(ref, 64 * MIB, diskformat, {}))

    assert caught.value.code == "no-space"
    assert (strict.lying(ref), strict.disks.disk(ref)) == (set(), None)
    strict.do(CreateDisk(ref, 4 * MIB, diskformat, {}))
    assert strict.lying(ref) == PLAIN


@both
def test_a_full_datastore_takes_not_even_a_label(strict: World) -> None:
    strict.simulator.datastore(DS, "size", bytes=1)
    ref = new_ref()

    with pytest.raises(VolumeError) as caught:
        strict.begin(CreateDisk(ref, MIB, "thin", {}))

    assert (caught.value.code, strict.lying(ref)) == ("no-space", set())


@both
def test_nothing_is_written_on_a_read_only_datastore(strict: World) -> None:
    ref = strict.made()
    strict.simulator.datastore(DS, "readonly")
    strict.restart()

    for change in (CreateDisk(new_ref(), MIB, "thin", {}), CloneDisk(ref, new_ref(), "thin", {}), DeleteDisk(ref)):
        with pytest.raises(NotPermitted, match="read-only"):
            strict.begin(change)
    with pytest.raises(NotPermitted):
        strict.disks.write_sidecar(ref.path, b"{}")

    assert strict.lying(ref) == PLAIN


@both
@pytest.mark.parametrize("kind", ["vsan", "VVOL"])
def test_on_an_object_store_the_first_disk_gets_its_folders(strict: World, kind: str) -> None:
    strict.simulator.datastore(DS, "type", to=kind)

    ref = strict.made()

    assert strict.lying(ref) == PLAIN
    assert strict.calls("CreateDirectory") == 1


def test_a_folder_that_was_taken_away_is_made_again(world: World) -> None:
    ref = world.made(datastore=OTHER_DS)
    world.deleted(ref)
    for left in world.file(ref).parent.iterdir():
        left.unlink()
    world.file(ref).parent.rmdir()

    assert world.lying(world.made(datastore=OTHER_DS)) == PLAIN


# --- clone -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("diskformat", ["thin", "zeroedthick", "eagerzeroedthick"])
def test_a_clone_has_its_sources_bytes_and_an_identity_and_a_label_of_its_own(world: World, diskformat: str) -> None:
    source = world.made(diskformat=diskformat)
    with world.file(source, "-flat.vmdk").open("r+b") as extent:
        extent.write(b"data")
    before = world.file(source).read_bytes()

    clone = world.cloned(source, diskformat)

    assert world.file(clone, "-flat.vmdk").read_bytes().rstrip(b"\0") == b"data"
    found = world.disks.disk(clone)
    assert found is not None
    assert (found.ref, found.size_bytes, dict(found.note)) == (clone, 4 * MIB, {"name": "clone"})
    assert world.label(clone) == Label(clone.uuid, 4 * MIB, diskformat, {"name": "clone"})
    assert (world.file(source).read_bytes(), world.label(source).uuid) == (before, source.uuid)


@both
@pytest.mark.parametrize(
    ("diskformat", "kind"), [("thin", "thin"), ("zeroedthick", "preallocated"), ("eagerzeroedthick", "eagerZeroedThick")]
)
def test_a_host_is_told_the_format_of_a_copy_and_a_vcenter_is_not(strict: World, diskformat: str, kind: str) -> None:
    """A vCenter refuses every description of the copy."""
    source = strict.made(diskformat=diskformat)
    strict.simulator.next("CopyVirtualDisk_Task", "fault", fault="NoPermission", match=f"<diskType>{kind}</diskType>")
    strict.simulator.next("CopyVirtualDisk_Task", "fault", fault="NotSupported", match="destSpec")

    if strict.simulator.model == "vcenter":
        strict.cloned(source, diskformat)
    else:
        with pytest.raises(NotPermitted):
            strict.cloned(source, diskformat)


@both
def test_another_format_than_the_sources_is_refused_where_the_copy_would_not_get_it(strict: World) -> None:
    source, clone = strict.made(), new_ref()
    change = CloneDisk(source, clone, "eagerzeroedthick", {})

    if strict.simulator.model == "esxi":
        strict.do(change)
        assert strict.label(clone).diskformat == "eagerzeroedthick"
        return
    with pytest.raises(InvalidOption, match="is thin.*own format.*diskformat=thin"):
        strict.do(change)
    assert strict.lying(clone) == set()
    assert strict.calls("CopyVirtualDisk_Task") == 0


@both
def test_a_source_without_a_label_is_copied_as_it_is(strict: World) -> None:
    source = strict.made()
    strict.file(source, ".vmdkvol.label").unlink()

    clone = strict.cloned(source, "zeroedthick")

    assert strict.disks.disk(clone) is not None


@pytest.mark.parametrize(
    ("diskformat", "kind"), [("thin", "thin"), ("zeroedthick", "preallocated"), ("eagerzeroedthick", "eagerZeroedThick")]
)
def test_a_disk_is_made_in_the_format_and_the_size_that_were_asked_for(strict: World, diskformat: str, kind: str) -> None:
    asked = f"<diskType>{kind}</diskType><adapterType>lsiLogic</adapterType>"
    strict.simulator.next("CreateVirtualDisk_Task", "fault", fault="NoPermission", match=asked)
    with pytest.raises(NotPermitted):
        strict.do(CreateDisk(new_ref(), 5 * MIB, diskformat, {}))

    strict.simulator.next("CreateVirtualDisk_Task", "fault", fault="NoPermission", match="<capacityKb>5120</capacityKb>")
    with pytest.raises(NotPermitted):
        strict.do(CreateDisk(new_ref(), 5 * MIB, diskformat, {}))


def test_a_disk_is_made_under_the_policy_that_was_named(strict: World) -> None:
    policy = strict.policies.known(soon())["vSAN Default Storage Policy"]
    strict.simulator.next("CreateVirtualDisk_Task", "fault", fault="NoPermission", match=f"<profileId>{policy}</profileId>")

    strict.made()
    with pytest.raises(NotPermitted):
        strict.do(CreateDisk(new_ref(), MIB, "thin", {}, "vSAN Default Storage Policy"))


def test_a_clone_goes_to_another_datastore(world: World) -> None:
    source, clone = world.made(), new_ref(OTHER_DS)

    world.do(CloneDisk(source, clone, "thin", {}))

    assert (world.lying(clone), world.disks.disk(clone) is not None) == (set(PLAIN), True)


def test_a_clone_that_is_there_is_success_whatever_became_of_its_source(world: World) -> None:
    source = world.made()
    clone = world.cloned(source)
    world.deleted(source)

    assert world.begin(CloneDisk(source, clone, "thin", {})) is None


@pytest.mark.parametrize(
    ("case", "error"), [("absent", VolumeLost), ("another", WrongDisk), ("cut", MetadataDamaged), ("broken", MetadataDamaged)]
)
def test_what_is_not_the_source_is_not_cloned(world: World, case: str, error: type[VolumeError]) -> None:
    source, clone = new_ref(), new_ref()
    if case != "absent":
        world.strange(source)
    if case == "cut":
        world.put_label(source, Label(source.uuid, MIB, "thin", {}))
    if case == "broken":
        world.simulator.next("QueryVirtualDiskUuid", "soap", fault="InvalidDiskFormat", match=source.path.path)

    with pytest.raises(error):
        world.do(CloneDisk(source, clone, "thin", {}))

    assert world.lying(clone) == set()


@both
def test_a_source_that_a_machine_has_is_not_cloned(strict: World) -> None:
    source, clone = strict.made(), new_ref()
    vm = strict.outside.machines()[0]
    strict.outside.attach(vm, str(source.path), 5)

    with pytest.raises(VolumeInUse, match=vm.name):
        strict.do(CloneDisk(source, clone, "thin", {}))

    assert strict.lying(clone) == set()


# --- delete ----------------------------------------------------------------------------------------------------------


def test_a_deleted_disk_is_gone_with_all_that_lies_beside_it(world: World) -> None:
    ref = world.made()
    world.disks.write_sidecar(ref.path, b"{}")
    world.file(ref, NEW_SIDECAR).write_bytes(b"left by a death")

    world.deleted(ref)

    assert (world.lying(ref), world.disks.disk(ref), world.disks.read_sidecar(ref.path)) == (set(), None, None)


def test_deleting_what_is_not_there_is_fine(world: World) -> None:
    ref = world.made()

    for each in (ref, ref, new_ref()):
        world.deleted(each)


@pytest.mark.parametrize("left", [LABEL, SIDECAR, NEW_SIDECAR, "-flat.vmdk"])
def test_what_is_left_of_a_disk_is_taken_away(world: World, left: str) -> None:
    ref = world.made()
    world.disks.write_sidecar(ref.path, b"{}")
    world.outside.delete(str(ref.path))
    if left == "-flat.vmdk":
        world.file(ref, left).write_bytes(b"")
    elif left == NEW_SIDECAR:
        world.file(ref, SIDECAR).rename(world.file(ref, NEW_SIDECAR))

    world.deleted(ref)

    assert world.lying(ref) == set()


@pytest.mark.parametrize("label", [None, LABEL_OF_ANOTHER, b"torn"], ids=["no-label", "its-own", "torn"])
def test_another_disk_in_its_place_is_not_deleted(world: World, label: Label | bytes | None) -> None:
    ref = new_ref()
    world.strange(ref)
    if label is not None:
        world.put_label(ref, label)
    before = world.lying(ref)

    with pytest.raises(WrongDisk):
        world.deleted(ref)

    assert world.lying(ref) == before


def test_a_disk_with_our_label_that_did_not_get_its_identity_is_deleted(world: World) -> None:
    ref = new_ref()
    world.strange(ref)
    world.put_label(ref, Label(ref.uuid, 4 * MIB, "thin", {}))

    world.deleted(ref)

    assert world.lying(ref) == set()


def test_our_disk_without_a_label_is_deleted(world: World) -> None:
    """Storage vMotion takes the disk along, and nothing beside it."""
    ref = world.made()
    world.file(ref, LABEL).unlink()

    world.deleted(ref)

    assert world.lying(ref) == set()


@pytest.mark.parametrize(("label", "goes"), [(True, True), (False, False)], ids=["ours", "not-known"])
def test_a_disk_that_cannot_be_read_is_deleted_only_with_our_label(world: World, label: bool, goes: bool) -> None:
    ref = world.made()
    if not label:
        world.file(ref, LABEL).unlink()
    world.simulator.next("QueryVirtualDiskUuid", "soap", fault="InvalidDiskFormat", match=ref.path.path)

    if goes:
        world.deleted(ref)
    else:
        with pytest.raises(MetadataDamaged):
            world.deleted(ref)

    assert world.lying(ref) == (set() if goes else PLAIN - {LABEL})


@both
@pytest.mark.parametrize("power", ["on", "off"])
def test_a_disk_that_a_machine_has_is_not_deleted(strict: World, power: str) -> None:
    """Of a machine that is off, ESXi holds no lock: it would be deleted under it."""
    ref = strict.made()
    vm = strict.outside.machines()[0]
    strict.outside.attach(vm, str(ref.path), 5)
    if power == "off":
        strict.simulator.machine(vm._moId, "off")

    questions: list[Callable[[], object]] = [lambda: strict.deleted(ref), lambda: strict.disks.check_unused(ref)]
    for question in questions:
        with pytest.raises(VolumeInUse, match=vm.name):
            question()

    assert strict.lying(ref) == PLAIN
    assert not strict.label(ref).deleting


def test_a_deletion_that_its_task_refuses_leaves_a_usual_disk(world: World) -> None:
    ref = world.made()
    world.simulator.next("DeleteVirtualDisk_Task", "fault", fault="FileLocked")

    with pytest.raises(VolumeInUse):
        world.deleted(ref)

    assert (world.lying(ref), world.label(ref).deleting) == (set(PLAIN), False)
    world.deleted(ref)
    assert world.lying(ref) == set()


def test_a_deletion_that_the_call_refuses_leaves_a_usual_disk(world: World) -> None:
    ref = world.made()
    world.simulator.next("DeleteVirtualDisk_Task", "soap", fault="NoPermission")

    with pytest.raises(NotPermitted):
        world.deleted(ref)

    assert (world.lying(ref), world.label(ref).deleting) == (set(PLAIN), False)


def test_a_deletion_that_finds_nothing_any_more_is_done(world: World) -> None:
    ref = world.made()
    receipt = world.begin(DeleteDisk(ref))
    assert receipt is not None

    for _ in range(2):
        world.disks.finish(receipt, soon(), world.progress.append)

    assert world.lying(ref) == set()


def test_a_deleted_disk_can_be_made_again(world: World) -> None:
    ref = world.made()
    world.deleted(ref)

    world.do(CreateDisk(ref, 4 * MIB, "thin", {}))

    assert world.lying(ref) == PLAIN
