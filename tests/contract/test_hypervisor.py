"""The promises of Hypervisor, on the simulated one, on VMDK files with loop devices, and on the vSphere API."""

from __future__ import annotations

import re
from dataclasses import replace
from uuid import uuid4

import pytest

from tests.contract.hypervisor_benches import (
    BIG,
    KIB,
    LONG_BYTES,
    MIB,
    SMALL,
    SMALL_BYTES,
    VM_A,
    VM_B,
    Bench,
    another,
    attached,
    begin,
    cases,
    do,
    holders,
    long_create,
    made,
    new_disk,
    paths,
    size,
)
from tests.contract.proven import Where
from vmdkvol.clock import Deadline
from vmdkvol.errors import (
    Busy,
    Conflict,
    DatastoreNotFound,
    InvalidSize,
    MetadataDamaged,
    NoSpace,
    NotEnrolled,
    NotPermitted,
    PolicyNotFound,
    StaleRequest,
    StillMounted,
    StillWorking,
    TruthUnknown,
    UnknownTask,
    VolumeInUse,
    VolumeLost,
    WrongDisk,
)
from vmdkvol.names import DatastoreName
from vmdkvol.volume import VmId
from vmdkvol_esx.ports import AttachDisk, Change, CloneDisk, CreateDisk, DeleteDisk, DetachDisk, GrowDisk, TaskId

