"""The promises of the ``Mounts`` port, on the kernel in memory and on this machine's own."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from tests.contract.guest_benches import MIB, VM, Bench, LinuxBench, formatted, found, in_use, start
from vmdkvol.clock import Deadline
from vmdkvol.errors import CheckFailed, InvalidOption, NoSpace, StillMounted, TruthUnknown, WrongDisk
from vmdkvol.options import FSTYPES, MINIMUM_SIZE
from vmdkvol.volume import DiskUuid, VolumeId
from vmdkvol_guest.linux import kernel, mountinfo
from vmdkvol_guest.linux.mountinfo import MountEntry
from vmdkvol_guest.ports import Device

NOBODY = 65534


@pytest.fixture(params=["memory", pytest.param("linux", marks=pytest.mark.integration)])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    yield from start(request.param, tmp_path)


@pytest.fixture
def linux(tmp_path: Path) -> Iterator[LinuxBench]:
    bench = LinuxBench(tmp_path)
    yield bench
    bench.end()


def mount(bench: Bench, device: Device, volume: VolumeId, *options: str, read_only: bool = False) -> None:
    bench.mounts.mount(device, volume, "ext4", options, read_only=read_only)


def entry(linux: LinuxBench, volume: VolumeId) -> MountEntry:
    (only,) = mountinfo.at(mountinfo.parse(Path("/proc/self/mountinfo").read_text()), linux.mounts.path(volume, "root"))
    return only


@pytest.mark.parametrize("fstype", FSTYPES)
def test_what_was_written_is_there_after_the_next_mount(bench: Bench, fstype: str) -> None:
    attached, device = in_use(bench, fstype, MINIMUM_SIZE[fstype])
    bench.write(attached.volume, "f", b"hello")
    bench.mounts.unmount(attached.volume)
    bench.mounts.mount(device, attached.volume, fstype, (), read_only=False)
    assert bench.read(attached.volume, "f") == b"hello"


def test_a_mount_is_listed_with_its_device(bench: Bench) -> None:
    attached, device = in_use(bench)
    assert bench.mounts.mounted() == {attached.volume: device.number}


def test_mounting_again_changes_nothing(bench: Bench) -> None:
    attached, device = in_use(bench)
    mount(bench, device, attached.volume)
    bench.mounts.unmount(attached.volume)
    assert not bench.mounts.mounted()


def test_another_device_at_the_place_is_refused(bench: Bench) -> None:
    attached, _ = in_use(bench)
    _, other = formatted(bench)
    with pytest.raises(WrongDisk):
        mount(bench, other, attached.volume)


def test_a_disk_without_a_file_system_is_not_mounted(bench: Bench) -> None:
    attached = bench.plug()
    with pytest.raises(CheckFailed):
        mount(bench, found(bench, attached), attached.volume)
    assert not bench.mounts.mounted()


def test_a_damaged_disk_is_not_mounted(bench: Bench) -> None:
    """C19: twenty times one clear error."""
    attached, device = formatted(bench)
    bench.damage(device)
    for _ in range(20):
        with pytest.raises(CheckFailed):
            mount(bench, device, attached.volume)
    assert not bench.mounts.mounted()


def test_a_claimed_device_is_not_mounted(bench: Bench) -> None:
    attached, device = formatted(bench)
    with bench.devices.claim(device, Deadline.after(bench.clock, 1)), pytest.raises(StillMounted):
        mount(bench, device, attached.volume)


def test_a_device_that_is_gone_is_not_mounted(bench: Bench) -> None:
    attached, device = formatted(bench)
    bench.unplug(attached)
    with pytest.raises(TruthUnknown):
        mount(bench, device, attached.volume)


def test_a_read_only_mount_takes_no_byte(bench: Bench) -> None:
    attached, device = in_use(bench)
    bench.mounts.unmount(attached.volume)
    mount(bench, device, attached.volume, read_only=True)
    with pytest.raises(OSError, match=r"[Rr]ead-only"):
        bench.write(attached.volume, "f", b"x")


def test_a_writable_mount_becomes_read_only_when_asked(bench: Bench) -> None:
    attached, device = in_use(bench)
    mount(bench, device, attached.volume, read_only=True)
    with pytest.raises(OSError, match=r"[Rr]ead-only"):
        bench.write(attached.volume, "f", b"x")


def test_a_mount_that_was_made_read_only_by_hand_is_writable_again(bench: Bench) -> None:
    """A second container's mount finds it like that (F29)."""
    attached, device = in_use(bench)
    mount(bench, device, attached.volume, read_only=True)

    bench.mounts.verify(device, attached.volume, "data")

    bench.write(attached.volume, "f", b"x")


