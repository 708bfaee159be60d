"""One kernel in memory that is Devices, Filesystems and Mounts at once, as strict as the real one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from uuid import UUID

from tests.doubles.memory_disks import Content, Disk, Disks
from tests.doubles.memory_ports import AgentDied, MemoryDevices, MemoryFilesystems, MemoryMounts
from vmdkvol.clock import Clock, Condition, Deadline
from vmdkvol.errors import StillMounted, TruthUnknown, VolumeError
from vmdkvol.options import PACKAGES
from vmdkvol.volume import Address, Attachment, DiskUuid, VmId, VolumeId
from vmdkvol_guest.ports import Device, MountTarget

__all__ = ["AgentDied", "Content", "Disk", "Disks", "MemoryGuest"]

BLOCK_MAJOR = 7


@dataclass(slots=True)
class Plugged:
    address: Address
    device: Device
    claims: set[object] = field(default_factory=set)
    mkfs: tuple[str, UUID] | None = None
    elsewhere: list[MountTarget] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Mounted:
    number: tuple[int, int]
    fstype: str
    options: tuple[str, ...]
    read_only: bool


class MemoryGuest:
    """A kernel of one machine. ``devices``, ``filesystems`` and ``mounts`` are its three ports; the rest is for tests.

    ``script`` maps the name of a port's method to errors that its next calls raise, before anything is done.
    """

    def __init__(self, clock: Clock, vm: VmId, disks: Disks | None = None, root: str = "/run/vmdkvol/mnt") -> None:
        self.clock = clock
        self.vm = vm
        self.disks = disks or Disks()
        self.root = root
        self.changed: Condition = clock.condition()
        self.plugged: dict[tuple[int, int], Plugged] = {}
        self.table: dict[VolumeId, Mounted] = {}
        self.busy: set[VolumeId] = set()
        self.script: dict[str, list[VolumeError]] = {}
        self.calls: list[str] = []
        self.tools: set[str] = set(PACKAGES)
        self.die_in_make = False
        # What a real kernel promises; a test may break it, to see that it is noticed.
        self.syncs = self.flushes = True
        self.devices = MemoryDevices(self)
        self.filesystems = MemoryFilesystems(self)
        self.mounts = MemoryMounts(self)
        self._next_minor = 100000

    # --- what happens to the machine ---------------------------------------------------------------------------

    def plug(self, attachment: Attachment) -> Device:
        """The hypervisor attaches a disk: its device appears at the attachment's address, unless it is there."""
        return self.plug_other(attachment, attachment.disk_uuid, attachment.size_bytes)

    def plug_other(self, attachment: Attachment, uuid: DiskUuid, size_bytes: int) -> Device:
        """At the attachment's address appears this disk, which may be the wrong one (F45)."""
        with self.changed:
            for known in self.plugged.values():
                if known.address == attachment.address and known.device.disk_uuid == uuid:
                    return known.device
            disk = self.disks.disk(uuid, size_bytes)
            number = (BLOCK_MAJOR, self._next_minor)
            self._next_minor += 1
            device = Device(f"/dev/loop{number[1]}", number, uuid, disk.size_bytes)
            self.plugged[number] = Plugged(attachment.address, device)
            self.changed.notify_all()
            return device

    def unplug(self, uuid: DiskUuid) -> None:
        """The hypervisor detaches a disk; absent is fine, one in use is refused with StillMounted (corrections 3)."""
        with self.changed:
            numbers = [number for number, known in self.plugged.items() if known.device.disk_uuid == uuid]
            for number in numbers:
                if self.in_use(number):
                    raise StillMounted(f"{self.plugged[number].device.path} is in use")
                del self.plugged[number]
            self.changed.notify_all()

    def enlarge(self, uuid: DiskUuid, size_bytes: int, *, seen: bool = True) -> None:
        """The hypervisor lets a disk grow; ``seen`` by this kernel, if it has it, or only with the next ``see``."""
        with self.changed:
            self.disks.enlarge(uuid, size_bytes)
            if seen:
                self.see(uuid)

    def see(self, uuid: DiskUuid) -> None:
        """This kernel reads the size of the disk anew."""
        with self.changed:
            for known in self.plugged.values():
                if known.device.disk_uuid == uuid:
                    known.device = replace(known.device, size_bytes=self.disks[uuid].size_bytes)
            self.changed.notify_all()

    def pull(self, uuid: DiskUuid) -> None:
        """The disk vanishes, whatever uses it (F28); mounts of it stay as corpses."""
        with self.changed:
            for number, known in list(self.plugged.items()):
                if known.device.disk_uuid == uuid:
                    del self.plugged[number]
            self.changed.notify_all()

    def hold_elsewhere(self, device: Device, pid: int = 4711, path: str = "/data") -> MountTarget:
        """A container's mount namespace gets its own copy of the mount, which outlives ours."""
        target = MountTarget(pid, path, "/data")
        with self.changed:
            self.plugged[device.number].elsewhere.append(target)
        return target

    def release_elsewhere(self, device: Device) -> None:
        """The containers end: no other namespace has the device mounted any more."""
        with self.changed:
            known = self.plugged.get(device.number)
            if known is not None:
                known.elsewhere.clear()
                self._last_user_gone(device.number)
            self.changed.notify_all()

    def leave(self, number: tuple[int, int], pid: int) -> None:
        """A process ends, and its namespace with it; the last one out writes everything back."""
        with self.changed:
            known = self.plugged.get(number)
            if known is not None:
                known.elsewhere[:] = [target for target in known.elsewhere if target.pid != pid]
                self._last_user_gone(number)
            self.changed.notify_all()

    def crash(self) -> None:
        """The agent is killed: its descriptors are closed; mounts, namespaces and a running mkfs stay."""
        with self.changed:
            for known in self.plugged.values():
                known.claims.clear()
            self.changed.notify_all()

    def reboot(self, *, keep_devices: bool = True) -> None:
        """The machine loses power: no mount, no process, nothing that was not flushed. A VM keeps its disks."""
        with self.changed:
            used = [number for number in self.plugged if self.in_use(number)]
            for number in self.plugged:
                disk = self.disk(number)
                disk.put(replace(disk.durable, dirty=disk.durable.dirty or number in used))
            for known in self.plugged.values():
                known.claims.clear()
                known.mkfs = None
                known.elsewhere.clear()
                self.see(known.device.disk_uuid)
            self.table.clear()
            self.busy.clear()
            if not keep_devices:
                self.plugged.clear()
            self.changed.notify_all()

    def finish_mkfs(self, device: Device) -> None:
        """A mkfs that outlived its agent comes to its end (corrections 10)."""
        with self.changed:
            known = self.plugged[device.number]
            if known.mkfs is not None:
                fstype, uuid = known.mkfs
                known.mkfs = None
                self.format(device, fstype, uuid)
            self.changed.notify_all()

    def leave_alone(self, volume: VolumeId) -> None:
        """The process that kept the mount busy ends."""
        with self.changed:
            self.busy.discard(volume)
            self.changed.notify_all()

    def write(self, volume: VolumeId, name: str, data: bytes, *, fsync: bool) -> None:
        """A container writes a file; without ``fsync`` it is lost with the power."""
        with self.changed:
            mounted = self.table[volume]
            if mounted.read_only:
                raise PermissionError("read-only file system")
            disk = self.disk(mounted.number)
            if disk.full:
                raise OSError("no space left on device")
            disk.now = replace(disk.now, files={**disk.now.files, name: data})
            if fsync:
                disk.durable = disk.now

    def reads_only(self, volume: VolumeId) -> bool:
        """Tell whether the volume is mounted here read-only."""
        mounted = self.table.get(volume)
        return mounted is not None and mounted.read_only

    def read(self, volume: VolumeId, name: str) -> bytes:
        """A container reads a file."""
        with self.changed:
            return self.disk(self.table[volume].number).now.files[name]

    # --- for the ports -----------------------------------------------------------------------------------------

    def step(self, name: str) -> None:
        """Note the call; raise what the test put into ``script`` for it."""
        self.calls.append(name)
        errors = self.script.get(name)
        if errors:
            raise errors.pop(0)

    def disk(self, number: tuple[int, int]) -> Disk:
        return self.disks[self.plugged[number].device.disk_uuid]

    def known(self, device: Device) -> Plugged:
        """Return the device's state, or raise TruthUnknown if it is gone."""
        found = self.plugged.get(device.number)
        if found is None or found.device.disk_uuid != device.disk_uuid:
            raise TruthUnknown(f"{device.path} is gone")
        return found

    def in_use(self, number: tuple[int, int]) -> bool:
        known = self.plugged[number]
        mounted = any(entry.number == number for entry in self.table.values())
        return bool(mounted or known.elsewhere or known.claims or known.mkfs)

    def exclusive(self, device: Device, doing: str) -> Disk:
        """Return the disk for a tool that opens the device O_EXCL; raise TruthUnknown if something has it."""
        self.known(device)
        if self.in_use(device.number):
            raise TruthUnknown(f"{doing} of {device.path} failed: the device is in use")
        disk = self.disk(device.number)
        if disk.unreadable:
            raise TruthUnknown(f"{doing} of {device.path} failed: it cannot be read")
        return disk

    def entry(self, number: tuple[int, int], fstype: str, options: tuple[str, ...], read_only: bool) -> Mounted:
        return Mounted(number, fstype, options, read_only)

    def format(self, device: Device, fstype: str, uuid: UUID) -> None:
        disk = self.disk(device.number)
        disk.formatted += 1
        disk.now = Content(fstype, uuid, uuid.hex[:8], owners={"": (0, 0, 0o755)}, spans=device.size_bytes)
        if self.flushes:
            disk.durable = disk.now

    def wait(self, done: Callable[[], bool], deadline: Deadline) -> bool:
        """With ``changed`` held: wait until ``done()`` or the deadline; tell which."""
        while not done():
            if deadline.passed:
                return False
            self.changed.wait(deadline.left_s)
        return True

    def _last_user_gone(self, number: tuple[int, int]) -> None:
        """The superblock ends: everything is written back and the journal is clean."""
        if not self.in_use(number) and self.syncs:
            disk = self.disk(number)
            disk.put(replace(disk.now, dirty=False))

    def unmounted(self, volume: VolumeId) -> None:
        number = self.table.pop(volume).number
        if number in self.plugged:
            disk = self.disk(number)
            if self.syncs:
                disk.durable = disk.now
            self._last_user_gone(number)
        self.changed.notify_all()