MODE = "independent_persistent"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test where its promise can be shown; why not elsewhere is in tests/contract/proven.py."""
    if "where" in metafunc.fixturenames:
        metafunc.parametrize("where", cases(metafunc.function.__name__), indirect=True, scope="module")


@pytest.fixture(scope="module")
def where(request: pytest.FixtureRequest) -> Where:
    return Where(request.param)


# --- create ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("diskformat", ["thin", "zeroedthick", "eagerzeroedthick"])
def test_a_created_disk_is_seen_as_it_was_asked_for(bench: Bench, diskformat: str) -> None:
    disk = new_disk()

    do(bench, CreateDisk(disk, 4 * MIB, diskformat, {"name": 'a "b"=ü'}))

    found = bench.hypervisor.disk(disk)
    assert found is not None
    assert (found.ref, found.size_bytes, dict(found.note)) == (disk, 4 * MIB, {"name": 'a "b"=ü'})
    assert bench.hypervisor.disks(BIG) == [found]


def test_a_thin_disk_takes_no_room_and_a_thick_one_all_of_it(bench: Bench) -> None:
    thin, thick = made(bench), made(bench, diskformat="zeroedthick")

    allocated = {disk.ref: disk.allocated_bytes for disk in bench.hypervisor.disks(BIG)}
    assert (allocated[thin], allocated[thick]) == (0, 4 * MIB)


def test_a_disk_that_is_created_twice_is_one_disk_with_its_content(bench: Bench) -> None:
    disk = attached(bench)
    bench.write(disk, b"data")

    do(bench, CreateDisk(disk, 4 * MIB, "thin", {}))

    assert (paths(bench), bench.read(disk, 4)) == ([disk.path.path], b"data")


def test_a_disk_under_an_unknown_policy_is_refused_and_not_made(bench: Bench) -> None:
    disk = new_disk()

    with pytest.raises(PolicyNotFound, match="no such policy"):
        do(bench, CreateDisk(disk, 4 * MIB, "thin", {}, policy="no such policy"))

    assert bench.hypervisor.disk(disk) is None


@pytest.mark.parametrize("change", ["identity", "size"])
def test_a_disk_is_never_made_in_the_place_of_another(bench: Bench, change: str) -> None:
    disk = made(bench)
    wrong = another(disk) if change == "identity" else disk

    with pytest.raises(WrongDisk):
        do(bench, CreateDisk(wrong, 4 * MIB if change == "identity" else 8 * MIB, "thin", {}))

    assert size(bench, disk) == 4 * MIB


@pytest.mark.parametrize("diskformat", ["zeroedthick", "eagerzeroedthick"])
def test_a_thick_disk_that_has_no_room_leaves_nothing(bench: Bench, diskformat: str) -> None:
    disk = new_disk(SMALL)

    with pytest.raises(NoSpace):
        do(bench, CreateDisk(disk, SMALL_BYTES + MIB, diskformat, {}))

    assert (bench.hypervisor.disk(disk), paths(bench, SMALL)) == (None, [])
    [small] = [store for store in bench.hypervisor.datastores() if store.name == SMALL]
    assert small.free_bytes > SMALL_BYTES - MIB


def test_a_full_datastore_takes_not_even_a_thin_disk(bench: Bench) -> None:
    bench.fill(leaving=0)
    disk = new_disk(SMALL)

    with pytest.raises(NoSpace):
        do(bench, CreateDisk(disk, MIB, "thin", {}))

    assert bench.hypervisor.disk(disk) is None


@pytest.mark.parametrize("kind", [CreateDisk, DeleteDisk])
def test_a_read_only_datastore_is_not_permitted_and_unchanged(bench: Bench, kind: type[Change]) -> None:
    disk = made(bench, datastore=SMALL)
    bench.read_only()

    with pytest.raises(NotPermitted, match="read-only|Read-only"):
        do(bench, DeleteDisk(disk) if kind is DeleteDisk else CreateDisk(new_disk(SMALL), MIB, "thin", {}))

    assert paths(bench, SMALL) == [disk.path.path]


def test_an_unknown_datastore_is_named_with_the_known_ones(bench: Bench) -> None:
    with pytest.raises(DatastoreNotFound, match="'nowhere'") as refused:
        do(bench, CreateDisk(new_disk(DatastoreName("nowhere")), MIB, "thin", {}))

    assert all(name in str(refused.value) for name in (BIG, SMALL))


# --- what is there ---------------------------------------------------------------------------------------------


def test_a_disk_that_was_never_made_is_positively_absent(bench: Bench) -> None:
    made(bench)

    assert bench.hypervisor.disk(new_disk()) is None


def test_another_disk_in_its_place_is_not_absent(bench: Bench) -> None:
    disk = made(bench)

    with pytest.raises(WrongDisk) as caught:
        bench.hypervisor.disk(another(disk))
    assert caught.value.fields["found"] == str(disk.uuid)


def test_a_damaged_disk_is_not_absent(bench: Bench) -> None:
    disk = made(bench)
    bench.damage(disk)

    with pytest.raises(MetadataDamaged):
        bench.hypervisor.disk(disk)


def test_a_damaged_disk_does_not_hide_the_others(bench: Bench) -> None:
    damaged, good = made(bench), made(bench)
    bench.damage(damaged)

    assert paths(bench) == [good.path.path]


def test_a_datastore_that_cannot_be_reached_says_nothing_about_its_disks(bench: Bench) -> None:
    disk = made(bench)
    bench.hide()

    for question in (lambda: bench.hypervisor.disk(disk), lambda: bench.hypervisor.disks(BIG)):
        with pytest.raises(TruthUnknown):
            question()


def test_each_datastore_lists_its_own_disks(bench: Bench) -> None:
    big, small = made(bench), made(bench, datastore=SMALL)

    assert (paths(bench, BIG), paths(bench, SMALL)) == ([big.path.path], [small.path.path])


def test_datastores_tell_how_full_they_are(bench: Bench) -> None:
    made(bench, size=8 * MIB, diskformat="zeroedthick", datastore=SMALL)

    stores = {store.name: store for store in bench.hypervisor.datastores()}
    assert set(stores) == {BIG, SMALL}
    assert stores[SMALL].free_bytes <= SMALL_BYTES - 8 * MIB < stores[SMALL].capacity_bytes
    assert (stores[SMALL].writable, bench.hypervisor.vm_datastore(VM_A.id)) == (True, BIG)


def test_a_read_of_all_lists_says_which_machines_there_are(bench: Bench) -> None:
    assert set(bench.hypervisor.devices(None).vms) == set(bench.hypervisor.vms()) == {VM_A, VM_B}
    assert bench.hypervisor.devices([VM_A.id]).vms == ()


def test_machines_are_known_by_their_id(bench: Bench) -> None:
    assert (bench.hypervisor.vm(VM_A.id), bench.hypervisor.vm_with_context(0x7FFFFFF0)) == (VM_A, None)
    assert [ask(VmId(uuid4())) for ask in (bench.hypervisor.vm, bench.hypervisor.vm_datastore)] == [None, None]
    assert set(bench.hypervisor.vms()) == {VM_A, VM_B} <= set(bench.hypervisor.machines())


# --- attach and detach -----------------------------------------------------------------------------------------


def test_an_attached_disk_is_in_the_list_of_its_machine_only(bench: Bench) -> None:
    disk = attached(bench, VM_A)

    assert holders(bench, disk) == [VM_A.id]
    assert bench.hypervisor.devices([VM_B.id]).lists == {VM_B.id: ()}


def test_attaching_twice_gives_the_same_address(bench: Bench) -> None:
    disk = attached(bench)
    before = bench.hypervisor.devices(None)

    do(bench, AttachDisk(VM_A.id, disk, MODE))

    assert bench.hypervisor.devices(None) == before


def test_a_disk_belongs_to_one_machine_at_a_time(bench: Bench) -> None:
    disk = attached(bench, VM_A)

    with pytest.raises(VolumeInUse, match=re.escape(VM_A.name)):
        do(bench, AttachDisk(VM_B.id, disk, MODE))

    assert holders(bench, disk) == [VM_A.id]


def test_a_detached_disk_moves_to_another_machine_with_its_content(bench: Bench) -> None:
    disk = attached(bench, VM_A)
    bench.write(disk, b"data")

    do(bench, DetachDisk(VM_A.id, disk))
    do(bench, AttachDisk(VM_B.id, disk, MODE))

    assert (holders(bench, disk), bench.read(disk, 4)) == ([VM_B.id], b"data")


def test_a_new_disk_is_blank(bench: Bench) -> None:
    disk = attached(bench, diskformat="eagerzeroedthick")

    assert bench.read(disk, 4 * MIB) == bytes(4 * MIB)


def test_detaching_twice_is_fine(bench: Bench) -> None:
    disk = attached(bench)

    do(bench, DetachDisk(VM_A.id, disk))
    do(bench, DetachDisk(VM_A.id, disk))

    assert holders(bench, disk) == []


def test_a_detach_for_another_machine_takes_nothing_away(bench: Bench) -> None:
    disk = attached(bench, VM_A)

    do(bench, DetachDisk(VM_B.id, disk))

    assert holders(bench, disk) == [VM_A.id]


def test_a_detach_from_a_machine_that_must_be_off_is_refused_while_it_runs(bench: Bench) -> None:
    disk = attached(bench)

    with pytest.raises(VolumeInUse):
        do(bench, DetachDisk(VM_A.id, disk, only_off=True))

    assert holders(bench, disk) == [VM_A.id]


def test_a_disk_in_use_by_the_guest_stays_attached(bench: Bench) -> None:
    disk = attached(bench)

    with bench.used_by_guest(disk), pytest.raises(StillMounted):
        do(bench, DetachDisk(VM_A.id, disk))

    assert holders(bench, disk) == [VM_A.id]
    do(bench, DetachDisk(VM_A.id, disk))
    assert holders(bench, disk) == []


def test_a_disk_that_is_not_there_is_not_attached(bench: Bench) -> None:
    with pytest.raises(VolumeLost):
        do(bench, AttachDisk(VM_A.id, new_disk(), MODE))


def test_another_disk_in_its_place_is_not_attached(bench: Bench) -> None:
    disk = made(bench)

    with pytest.raises(WrongDisk):
        do(bench, AttachDisk(VM_A.id, another(disk), MODE))

    assert holders(bench, disk) == []


def test_a_damaged_disk_is_not_attached(bench: Bench) -> None:
    disk = made(bench)
    bench.damage(disk)

    with pytest.raises(MetadataDamaged):
        do(bench, AttachDisk(VM_A.id, disk, MODE))


def test_an_unknown_machine_gets_no_disk(bench: Bench) -> None:
    disk = made(bench)

    with pytest.raises(NotEnrolled):
        do(bench, AttachDisk(VmId(uuid4()), disk, MODE))

    assert holders(bench, disk) == []


def test_an_unknown_machine_has_an_empty_list(bench: Bench) -> None:
    attached(bench)
    stranger = VmId(uuid4())

    assert bench.hypervisor.devices([stranger]).lists == {stranger: ()}


def test_every_machine_has_a_list_though_it_has_no_disk(bench: Bench) -> None:
    found = bench.hypervisor.devices(None)

    assert (found.lists, found.unread) == ({VM_A.id: (), VM_B.id: ()}, frozenset())


def test_twenty_disks_are_attached_at_the_same_time(bench: Bench) -> None:
    disks = {attached(bench).uuid for _ in range(20)}

    listed = bench.hypervisor.devices([VM_A.id]).lists[VM_A.id]
    assert {disk.uuid for disk in listed} == disks
    assert len({disk.address for disk in listed}) == 20


# --- delete ----------------------------------------------------------------------------------------------------


def test_a_deleted_disk_is_gone_with_its_sidecar(bench: Bench) -> None:
    disk = made(bench)
    bench.hypervisor.write_sidecar(disk.path, b"{}")

    do(bench, DeleteDisk(disk))

    assert (bench.hypervisor.disk(disk), bench.hypervisor.read_sidecar(disk.path), paths(bench)) == (None, None, [])


def test_deleting_what_is_absent_is_fine(bench: Bench) -> None:
    disk = made(bench)

    do(bench, DeleteDisk(disk))
    do(bench, DeleteDisk(disk))
    do(bench, DeleteDisk(new_disk()))


def test_an_attached_disk_is_not_deleted(bench: Bench) -> None:
    disk = attached(bench)

    with pytest.raises(VolumeInUse, match=re.escape(VM_A.name)):
        do(bench, DeleteDisk(disk))

    assert (paths(bench), holders(bench, disk)) == ([disk.path.path], [VM_A.id])


def test_an_attached_disk_whose_deletion_was_refused_has_its_content(bench: Bench) -> None:
    disk = attached(bench)
    bench.write(disk, b"data")

    with pytest.raises(VolumeInUse):
        do(bench, DeleteDisk(disk))

    assert bench.read(disk, 4) == b"data"


def test_another_disk_in_its_place_is_not_deleted(bench: Bench) -> None:
    disk = made(bench)

    with pytest.raises(WrongDisk):
        do(bench, DeleteDisk(another(disk)))

    assert paths(bench) == [disk.path.path]


def test_a_deleted_disk_can_be_made_again_and_is_blank(bench: Bench) -> None:
    disk = attached(bench)
    bench.write(disk, b"data")
    do(bench, DetachDisk(VM_A.id, disk))
    do(bench, DeleteDisk(disk))

    do(bench, CreateDisk(disk, 4 * MIB, "thin", {}))

    do(bench, AttachDisk(VM_A.id, disk, MODE))
    assert bench.read(disk, 4) == bytes(4)


# --- grow ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("diskformat", ["thin", "zeroedthick", "eagerzeroedthick"])
def test_a_disk_that_nobody_has_grows(bench: Bench, diskformat: str) -> None:
    disk = made(bench, diskformat=diskformat)

    do(bench, GrowDisk(disk, 8 * MIB))

    [found] = bench.hypervisor.disks(BIG)
    assert (found.ref, found.size_bytes, dict(found.note)) == (disk, 8 * MIB, {"name": "db"})
    assert bench.hypervisor.disk(disk) == found


@pytest.mark.parametrize("diskformat", ["thin", "zeroedthick"])
def test_a_grown_disk_has_its_bytes_and_zeros_behind_them(bench: Bench, diskformat: str) -> None:
    disk = attached(bench, diskformat=diskformat)
    bench.write(disk, b"data")
    do(bench, DetachDisk(VM_A.id, disk))

    do(bench, GrowDisk(disk, 8 * MIB))
    do(bench, AttachDisk(VM_B.id, disk, MODE))

    assert bench.read(disk, 9 * MIB)[: 8 * MIB] == b"data".ljust(8 * MIB, b"\0")


@pytest.mark.parametrize("diskformat", ["thin", "zeroedthick"])
def test_a_disk_grows_in_the_machine_that_has_it(bench: Bench, diskformat: str) -> None:
    disk = attached(bench, diskformat=diskformat)
    before = bench.hypervisor.devices(None)

    do(bench, GrowDisk(disk, 8 * MIB, VM_A.id))

    assert (size(bench, disk), bench.hypervisor.devices(None)) == (8 * MIB, before)


def test_a_disk_that_grew_in_its_machine_has_its_bytes_there_and_zeros_behind_them(bench: Bench) -> None:
    disk = attached(bench)
    bench.write(disk, b"data")

    do(bench, GrowDisk(disk, 8 * MIB, VM_A.id))

    assert bench.read(disk, 9 * MIB)[: 8 * MIB] == b"data".ljust(8 * MIB, b"\0")


def test_a_disk_that_grew_in_one_machine_goes_to_another(bench: Bench) -> None:
    disk = attached(bench, VM_A)
    do(bench, GrowDisk(disk, 8 * MIB, VM_A.id))

    do(bench, DetachDisk(VM_A.id, disk))
    do(bench, AttachDisk(VM_B.id, disk, MODE))
    do(bench, GrowDisk(disk, 12 * MIB, VM_B.id))

    assert (holders(bench, disk), size(bench, disk)) == ([VM_B.id], 12 * MIB)


@pytest.mark.parametrize("vm", [None, VM_A.id], ids=["nobodys", "attached"])
def test_a_disk_that_grows_to_the_size_it_has_stays_as_it_is(bench: Bench, vm: VmId | None) -> None:
    disk = made(bench) if vm is None else attached(bench)
    before = bench.hypervisor.disk(disk)

    do(bench, GrowDisk(disk, 4 * MIB, vm))

    assert bench.hypervisor.disk(disk) == before


@pytest.mark.parametrize("vm", [None, VM_A.id], ids=["nobodys", "attached"])
def test_a_disk_is_never_made_smaller(bench: Bench, vm: VmId | None) -> None:
    disk = made(bench) if vm is None else attached(bench)
    before = bench.hypervisor.disk(disk)

    with pytest.raises(InvalidSize, match="is not made smaller"):
        do(bench, GrowDisk(disk, 4 * MIB - KIB, vm))

    assert bench.hypervisor.disk(disk) == before


@pytest.mark.parametrize("vm", [None, VM_B.id], ids=["nobody", "another"])
def test_a_disk_grows_for_nobody_but_its_holder(bench: Bench, vm: VmId | None) -> None:
    disk = attached(bench, VM_A)

    with pytest.raises(VolumeInUse, match=re.escape(VM_A.name)):
        do(bench, GrowDisk(disk, 8 * MIB, vm))

    assert size(bench, disk) == 4 * MIB


def test_a_disk_does_not_grow_in_a_machine_that_has_it_not(bench: Bench) -> None:
    disk = made(bench)

    with pytest.raises(StaleRequest):
        do(bench, GrowDisk(disk, 8 * MIB, VM_A.id))

    assert size(bench, disk) == 4 * MIB


def test_what_is_not_the_disk_does_not_grow(bench: Bench) -> None:
    disk = made(bench)

    for wrong, error in ((another(disk), WrongDisk), (new_disk(), VolumeLost)):
        with pytest.raises(error):
            do(bench, GrowDisk(wrong, 8 * MIB))

    assert size(bench, disk) == 4 * MIB


def test_a_disk_that_has_no_room_to_grow_keeps_its_size_and_grows_when_there_is_room(bench: Bench) -> None:
    disk = made(bench, diskformat="zeroedthick", datastore=SMALL)

    for _ in range(2):
        with pytest.raises(NoSpace):
            do(bench, GrowDisk(disk, SMALL_BYTES + MIB))
    assert size(bench, disk) == 4 * MIB
    do(bench, GrowDisk(disk, 8 * MIB))
    assert size(bench, disk) == 8 * MIB


def test_a_full_datastore_lets_no_disk_grow(bench: Bench) -> None:
    disk = made(bench, datastore=SMALL)
    bench.fill(leaving=0)

    with pytest.raises(NoSpace):
        do(bench, GrowDisk(disk, 8 * MIB))

    assert size(bench, disk) == 4 * MIB


# --- clone -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("diskformat", ["thin", "zeroedthick", "eagerzeroedthick"])
def test_a_clone_has_its_sources_bytes_and_its_own_identity(bench: Bench, diskformat: str) -> None:
    source, clone = attached(bench, size=3 * MIB + KIB, diskformat=diskformat), new_disk()
    content = b"data" * 1000
    bench.write(source, content)
    do(bench, DetachDisk(VM_A.id, source))

    do(bench, CloneDisk(source, clone, diskformat, {"name": "clone"}))

    found = bench.hypervisor.disk(clone)
    assert found is not None
    assert (found.size_bytes, dict(found.note)) == (3 * MIB + KIB, {"name": "clone"})
    do(bench, AttachDisk(VM_B.id, clone, MODE))
    assert bench.read(clone, 8192) == content.ljust(8192, b"\0")


def test_a_clone_and_its_source_go_separate_ways(bench: Bench) -> None:
    source, clone = made(bench), new_disk()
    do(bench, CloneDisk(source, clone, "thin", {}))
    for disk, content in ((source, b"source"), (clone, b"clone!")):
        do(bench, AttachDisk(VM_A.id, disk, MODE))
        bench.write(disk, content)

    assert (bench.read(source, 6), bench.read(clone, 6)) == (b"source", b"clone!")


def test_an_attached_source_is_not_cloned_and_nothing_is_left(bench: Bench) -> None:
    source, clone = attached(bench), new_disk()

    with pytest.raises(VolumeInUse, match=re.escape(VM_A.name)):
        do(bench, CloneDisk(source, clone, "thin", {}))

    assert (bench.hypervisor.disk(clone), paths(bench)) == (None, [source.path.path])


def test_a_clone_that_is_there_already_is_success_though_the_source_is_in_use(bench: Bench) -> None:
    source, clone = made(bench), new_disk()
    do(bench, CloneDisk(source, clone, "thin", {}))
    do(bench, AttachDisk(VM_A.id, source, MODE))

    do(bench, CloneDisk(source, clone, "thin", {}))


@pytest.mark.parametrize("case", ["absent", "another", "damaged"])
def test_what_is_not_the_source_is_not_cloned(bench: Bench, case: str) -> None:
    source, clone = made(bench), new_disk()
    if case == "damaged":
        bench.damage(source)
    asked = {"absent": new_disk(), "another": another(source), "damaged": source}[case]

    with pytest.raises({"absent": VolumeLost, "another": WrongDisk, "damaged": MetadataDamaged}[case]):
        do(bench, CloneDisk(asked, clone, "thin", {}))

    assert bench.hypervisor.disk(clone) is None


def test_a_clone_into_a_full_datastore_is_refused_each_time_and_works_when_there_is_room(bench: Bench) -> None:
    """Field case C12: elsewhere the second try said OK and the volume was unusable."""
    source = made(bench, size=SMALL_BYTES + MIB, diskformat="zeroedthick")
    clone = new_disk(SMALL)

    for _ in range(2):
        with pytest.raises(NoSpace):
            do(bench, CloneDisk(source, clone, "zeroedthick", {}))
        assert (bench.hypervisor.disk(clone), paths(bench, SMALL)) == (None, [])

    elsewhere = replace(clone, path=replace(clone.path, datastore=BIG))
    do(bench, CloneDisk(source, elsewhere, "zeroedthick", {}))
    assert bench.hypervisor.disk(elsewhere) is not None


# --- tasks -----------------------------------------------------------------------------------------------------


def test_a_task_is_waited_for_by_anyone_and_again(bench: Bench) -> None:
    change, task = long_create(bench)

    for _ in range(2):
        bench.hypervisor.wait(task, Deadline.after(bench.clock, 20), lambda percent: None)

    assert bench.hypervisor.disk(change.disk) is not None


def test_a_task_goes_on_after_the_deadline(bench: Bench) -> None:
    change, task = long_create(bench)

    with pytest.raises(StillWorking):
        bench.hypervisor.wait(task, Deadline.after(bench.clock, 0), lambda percent: None)

    bench.hypervisor.wait(task, Deadline.after(bench.clock, 20), lambda percent: None)
    assert bench.hypervisor.disk(change.disk) is not None


def test_progress_rises_to_a_hundred(bench: Bench) -> None:
    _, task = long_create(bench)
    told: list[int] = []

    bench.hypervisor.wait(task, Deadline.after(bench.clock, 20), told.append)

    assert (told, told[-1]) == (sorted(told), 100)


def test_a_task_that_nobody_knows_is_settled_by_reading(bench: Bench) -> None:
    with pytest.raises(UnknownTask):
        bench.hypervisor.wait(TaskId("gone"), Deadline.after(bench.clock, 1), lambda percent: None)


def test_a_disk_is_absent_until_its_task_has_ended(bench: Bench) -> None:
    change, task = long_create(bench)

    assert bench.hypervisor.disk(change.disk) is None

    bench.hypervisor.wait(task, Deadline.after(bench.clock, 20), lambda percent: None)


def test_a_disk_whose_making_was_cancelled_is_not_there_and_can_be_made_anew(bench: Bench) -> None:
    """One that says it cannot be stopped goes on to its end: a disk with half of its data must not be taken for whole."""
    change, task = long_create(bench)
    stoppable = bench.hypervisor.cancel(task, only_ask=True)

    assert bench.hypervisor.cancel(task) == stoppable
    if stoppable:
        with pytest.raises(Conflict, match="cancelled"):
            bench.hypervisor.wait(task, Deadline.after(bench.clock, 20), lambda percent: None)
        assert bench.hypervisor.disk(change.disk) is None
        do(bench, change)
    else:
        bench.hypervisor.wait(task, Deadline.after(bench.clock, 20), lambda percent: None)
    assert bench.hypervisor.disk(change.disk) is not None


def test_to_ask_whether_it_can_be_cancelled_stops_nothing(bench: Bench) -> None:
    change, task = long_create(bench)
    bench.hypervisor.cancel(task, only_ask=True)

    bench.hypervisor.wait(task, Deadline.after(bench.clock, 20), lambda percent: None)
    assert bench.hypervisor.disk(change.disk) is not None


def test_what_has_ended_or_is_not_known_is_not_cancelled(bench: Bench) -> None:
    change, task = long_create(bench)
    bench.hypervisor.wait(task, Deadline.after(bench.clock, 20), lambda percent: None)

    assert not bench.hypervisor.cancel(task)
    assert not bench.hypervisor.cancel(TaskId("gone"))
    assert bench.hypervisor.disk(change.disk) is not None


def test_another_change_of_the_same_disk_is_busy(bench: Bench) -> None:
    change, task = long_create(bench)

    with pytest.raises(Busy):
        begin(bench, DeleteDisk(change.disk))

    bench.hypervisor.wait(task, Deadline.after(bench.clock, 20), lambda percent: None)
    do(bench, DeleteDisk(change.disk))


@pytest.mark.parametrize("kind", [AttachDisk, DeleteDisk])
def test_a_source_is_held_until_its_clone_has_ended(bench: Bench, kind: type[Change]) -> None:
    source = made(bench, size=LONG_BYTES, diskformat="eagerzeroedthick")
    bench.slow(CloneDisk)
    task = begin(bench, CloneDisk(source, new_disk(), "eagerzeroedthick", {}))
    assert task is not None

    with pytest.raises(VolumeInUse):
        begin(bench, AttachDisk(VM_A.id, source, MODE) if kind is AttachDisk else DeleteDisk(source))

    bench.hypervisor.wait(task, Deadline.after(bench.clock, 20), lambda percent: None)


# --- sidecars --------------------------------------------------------------------------------------------------


def test_a_sidecar_is_read_as_it_was_last_written(bench: Bench) -> None:
    disk = made(bench)

    for content in (b'{"generation": 1}', b"\0\xff" * 5000, b""):
        bench.hypervisor.write_sidecar(disk.path, content)
        assert bench.hypervisor.read_sidecar(disk.path) == content


def test_a_sidecar_that_was_never_written_is_absent(bench: Bench) -> None:
    assert bench.hypervisor.read_sidecar(new_disk().path) is None


def test_what_lies_beside_a_disk_that_is_not_there_any_more_is_taken_away(bench: Bench) -> None:
    gone = new_disk()
    bench.hypervisor.write_sidecar(gone.path, b"{}")

    for _ in range(2):
        bench.hypervisor.write_sidecar(gone.path, None)

    assert bench.hypervisor.read_sidecar(gone.path) is None
    assert gone.path not in bench.hypervisor.traces(BIG)


def test_what_lies_beside_a_disk_that_is_there_stays(bench: Bench) -> None:
    disk = made(bench)
    bench.hypervisor.write_sidecar(disk.path, b"{}")

    bench.hypervisor.write_sidecar(disk.path, None)

    assert bench.hypervisor.read_sidecar(disk.path) == b"{}"
    assert bench.hypervisor.disk(disk) is not None


def test_traces_are_of_whole_and_of_damaged_disks_and_of_sidecars_left_alone(bench: Bench) -> None:
    whole, broken, gone = made(bench), made(bench), new_disk()
    bench.damage(broken)
    bench.hypervisor.write_sidecar(whole.path, b"{}")
    bench.hypervisor.write_sidecar(gone.path, b"{}")
    assert sorted(map(str, bench.hypervisor.traces(BIG))) == sorted(map(str, (whole.path, broken.path, gone.path)))
    assert list(bench.hypervisor.traces(SMALL)) == []


def test_a_deleted_disk_leaves_no_trace(bench: Bench) -> None:
    disk = made(bench)
    bench.hypervisor.write_sidecar(disk.path, b"{}")
    do(bench, DeleteDisk(disk))
    assert list(bench.hypervisor.traces(BIG)) == []


def test_of_a_datastore_that_cannot_be_reached_no_traces_are_told(bench: Bench) -> None:
    bench.hide()
    with pytest.raises(TruthUnknown):
        bench.hypervisor.traces(BIG)


def test_a_sidecar_is_no_disk(bench: Bench) -> None:
    bench.hypervisor.write_sidecar(new_disk().path, b"{}")

    assert paths(bench) == []