def test_a_read_only_volume_is_not_prepared(bench: Bench) -> None:
    attached, device = formatted(bench)
    mount(bench, device, attached.volume, read_only=True)
    with pytest.raises(TruthUnknown):
        bench.mounts.prepare(attached.volume, "data", 1, 1, 0o700)


def test_unmounting_what_is_not_mounted_is_fine(bench: Bench) -> None:
    bench.mounts.unmount(VolumeId(uuid4()))


def test_a_busy_volume_stays_mounted(bench: Bench) -> None:
    attached, device = in_use(bench)
    bench.keep_busy(attached.volume)
    with pytest.raises(StillMounted):
        bench.mounts.unmount(attached.volume)
    assert bench.mounts.mounted() == {attached.volume: device.number}


def test_our_own_mount_is_no_user(bench: Bench) -> None:
    _, device = in_use(bench)
    assert not bench.mounts.users(device)


def test_a_container_is_a_user_also_after_our_unmount(bench: Bench) -> None:
    attached, device = in_use(bench)
    bench.hold_elsewhere(device, attached.volume)
    bench.mounts.unmount(attached.volume)
    assert [user.root for user in bench.mounts.users(device)] == ["/data"]


def test_a_container_that_ended_is_no_user(bench: Bench) -> None:
    attached, device = in_use(bench)
    bench.hold_elsewhere(device, attached.volume)
    bench.let_go(device)
    assert not bench.mounts.users(device)


@pytest.mark.integration
def test_what_was_written_is_on_the_disk_after_our_unmount_though_a_container_still_has_it(linux: LinuxBench) -> None:
    """Its file system is not unmounted, so nothing but us writes back what another one wrote through our mount (D11b)."""
    attached, device = in_use(linux)
    linux.hold_elsewhere(device, attached.volume)
    written = uuid4().hex.encode() * 100
    linux.write(attached.volume, "f", written)

    linux.mounts.unmount(attached.volume)

    (image,) = linux.loops.values()
    assert written in image.read_bytes()


def test_a_volume_is_mounted_again_while_a_container_still_has_it(bench: Bench) -> None:
    attached, device = in_use(bench)
    bench.hold_elsewhere(device, attached.volume)
    bench.mounts.unmount(attached.volume)
    mount(bench, device, attached.volume)
    assert bench.mounts.verify(device, attached.volume, "data")


def test_the_directory_gets_its_owner_and_mode(bench: Bench) -> None:
    attached, _ = in_use(bench)
    bench.mounts.prepare(attached.volume, "data", 999, 998, 0o2770)
    assert bench.owner(attached.volume) == (999, 998, 0o2770)


def test_the_owner_is_kept_over_mounts(bench: Bench) -> None:
    """C10."""
    attached, device = in_use(bench)
    bench.mounts.prepare(attached.volume, "data", 999, 999, 0o700)
    bench.mounts.unmount(attached.volume)
    mount(bench, device, attached.volume)
    assert bench.owner(attached.volume) == (999, 999, 0o700)


def test_an_unmounted_volume_is_not_prepared(bench: Bench) -> None:
    with pytest.raises(TruthUnknown):
        bench.mounts.prepare(VolumeId(uuid4()), "data", 0, 0, 0o755)


