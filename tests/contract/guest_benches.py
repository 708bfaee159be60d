"""What the contract tests of Devices, Filesystems and Mounts need of a machine: disks to plug, containers to pretend.

One bench has the kernel in memory, the other this machine's own, with loop devices over sparse files.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol
from uuid import UUID, uuid4

from tests.doubles.memory_guest import Content, MemoryGuest
from vmdkvol.clock import Clock, Deadline, SystemClock
from vmdkvol.options import CreateOptions
from vmdkvol.volume import Attachment, DiskUuid, LoopAddress, VmId, VolumeId, loop_tag
from vmdkvol.volume import Content as Recorded
from vmdkvol_guest.linux.commands import Commands
from vmdkvol_guest.linux.devices import LinuxDevices
from vmdkvol_guest.linux.filesystems import LinuxFilesystems
from vmdkvol_guest.linux.mounts import LinuxMounts
from vmdkvol_guest.ports import Device, Devices, Filesystems, Mounts

MIB = 1 << 20
VM = VmId(UUID("4208aaaa-0000-4000-8000-00000000000a"))
OTHER_VM = VmId(UUID("4208bbbb-0000-4000-8000-00000000000b"))


def attachment(number: int, size_bytes: int, disk: DiskUuid | None = None) -> Attachment:
    """An attachment as the service tells it, of a new volume."""
    options = CreateOptions(size_bytes=size_bytes)
    disk = disk or DiskUuid(uuid4())
    return Attachment(VolumeId(uuid4()), disk, size_bytes, LoopAddress(number), 1, Recorded.UNFORMATTED, None, options)


class Bench(Protocol):
    @property
    def clock(self) -> Clock: ...
    @property
    def devices(self) -> Devices: ...
    @property
    def filesystems(self) -> Filesystems: ...
    @property
    def mounts(self) -> Mounts: ...

    def end(self) -> None:
        """Take away everything that was made."""
        ...

    def plug(self, size_bytes: int = 2 * MIB) -> Attachment:
        """Attach a blank disk."""
        ...

    def unplug(self, attached: Attachment) -> None: ...
    def plug_later(self, attached: Attachment) -> None:
        """Attach, from another thread and in a moment, a disk that ``announce`` told of."""
        ...

    def announce(self) -> Attachment:
        """Return the attachment of a disk whose device does not exist yet."""
        ...

    def clone(self, attached: Attachment) -> Attachment:
        """Attach a copy of the disk's bytes."""
        ...

    def enlarge(self, attached: Attachment, size_bytes: int) -> Attachment:
        """Let the disk and its device grow; return the attachment as the service tells it afterwards."""
        ...

    def damage(self, device: Device) -> None:
        """Overwrite the first MiB with noise (C19)."""
        ...

    def sign(self, device: Device) -> None:
        """Put a signature there that is not ours."""
        ...

    def hold_elsewhere(self, device: Device, volume: VolumeId) -> None:
        """A container's namespace takes a copy of the mount and keeps only that."""
        ...

    def let_go(self, device: Device) -> None:
        """The containers end."""
        ...

    def write(self, volume: VolumeId, name: str, data: bytes) -> None: ...
    def read(self, volume: VolumeId, name: str) -> bytes: ...
    def keep_busy(self, volume: VolumeId) -> None:
        """A process of this namespace works in the volume."""
        ...

    def bend_data(self, volume: VolumeId) -> None:
        """Replace the sub-directory by a symbolic link to the root of the host."""
        ...

    def owner(self, volume: VolumeId) -> tuple[int, int, int]:
        """uid, gid and mode of what Docker gets, layout data."""
        ...


def found(bench: Bench, attached: Attachment) -> Device:
    return bench.devices.find(attached, Deadline.after(bench.clock, 2.0))


def formatted(bench: Bench, fstype: str = "ext4", size_bytes: int = 2 * MIB) -> tuple[Attachment, Device]:
    """Return a disk with a file system on it."""
    attached = bench.plug(size_bytes)
    device = found(bench, attached)
    bench.filesystems.make(device, fstype, uuid4(), (), pristine=True)
    return attached, device


def in_use(bench: Bench, fstype: str = "ext4", size_bytes: int = 2 * MIB) -> tuple[Attachment, Device]:
    """Return a disk that is mounted, with its sub-directory."""
    attached, device = formatted(bench, fstype, size_bytes)
    bench.mounts.mount(device, attached.volume, fstype, (), read_only=False)
    bench.mounts.prepare(attached.volume, "data", 0, 0, 0o755)
    return attached, device


