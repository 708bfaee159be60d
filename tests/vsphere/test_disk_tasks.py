"""Work on disks that takes its time, is in doubt, or is found by another process; and sidecars whose writer dies."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from uuid import uuid4

import pytest

from tests.vsphere.disk_world import DS, LABEL_OF_ANOTHER, MIB, PLAIN, World, new_ref, world_of
from tests.vsphere.simulators import Simulator
from tests.vsphere.stage import CLOCK, Stage, soon
from vmdkvol.errors import (
    Busy,
    MetadataDamaged,
    NoSpace,
    NotPermitted,
    OutcomeUnknown,
    StillWorking,
    Unavailable,
    UnknownTask,
    VolumeError,
    VolumeInUse,
    VolumeLost,
    WrongDisk,
)
from vmdkvol.volume import VmId
from vmdkvol_esx.ports import AttachDisk, CloneDisk, CreateDisk, DeleteDisk, DiskRef
from vmdkvol_esx.vsphere import framed
from vmdkvol_esx.vsphere.labels import LABEL, NEW_SIDECAR, SIDECAR, Label
from vmdkvol_esx.vsphere.receipts import Receipt

pytestmark = [pytest.mark.integration, pytest.mark.vcsim_injected]
SLOW_MS = 800
OLD, NEW = b'{"generation": 1}', b'{"generation": 2}'


@pytest.fixture
def world(own: Callable[..., Simulator], stage: Stage) -> Iterator[World]:
    with world_of(own("vcenter", "-strict"), stage) as found:
        yield found


def begun(world: World, change: CreateDisk | CloneDisk | DeleteDisk) -> Receipt:
    """Start a change that is a task of some time."""
    kinds = {CreateDisk: "CreateVirtualDisk_Task", CloneDisk: "CopyVirtualDisk_Task", DeleteDisk: "DeleteVirtualDisk_Task"}
    world.simulator.next(kinds[type(change)], "slow", ms=SLOW_MS)
    receipt = world.begin(change)
    assert receipt is not None
    return receipt


# --- tasks under way -------------------------------------------------------------------------------------------------


def test_a_disk_is_absent_until_its_task_has_ended_and_progress_is_told(world: World) -> None:
    ref = new_ref()
    receipt = begun(world, CreateDisk(ref, 4 * MIB, "thin", {}))
    assert world.disks.disk(ref) is None

    world.disks.finish(receipt, soon(), world.progress.append)

    assert world.disks.disk(ref) is not None
    assert (world.progress, world.progress[-1]) == (sorted(world.progress), 100)


def test_a_task_goes_on_after_its_waiters_time_and_is_waited_for_again(world: World) -> None:
    ref = new_ref()
    receipt = begun(world, CreateDisk(ref, 4 * MIB, "thin", {}))
    with pytest.raises(StillWorking):
        world.disks.finish(receipt, soon(0.05), world.progress.append)

    for _ in range(2):
        world.disks.finish(receipt, soon(), world.progress.append)

    assert world.disks.disk(ref) is not None
    assert world.calls("SetVirtualDiskUuid") == 1


def test_the_same_create_joins_its_task(world: World) -> None:
    change = CreateDisk(new_ref(), 4 * MIB, "thin", {})
    receipt = begun(world, change)

    assert world.begin(change) == receipt

    world.disks.finish(receipt, soon(), world.progress.append)
    assert world.calls("CreateVirtualDisk_Task") == 1


def test_after_a_restart_whoever_has_the_receipt_brings_it_to_its_end(world: World) -> None:
    source = world.made()
    created, clone = new_ref(), new_ref()
    receipts = [begun(world, CreateDisk(created, 4 * MIB, "thin", {})), begun(world, CloneDisk(source, clone, "thin", {}))]

    world.restart()
    for receipt in receipts:
        world.disks.finish(receipt, soon(), world.progress.append)

    assert [disk.ref.uuid for disk in map(world.disks.disk, (created, clone)) if disk] == [created.uuid, clone.uuid]


def test_after_a_restart_a_deletion_is_brought_to_its_end(world: World) -> None:
    ref = world.made()
    world.disks.write_sidecar(ref.path, OLD)
    receipt = begun(world, DeleteDisk(ref))

    world.restart()
    world.disks.finish(receipt, soon(), world.progress.append)

    assert world.lying(ref) == set()


def test_another_change_of_a_disk_under_way_is_busy(world: World) -> None:
    ref = new_ref()
    receipt = begun(world, CreateDisk(ref, 4 * MIB, "thin", {}))

    for change in (DeleteDisk(ref), CreateDisk(ref, 8 * MIB, "thin", {})):
        with pytest.raises(Busy):
            world.begin(change)
    with pytest.raises(Busy):
        world.disks.check_idle(AttachDisk(VmId(uuid4()), ref, "persistent"))

    world.disks.finish(receipt, soon(), world.progress.append)
    world.deleted(ref)


def test_what_nobody_waited_for_does_not_hold_its_disk_for_ever(world: World) -> None:
    ref = new_ref()
    begun(world, CreateDisk(ref, 4 * MIB, "thin", {}))
    until = soon()
    while True:
        try:
            world.deleted(ref)
            break
        except Busy:
            assert not until.passed
            CLOCK.sleep(0.1)

    assert world.lying(ref) == set()


def test_a_source_is_held_until_its_copy_has_ended(world: World) -> None:
    source, clone = world.made(), new_ref()
    receipt = begun(world, CloneDisk(source, clone, "thin", {}))

    questions: list[Callable[[], object]] = [
        lambda: world.begin(DeleteDisk(source)),
        lambda: world.disks.check_idle(AttachDisk(VmId(uuid4()), source, "persistent")),
        lambda: world.disks.check_unused(source),
    ]
    with pytest.raises(StillWorking):
        world.disks.finish(receipt, soon(0.05), world.progress.append)
    for question in questions:
        with pytest.raises(VolumeInUse, match="being copied"):
            question()

    world.disks.finish(receipt, soon(), world.progress.append)
    world.disks.check_unused(source)
    world.deleted(source)


def test_a_task_that_vanished_is_settled_by_looking(world: World) -> None:
    """It was carried out: our label tells the disk from a stranger's."""
    ref = new_ref()
    world.simulator.next("CreateVirtualDisk_Task", "vanish")
    receipt = world.begin(CreateDisk(ref, 4 * MIB, "thin", {}))
    assert receipt is not None

    with pytest.raises(UnknownTask):
        world.disks.finish(receipt, soon(), world.progress.append)

    with pytest.raises(MetadataDamaged, match="identity"):
        world.disks.disk(ref)
    world.deleted(ref)
    assert world.lying(ref) == set()