@pytest.mark.parametrize(("layout", "end"), [("data", "/data"), ("root", "")])
def test_the_path_is_the_same_mounted_or_not(bench: Bench, layout: str, end: str) -> None:
    attached, device = formatted(bench)
    before = bench.mounts.path(attached.volume, layout)
    mount(bench, device, attached.volume)
    bench.mounts.prepare(attached.volume, layout, 0, 0, 0o755)
    assert before.endswith(f"/{attached.volume}{end}")
    assert bench.mounts.verify(device, attached.volume, layout) == before


def test_what_is_not_mounted_is_not_verified(bench: Bench) -> None:
    attached, device = formatted(bench)
    with pytest.raises(TruthUnknown):
        bench.mounts.verify(device, attached.volume, "data")


def test_another_device_is_not_verified(bench: Bench) -> None:
    attached, _ = in_use(bench)
    _, other = formatted(bench)
    with pytest.raises(WrongDisk):
        bench.mounts.verify(other, attached.volume, "data")


def test_a_symbolic_link_in_place_of_the_directory_is_refused(bench: Bench) -> None:
    """corrections 8: Docker would follow it into the host."""
    attached, device = in_use(bench)
    bench.bend_data(attached.volume)
    with pytest.raises(WrongDisk):
        bench.mounts.verify(device, attached.volume, "data")
    bench.mounts.unmount(attached.volume)


def test_a_missing_directory_is_refused(bench: Bench) -> None:
    attached, device = formatted(bench)
    mount(bench, device, attached.volume)
    with pytest.raises(WrongDisk):
        bench.mounts.verify(device, attached.volume, "data")


# --- what only the real kernel can show ------------------------------------------------------------------------


@pytest.mark.integration
def test_every_mount_is_nosuid_and_nodev(linux: LinuxBench) -> None:
    attached, _ = in_use(linux)
    assert {"nosuid", "nodev"} <= entry(linux, attached.volume).options


@pytest.mark.integration
def test_a_set_user_id_program_on_a_volume_does_not_make_root(linux: LinuxBench) -> None:
    """F64."""
    attached, _ = in_use(linux, size_bytes=8 * MIB)
    program = Path(linux.mounts.path(attached.volume, "data")) / "id"
    shutil.copy("/usr/bin/id", program)
    program.chmod(0o4755)
    for directory in (linux.directory, *linux.directory.parents[:-2]):
        directory.chmod(directory.stat().st_mode | 0o111)
    done = subprocess.run([str(program), "-u"], user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, check=True)
    assert done.stdout.strip() == str(NOBODY).encode()


@pytest.mark.integration
@pytest.mark.parametrize("fstype", FSTYPES)
def test_the_allowed_mount_options_work(linux: LinuxBench, fstype: str) -> None:
    words = {
        "ext4": ("noatime", "nodiratime", "lazytime", "noexec", "sync", "dirsync", "discard", "data=ordered", "commit=30"),
        "xfs": ("strictatime", "noexec", "discard", "allocsize=64k", "largeio", "inode64", "logbsize=32k", "swalloc"),
    }
    attached, device = formatted(linux, fstype, MINIMUM_SIZE[fstype])
    linux.mounts.mount(device, attached.volume, fstype, words[fstype], read_only=False)
    told = entry(linux, attached.volume).options | entry(linux, attached.volume).super_options
    assert {"noexec", "discard"} <= told


@pytest.mark.integration
def test_an_option_that_the_kernel_refuses_is_no_damage(linux: LinuxBench) -> None:
    attached, device = formatted(linux)
    with pytest.raises(InvalidOption):
        mount(linux, device, attached.volume, "no_such_option")
    assert not linux.mounts.mounted()


@pytest.mark.integration
def test_bad_options_on_a_damaged_disk_are_damage(linux: LinuxBench) -> None:
    attached, device = formatted(linux)
    linux.damage(device)
    with pytest.raises(CheckFailed):
        mount(linux, device, attached.volume, "no_such_option")


