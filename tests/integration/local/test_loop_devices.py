"""Loop devices as attachments: exact, locked, thick where asked for, and let go on proof only."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.contract.guest_benches import free_loop, release
from tests.contract.hypervisor_benches import BIG, MIB, VM_A, VM_B, LocalBench, attached, do, made, new_disk
from tests.doubles.hurried_clock import HurriedClock
from vmdkvol.clock import Deadline
from vmdkvol.errors import StillMounted, VolumeError, VolumeInUse
from vmdkvol.volume import FIRST_LOOP, VmId, loop_tag, parse_loop_tag
from vmdkvol_esx.local import loop_device
from vmdkvol_esx.local.datastore import LocalDatastore
from vmdkvol_esx.local.hypervisor import LocalHypervisor
from vmdkvol_esx.local.loops import Loops
from vmdkvol_esx.ports import AttachDisk, Change, CloneDisk, DeleteDisk, DetachDisk, DiskRef, Vm

pytestmark = pytest.mark.integration
MODE = "independent_persistent"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[LocalBench]:
    bench = LocalBench(tmp_path, HurriedClock(5))
    yield bench
    bench.end()


def run(*command: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=check, capture_output=True, text=True)


def number(bench: LocalBench, disk: DiskRef) -> int:
    return int(bench.device(disk).removeprefix("/dev/loop"))


def sysfs(bench: LocalBench, disk: DiskRef, name: str) -> str:
    return Path(f"/sys/block/loop{number(bench, disk)}/{name}").read_text().strip()


def blocks(bench: LocalBench, disk: DiskRef) -> int:
    return bench.extent(disk).stat().st_blocks * 512


def holders(bench: LocalBench, disk: DiskRef) -> list[VmId]:
    lists = bench.hypervisor.devices(None).lists
    return [vm for vm, disks in lists.items() if any(found.uuid == disk.uuid for found in disks)]


@pytest.fixture
def mounted(bench: LocalBench, tmp_path: Path) -> Iterator[tuple[DiskRef, Path]]:
    """An attached ext4 disk, mounted."""
    disk, target = attached(bench, size=64 * MIB), tmp_path / "mnt"
    target.mkdir()
    run("mkfs.ext4", "-q", bench.device(disk))
    run("mount", bench.device(disk), target)
    yield disk, target
    run("umount", target, check=False)


# --- what is bound ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [MIB, 4 * MIB + 512, 4 * MIB + 7 * 512], ids=["whole", "odd", "odder"])
def test_the_device_has_exactly_the_disks_size(bench: LocalBench, size: int) -> None:
    disk = attached(bench, size=size)

    assert run("blockdev", "--getsize64", bench.device(disk)).stdout.strip() == str(size)


def test_an_extent_that_is_longer_than_the_disk_does_not_show(bench: LocalBench) -> None:
    disk = made(bench)
    os.truncate(bench.extent(disk), 8 * MIB + 100)

    do(bench, AttachDisk(VM_A.id, disk, MODE))

    assert run("blockdev", "--getsize64", bench.device(disk)).stdout.strip() == str(4 * MIB)


def test_the_device_has_direct_io_and_no_partition_scan(bench: LocalBench) -> None:
    disk = attached(bench)

    assert (sysfs(bench, disk, "loop/dio"), sysfs(bench, disk, "loop/partscan")) == ("1", "0")
    assert (sysfs(bench, disk, "loop/autoclear"), sysfs(bench, disk, "ro")) == ("0", "0")


def test_the_device_is_of_our_own_range_and_tagged(bench: LocalBench) -> None:
    disk = attached(bench)

    tag = loop_device.tag_of(number(bench, disk))
    assert number(bench, disk) >= FIRST_LOOP
    assert tag is not None
    assert parse_loop_tag(tag) == (VM_A.id, disk.uuid)


def test_a_missing_node_in_dev_is_made(bench: LocalBench) -> None:
    disk = attached(bench)
    node = Path(bench.device(disk))
    node.unlink()
    try:
        assert holders(bench, disk) == [VM_A.id]
        # The list may know this binding from before; who detaches has to open the device.
        do(bench, DetachDisk(VM_A.id, disk))
        assert holders(bench, disk) == []
        bench.hypervisor.stop(Deadline.after(bench.clock, 5))
    finally:
        # The kernel takes away only nodes of its own making.
        node.unlink(missing_ok=True)


def test_twenty_machines_threads_attach_and_detach_at_once(bench: LocalBench) -> None:
    disks = [made(bench) for _ in range(20)]

    def cycle(disk: DiskRef) -> None:
        for _ in range(3):
            do(bench, AttachDisk(VM_A.id, disk, MODE))
            bench.write(disk, disk.uuid.bytes)
            assert bench.read(disk, 16) == disk.uuid.bytes
            do(bench, DetachDisk(VM_A.id, disk))

    with ThreadPoolExecutor(20) as threads:
        list(threads.map(cycle, disks))

    assert bench.hypervisor.devices([VM_A.id]).lists == {VM_A.id: ()}


def test_a_device_that_is_just_being_bound_or_unbound_is_no_broken_device(bench: LocalBench) -> None:
    """While it is unbound the kernel still names its file and has no tag any more; a detach of another disk must not fail."""
    disks = [made(bench) for _ in range(4)]

    def cycle(disk: DiskRef) -> None:
        for _ in range(40):
            do(bench, AttachDisk(VM_A.id, disk, MODE))
            do(bench, DetachDisk(VM_A.id, disk))

    with ThreadPoolExecutor(len(disks)) as threads:
        running = [threads.submit(cycle, disk) for disk in disks]
        while not all(each.done() for each in running):
            assert bench.hypervisor.devices([VM_A.id]).unread == frozenset()

    assert [each.exception() for each in running] == [None] * len(disks)


def test_the_number_is_given_back(bench: LocalBench) -> None:
    disk = attached(bench)
    device = Path(f"/sys/block/loop{number(bench, disk)}/loop/backing_file")
    assert str(bench.extent(disk)) in device.read_text()

    do(bench, DetachDisk(VM_A.id, disk))

    # Somebody else may have taken the number at once.
    assert not device.exists() or str(bench.extent(disk)) not in device.read_text()


# --- one extent, one device (corrections 2) --------------------------------------------------------------------


def test_corrections_2_the_lock_outlives_the_process_that_attached(bench: LocalBench) -> None:
    disk = made(bench)
    attach = (
        "import sys, uuid\n"
        "from vmdkvol.clock import SystemClock\n"
        "from vmdkvol_esx.local.datastore import LocalDatastore\n"
        "from vmdkvol_esx.local.hypervisor import LocalHypervisor\n"
        "from vmdkvol_esx.ports import AttachDisk, DiskPath, DiskRef, Vm\n"
        "root, vm, disk, path = sys.argv[1:]\n"
        "vm, ref = uuid.UUID(vm), DiskRef(uuid.UUID(disk), DiskPath('big', path))\n"
        "host = LocalHypervisor([LocalDatastore('big', root)], [Vm(vm, 'a', True)], SystemClock())\n"
        "host.submit(AttachDisk(vm, ref, ''), uuid.uuid4())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [str(bench.big), str(VM_A.id), str(disk.uuid), disk.path.path]
    subprocess.run([sys.executable, "-c", attach, *arguments], check=True, env=environment)

    with open(bench.extent(disk), "rb") as extent, pytest.raises(BlockingIOError):
        fcntl.flock(extent, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with pytest.raises(VolumeInUse, match="host-a"):
        do(bench, AttachDisk(VM_B.id, disk, MODE))


def test_corrections_2_of_two_hosts_that_attach_at_once_one_wins(bench: LocalBench) -> None:
    disk = made(bench)

    def attach(vm: Vm) -> bool:
        try:
            do(bench, AttachDisk(vm.id, disk, MODE))
        except VolumeError:
            return False
        return True

    with ThreadPoolExecutor(2) as threads:
        for _ in range(10):
            won = dict(zip((VM_A, VM_B), threads.map(attach, (VM_A, VM_B)), strict=True))
            assert sorted(won.values()) == [False, True]
            [winner] = [vm for vm, mine in won.items() if mine]
            assert holders(bench, disk) == [winner.id]
            do(bench, DetachDisk(winner.id, disk))


@pytest.mark.parametrize("change", ["attach", "delete", "clone"])
def test_an_extent_that_somebody_bound_by_hand_is_in_use(bench: LocalBench, change: str) -> None:
    disk = made(bench)
    device = run("losetup", "--find", "--show", bench.extent(disk)).stdout.strip()
    changes: dict[str, Change] = {
        "attach": AttachDisk(VM_A.id, disk, MODE),
        "delete": DeleteDisk(disk),
        "clone": CloneDisk(disk, new_disk(), "thin", {}),
    }
    try:
        with pytest.raises(VolumeInUse, match=f"{device}, which is not ours"):
            do(bench, changes[change])
    finally:
        run("losetup", "-d", device)

    assert holders(bench, disk) == []


# --- detach (corrections 3) ------------------------------------------------------------------------------------


@pytest.mark.parametrize("beside", [True, False], ids=["in-the-datastore", "elsewhere"])
def test_an_extent_that_was_bound_by_hand_before_it_got_its_name_is_in_use(
    bench: LocalBench, tmp_path: Path, beside: bool
) -> None:
    """As a backup that is looked into and then put back: the device goes on with the file under its new name."""
    disk = made(bench)
    extent = bench.extent(disk)
    copy = extent.with_name("copy") if beside else tmp_path / "copy"
    copy.write_bytes(extent.read_bytes())
    by_hand = run("losetup", "--find", "--show", copy).stdout.strip()
    try:
        bench.hypervisor.devices(None)
        copy.replace(extent)

        with pytest.raises(VolumeInUse, match=by_hand):
            do(bench, AttachDisk(VM_A.id, disk, MODE))
    finally:
        run("losetup", "--detach", by_hand)


def test_corrections_3_a_mounted_disk_stays_bound_and_its_mount_works(bench: LocalBench, mounted: tuple[DiskRef, Path]) -> None:
    disk, target = mounted

    with pytest.raises(StillMounted):
        do(bench, DetachDisk(VM_A.id, disk))

    (target / "file").write_text("written after the refusal")
    os.sync()
    assert sysfs(bench, disk, "loop/autoclear") == "0"
    run("umount", target)
    assert holders(bench, disk) == [VM_A.id]
    do(bench, DetachDisk(VM_A.id, disk))
    assert holders(bench, disk) == []


def test_corrections_3_a_device_in_use_is_never_told_to_unbind(bench: LocalBench, mounted: tuple[DiskRef, Path]) -> None:
    """LOOP_CLR_FD on it would answer 0 and mark it: a service killed before it takes the mark back loses the disk later."""
    disk, _ = mounted
    child = os.fork()
    if child == 0:
        refuse_to_unbind()
        try:
            LocalHypervisor([LocalDatastore(BIG, str(bench.big))], [VM_A], bench.clock).submit(
                DetachDisk(VM_A.id, disk), uuid4()
            )
        except StillMounted:
            os._exit(0)
        os._exit(1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0


def refuse_to_unbind() -> None:
    """End this process at the first LOOP_CLR_FD (linux/loop.h)."""

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "fcntl.ioctl" and args[1] == 0x4C01:
            os._exit(9)

    sys.addaudithook(hook)


def test_corrections_39_an_opener_that_is_not_exclusive_keeps_the_disk_attached(bench: LocalBench) -> None:
    disk = attached(bench)
    opener = os.open(bench.device(disk), os.O_RDONLY)
    try:
        with pytest.raises(StillMounted, match="still open"):
            do(bench, DetachDisk(VM_A.id, disk))
    finally:
        os.close(opener)

    # The last close would have ended it, had the mark of LOOP_CLR_FD not been taken back.
    assert holders(bench, disk) == [VM_A.id]
    assert sysfs(bench, disk, "loop/autoclear") == "0"


def test_corrections_39_a_loop_device_stacked_on_it_keeps_the_disk_attached(bench: LocalBench) -> None:
    disk = attached(bench)
    stacked = run("losetup", "--find", "--show", bench.device(disk)).stdout.strip()
    try:
        with pytest.raises(StillMounted):
            do(bench, DetachDisk(VM_A.id, disk))
        assert holders(bench, disk) == [VM_A.id]
    finally:
        run("losetup", "-d", stacked)


def test_a_short_opener_does_not_stop_a_detach(bench: LocalBench) -> None:
    disk = attached(bench)
    opener = subprocess.Popen([sys.executable, "-c", "import sys, time; open(sys.argv[1]); print(flush=True); time.sleep(0.1)",
                               bench.device(disk)], stdout=subprocess.PIPE)  # fmt: skip
    with opener:
        assert opener.stdout is not None
        opener.stdout.readline()

        do(bench, DetachDisk(VM_A.id, disk))

    assert holders(bench, disk) == []


def test_a_disk_whose_files_were_deleted_behind_our_back_is_still_in_use(bench: LocalBench) -> None:
    disk = attached(bench)
    bench.descriptor(disk).unlink()
    bench.extent(disk).unlink()

    with pytest.raises(VolumeInUse):
        do(bench, DeleteDisk(disk))

    assert holders(bench, disk) == [VM_A.id]
    do(bench, DetachDisk(VM_A.id, disk))


# --- thick stays thick (corrections 35) ------------------------------------------------------------------------


@pytest.mark.parametrize(("diskformat", "shrinks"), [("thin", True), ("zeroedthick", False), ("eagerzeroedthick", False)])
def test_corrections_35_fstrim_gives_back_blocks_of_thin_disks_only(
    bench: LocalBench, tmp_path: Path, diskformat: str, shrinks: bool
) -> None:
    disk, target = attached(bench, size=32 * MIB, diskformat=diskformat), tmp_path / "mnt"
    target.mkdir()
    run("mkfs.ext4", "-q", "-E", "nodiscard", bench.device(disk))
    run("mount", bench.device(disk), target)
    try:
        (target / "file").write_bytes(os.urandom(8 * MIB))
        os.sync()
        full = blocks(bench, disk)
        (target / "file").unlink()
        os.sync()
        run("fstrim", target, check=False)
        os.sync()
    finally:
        run("umount", target)

    assert full >= (8 * MIB if shrinks else 32 * MIB)
    assert (blocks(bench, disk) <= full - 7 * MIB) == shrinks


@pytest.mark.parametrize("command", [["blkdiscard"], ["blkdiscard", "-z"], ["fallocate", "-z", "-l", "4MiB"]])
def test_corrections_35_no_way_to_zero_a_thick_disk_makes_it_thin(bench: LocalBench, command: list[str]) -> None:
    disk = attached(bench, diskformat="zeroedthick")

    run(*command, bench.device(disk), check=False)

    assert blocks(bench, disk) >= 4 * MIB


def test_corrections_35_an_attach_that_is_repeated_makes_up_for_a_killed_one(bench: LocalBench) -> None:
    disk = made(bench, diskformat="zeroedthick")
    loops = Loops(bench.clock, [str(bench.big)])
    with open(bench.extent(disk), "r+b") as extent:
        fcntl.flock(extent, fcntl.LOCK_EX)
        tag = loop_tag(VM_A.id, disk.uuid)
        number = loops.attach(extent.fileno(), tag, offset_bytes=0, size_bytes=4 * MIB, keep_blocks=False)
    limit = Path(f"/sys/block/loop{number}/queue/discard_max_bytes")
    assert limit.read_text() != "0\n"

    do(bench, AttachDisk(VM_A.id, disk, MODE))

    assert limit.read_text() == "0\n"


def test_a_thin_disk_takes_discards_after_a_thick_one(bench: LocalBench) -> None:
    thick, thin = attached(bench, diskformat="zeroedthick"), made(bench)
    do(bench, DetachDisk(VM_A.id, thick))

    do(bench, AttachDisk(VM_A.id, thin, MODE))

    assert sysfs(bench, thin, "queue/discard_max_bytes") != "0"


def test_numbers_that_a_killed_process_left_are_given_back(bench: LocalBench) -> None:
    number = next(loop_device.added())
    disk = attached(bench)
    do(bench, DetachDisk(VM_A.id, disk))

    bench.hypervisor.stop(Deadline.after(bench.clock, 5))

    assert loop_device.backing_file(number) is not None or number not in loop_device.left_over()


def test_an_unbound_number_beyond_ours_stays(bench: LocalBench) -> None:
    number = free_loop()
    try:
        do(bench, DetachDisk(VM_A.id, attached(bench)))

        bench.hypervisor.stop(Deadline.after(bench.clock, 5))

        assert Path(f"/dev/loop{number}").exists()
    finally:
        release(number)
