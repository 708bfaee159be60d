"""The promises of ``Filesystems`` about growth: mounted, in use, and whole whatever happens meanwhile.

A mounted ext4 grows only for who has CAP_SYS_RESOURCE (field case C16), which a machine for development may lack: then this one
shows xfs, and ext4 is shown in a virtual machine (tests/system/test_guest_side.py).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contract.guest_benches import MIB, Bench, LinuxBench, found, in_use, start
from vmdkvol.errors import NotPermitted, TruthUnknown, VolumeError, WrongDisk
from vmdkvol.options import FSTYPES
from vmdkvol.volume import Attachment
from vmdkvol_guest.growing import LEAST_BYTES
from vmdkvol_guest.linux import enlarging
from vmdkvol_guest.ports import Device

OLD, NEW = 320 * MIB, 700 * MIB
WRITES = 2000
GROWABLE = tuple(fstype for fstype in FSTYPES if fstype != "ext4" or enlarging.may_grow_ext4())
BENCHES = [
    *(pytest.param(("memory", fstype), id=f"memory-{fstype}") for fstype in FSTYPES),
    *(pytest.param(("linux", fstype), id=f"linux-{fstype}", marks=pytest.mark.integration) for fstype in GROWABLE),
]


@pytest.fixture(params=BENCHES)
def on(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Bench, str]]:
    name, fstype = request.param
    for bench in start(name, tmp_path):
        yield bench, fstype


@pytest.fixture
def bench(on: tuple[Bench, str]) -> Bench:
    return on[0]


@pytest.fixture
def fstype(on: tuple[Bench, str]) -> str:
    return on[1]


@pytest.fixture
def linux(tmp_path: Path) -> Iterator[LinuxBench]:
    bench = LinuxBench(tmp_path)
    yield bench
    bench.end()


def larger(bench: Bench, fstype: str, size_bytes: int = NEW) -> tuple[Attachment, Device, str]:
    """Return a mounted disk that has grown, and where it is mounted."""
    attached, _ = in_use(bench, fstype, OLD)
    grown = bench.enlarge(attached, size_bytes)
    return grown, found(bench, grown), bench.mounts.path(grown.volume, "root")


def test_a_new_file_system_spans_its_disk(bench: Bench, fstype: str) -> None:
    attached, device = in_use(bench, fstype, OLD)
    size = bench.filesystems.size(device, fstype, bench.mounts.path(attached.volume, "root"))

    assert 0 <= OLD - size < LEAST_BYTES


def test_a_file_system_stays_as_it_is_until_it_is_told_to_grow(bench: Bench, fstype: str) -> None:
    _, device, point = larger(bench, fstype)

    assert OLD - LEAST_BYTES < bench.filesystems.size(device, fstype, point) <= OLD


def test_a_mounted_file_system_grows_and_keeps_what_is_on_it(bench: Bench, fstype: str) -> None:
    attached, device, point = larger(bench, fstype)
    bench.write(attached.volume, "f", b"kept")
    bench.filesystems.grow(device, fstype, point)

    assert NEW - LEAST_BYTES < bench.filesystems.size(device, fstype, point) <= NEW
    assert bench.read(attached.volume, "f") == b"kept"


def test_what_spans_its_disk_already_grows_no_more_and_that_is_success(bench: Bench, fstype: str) -> None:
    _, device, point = larger(bench, fstype)
    bench.filesystems.grow(device, fstype, point)
    size = bench.filesystems.size(device, fstype, point)
    bench.filesystems.grow(device, fstype, point)

    assert bench.filesystems.size(device, fstype, point) == size


def test_it_is_sound_afterwards_and_mounts_again(bench: Bench, fstype: str) -> None:
    attached, device, point = larger(bench, fstype)
    bench.write(attached.volume, "f", b"kept")
    bench.filesystems.grow(device, fstype, point)
    bench.mounts.unmount(attached.volume)
    bench.filesystems.check(device, fstype, full=True)
    bench.mounts.mount(device, attached.volume, fstype, (), read_only=False)

    assert bench.read(attached.volume, "f") == b"kept"
    assert bench.filesystems.size(device, fstype, point) > NEW - LEAST_BYTES


def test_what_is_not_mounted_has_no_size_and_does_not_grow(bench: Bench, fstype: str) -> None:
    attached, device, point = larger(bench, fstype)
    bench.mounts.unmount(attached.volume)
    for asked in (bench.filesystems.size, bench.filesystems.grow):
        with pytest.raises((WrongDisk, TruthUnknown)):
            asked(device, fstype, point)


def test_another_disks_mount_is_not_asked_and_not_touched(bench: Bench, fstype: str) -> None:
    _, device, _ = larger(bench, fstype)
    _, _, other = larger(bench, fstype)
    for asked in (bench.filesystems.size, bench.filesystems.grow):
        with pytest.raises(WrongDisk):
            asked(device, fstype, other)


def test_a_device_in_another_size_than_was_verified_does_not_grow(bench: Bench, fstype: str) -> None:
    _, device, point = larger(bench, fstype)
    with pytest.raises(WrongDisk):
        bench.filesystems.grow(replace(device, size_bytes=OLD), fstype, point)


def test_what_is_mounted_read_only_does_not_grow(bench: Bench, fstype: str) -> None:
    attached, _ = in_use(bench, fstype, OLD)
    bench.mounts.unmount(attached.volume)
    grown = bench.enlarge(attached, NEW)
    device, point = found(bench, grown), bench.mounts.path(grown.volume, "root")
    bench.mounts.mount(device, grown.volume, fstype, (), read_only=True)
    with pytest.raises(VolumeError):
        bench.filesystems.grow(device, fstype, point)

    assert bench.filesystems.size(device, fstype, point) <= OLD


# --- on this machine's kernel -------------------------------------------------------------------------------------


@pytest.mark.integration
@pytest.mark.parametrize("fstype", GROWABLE)
def test_a_writer_that_syncs_each_record_loses_none_while_it_grows(linux: LinuxBench, fstype: str) -> None:
    attached, device, point = larger(linux, fstype)
    path = Path(linux.mounts.path(attached.volume, "data")) / "records"
    written: list[int] = []
    done = threading.Event()

    def write() -> None:
        with path.open("ab") as file:
            for number in range(WRITES):
                if done.is_set():
                    return
                file.write(f"{number}\n".encode())
                file.flush()
                os.fsync(file.fileno())
                written.append(number)

    writer = threading.Thread(target=write)
    writer.start()
    while len(written) < 20:
        time.sleep(0.001)
    linux.filesystems.grow(device, fstype, point)
    during = len(written)
    while len(written) < min(during + 20, WRITES):
        time.sleep(0.001)
    done.set()
    writer.join()
    linux.mounts.unmount(attached.volume)
    linux.filesystems.check(device, fstype, full=True)
    linux.mounts.mount(device, attached.volume, fstype, (), read_only=False)

    assert [int(line) for line in path.read_text().splitlines()][: len(written)] == written


@pytest.mark.integration
@pytest.mark.parametrize("fstype", GROWABLE)
def test_a_user_sees_the_room_at_once(linux: LinuxBench, fstype: str) -> None:
    attached, device, point = larger(linux, fstype)
    data = linux.mounts.path(attached.volume, "data")
    before = os.statvfs(data)
    linux.filesystems.grow(device, fstype, point)
    after = os.statvfs(data)

    assert after.f_bavail * after.f_frsize - before.f_bavail * before.f_frsize > (NEW - OLD) * 0.9


@pytest.mark.integration
@pytest.mark.parametrize("fstype", GROWABLE)
def test_it_grows_by_far_more_than_it_had(linux: LinuxBench, fstype: str) -> None:
    _, device, point = larger(linux, fstype, 20 << 30)
    linux.filesystems.grow(device, fstype, point)

    assert linux.filesystems.size(device, fstype, point) > (20 << 30) - 64 * MIB


_GROW = """
import sys
from vmdkvol.clock import SystemClock
from vmdkvol.volume import DiskUuid
from vmdkvol_guest.linux import enlarging
from vmdkvol_guest.ports import Device
from uuid import UUID
path, major, minor, disk, size, fstype, point = sys.argv[1:]
device = Device(path, (int(major), int(minor)), DiskUuid(UUID(disk)), int(size))
print("ready", flush=True)
sys.stdin.readline()
try:
    enlarging.grow(device, fstype, point)