# --- what fails ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error"),
    [("NoDiskSpace", NoSpace), ("FileAlreadyExists", VolumeError), ("NoPermission", NotPermitted), ("FileLocked", VolumeInUse)],
)
@pytest.mark.parametrize("how", ["soap", "fault"], ids=["by-the-call", "by-the-task"])
def test_a_create_that_is_refused_leaves_nothing(world: World, how: str, fault: str, error: type[VolumeError]) -> None:
    ref = new_ref()
    world.simulator.next("CreateVirtualDisk_Task", how, fault=fault)

    with pytest.raises(error):
        world.do(CreateDisk(ref, 4 * MIB, "thin", {}))

    assert (world.lying(ref), world.disks.disk(ref)) == (set(), None)
    world.do(CreateDisk(ref, 4 * MIB, "thin", {}))
    assert world.lying(ref) == PLAIN


@pytest.mark.parametrize("fault", ["TaskInProgress", "InvalidDatastore", "HostNotConnected"])
@pytest.mark.parametrize("kind", ["create", "clone", "delete"])
def test_a_task_that_failed_for_now_is_begun_anew_by_the_next_try(world: World, kind: str, fault: str) -> None:
    """Its error is one after which to try again: that must not find the task that has failed."""
    source = world.made()
    ref = source if kind == "delete" else new_ref()
    change: CreateDisk | CloneDisk | DeleteDisk = DeleteDisk(ref)
    if kind == "create":
        change = CreateDisk(ref, 4 * MIB, "thin", {})
    elif kind == "clone":
        change = CloneDisk(source, ref, "thin", {})
    names = {"create": "CreateVirtualDisk_Task", "clone": "CopyVirtualDisk_Task", "delete": "DeleteVirtualDisk_Task"}
    world.simulator.next(names[kind], "fault", fault=fault)
    with pytest.raises(Unavailable):
        world.do(change)

    world.do(change)

    assert world.lying(ref) == (set() if kind == "delete" else PLAIN)


