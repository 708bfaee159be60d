"""Long changes of the local hypervisor: how far they are, how fast they may go, and that they end when the service does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.doubles.hurried_clock import HurriedClock
from tests.doubles.simulated_clock import SimulatedClock
from vmdkvol.clock import Deadline
from vmdkvol.errors import HypervisorUnreachable, StillWorking, UnknownTask
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.local.datastore import LocalDatastore
from vmdkvol_esx.local.extents import CHUNK
from vmdkvol_esx.local.extents import Step as StepDone
from vmdkvol_esx.local.hypervisor import LocalHypervisor
from vmdkvol_esx.local.marker import claim
from vmdkvol_esx.local.tasks import Tasks
from vmdkvol_esx.ports import CloneDisk, CreateDisk, DiskPath, DiskRef, TaskId

MIB = 1 << 20
STORE = DatastoreName("ds1")
# More than is written within ``submit``.
LONG = 96 * MIB
# Bytes a second of a hurried clock: some 20 s of its time for LONG.
PACE = 5 * MIB


def disk(name: str = "db") -> DiskRef:
    uuid = uuid4()
    return DiskRef(DiskUuid(uuid), DiskPath(STORE, f"vmdkvol/{UUID(int=1)}/{name}-{uuid.hex[:8]}.vmdk"))


@pytest.fixture
def clock() -> HurriedClock:
    return HurriedClock(50.0)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    claim(str(tmp_path), uuid4())
    return tmp_path


@pytest.fixture
def hypervisor(clock: HurriedClock, place: Path) -> Iterator[LocalHypervisor]:
    made = LocalHypervisor([LocalDatastore(STORE, str(place))], [], clock, copy_bytes_s=PACE)
    yield made
    made.stop(Deadline.after(clock, 1000.0))


def submitted(hypervisor: LocalHypervisor, change: CreateDisk | CloneDisk) -> TaskId:
    task = hypervisor.submit(change, uuid4())
    assert task is not None
    return task


def eager(name: str = "db") -> CreateDisk:
    return CreateDisk(disk(name), LONG, "eagerzeroedthick", {})


def with_data(hypervisor: LocalHypervisor, clock: HurriedClock) -> DiskRef:
    """A disk of LONG bytes that are all there, made without waiting for the pace."""
    made = CreateDisk(disk("src"), LONG, "zeroedthick", {})
    assert hypervisor.submit(made, uuid4()) is None
    return made.disk


def files(place: Path) -> set[str]:
    return {path.name for path in place.rglob("*") if path.is_file() and path.name != "datastore.id"}


def test_a_large_eagerzeroed_disk_says_how_far_it_is_in_small_steps(hypervisor: LocalHypervisor, clock: HurriedClock) -> None:
    heard: list[int] = []
    hypervisor.wait(submitted(hypervisor, eager()), Deadline.after(clock, 1000.0), heard.append)
    assert heard == sorted(set(heard))
    assert heard[-1] == 100
    # A step of 4 MiB is 4 % of it; two may be heard as one.
    assert len(heard) > 100 * CHUNK / LONG


def test_it_goes_no_faster_than_it_may(hypervisor: LocalHypervisor, clock: HurriedClock) -> None:
    began = clock.monotonic()
    hypervisor.wait(submitted(hypervisor, eager()), Deadline.after(clock, 1000.0), lambda _: None)
    assert clock.monotonic() - began >= LONG / PACE


def test_what_is_only_allocated_has_no_pace(hypervisor: LocalHypervisor, clock: HurriedClock) -> None:
    assert hypervisor.submit(CreateDisk(disk(), LONG, "zeroedthick", {}), uuid4()) is None


def test_a_clone_counts_what_it_copies_and_not_the_holes_before_it(
    hypervisor: LocalHypervisor, clock: HurriedClock, place: Path
) -> None:
    source = CreateDisk(disk("src"), 10 * LONG, "thin", {})
    assert hypervisor.submit(source, uuid4()) is None
    (extent,) = place.rglob("*-flat.vmdk")
    with extent.open("r+b") as file:
        # The last tenth of the disk has all its data.
        file.seek(9 * LONG)
        for _ in range(LONG // MIB):
            file.write(b"x" * MIB)
    heard: list[int] = []
    # Thick, so that it is copied on every file system: a thin one may be shared by a reflink.
    clone = CloneDisk(source.disk, disk("copy"), "zeroedthick", {})
    hypervisor.wait(submitted(hypervisor, clone), Deadline.after(clock, 2000.0), heard.append)
    assert min(heard) < 20
    assert len(heard) > 10


def test_a_clone_has_the_bytes_of_its_source(hypervisor: LocalHypervisor, clock: HurriedClock, place: Path) -> None:
    source = with_data(hypervisor, clock)
    (extent,) = place.rglob("*-flat.vmdk")
    data = os.urandom(MIB) * (LONG // MIB)
    extent.write_bytes(data)
    target = disk("copy")
    hypervisor.wait(
        submitted(hypervisor, CloneDisk(source, target, "eagerzeroedthick", {})), Deadline.after(clock, 1000.0), lambda _: None
    )
    (copy,) = place.rglob("copy-*-flat.vmdk")
    assert copy.read_bytes() == data


@pytest.mark.parametrize("kind", ["create", "clone"])
def test_a_stop_ends_it_between_two_steps_and_nothing_is_left_of_it(
    hypervisor: LocalHypervisor, clock: HurriedClock, place: Path, kind: str
) -> None:
    source = with_data(hypervisor, clock)
    before = files(place)
    change = eager() if kind == "create" else CloneDisk(source, disk("copy"), "eagerzeroedthick", {})
    task = submitted(hypervisor, change)
    with pytest.raises(StillWorking):
        hypervisor.wait(task, Deadline.after(clock, 5.0), lambda _: None)
    assert files(place) > before
    hypervisor.stop(Deadline.after(clock, 1000.0))
    with pytest.raises(HypervisorUnreachable):
        hypervisor.wait(task, Deadline.after(clock, 1000.0), lambda _: None)
    assert files(place) == before


def test_a_stop_does_not_wait_for_the_pace() -> None:
    """A step may be due in minutes."""
    with SimulatedClock(1) as clock:
        tasks = Tasks(clock)

        def work(step: StepDone) -> None:
            step(1000)

        task = tasks.start(eager(), uuid4(), 2000, work, pace=1)
        clock.sleep(5.0)
        tasks.stop(Deadline.after(clock, 10.0))
        with pytest.raises(HypervisorUnreachable):
            tasks.wait(task, Deadline.after(clock, 1.0), lambda _: None)
        assert clock.monotonic() < 6.0


def test_another_process_knows_nothing_of_it(hypervisor: LocalHypervisor, clock: HurriedClock, place: Path) -> None:
    """So that the journal settles by looking, and a repeat begins anew."""
    task = submitted(hypervisor, eager())
    other = LocalHypervisor([LocalDatastore(STORE, str(place))], [], clock)
    with pytest.raises(UnknownTask):
        other.wait(task, Deadline.after(clock, 1.0), lambda _: None)
    other.stop(Deadline.after(clock, 1.0))