class MemoryBench:
    def __init__(self, directory: Path) -> None:
        self.clock = SystemClock()
        self.guest = MemoryGuest(self.clock, VM)
        self.devices, self.filesystems, self.mounts = self.guest.devices, self.guest.filesystems, self.guest.mounts
        self._numbers = itertools.count(1)

    def end(self) -> None: ...

    def plug(self, size_bytes: int = 2 * MIB) -> Attachment:
        attached = attachment(next(self._numbers), size_bytes)
        self.guest.plug(attached)
        return attached

    def announce(self) -> Attachment:
        return attachment(next(self._numbers), 2 * MIB)

    def plug_later(self, attached: Attachment) -> None:
        def work() -> None:
            self.clock.sleep(0.05)
            self.guest.plug(attached)

        self.clock.start("plug", work)

    def unplug(self, attached: Attachment) -> None:
        self.guest.unplug(attached.disk_uuid)

    def clone(self, attached: Attachment) -> Attachment:
        copied = attachment(next(self._numbers), attached.size_bytes)
        self.guest.disks.copy(attached.disk_uuid, copied.disk_uuid)
        self.guest.plug(copied)
        return copied

    def enlarge(self, attached: Attachment, size_bytes: int) -> Attachment:
        self.guest.enlarge(attached.disk_uuid, size_bytes)
        return replace(attached, size_bytes=size_bytes)

    def damage(self, device: Device) -> None:
        disk = self.guest.disks[device.disk_uuid]
        disk.put(Content(files=disk.now.files, owners=disk.now.owners, damaged=True))

    def sign(self, device: Device) -> None:
        self.guest.disks[device.disk_uuid].put(Content(kind="swap"))

    def hold_elsewhere(self, device: Device, volume: VolumeId) -> None:
        self.guest.hold_elsewhere(device)

    def let_go(self, device: Device) -> None:
        self.guest.release_elsewhere(device)

    def write(self, volume: VolumeId, name: str, data: bytes) -> None:
        self.guest.write(volume, name, data, fsync=False)

    def read(self, volume: VolumeId, name: str) -> bytes:
        return self.guest.read(volume, name)

    def keep_busy(self, volume: VolumeId) -> None:
        self.guest.busy.add(volume)

    def bend_data(self, volume: VolumeId) -> None:
        disk = self.guest.disk(self.guest.table[volume].number)
        disk.put(replace(disk.now, data_is_symlink=True))

    def owner(self, volume: VolumeId) -> tuple[int, int, int]:
        return self.guest.disk(self.guest.table[volume].number).now.owners["data"]