def test_a_disk_that_came_to_the_place_at_the_last_moment_is_not_ours(world: World) -> None:
    """The label is there before the disk: without a second look it would make a stranger's disk ours, and to be deleted."""
    ref = new_ref()
    receipt = begun(world, CreateDisk(ref, 4 * MIB, "thin", {}))
    world.strange(ref)
    before = world.file(ref).read_bytes()

    with pytest.raises(WrongDisk):
        world.disks.finish(receipt, soon(), world.progress.append)

    with pytest.raises(WrongDisk):
        world.disks.disk(ref)
    with pytest.raises(WrongDisk):
        world.deleted(ref)
    assert world.file(ref).read_bytes() == before


def test_an_identity_that_is_refused_is_told_and_the_disk_goes_when_the_create_is_undone(world: World) -> None:
    ref = new_ref()
    world.simulator.next("SetVirtualDiskUuid", "soap", fault="NoPermission")

    with pytest.raises(NotPermitted):
        world.do(CreateDisk(ref, 4 * MIB, "thin", {}))

    with pytest.raises(MetadataDamaged, match="identity"):
        world.disks.disk(ref)
    world.deleted(ref)
    assert world.lying(ref) == set()


@pytest.mark.parametrize(("do", "made"), [("lost", True), ("dropped", False)])
def test_an_identity_in_doubt_is_settled_by_reading_it(world: World, do: str, made: bool) -> None:
    ref = new_ref()
    world.simulator.next("SetVirtualDiskUuid", do)

    if made:
        world.do(CreateDisk(ref, 4 * MIB, "thin", {}))
    else:
        with pytest.raises(OutcomeUnknown):
            world.do(CreateDisk(ref, 4 * MIB, "thin", {}))

    assert world.calls("SetVirtualDiskUuid") == 1


def test_a_create_in_doubt_holds_its_disk_until_it_is_seen_what_came_of_it(world: World) -> None:
    """Undone at once, it would leave a disk that comes a moment later and that nobody knows."""
    ref = new_ref()
    world.simulator.next("CreateVirtualDisk_Task", "dropped")

    with pytest.raises(OutcomeUnknown):
        world.begin(CreateDisk(ref, 4 * MIB, "thin", {}))

    with pytest.raises(Busy):
        world.begin(DeleteDisk(ref))
    world.restart()
    world.deleted(ref)
    assert (world.lying(ref), world.calls("CreateVirtualDisk_Task")) == (set(), 1)


def test_nothing_is_taken_away_while_the_server_makes_a_disk_whose_task_is_not_known(world: World) -> None:
    ref = new_ref()
    begun(world, CreateDisk(ref, 4 * MIB, "thin", {}))
    world.restart()

    for change in (DeleteDisk(ref), CreateDisk(ref, 4 * MIB, "thin", {})):
        with pytest.raises(Busy, match="makes a disk"):
            world.begin(change)
        assert world.lying(ref) == {LABEL}

    until = soon()
    while world.lying(ref):
        assert not until.passed
        try:
            world.deleted(ref)
        except Busy:
            CLOCK.sleep(0.1)