@pytest.mark.integration
def test_the_bare_mount_point_is_closed_and_its_parents_can_be_passed(linux: LinuxBench) -> None:
    """corrections 8, C09."""
    attached, _ = in_use(linux)
    point = Path(linux.mounts.path(attached.volume, "root"))
    kernel.umount(str(point))
    assert stat.S_IMODE(point.stat().st_mode) == 0
    assert {stat.S_IMODE(parent.stat().st_mode) for parent in (point.parent, point.parent.parent)} == {0o711}
    assert not Path(linux.mounts.path(attached.volume, "data")).exists()


@pytest.mark.integration
def test_the_mount_point_is_removed(linux: LinuxBench) -> None:
    attached, _ = in_use(linux)
    linux.mounts.unmount(attached.volume)
    assert os.listdir(linux.root) == []


@pytest.mark.integration
def test_a_failed_mount_leaves_no_mount_point(linux: LinuxBench) -> None:
    attached = linux.plug()
    with pytest.raises(CheckFailed):
        mount(linux, found(linux, attached), attached.volume)
    assert os.listdir(linux.root) == []


@pytest.mark.integration
def test_a_mount_in_another_namespace_is_not_taken_away_with_the_mount_point(linux: LinuxBench) -> None:
    """rmdir of a mount point ends the mounts on it in all other namespaces, lazily."""
    attached, device = in_use(linux)
    linux.in_namespace("true")
    linux.mounts.unmount(attached.volume)
    assert [user.path for user in linux.mounts.users(device)] == [linux.mounts.path(attached.volume, "root")]
    linux.let_go(device)
    linux.mounts.unmount(attached.volume)
    assert os.listdir(linux.root) == []


@pytest.mark.integration
def test_a_busy_volume_names_who_uses_it(linux: LinuxBench) -> None:
    """F47."""
    attached, _ = in_use(linux)
    linux.keep_busy(attached.volume)
    with pytest.raises(StillMounted, match=rf"pid {os.getpid()}\)"):
        linux.mounts.unmount(attached.volume)


@pytest.mark.integration
def test_several_mounts_on_one_place_all_go(linux: LinuxBench) -> None:
    attached, _ = in_use(linux)
    _, other = formatted(linux)
    for _ in range(2):
        kernel.mount("none", linux.mounts.path(attached.volume, "root"), "tmpfs", 0, "")
    kernel.mount(other.path, linux.mounts.path(attached.volume, "root"), "ext4", 0, "")
    linux.mounts.unmount(attached.volume)
    assert not linux.mounts.mounted()


@pytest.mark.integration
def test_the_mount_on_top_counts(linux: LinuxBench) -> None:
    attached, device = in_use(linux)
    _, other = formatted(linux)
    kernel.mount(other.path, linux.mounts.path(attached.volume, "root"), "ext4", 0, "")
    assert linux.mounts.mounted() == {attached.volume: other.number}
    with pytest.raises(WrongDisk):
        linux.mounts.verify(device, attached.volume, "data")


@pytest.mark.integration
def test_another_device_over_the_directory_is_refused(linux: LinuxBench) -> None:
    attached, device = in_use(linux)
    _, other = formatted(linux)
    data = linux.mounts.path(attached.volume, "data")
    kernel.mount(other.path, data, "ext4", 0, "")
    with pytest.raises(WrongDisk):
        linux.mounts.verify(device, attached.volume, "data")
    kernel.umount(data)


@pytest.mark.integration
def test_a_link_in_place_of_the_mount_point_is_refused(linux: LinuxBench, tmp_path: Path) -> None:
    attached, device = formatted(linux)
    linux.root.mkdir(parents=True)
    (linux.root / str(attached.volume)).symlink_to(tmp_path)
    with pytest.raises(TruthUnknown):
        mount(linux, device, attached.volume)


@pytest.mark.integration
def test_a_device_that_became_another_disk_is_not_mounted(linux: LinuxBench) -> None:
    attached, device = formatted(linux)
    with pytest.raises(WrongDisk):
        mount(linux, replace(device, disk_uuid=DiskUuid(VM)), attached.volume)
    assert not linux.mounts.mounted()