except Exception as error:
    print(type(error).__name__, error, flush=True)
"""


def begun(device: Device, fstype: str, point: str, *guard: str) -> subprocess.Popen[str]:
    """Return a process that is about to let the file system grow, as soon as it gets a line."""
    words = [str(part) for part in (*device.number, device.disk_uuid, device.size_bytes)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [*guard, sys.executable, "-c", _GROW, device.path, *words, fstype, point]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.integration
@pytest.mark.parametrize("fstype", GROWABLE)
def test_killed_in_the_middle_it_is_whole_and_goes_on(linux: LinuxBench, fstype: str) -> None:
    attached, _ = in_use(linux, fstype, OLD)
    linux.write(attached.volume, "f", b"kept")
    point = linux.mounts.path(attached.volume, "root")
    for turn in range(1, 9):
        attached = linux.enlarge(attached, OLD + turn * 512 * MIB)
        device = found(linux, attached)
        with begun(device, fstype, point) as process:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            time.sleep(0.0005 * turn)
            process.send_signal(signal.SIGKILL)
        assert linux.filesystems.size(device, fstype, point) <= device.size_bytes
        linux.filesystems.grow(device, fstype, point)
        assert device.size_bytes - linux.filesystems.size(device, fstype, point) < 64 * MIB
    linux.mounts.unmount(attached.volume)
    device = found(linux, attached)
    linux.filesystems.check(device, fstype, full=True)
    linux.mounts.mount(device, attached.volume, fstype, (), read_only=False)
    assert linux.read(attached.volume, "f") == b"kept"


@pytest.mark.integration
def test_c16_without_the_capability_ext4_stays_as_it_is_and_the_message_names_it(linux: LinuxBench) -> None:
    _, device, point = larger(linux, "ext4")
    with begun(device, "ext4", point, "setpriv", "--bounding-set=-sys_resource", "--inh-caps=-all") as process:
        said = process.communicate("go\n")[0]

    assert said.startswith(NotPermitted.__name__)
    assert "SYS_RESOURCE" in said
    assert linux.filesystems.size(device, "ext4", point) <= OLD


@pytest.mark.integration
def test_c16_xfs_grows_without_that_capability(linux: LinuxBench) -> None:
    _, device, point = larger(linux, "xfs")
    with begun(device, "xfs", point, "setpriv", "--bounding-set=-sys_resource", "--inh-caps=-all") as process:
        assert process.communicate("go\n")[0] == ""

    assert linux.filesystems.size(device, "xfs", point) > OLD