class LinuxBench:
    """This machine's kernel. ``end`` takes away every process, mount and loop device that it made."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = SystemClock()
        self.commands = Commands(self.clock)
        self.devices = LinuxDevices(self.clock, lambda: VM)
        self.filesystems = LinuxFilesystems(self.commands)
        self.root = directory / "run" / "mnt"
        self.mounts = LinuxMounts(self.root, self.clock)
        self.loops: dict[int, Path] = {}
        self.children: list[subprocess.Popen[bytes]] = []
        self.open: list[int] = []

    def end(self) -> None:
        for descriptor in self.open:
            os.close(descriptor)
        self.let_go_all()
        for volume in list(self.mounts.mounted()):
            self.mounts.unmount(volume)
        for number in list(self.loops):
            self.detach(number)

    def image(self, size_bytes: int) -> Path:
        image = self.directory / f"{uuid4().hex}-flat.vmdk"
        image.touch()
        os.truncate(image, size_bytes)
        return image

    def plug(self, size_bytes: int = 2 * MIB) -> Attachment:
        return self.attach(self.image(size_bytes), VM)

    def announce(self) -> Attachment:
        number = free_loop()
        # Taken away at the end, bound or not.
        self.loops[number] = self.image(2 * MIB)
        return attachment(number, 2 * MIB)

    def plug_later(self, attached: Attachment) -> None:
        image = self.image(attached.size_bytes)
        assert isinstance(attached.address, LoopAddress)
        number = attached.address.number
        tag = loop_tag(VM, attached.disk_uuid)
        self.loops[number] = image

        def work() -> None:
            self.clock.sleep(0.05)
            configure(number, image, tag)

        self.clock.start("plug", work)

    def attach(self, image: Path, vm: VmId, disk: DiskUuid | None = None) -> Attachment:
        """Attach a file to a loop device of its own, with the tag of this VM and disk."""
        attached = attachment(free_loop(), image.stat().st_size, disk)
        assert isinstance(attached.address, LoopAddress)
        self.loops[attached.address.number] = image
        configure(attached.address.number, image, loop_tag(vm, attached.disk_uuid))
        return attached

    def unplug(self, attached: Attachment) -> None:
        assert isinstance(attached.address, LoopAddress)
        self.detach(attached.address.number)

    def detach(self, number: int) -> None:
        self.loops.pop(number, None)
        release(number)

    def clone(self, attached: Attachment) -> Attachment:
        assert isinstance(attached.address, LoopAddress)
        source = self.loops[attached.address.number]
        target = self.directory / f"{uuid4().hex}-flat.vmdk"
        subprocess.run(["cp", "--sparse=always", str(source), str(target)], check=True)
        return self.attach(target, VM)

    def enlarge(self, attached: Attachment, size_bytes: int) -> Attachment:
        assert isinstance(attached.address, LoopAddress)
        os.truncate(self.loops[attached.address.number], size_bytes)
        loop = os.open(f"/dev/loop{attached.address.number}", os.O_RDWR)
        try:
            fcntl.ioctl(loop, _SET_CAPACITY)
        finally:
            os.close(loop)
        return replace(attached, size_bytes=size_bytes)

    def damage(self, device: Device) -> None:
        self.put(device, os.urandom(MIB))

    def sign(self, device: Device) -> None:
        subprocess.run(["mkswap", device.path], check=True, capture_output=True)

    def put(self, device: Device, data: bytes, offset: int = 0) -> None:
        descriptor = os.open(device.path, os.O_WRONLY)
        try:
            os.pwrite(descriptor, data, offset)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def hold_elsewhere(self, device: Device, volume: VolumeId) -> None:
        place = self.directory / "elsewhere"
        place.mkdir(exist_ok=True)
        data = self.mounts.path(volume, "data")
        # As a container: its own bind of the sub-directory, and no copy of the host's mount.
        self.in_namespace(f'mount --bind "{data}" "{place}" && umount -l "{self.mounts.path(volume, "root")}"')

    def in_namespace(self, script: str) -> subprocess.Popen[bytes]:
        """Start a process with a mount namespace of its own, in which ``script`` has run when this returns."""
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", f"{script} && echo ready && exec sleep 600"]
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.children.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        return child

    def let_go(self, device: Device) -> None:
        self.let_go_all()

    def let_go_all(self) -> None:
        for child in self.children:
            child.kill()
            child.wait()
            assert child.stdout is not None
            child.stdout.close()
        self.children.clear()

    def write(self, volume: VolumeId, name: str, data: bytes) -> None:
        (Path(self.mounts.path(volume, "data")) / name).write_bytes(data)

    def read(self, volume: VolumeId, name: str) -> bytes:
        return (Path(self.mounts.path(volume, "data")) / name).read_bytes()

    def keep_busy(self, volume: VolumeId) -> None:
        self.open.append(os.open(self.mounts.path(volume, "data"), os.O_RDONLY))

    def bend_data(self, volume: VolumeId) -> None:
        data = Path(self.mounts.path(volume, "data"))
        data.rmdir()
        data.symlink_to("/etc")

    def owner(self, volume: VolumeId) -> tuple[int, int, int]:
        found = os.stat(self.mounts.path(volume, "data"))
        return found.st_uid, found.st_gid, found.st_mode & 0o7777


BENCHES: dict[str, Callable[[Path], Bench]] = {"memory": MemoryBench, "linux": LinuxBench}


def start(name: str, directory: Path, benches: Mapping[str, Callable[[Path], Bench]] = BENCHES) -> Iterator[Bench]:
    """Yield the bench of this name; it is taken down afterwards."""
    bench = benches[name](directory)
    try:
        yield bench
    finally:
        bench.end()


# --- loop devices, as the local hypervisor makes them ----------------------------------------------------------

_CTL_ADD, _CTL_REMOVE, _CLR_FD, _CONFIGURE, _SET_CAPACITY = 0x4C80, 0x4C81, 0x4C01, 0x4C0A, 0x4C07
# Apart from the product's own range, so that a sandbox on this machine is not in the way.
_numbers = itertools.count(500_000 + os.getpid() % 30_000 * 8)


def free_loop() -> int:
    """Make a loop device that nobody uses and return its number."""
    control = os.open("/dev/loop-control", os.O_RDWR)
    try:
        for number in _numbers:
            try:
                fcntl.ioctl(control, _CTL_ADD, number)
            except FileExistsError:
                continue
            return number
    finally:
        os.close(control)
    raise AssertionError("numbers end")


def configure(number: int, image: Path, tag: str) -> None:
    """Bind the file to the loop device under this tag."""
    info = struct.pack("=5Q4I64s64s32s2Q", 0, 0, 0, 0, 0, 0, 0, 0, 0, tag.encode(), b"", b"", 0, 0)
    backing = os.open(image, os.O_RDWR)
    loop = os.open(f"/dev/loop{number}", os.O_RDWR)
    try:
        fcntl.ioctl(loop, _CONFIGURE, struct.pack("=2I", backing, 0) + info + bytes(64))
    finally:
        os.close(loop)
        os.close(backing)


def release(number: int) -> None:
    """Unbind the loop device and remove it, as soon as nobody has it any more."""
    loop = os.open(f"/dev/loop{number}", os.O_RDONLY)
    try:
        _unbind(loop)
    finally:
        os.close(loop)
    # The kernel takes its own node away; one that the agent made would stay. Not after: the number is somebody else's then.
    Path(f"/dev/loop{number}").unlink(missing_ok=True)
    until = time.monotonic() + 30.0
    while not _removed(number):
        assert time.monotonic() < until, f"/dev/loop{number} stays in use"
        time.sleep(0.01)


def _unbind(loop: int) -> None:
    try:
        fcntl.ioctl(loop, _CLR_FD, 0)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise


def _removed(number: int) -> bool:
    control = os.open("/dev/loop-control", os.O_RDWR)
    try:
        fcntl.ioctl(control, _CTL_REMOVE, number)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    finally:
        os.close(control)
    return True