@pytest.mark.integration
def test_a_bind_mount_in_our_own_namespace_is_a_user(linux: LinuxBench) -> None:
    attached, device = in_use(linux)
    place = linux.directory / "by hand"
    place.mkdir()
    subprocess.run(["mount", "--bind", linux.mounts.path(attached.volume, "data"), str(place)], check=True)
    try:
        assert [(user.path, user.root) for user in linux.mounts.users(device)] == [(str(place), "/data")]
    finally:
        kernel.umount(str(place))


@pytest.mark.integration
def test_what_lies_beside_our_volumes_is_not_ours(linux: LinuxBench) -> None:
    _, device = in_use(linux)
    place = linux.root / "lost"
    place.mkdir()
    kernel.mount("none", str(place), "tmpfs", 0, "")
    try:
        assert list(linux.mounts.mounted().values()) == [device.number]
    finally:
        kernel.umount(str(place))


@pytest.mark.integration
def test_a_file_system_that_stopped_writing_is_not_handed_out(linux: LinuxBench) -> None:
    """corrections 22, F29: the datastore ran full under a container."""
    store = linux.directory / "store"
    store.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(store)], check=True)
    try:
        image = store / "full-flat.vmdk"
        image.touch()
        os.truncate(image, 64 * MIB)
        attached = linux.attach(image, VM)
        device = found(linux, attached)
        linux.filesystems.make(device, "ext4", uuid4(), (), pristine=True)
        mount(linux, device, attached.volume)
        linux.mounts.prepare(attached.volume, "data", 0, 0, 0o755)
        _fill(Path(linux.mounts.path(attached.volume, "data")))
        with pytest.raises(NoSpace):
            mount(linux, device, attached.volume)
        linux.mounts.unmount(attached.volume)
        linux.unplug(attached)
    finally:
        subprocess.run(["umount", str(store)], check=True)


def _fill(directory: Path) -> None:
    """Write and flush until the file system has had enough: at least one transaction must hit the full datastore."""
    for number in range(64):
        try:
            descriptor = os.open(directory / str(number), os.O_CREAT | os.O_WRONLY)
        except OSError:
            return
        try:
            os.write(descriptor, os.urandom(MIB // 2))
            os.fsync(descriptor)
        except OSError:
            continue
        finally:
            os.close(descriptor)


# --- the text of mountinfo -------------------------------------------------------------------------------------


def test_octal_escapes_are_read() -> None:
    line = r"36 35 98:0 /a\040b /mnt/x\011y\134z rw,noatime shared:7 master:2 - ext4 /dev/a\040b rw,errors=continue"
    (only,) = mountinfo.parse(line)
    assert (only.root, only.path, only.source) == ("/a b", "/mnt/x\ty\\z", "/dev/a b")


def test_any_number_of_optional_fields_is_read() -> None:
    lines = ["1 0 8:1 / /a rw - ext4 /dev/x rw", "2 0 8:1 / /b rw shared:1 master:2 propagate_from:3 unbindable - ext4 x rw"]
    assert [entry.number for entry in mountinfo.parse("\n".join(lines))] == [(8, 1), (8, 1)]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\x00\x00",
        "36 35 98:0 /",
        "36 35 98:0 / /mnt rw",
        "36 35 98:0 / /mnt rw - ext4",
        "x 35 98:0 / /mnt rw - ext4 /dev/x rw",
        "36 35 98 / /mnt rw - ext4 /dev/x rw",
        "36 35 a:b / /mnt rw - ext4 /dev/x rw",
        "36 35 \u0663:1 / /mnt rw - ext4 /dev/x rw",
    ],
)
def test_garbage_is_left_out(line: str) -> None:
    good = "1 0 8:1 / /a rw - ext4 /dev/x rw"
    assert len(list(mountinfo.parse(f"{line}\n{good}\n"))) == 1


def test_a_path_with_a_line_separator_is_one_path() -> None:
    (only,) = mountinfo.parse("1 0 8:1 / /a\u2028b rw - ext4 /dev/x rw\n")
    assert only.path == "/a\u2028b"
