"""A change that is killed after any of its steps: the disk is there whole or not at all, and a repeat ends it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.contract.hypervisor_benches import BIG, MIB, POLICIES, VM_A, LocalBench, attached, do, made, new_disk
from vmdkvol.clock import SystemClock
from vmdkvol.errors import MetadataDamaged, VolumeLost, WrongDisk
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.local.datastore import LocalDatastore
from vmdkvol_esx.local.hypervisor import LocalHypervisor
from vmdkvol_esx.ports import AttachDisk, Change, ChangePolicy, CloneDisk, CreateDisk, DeleteDisk, DetachDisk, DiskRef, GrowDisk
from vmdkvol_esx.storage_policies import Followed

pytestmark = pytest.mark.integration
MODE = "independent_persistent"
# What changes files or devices; each is an audit event of Python, just before the system call.
STEPS = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.truncate", "fcntl.ioctl", "fcntl.flock"})
# No change has more steps; a test that never ends the change would be no test.
MOST = 200


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[LocalBench]:
    bench = LocalBench(tmp_path)
    yield bench
    bench.end()


def killed_before(step: int, bench: LocalBench, change: Change) -> bool:
    """Carry out ``change`` in a process that ends at its ``step``-th step; tell whether it came that far."""
    child = os.fork()
    if child == 0:
        _die_at(step)
        # A hypervisor of its own, as after a restart of the service: nothing of the parent's memory helps.
        stores = [LocalDatastore(BIG, str(bench.big))]
        LocalHypervisor(stores, [VM_A], SystemClock(), policies=lambda: POLICIES).submit(change, uuid4())
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (0, 9)
    return os.waitstatus_to_exitcode(status) == 9


def _die_at(step: int) -> None:
    left = step

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal left
        # To open something for reading changes nothing.
        if event in STEPS and (event != "open" or args[2] & (os.O_CREAT | os.O_WRONLY | os.O_RDWR)):
            left -= 1
            if left < 0:
                os._exit(9)

    sys.addaudithook(hook)


def every_kill(bench: LocalBench, prepare: Callable[[], Change]) -> Iterator[Change]:
    """Yield a new change for each step at which it was killed, the last time after it had ended."""
    for step in range(MOST):
        change = prepare()
        killed = killed_before(step, bench, change)
        yield change
        if not killed:
            assert step > 1
            return
    pytest.fail(f"the change has more than {MOST} steps")


def files(bench: LocalBench) -> list[str]:
    return sorted(str(path.relative_to(bench.big)) for path in bench.big.rglob("*") if path.is_file())


def holders(bench: LocalBench, disk: DiskRef) -> int:
    return sum(found.uuid == disk.uuid for disks in bench.hypervisor.devices(None).lists.values() for found in disks)


# --- at each step ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("diskformat", ["thin", "eagerzeroedthick"])
def test_a_killed_create_is_undone_without_a_trace(bench: LocalBench, diskformat: str) -> None:
    for change in every_kill(bench, lambda: CreateDisk(new_disk(), MIB, diskformat, {})):
        found = bench.hypervisor.disk(change.disk)
        assert found is None or found.size_bytes == MIB
        assert [disk.ref for disk in bench.hypervisor.disks(BIG)] == ([change.disk] if found else [])

        do(bench, DeleteDisk(change.disk))

        assert files(bench) == []


def test_a_killed_create_is_finished_by_a_repeat(bench: LocalBench) -> None:
    for change in every_kill(bench, lambda: CreateDisk(new_disk(), MIB, "zeroedthick", {"name": "db"})):
        do(bench, change)

        found = bench.hypervisor.disk(change.disk)
        assert found is not None
        assert (found.size_bytes, found.allocated_bytes, dict(found.note)) == (MIB, MIB, {"name": "db"})
        assert len(files(bench)) == 2
        do(bench, DeleteDisk(change.disk))


def test_a_killed_clone_leaves_its_source_and_a_repeat_ends_it(bench: LocalBench) -> None:
    source = attached(bench)
    bench.write(source, b"data")
    do(bench, DetachDisk(VM_A.id, source))

    for change in every_kill(bench, lambda: CloneDisk(source, new_disk(), "thin", {})):
        do(bench, change)

        do(bench, AttachDisk(VM_A.id, change.disk, MODE))
        assert bench.read(change.disk, 4) == b"data"
        do(bench, DetachDisk(VM_A.id, change.disk))
        do(bench, DeleteDisk(change.disk))
    assert len(files(bench)) == 2


@pytest.mark.parametrize("diskformat", ["thin", "zeroedthick"])
def test_a_killed_growth_leaves_the_old_disk_or_the_new_one_and_a_repeat_ends_it(bench: LocalBench, diskformat: str) -> None:
    for change in every_kill(bench, lambda: GrowDisk(made(bench, diskformat=diskformat), 8 * MIB)):
        found = bench.hypervisor.disk(change.disk)
        assert found is not None
        assert found.size_bytes in (4 * MIB, 8 * MIB)

        do(bench, change)

        found = bench.hypervisor.disk(change.disk)
        assert found is not None
        assert (found.size_bytes, dict(found.note)) == (8 * MIB, {"name": "db"})
        assert len(files(bench)) == 2
        do(bench, DeleteDisk(change.disk))
        assert files(bench) == []


def test_after_a_killed_growth_the_host_that_has_the_disk_gets_its_size_with_the_next_attach(bench: LocalBench) -> None:
    for change in every_kill(bench, lambda: GrowDisk(attached(bench), 8 * MIB, VM_A.id)):
        do(bench, AttachDisk(VM_A.id, change.disk, MODE))

        found = bench.hypervisor.disk(change.disk)
        assert found is not None
        assert found.size_bytes == len(bench.read(change.disk, 9 * MIB))

        do(bench, change)
        assert len(bench.read(change.disk, 9 * MIB)) == 8 * MIB
        do(bench, DetachDisk(VM_A.id, change.disk))
        do(bench, DeleteDisk(change.disk))


def test_a_deletion_takes_away_what_a_killed_growth_left(bench: LocalBench) -> None:
    for change in every_kill(bench, lambda: GrowDisk(made(bench), 8 * MIB)):
        do(bench, DeleteDisk(change.disk))

        assert files(bench) == []


def policy_of(bench: LocalBench, disk: DiskRef) -> str | None:
    seen = bench.hypervisor.followed([disk])[disk.uuid]
    assert isinstance(seen, Followed)
    return seen.policy


def test_a_killed_change_of_a_policy_leaves_the_old_one_or_the_new_one_and_the_repeat_ends_it(bench: LocalBench) -> None:
    for change in every_kill(bench, lambda: ChangePolicy(made(bench), "any")):
        assert bench.hypervisor.disk(change.disk) is not None
        assert policy_of(bench, change.disk) in (None, "any")

        do(bench, change)

        assert policy_of(bench, change.disk) == "any"
        do(bench, DeleteDisk(change.disk))
        assert files(bench) == []


def absent(bench: LocalBench, disk: DiskRef) -> bool:
    """A disk whose deletion has begun is neither there nor absent."""
    try:
        return bench.hypervisor.disk(disk) is None
    except MetadataDamaged:
        return False


def test_a_killed_deletion_goes_on_until_nothing_is_left(bench: LocalBench) -> None:
    def prepare() -> Change:
        disk = made(bench)
        bench.hypervisor.write_sidecar(disk.path, b"{}")
        return DeleteDisk(disk)

    for change in every_kill(bench, prepare):
        # As long as it is not absent the service goes forward; absent, it may forget the volume at once.
        assert not absent(bench, change.disk) or files(bench) == []

        do(bench, change)

        assert (bench.hypervisor.disk(change.disk), files(bench)) == (None, [])


def test_a_killed_attach_is_seen_or_did_not_happen_and_a_repeat_ends_it(bench: LocalBench) -> None:
    for change in every_kill(bench, lambda: AttachDisk(VM_A.id, made(bench, diskformat="zeroedthick"), MODE)):
        assert holders(bench, change.disk) in (0, 1)

        do(bench, change)

        assert holders(bench, change.disk) == 1
        number = bench.device(change.disk).removeprefix("/dev/")
        assert Path(f"/sys/block/{number}/queue/discard_max_bytes").read_text() == "0\n"
        assert Path(f"/sys/block/{number}/size").read_text() == f"{4 * MIB // 512}\n"
        do(bench, DetachDisk(VM_A.id, change.disk))
        do(bench, DeleteDisk(change.disk))


def test_a_killed_detach_is_seen_or_did_not_happen_and_a_repeat_ends_it(bench: LocalBench) -> None:
    for change in every_kill(bench, lambda: DetachDisk(VM_A.id, attached(bench))):
        do(bench, change)

        assert holders(bench, change.disk) == 0
        do(bench, DeleteDisk(change.disk))


# --- what is left in between -----------------------------------------------------------------------------------


def test_a_disk_whose_deletion_has_begun_is_not_attached_any_more(bench: LocalBench) -> None:
    disk = made(bench)
    bench.descriptor(disk).rename(bench.descriptor(disk).with_suffix(".vmdk.deleting"))

    assert not absent(bench, disk)
    assert bench.hypervisor.disks(BIG) == []
    with pytest.raises(VolumeLost):
        do(bench, AttachDisk(VM_A.id, disk, MODE))


def test_a_disk_whose_deletion_has_begun_is_never_the_end_of_a_clone(bench: LocalBench) -> None:
    source, clone = made(bench), made(bench)
    bench.descriptor(clone).rename(bench.descriptor(clone).with_suffix(".vmdk.deleting"))

    do(bench, CloneDisk(source, clone, "thin", {}))

    assert sorted(disk.ref.uuid for disk in bench.hypervisor.disks(BIG)) == sorted([source.uuid, clone.uuid])


def test_an_undo_never_takes_what_another_creation_left(bench: LocalBench) -> None:
    disk = made(bench)
    bench.descriptor(disk).rename(bench.descriptor(disk).with_suffix(".vmdk.creating"))
    before = files(bench)

    with pytest.raises(WrongDisk):
        do(bench, DeleteDisk(DiskRef(DiskUuid(uuid4()), disk.path)))

    assert files(bench) == before


@pytest.mark.parametrize("content", [b"", b"# Disk Descr", b"\0" * 512], ids=["empty", "torn", "zeros"])
def test_a_marker_that_was_torn_before_it_was_flushed_is_cleaned_up(bench: LocalBench, content: bytes) -> None:
    disk = made(bench)
    bench.descriptor(disk).unlink()
    bench.extent(disk).rename(bench.extent(disk).with_suffix(".vmdk.creating"))
    bench.descriptor(disk).with_suffix(".vmdk.creating").write_bytes(content)

    assert bench.hypervisor.disk(disk) is None
    do(bench, DeleteDisk(disk))

    assert files(bench) == []