def test_a_disk_that_comes_between_the_look_and_the_question_for_its_task_keeps_its_label(world: World) -> None:
    """Without it nobody would know whose disk it is."""
    ref = new_ref()
    world.put_label(ref, Label(ref.uuid, 4 * MIB, "thin", {}))
    world.before["looking for what makes"] = lambda: world.strange(ref)

    with pytest.raises(Busy, match="at this moment"):
        world.begin(DeleteDisk(ref))

    assert world.lying(ref) == PLAIN
    world.deleted(ref)
    assert world.lying(ref) == set()


@pytest.mark.parametrize("change", ["create", "delete"])
def test_a_datastore_that_is_renamed_between_two_calls_does_no_harm(world: World, change: str) -> None:
    ref = new_ref() if change == "create" else world.made()
    start = "creating" if change == "create" else "deleting"
    world.before[start] = lambda: world.simulator.datastore(DS, "rename", to="renamed")
    work = CreateDisk(ref, 4 * MIB, "thin", {}) if change == "create" else DeleteDisk(ref)

    with pytest.raises(VolumeError):
        world.do(work)

    world.restart()
    world.simulator.datastore("renamed", "rename", to=DS)
    world.do(work)
    assert world.lying(ref) == (PLAIN if change == "create" else set())


def test_a_disk_that_goes_while_a_renamed_datastore_is_looked_at_is_not_absent(world: World) -> None:
    """Under the name that it had the server knows no such file: that says nothing."""
    ref = world.made()
    asked = f"reading the identity of [{DS}]"
    world.simulator.next("QueryVirtualDiskUuid", "soap", fault="FileNotFound")
    world.before[asked] = lambda: world.simulator.datastore(DS, "rename", to="renamed")

    found = world.disks.disk(ref)

    assert found is not None
    assert found.ref == ref


def test_a_label_that_cannot_be_taken_back_leaves_the_create_in_doubt(world: World) -> None:
    ref = new_ref()
    world.simulator.next("CreateVirtualDisk_Task", "soap", fault="NoPermission")
    world.simulator.next("DeleteDatastoreFile_Task", "soap", fault="NoPermission")

    with pytest.raises(OutcomeUnknown, match="label"):
        world.begin(CreateDisk(ref, 4 * MIB, "thin", {}))

    world.deleted(ref)
    assert world.lying(ref) == set()


def test_a_disk_that_went_between_its_task_and_its_identity_is_lost(world: World) -> None:
    ref = new_ref()
    receipt = world.begin(CreateDisk(ref, 4 * MIB, "thin", {}))
    assert receipt is not None
    world.outside.delete(str(ref.path))

    with pytest.raises(VolumeLost):
        world.disks.finish(receipt, soon(), world.progress.append)


def test_a_receipt_that_is_old_puts_no_identity_on_a_strangers_disk(world: World) -> None:
    ref = new_ref()
    receipt = world.begin(CreateDisk(ref, 4 * MIB, "thin", {}))
    assert receipt is not None
    world.put_label(ref, LABEL_OF_ANOTHER)

    with pytest.raises(WrongDisk):
        world.disks.finish(receipt, soon(), world.progress.append)

    assert world.calls("SetVirtualDiskUuid") == 0


def test_a_deletion_in_doubt_is_made_again_by_whoever_settles_it(world: World) -> None:
    ref = world.made()
    world.simulator.next("DeleteVirtualDisk_Task", "lost")

    with pytest.raises(OutcomeUnknown):
        world.begin(DeleteDisk(ref))
    with pytest.raises(MetadataDamaged, match="deletion has begun"):
        world.disks.disk(ref)

    world.deleted(ref)
    assert world.lying(ref) == set()


# --- sidecars --------------------------------------------------------------------------------------------------------


def test_a_sidecar_is_the_whole_old_one_while_the_new_one_comes_in_parts(world: World) -> None:
    ref = world.made()
    world.disks.write_sidecar(ref.path, OLD)
    whole = framed.frame(NEW)

    for length in range(len(whole)):
        world.file(ref, NEW_SIDECAR).write_bytes(whole[:length])
        assert world.disks.read_sidecar(ref.path) == OLD


