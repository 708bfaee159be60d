"""The promises of the ``Filesystems`` port, on the kernel in memory and with the real tools on loop devices."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.contract.guest_benches import MIB, VM, Bench, LinuxBench, MemoryBench, formatted, found, in_use, start
from vmdkvol.clock import Deadline
from vmdkvol.errors import CheckFailed, ForeignContent, InvalidSize, NoSpace, TruthUnknown, VolumeError
from vmdkvol.options import FSTYPES, MINIMUM_SIZE
from vmdkvol.volume import VolumeId
from vmdkvol_guest.linux import commands
from vmdkvol_guest.linux.commands import Commands, Finished
from vmdkvol_guest.linux.filesystems import AMBIVALENT, LinuxFilesystems
from vmdkvol_guest.ports import Device, Probe

GIB = 1 << 30
EXT4_FEATURES = {"has_journal", "ext_attr", "resize_inode", "dir_index", "filetype", "extent", "64bit", "flex_bg"} | {
    *("sparse_super", "large_file", "huge_file", "dir_nlink", "extra_isize", "metadata_csum"),
}
OURS = UUID("6d0a1c1e-0000-4000-8000-0000000000ff")


@pytest.fixture(params=["memory", pytest.param("linux", marks=pytest.mark.integration)])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    yield from start(request.param, tmp_path)


@pytest.fixture
def linux(tmp_path: Path) -> Iterator[LinuxBench]:
    bench = LinuxBench(tmp_path)
    yield bench
    bench.end()


@pytest.fixture
def memory(tmp_path: Path) -> MemoryBench:
    return MemoryBench(tmp_path)


def make(bench: Bench, fstype: str = "ext4", size_bytes: int | None = None, options: tuple[str, ...] = ()) -> Device:
    device = found(bench, bench.plug(size_bytes or MINIMUM_SIZE[fstype]))
    bench.filesystems.make(device, fstype, OURS, options, pristine=True)
    return device


def blkid(device: Device, tag: str) -> str:
    done = subprocess.run(["blkid", "-p", "-o", "value", "-s", tag, device.path], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def allocated(linux: LinuxBench) -> int:
    return sum(image.stat().st_blocks * 512 for image in linux.loops.values())


def test_a_new_disk_is_blank(bench: Bench) -> None:
    assert bench.filesystems.probe(found(bench, bench.plug())).blank


@pytest.mark.parametrize("fstype", FSTYPES)
def test_what_was_made_is_probed_with_our_uuid(bench: Bench, fstype: str) -> None:
    assert bench.filesystems.probe(make(bench, fstype)) == Probe(fstype, OURS)


def test_a_foreign_signature_is_seen(bench: Bench) -> None:
    device = found(bench, bench.plug())
    bench.sign(device)
    assert bench.filesystems.probe(device).kind == "swap"


def test_nothing_is_made_over_a_signature(bench: Bench) -> None:
    device = make(bench)
    with pytest.raises(ForeignContent):
        bench.filesystems.make(device, "ext4", uuid4(), (), pristine=True)
    assert bench.filesystems.probe(device).uuid == OURS


def test_nothing_is_made_on_a_mounted_device(bench: Bench) -> None:
    _, device = in_use(bench)
    with pytest.raises(VolumeError):
        bench.filesystems.make(device, "ext4", uuid4(), (), pristine=True)


def test_nothing_is_made_under_a_claim(bench: Bench) -> None:
    """corrections 10: mkfs needs the device for itself."""
    device = found(bench, bench.plug())
    with bench.devices.claim(device, Deadline.after(bench.clock, 1)), pytest.raises(TruthUnknown):
        bench.filesystems.make(device, "ext4", OURS, (), pristine=True)
    assert bench.filesystems.probe(device).blank


@pytest.mark.parametrize("fstype", FSTYPES)
def test_a_blanked_disk_is_blank_and_can_be_made_again(bench: Bench, fstype: str) -> None:
    device = make(bench, fstype)
    bench.filesystems.blank(device)
    assert bench.filesystems.probe(device).blank
    bench.filesystems.make(device, fstype, OURS, (), pristine=False)
    assert bench.filesystems.probe(device) == Probe(fstype, OURS)


def test_a_mounted_disk_is_not_blanked(bench: Bench) -> None:
    attached, device = in_use(bench)
    bench.write(attached.volume, "f", b"kept")
    with pytest.raises(TruthUnknown):
        bench.filesystems.blank(device)
    assert bench.read(attached.volume, "f") == b"kept"


@pytest.mark.parametrize("full", [False, True], ids=["preen", "full"])
@pytest.mark.parametrize("fstype", FSTYPES)
def test_a_sound_file_system_passes_its_check(bench: Bench, fstype: str, full: bool) -> None:
    bench.filesystems.check(make(bench, fstype), fstype, full=full)


@pytest.mark.parametrize("full", [False, True], ids=["preen", "full"])
@pytest.mark.parametrize("fstype", FSTYPES)
def test_noise_in_the_first_mebibyte_fails_the_check(bench: Bench, fstype: str, full: bool) -> None:
    """C19."""
    device = make(bench, fstype)
    bench.damage(device)
    with pytest.raises(CheckFailed):
        bench.filesystems.check(device, fstype, full=full)


def test_a_mounted_device_is_not_checked(bench: Bench) -> None:
    _, device = in_use(bench)
    with pytest.raises(TruthUnknown):
        bench.filesystems.check(device, "ext4", full=False)


@pytest.mark.parametrize("fstype", FSTYPES)
def test_a_clone_gets_a_uuid_of_its_own(bench: Bench, fstype: str) -> None:
    attached, _ = formatted(bench, fstype, MINIMUM_SIZE[fstype])
    clone = found(bench, bench.clone(attached))
    bench.filesystems.check(clone, fstype, full=True)
    bench.filesystems.renew_uuid(clone, fstype, OURS)
    assert bench.filesystems.probe(clone) == Probe(fstype, OURS)


@pytest.mark.parametrize("fstype", FSTYPES)
def test_a_clone_and_its_source_are_mounted_at_once_with_the_same_bytes(bench: Bench, fstype: str) -> None:
    """C11: the clone of a source that was last used, on the same host."""
    attached, device = in_use(bench, fstype, MINIMUM_SIZE[fstype])
    bench.write(attached.volume, "f", b"source")
    bench.mounts.unmount(attached.volume)
    copied = bench.clone(attached)
    bench.mounts.mount(device, attached.volume, fstype, (), read_only=False)
    clone = found(bench, copied)
    bench.filesystems.check(clone, fstype, full=True)
    bench.filesystems.renew_uuid(clone, fstype, OURS)
    bench.mounts.mount(clone, copied.volume, fstype, (), read_only=False)
    assert bench.read(copied.volume, "f") == bench.read(attached.volume, "f") == b"source"


@pytest.mark.parametrize("fstype", FSTYPES)
def test_a_uuid_can_be_renewed_again(bench: Bench, fstype: str) -> None:
    """To the one that is there already: the agent died before it was recorded."""
    device = make(bench, fstype)
    for _ in range(2):
        bench.filesystems.check(device, fstype, full=True)
        bench.filesystems.renew_uuid(device, fstype, OURS)
    assert bench.filesystems.probe(device) == Probe(fstype, OURS)


@pytest.mark.parametrize("fstype", FSTYPES)
def test_the_tools_are_here(bench: Bench, fstype: str) -> None:
    assert bench.filesystems.missing_tool(fstype) is None


def test_a_missing_tool_is_named_by_its_package(memory: MemoryBench) -> None:
    memory.guest.tools.discard("xfs")
    assert memory.filesystems.missing_tool("xfs") == "xfsprogs"


# --- what only the real tools can show -------------------------------------------------------------------------


@pytest.mark.integration
def test_a_host_without_the_tools_names_the_package(linux: LinuxBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "PATH", str(linux.directory))
    assert linux.filesystems.missing_tool("ext4") == "e2fsprogs"


@pytest.mark.integration
@pytest.mark.parametrize("fstype", FSTYPES)
def test_the_label_is_the_beginning_of_the_uuid(linux: LinuxBench, fstype: str) -> None:
    device = make(linux, fstype)
    assert blkid(device, "LABEL") == OURS.hex[:8]
    renewed = uuid4()
    linux.filesystems.renew_uuid(device, fstype, renewed)
    assert blkid(device, "LABEL") == renewed.hex[:8]


@pytest.mark.integration
@pytest.mark.parametrize("fstype", FSTYPES)
def test_a_disk_of_the_smallest_size_holds_a_file(linux: LinuxBench, fstype: str) -> None:
    attached, device = in_use(linux, fstype, MINIMUM_SIZE[fstype])
    linux.write(attached.volume, "f", b"x" * 65536)
    linux.mounts.unmount(attached.volume)
    linux.filesystems.check(device, fstype, full=True)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("fstype", "size_bytes", "most"),
    [
        pytest.param("ext4", GIB, 2 * MIB, id="ext4-1gb"),
        pytest.param("ext4", 100 * GIB, 8 * MIB, id="ext4-100gb"),
        pytest.param("xfs", GIB, 80 * MIB, id="xfs-1gb"),
        pytest.param("xfs", 100 * GIB, 80 * MIB, id="xfs-100gb"),
    ],
)
def test_a_fresh_file_system_takes_little_of_a_thin_disk(linux: LinuxBench, fstype: str, size_bytes: int, most: int) -> None:
    """corrections 21."""
    make(linux, fstype, size_bytes)
    assert allocated(linux) <= most


@pytest.mark.integration
def test_ext4_has_a_fixed_set_of_features(linux: LinuxBench) -> None:
    """D6: what an older host of the site can check."""
    device = make(linux, "ext4", 64 * MIB)
    told = subprocess.run(["dumpe2fs", "-h", device.path], capture_output=True, text=True, check=True).stdout
    features = next(line for line in told.splitlines() if line.startswith("Filesystem features:")).split(":")[1].split()
    assert set(features) == EXT4_FEATURES
    assert "Reserved block count:     0" in told


@pytest.mark.integration
@pytest.mark.parametrize(
    ("fstype", "options"),
    [
        ("ext4", ("-i", "8192", "-I", "512", "-m", "5", "-T", "small", "-b", "1024")),
        ("xfs", ("-i", "size=1024", "-d", "agcount=2", "-n", "size=8192", "-s", "size=4096")),
    ],
)
def test_the_allowed_mkfs_options_work(linux: LinuxBench, fstype: str, options: tuple[str, ...]) -> None:
    assert linux.filesystems.probe(make(linux, fstype, 320 * MIB, options)).kind == fstype


@pytest.mark.integration
def test_options_that_leave_no_room_for_a_journal_are_refused(linux: LinuxBench) -> None:
    with pytest.raises(InvalidSize):
        make(linux, "ext4", 2 * MIB, ("-b", "4096"))


class NoCommands(Commands):
    """Commands of a host on which nothing may be started."""

    def run(self, args: Sequence[str], *, seconds: float, dies_with_us: bool = False) -> Finished:
        raise AssertionError(f"{args} was started")


@pytest.mark.integration
@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_a_disk_that_was_unmounted_in_order_is_known_and_checked_without_a_program(linux: LinuxBench, fstype: str) -> None:
    device = make(linux, fstype, 320 * MIB)
    volume = VolumeId(uuid4())
    linux.mounts.mount(device, volume, fstype, (), read_only=False)
    linux.mounts.unmount(volume)
    quiet = LinuxFilesystems(NoCommands(linux.clock))

    assert quiet.probe(device, recorded=Probe(fstype, OURS)) == Probe(fstype, OURS)
    quiet.check(device, fstype, full=False)


@pytest.mark.integration
def test_a_disk_that_was_not_unmounted_is_for_the_tools(linux: LinuxBench) -> None:
    device = make(linux, "ext4", 64 * MIB)
    volume = VolumeId(uuid4())
    linux.mounts.mount(device, volume, "ext4", (), read_only=False)
    quiet = LinuxFilesystems(NoCommands(linux.clock))
    try:
        with pytest.raises(AssertionError, match="was started"):
            quiet.probe(device, recorded=Probe("ext4", OURS))
    finally:
        linux.mounts.unmount(volume)


@pytest.mark.integration
def test_another_uuid_than_the_recorded_one_is_for_the_tools(linux: LinuxBench) -> None:
    device = make(linux, "ext4", 64 * MIB)

    assert linux.filesystems.probe(device, recorded=Probe("ext4", uuid4())) == Probe("ext4", OURS)


@pytest.mark.integration
def test_two_signatures_are_never_blank(linux: LinuxBench) -> None:
    device = make(linux, "ext4", 16 * MIB)
    page = bytearray(4096)
    page[4086:] = b"SWAPSPACE2"
    page[1024:1032] = (1).to_bytes(4, "little") + (100).to_bytes(4, "little")
    superblock = Path(device.path).read_bytes()[1024:2048]
    linux.put(device, bytes(page[2048:]), 2048)
    linux.put(device, bytes(page[:1024]), 0)
    linux.put(device, superblock, 1024)
    assert not linux.filesystems.probe(device).blank


@pytest.mark.integration
def test_two_file_systems_are_ambivalent(linux: LinuxBench) -> None:
    device = make(linux, "ext4", 320 * MIB)
    other = make(linux, "xfs", 320 * MIB)
    with open(other.path, "rb") as disk:
        linux.put(device, disk.read(512), 0)
    assert linux.filesystems.probe(device).kind == AMBIVALENT


@pytest.mark.integration
def test_a_partition_table_is_no_blank_disk(linux: LinuxBench) -> None:
    device = found(linux, linux.plug(8 * MIB))
    table = bytearray(512)
    table[446:462] = bytes([0, 0, 2, 0, 0x83, 0, 0, 0]) + (2048).to_bytes(4, "little") + (4096).to_bytes(4, "little")
    table[510:] = b"\x55\xaa"
    linux.put(device, bytes(table))
    assert linux.filesystems.probe(device).kind == "dos"


@pytest.mark.integration
def test_an_unreadable_disk_is_not_blank(linux: LinuxBench) -> None:
    attached = linux.plug(4 * MIB)
    device = found(linux, attached)
    (image,) = linux.loops.values()
    # The extent loses its second half: reads beyond it are I/O errors.
    os.truncate(image, 2 * MIB)
    with pytest.raises(TruthUnknown):
        linux.filesystems.probe(device)


@pytest.mark.integration
@pytest.mark.parametrize("fstype", FSTYPES)
def test_a_killed_mkfs_leaves_a_disk_that_can_be_made(linux: LinuxBench, fstype: str) -> None:
    """F43: blank, or a signature with the UUID that was recorded before."""
    device = found(linux, linux.plug(2 << 40))
    command = [f"mkfs.{fstype}", "-q", "-U" if fstype == "ext4" else "-m", f"{'' if fstype == 'ext4' else 'uuid='}{OURS}"]
    for pause in (0.0, 0.01, 0.03):
        with subprocess.Popen([*command, device.path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
            linux.clock.sleep(pause)
            child.kill()
        probe = linux.filesystems.probe(device)
        assert probe.blank or probe.uuid == OURS
        linux.filesystems.blank(device)
    linux.filesystems.make(device, fstype, OURS, (), pristine=False)
    linux.filesystems.check(device, fstype, full=False)


@pytest.mark.integration
def test_a_dirty_clone_of_xfs_gets_a_uuid_of_its_own(linux: LinuxBench) -> None:
    """corrections 34: xfs_admin says 0 and does nothing while the log is dirty."""
    attached, device = in_use(linux, "xfs", 300 * MIB)
    linux.write(attached.volume, "f", b"x")
    subprocess.run(["sync", "-f", linux.mounts.path(attached.volume, "data")], check=True)
    clone = found(linux, linux.clone(attached))
    linux.filesystems.renew_uuid(clone, "xfs", OURS)
    assert linux.filesystems.probe(clone).uuid == OURS


@pytest.mark.integration
def test_a_dirty_journal_is_replayed(linux: LinuxBench) -> None:
    attached, device = in_use(linux, "ext4", 16 * MIB)
    linux.write(attached.volume, "f", b"x")
    subprocess.run(["sync", "-f", linux.mounts.path(attached.volume, "data")], check=True)
    clone = found(linux, linux.clone(attached))
    linux.filesystems.check(clone, "ext4", full=False)
    told = subprocess.run(["dumpe2fs", "-h", clone.path], capture_output=True, text=True, check=True).stdout
    assert "needs_recovery" not in told


@pytest.mark.integration
def test_a_full_datastore_is_no_damage(linux: LinuxBench) -> None:
    """corrections 22: every tool may fail then, and nothing is lost."""
    store = linux.directory / "store"
    store.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(store)], check=True)
    try:
        image = store / "full-flat.vmdk"
        image.touch()
        os.truncate(image, 64 * MIB)
        attached = linux.attach(image, VM)
        (store / "filler").write_bytes(bytes(4 * MIB - 16384))
        with pytest.raises(NoSpace):
            linux.filesystems.make(found(linux, attached), "ext4", OURS, (), pristine=False)
        linux.unplug(attached)
    finally:
        subprocess.run(["umount", str(store)], check=True)


@pytest.mark.integration
def test_a_stopping_agent_ends_its_programs(linux: LinuxBench) -> None:
    runner = Commands(linux.clock)

    def stop() -> None:
        linux.clock.sleep(0.1)
        runner.stop()

    worker = linux.clock.start("stop", stop)
    with pytest.raises(TruthUnknown):
        runner.run(["sleep", "600"], seconds=600)
    worker.join()
    with pytest.raises(TruthUnknown):
        runner.run(["true"], seconds=1)


@pytest.mark.integration
def test_a_program_is_ended_at_its_deadline_with_all_its_children(linux: LinuxBench) -> None:
    with pytest.raises(TruthUnknown):
        linux.commands.run(["sh", "-c", "sleep 600 & sleep 600"], seconds=0.1)


@pytest.mark.integration
def test_a_chatty_program_does_not_fill_the_memory(linux: LinuxBench) -> None:
    done = linux.commands.run(["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x"], seconds=10)
    assert (done.code, len(done.output)) == (0, 64 << 10)


@pytest.mark.integration
def test_a_program_sees_no_input_and_a_fixed_environment(linux: LinuxBench) -> None:
    done = linux.commands.run(["sh", "-c", "cat; echo $LC_ALL; pwd"], seconds=10)
    assert done.output == "C\n/\n"


@pytest.mark.integration
def test_mkfs_dies_with_the_agent(linux: LinuxBench, tmp_path: Path) -> None:
    """corrections 10: no orphan goes on writing."""
    script = (
        "from vmdkvol.clock import SystemClock\n"
        "from vmdkvol_guest.linux.commands import Commands\n"
        f"Commands(SystemClock()).run(['sh', '-c', 'echo $$ > {tmp_path}/pid; exec sleep 600'], seconds=600, dies_with_us=True)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", script], env=environment) as agent:
        pid_file = tmp_path / "pid"
        until = Deadline.after(linux.clock, 10)
        while not (pid_file.exists() and pid_file.read_text()) and not until.passed:
            linux.clock.sleep(0.02)
        agent.kill()
    pid = int(pid_file.read_text())
    while os.path.exists(f"/proc/{pid}") and not until.passed:
        linux.clock.sleep(0.02)
    assert not os.path.exists(f"/proc/{pid}")
