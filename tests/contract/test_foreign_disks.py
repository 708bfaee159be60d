"""Disks that somebody else made: what ``ForeignDisks`` promises of finding them, on each hypervisor."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.contract.hypervisor_benches import BIG, MARKS, MIB, SMALL, VM_A, Bench, do, made
from tests.contract.proven import Where
from tests.contract.vsphere_bench import SimulatorBench
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.errors import BadRequest, NotFound, TruthUnknown, Unavailable
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.ports import AttachDisk, CreateDisk, DetachDisk, DiskPath, DiskRef

# The library of the lenient simulators says no size of a disk, so that none of theirs can be taken.
BENCHES = [pytest.param(each, marks=MARKS[each], id=each) for each in (Where.SIMULATED, Where.LOCAL, Where.STRICT)]


@pytest.fixture(scope="module", params=BENCHES)
def where(request: pytest.FixtureRequest) -> Where:
    return Where(request.param)


def put(bench: Bench, path: str) -> DiskPath:
    """Somebody makes a disk there, by other means than ours where there are such."""
    disk = DiskRef(DiskUuid(uuid4()), DiskPath(BIG, path))
    if isinstance(bench, SimulatorBench):
        bench.put_foreign(disk, 4096)
    else:
        do(bench, CreateDisk(disk, 4 * MIB, "thin", {}))
    return disk.path


def test_a_disk_of_somebody_s_is_found_and_told_as_it_is(bench: Bench) -> None:
    path = put(bench, "theirs/x.vmdk")

    assert list(bench.hypervisor.foreign(BIG, "theirs")) == [path]
    found = bench.hypervisor.foreign_disk(path)
    assert found is not None
    assert (found.path, found.size_bytes, found.obstacle) == (path, 4 * MIB, "")
    assert found.uuid is not None
    disk = bench.hypervisor.disk(DiskRef(found.uuid, path))
    assert disk is not None
    assert disk.size_bytes == 4 * MIB


def test_disks_in_folders_below_are_found_in_the_order_of_their_paths(bench: Bench) -> None:
    paths = [put(bench, path) for path in ("theirs/b/y.vmdk", "theirs/x.vmdk", "theirs/a/z.vmdk")]
    assert list(bench.hypervisor.foreign(BIG, "theirs")) == sorted(paths, key=lambda path: path.path)


def test_disks_of_ours_are_none_of_somebody_s(bench: Bench) -> None:
    ours, theirs = made(bench), put(bench, "theirs/x.vmdk")
    found = list(bench.hypervisor.foreign(BIG, ""))
    assert theirs in found
    assert ours.path not in found
    told = bench.hypervisor.foreign_disk(ours.path)
    assert told is not None
    assert "own folder" in told.obstacle


def test_a_disk_of_somebody_s_is_no_trace_of_ours(bench: Bench) -> None:
    put(bench, "theirs/x.vmdk")
    assert list(bench.hypervisor.traces(BIG)) == []
    assert list(bench.hypervisor.disks(BIG)) == []


def test_where_nothing_lies_nothing_is_found(bench: Bench) -> None:
    put(bench, "theirs/x.vmdk")
    for path in ("theirs/y.vmdk", "nowhere/x.vmdk"):
        assert bench.hypervisor.foreign_disk(DiskPath(BIG, path)) is None
    with pytest.raises(NotFound):
        bench.hypervisor.foreign(BIG, "nowhere")


def test_a_path_out_of_the_datastore_is_refused(bench: Bench) -> None:
    with pytest.raises(BadRequest):
        bench.hypervisor.foreign(BIG, "a/../../b")


def test_a_disk_of_somebody_s_goes_to_a_machine_and_back(bench: Bench) -> None:
    path = put(bench, "theirs/x.vmdk")
    found = bench.hypervisor.foreign_disk(path)
    assert found is not None
    assert found.uuid is not None
    disk = DiskRef(found.uuid, path)

    do(bench, AttachDisk(VM_A.id, disk, "independent_persistent"))

    assert found.uuid in [each.uuid for each in bench.hypervisor.devices([VM_A.id]).lists[VM_A.id]]
    do(bench, DetachDisk(VM_A.id, disk))
    assert bench.hypervisor.disk(disk) is not None


def test_of_a_datastore_that_cannot_be_reached_nothing_is_said(bench: Bench) -> None:
    path = put(bench, "theirs/x.vmdk")
    bench.hide()
    with pytest.raises(TruthUnknown):
        bench.hypervisor.foreign(BIG, "")
    with pytest.raises(TruthUnknown):
        bench.hypervisor.foreign_disk(path)


def test_a_listing_ends_when_nobody_waits_for_it_any_more(bench: Bench) -> None:
    put(bench, "theirs/x.vmdk")
    with pytest.raises(Unavailable):
        bench.hypervisor.foreign(BIG, "", Deadline(SystemClock(), 0.0))


# --- disks of ours that a machine's move took along ---------------------------------------------------------------


def test_a_copy_that_lies_outside_of_our_folder_is_found_with_its_place(bench: Bench) -> None:
    ours, theirs = made(bench), put(bench, "machines/a/a_1.vmdk")
    for place in (ours.path, theirs):
        bench.hypervisor.write_sidecar(place, b"a copy")

    assert list(bench.hypervisor.copies_elsewhere(BIG)) == [theirs]
    assert list(bench.hypervisor.copies_elsewhere(SMALL)) == []


def test_a_copy_is_found_also_where_its_disk_is_gone(bench: Bench) -> None:
    place = DiskPath(BIG, "machines/a/a_1.vmdk")
    bench.hypervisor.write_sidecar(place, b"a copy")
    assert list(bench.hypervisor.copies_elsewhere(BIG)) == [place]


def test_of_a_datastore_that_cannot_be_reached_no_copies_are_told(bench: Bench) -> None:
    bench.hide()
    with pytest.raises(TruthUnknown):
        bench.hypervisor.copies_elsewhere(BIG)