def test_a_sidecar_is_the_whole_new_one_while_it_takes_the_place_of_the_old_one(world: World) -> None:
    """Moved by force, the server may take the old file away first."""
    ref = world.made()
    world.disks.write_sidecar(ref.path, OLD)
    world.file(ref, NEW_SIDECAR).write_bytes(framed.frame(NEW))
    world.file(ref, SIDECAR).unlink()

    assert world.disks.read_sidecar(ref.path) == NEW


def test_a_first_sidecar_that_is_not_whole_was_never_written(world: World) -> None:
    ref = world.made()
    whole = framed.frame(NEW)

    for length in (0, 1, 50, len(whole) - 1):
        world.file(ref, NEW_SIDECAR).write_bytes(whole[:length])
        assert world.disks.read_sidecar(ref.path) is None


@pytest.mark.parametrize("new", [None, b"", framed.frame(NEW)[:-1]], ids=["no-new-one", "empty", "part"])
def test_a_damaged_sidecar_is_not_absent(world: World, new: bytes | None) -> None:
    ref = world.made()
    world.file(ref, SIDECAR).write_bytes(framed.frame(OLD)[:-3])
    if new is not None:
        world.file(ref, NEW_SIDECAR).write_bytes(new)

    with pytest.raises(MetadataDamaged, match="sidecar"):
        world.disks.read_sidecar(ref.path)

    world.disks.write_sidecar(ref.path, NEW)
    assert (world.disks.read_sidecar(ref.path), world.lying(ref)) == (NEW, {*PLAIN, SIDECAR})


@pytest.mark.parametrize("how", ["soap", "fault", "lost", "dropped", "vanish"])
def test_a_sidecar_whose_move_fails_is_the_old_or_the_new_one(world: World, how: str) -> None:
    ref = world.made()
    world.disks.write_sidecar(ref.path, OLD)
    world.simulator.next("MoveDatastoreFile_Task", how, fault="CannotAccessFile")

    with pytest.raises(VolumeError):
        world.disks.write_sidecar(ref.path, NEW)

    assert world.disks.read_sidecar(ref.path) in (OLD, NEW)
    world.disks.write_sidecar(ref.path, NEW)
    assert (world.disks.read_sidecar(ref.path), world.lying(ref)) == (NEW, {*PLAIN, SIDECAR})


def test_a_sidecar_of_a_full_datastore_stays_the_old_one(world: World) -> None:
    ref = world.made()
    world.disks.write_sidecar(ref.path, OLD)
    world.simulator.datastore(DS, "size", bytes=1)
    world.restart()

    with pytest.raises(NoSpace):
        world.disks.write_sidecar(ref.path, NEW)

    assert world.disks.read_sidecar(ref.path) == OLD


def test_the_sidecar_of_another_path_is_not_read(world: World) -> None:
    ref = world.made()
    with pytest.raises(MetadataDamaged):
        world.disks.read_sidecar(replace(ref.path, path="vmdkvol/../x.vmdk"))


# --- many at once ----------------------------------------------------------------------------------------------------


def test_many_disks_are_made_copied_and_deleted_at_once(world: World) -> None:
    """One session, one waiter, one register; a folder that nobody has made yet."""
    failures: list[BaseException] = []
    kept: list[DiskRef] = []

    def live() -> None:
        try:
            ref = world.made()
            world.disks.write_sidecar(ref.path, OLD)
            clone = world.cloned(ref)
            world.deleted(ref)
            assert world.disks.read_sidecar(ref.path) is None
            kept.append(clone)
        except BaseException as error:  # noqa: BLE001 - it is told by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=live) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(110)

    assert failures == []
    assert {disk.ref for disk in world.disks.disks(DS)} == set(kept)
    assert set(world.disks.traces(DS)) == {ref.path for ref in kept}
    assert [len(kept), world.calls("CreateVirtualDisk_Task"), world.calls("CopyVirtualDisk_Task")] == [12, 12, 12]
