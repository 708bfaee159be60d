"""Growths of local disks that end in the middle: what is left of them, and what the next one makes of that."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.contract.hypervisor_benches import BIG, MIB, VM_A, LocalBench, attached, do, made
from vmdkvol.clock import SystemClock
from vmdkvol.errors import HypervisorUnreachable, MetadataDamaged, OutcomeUnknown, TruthUnknown, VolumeError
from vmdkvol_esx.local.datastore import DatastoreFiles, LocalDatastore
from vmdkvol_esx.local.disk_files import Extent
from vmdkvol_esx.local.extents import Step
from vmdkvol_esx.local.growing import Growing
from vmdkvol_esx.local.loops import Loop, Loops
from vmdkvol_esx.local.tasks import Tasks
from vmdkvol_esx.ports import Change, DiskRef, GrowDisk, TaskId

pytestmark = pytest.mark.integration
OLD, NEW = 4 * MIB, 8 * MIB


class Stopped(Tasks):
    """The service stops while a task is at work."""

    def start(self, change: Change, operation: UUID, total: int, work: Callable[[Step], None], pace: int = 0) -> TaskId:
        work(self._stop_here)
        raise AssertionError("the work did not tell how far it is")

    @staticmethod
    def _stop_here(done: int) -> None:
        raise HypervisorUnreachable("the service stops")


class Stubborn(Loops):
    """Its devices take no other size, as older kernels' while a file system is mounted."""

    def enlarge(self, loop: Loop, size_bytes: int, what: str) -> None:
        raise TruthUnknown(f"{what}: /dev/loop{loop.number} cannot be enlarged: Resource temporarily unavailable")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[LocalBench]:
    bench = LocalBench(tmp_path)
    yield bench
    bench.end()


def unlocked(extent: Extent) -> None:
    """Nobody else is there."""


def grow(bench: LocalBench, change: GrowDisk, *, loops: type[Loops] = Loops, tasks: type[Tasks] = Tasks) -> None:
    clock = SystemClock()
    growing = Growing(loops(clock, [str(bench.big)]), tasks(clock), unlocked)
    short_bytes = 0 if tasks is Stopped else NEW
    growing.grow(DatastoreFiles(LocalDatastore(BIG, str(bench.big))), change, uuid4(), short_bytes)


def size(bench: LocalBench, disk: DiskRef) -> int:
    found = bench.hypervisor.disk(disk)
    assert found is not None
    return found.size_bytes


def test_a_thick_disk_gets_the_blocks_that_a_killed_growth_did_not_reserve(bench: LocalBench) -> None:
    disk = made(bench, size=OLD, diskformat="zeroedthick")
    # Killed between the two: longer, and nothing reserved.
    os.truncate(bench.extent(disk), NEW)

    do(bench, GrowDisk(disk, NEW))

    assert os.stat(bench.extent(disk)).st_blocks * 512 >= NEW


@pytest.mark.parametrize("left_bytes", [NEW, NEW + MIB])
def test_of_what_a_killed_growth_left_no_more_is_reserved_than_the_disk_has(bench: LocalBench, left_bytes: int) -> None:
    disk = made(bench, size=OLD, diskformat="zeroedthick")
    os.truncate(bench.extent(disk), left_bytes)

    do(bench, GrowDisk(disk, OLD + MIB))

    found = os.stat(bench.extent(disk))
    assert (found.st_size, found.st_blocks * 512) == (left_bytes, OLD + MIB)


def test_a_growth_that_the_stop_of_the_service_ends_leaves_the_datastore_its_room(bench: LocalBench) -> None:
    disk = made(bench, size=OLD, diskformat="zeroedthick")
    before = os.stat(bench.extent(disk))

    with pytest.raises(HypervisorUnreachable):
        grow(bench, GrowDisk(disk, NEW), tasks=Stopped)

    after = os.stat(bench.extent(disk))
    assert (after.st_size, after.st_blocks) == (before.st_size, before.st_blocks)


def test_a_disk_whose_descriptor_cannot_be_rewritten_stays_as_it_is(bench: LocalBench) -> None:
    disk = made(bench, size=OLD, diskformat="zeroedthick")
    descriptor = bench.descriptor(disk)
    # White space that a descriptor may have, and that no tool known to us writes.
    descriptor.write_bytes(descriptor.read_bytes().replace(b"\nRW ", b"\nRW\x0b"))

    with pytest.raises(MetadataDamaged):
        do(bench, GrowDisk(disk, NEW))

    assert size(bench, disk) == os.stat(bench.extent(disk)).st_size == OLD


def test_a_growth_that_its_hosts_device_does_not_follow_is_not_told_as_one_that_was_not_begun(bench: LocalBench) -> None:
    disk = attached(bench, size=OLD)
    change = GrowDisk(disk, NEW, VM_A.id)

    with pytest.raises(VolumeError) as told:
        grow(bench, change, loops=Stubborn)

    assert size(bench, disk) == NEW
    assert isinstance(told.value, OutcomeUnknown)
