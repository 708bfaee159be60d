"""The three ports of ``memory_guest``'s kernel."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

from tests.doubles.memory_disks import Content, Disk
from vmdkvol.clock import Deadline
from vmdkvol.errors import CheckFailed, ForeignContent, MissingTool, NoSpace, StillMounted, TruthUnknown, WrongDisk
from vmdkvol.options import PACKAGES
from vmdkvol.volume import Address, Attachment, VmId, VolumeId
from vmdkvol_guest.ports import Device, MountTarget, Probe

if TYPE_CHECKING:
    from tests.doubles.memory_guest import MemoryGuest, Mounted

BUSY_RETRY_S = 1.0


class AgentDied(BaseException):
    """Raised out of a call at which the test has the agent killed; no handler of the product may catch it."""


class MemoryDevices:
    """The ``Devices`` port of a memory guest."""

    def __init__(self, guest: MemoryGuest) -> None:
        self._guest = guest

    def find(self, attachment: Attachment, deadline: Deadline) -> Device:
        guest = self._guest
        guest.step("find")
        with guest.changed:
            guest.wait(lambda: self._at(attachment.address) is not None, deadline)
            device = self._at(attachment.address)
            if device is not None and device.size_bytes < attachment.size_bytes and not deadline.passed:
                guest.see(device.disk_uuid)
                device = self._at(attachment.address)
        if device is None:
            raise TruthUnknown(f"no device appeared at {attachment.address}")
        if device.disk_uuid != attachment.disk_uuid or device.size_bytes != attachment.size_bytes:
            raise WrongDisk(f"{device.path} is another disk than {attachment.disk_uuid}")
        return device

    def claim(self, device: Device, deadline: Deadline) -> AbstractContextManager[None]:
        self._guest.step("claim")
        return self._claimed(device, deadline)

    @contextmanager
    def _claimed(self, device: Device, deadline: Deadline) -> Iterator[None]:
        guest, claim = self._guest, object()
        with guest.changed:
            known = guest.known(device)
            if not guest.wait(lambda: not guest.in_use(device.number), deadline.at_most(BUSY_RETRY_S)):
                raise StillMounted(f"{device.path} is in use")
            known.claims.add(claim)
        try:
            yield
        finally:
            with guest.changed:
                # Not there any more if the agent was killed meanwhile: another one's claim stays.
                known.claims.discard(claim)
                guest.changed.notify_all()

    def forget(self, device: Device) -> None:
        self._guest.step("forget")
        with self._guest.changed:
            for entry in self._guest.table.values():
                assert entry.number != device.number, "forget of a device that this agent has mounted"

    def present(self, vm: VmId, attachment: Attachment) -> Device | None:
        self._guest.step("present")
        with self._guest.changed:
            ours = [known.device for known in self._guest.plugged.values() if vm == self._guest.vm]
            return next((device for device in ours if device.disk_uuid == attachment.disk_uuid), None)

    def _at(self, address: Address) -> Device | None:
        found = [known.device for known in self._guest.plugged.values() if known.address == address]
        return found[-1] if found else None


class MemoryFilesystems:
    """The ``Filesystems`` port of a memory guest."""

    def __init__(self, guest: MemoryGuest) -> None:
        self._guest = guest

    def missing_tool(self, fstype: str) -> str | None:
        return None if fstype in self._guest.tools else PACKAGES[fstype]

    def probe(self, device: Device, *, recorded: Probe | None = None) -> Probe:
        self._guest.step("probe")
        with self._guest.changed:
            self._guest.known(device)
            disk = self._guest.disk(device.number)
            if disk.unreadable:
                raise TruthUnknown(f"{device.path} cannot be read")
            return Probe(disk.now.kind, disk.now.uuid)

    def make(self, device: Device, fstype: str, uuid: UUID, options: tuple[str, ...], *, pristine: bool) -> None:
        self._guest.step("make")
        self._require(fstype)
        with self._guest.changed:
            disk = self._guest.exclusive(device, "mkfs")
            if disk.now.kind is not None:
                raise ForeignContent(f"{device.path} has a signature ({disk.now.kind})")
            if disk.full:
                raise NoSpace(f"mkfs of {device.path}: the datastore is full")
            if self._guest.die_in_make:
                self._guest.die_in_make = False
                self._guest.known(device).mkfs = (fstype, uuid)
                raise AgentDied("make")
            assert not pristine or disk.formatted == 0, "pristine said of a disk that held data"
            self._guest.format(device, fstype, uuid)

    def blank(self, device: Device) -> None:
        self._guest.step("blank")
        with self._guest.changed:
            self._guest.exclusive(device, "wipe").put(Content())

    def check(self, device: Device, fstype: str, *, full: bool) -> None:
        self._guest.step("check-full" if full else "check")
        self._require(fstype)
        with self._guest.changed:
            disk = self._guest.exclusive(device, "check")
            if disk.now.kind != fstype or disk.now.damaged:
                raise CheckFailed(f"{device.path} has no sound {fstype}")
            if disk.now.dirty and disk.full:
                raise NoSpace(f"check of {device.path}: the datastore is full")
            disk.put(replace(disk.now, dirty=False))

    def renew_uuid(self, device: Device, fstype: str, uuid: UUID) -> None:
        self._guest.step("renew_uuid")
        self._require(fstype)
        with self._guest.changed:
            disk = self._guest.exclusive(device, "new UUID")
            if disk.now.kind != fstype or disk.now.dirty:
                raise CheckFailed(f"{device.path} was not checked before its new UUID")
            disk.put(replace(disk.now, uuid=uuid, label=uuid.hex[:8]))

    def size(self, device: Device, fstype: str, point: str) -> int:
        self._guest.step("size")
        with self._guest.changed:
            return self._on(device, point).now.spans

    def grow(self, device: Device, fstype: str, point: str) -> None:
        self._guest.step("grow")
        with self._guest.changed:
            disk = self._on(device, point)
            if any(entry.read_only for entry in self._guest.table.values() if entry.number == device.number):
                raise TruthUnknown(f"{point} is read-only")
            if disk.full:
                raise NoSpace(f"{point} cannot grow: the datastore is full")
            # In the journal at once: who loses the power has it as it was or as it is now.
            disk.now = replace(disk.now, spans=device.size_bytes)
            if self._guest.flushes:
                disk.durable = replace(disk.durable, spans=device.size_bytes)

    def _on(self, device: Device, point: str) -> Disk:
        """Return the disk of what is mounted at ``point``, which must be the device in its present size."""
        known = self._guest.known(device)
        mounted = {f"{self._guest.root}/{volume}": entry.number for volume, entry in self._guest.table.items()}
        if mounted.get(point) != device.number or known.device != device:
            raise WrongDisk(f"{device.path} is not what is mounted at {point}")
        return self._guest.disk(device.number)

    def _require(self, fstype: str) -> None:
        package = self.missing_tool(fstype)
        if package is not None:
            raise MissingTool(f"{fstype} needs the package {package}", package=package)


class MemoryMounts:
    """The ``Mounts`` port of a memory guest."""

    def __init__(self, guest: MemoryGuest) -> None:
        self._guest = guest

    def mount(self, device: Device, volume: VolumeId, fstype: str, options: tuple[str, ...], *, read_only: bool) -> None:
        guest = self._guest
        guest.step("mount")
        with guest.changed:
            known = guest.known(device)
            there = guest.table.get(volume)
            if there is not None and there.number != device.number:
                raise WrongDisk(f"another device is mounted for volume {volume}")
            if known.claims or known.mkfs:
                raise StillMounted(f"{device.path} is in exclusive use")
            disk = guest.disk(device.number)
            if disk.now.kind != fstype or disk.now.damaged:
                raise CheckFailed(f"{device.path} cannot be mounted as {fstype}")
            if disk.full and disk.now.dirty:
                raise NoSpace(f"mount of {device.path}: the datastore is full")
            guest.table[volume] = guest.entry(device.number, fstype, options, read_only)

    def unmount(self, volume: VolumeId) -> None:
        guest = self._guest
        guest.step("unmount")
        with guest.changed:
            if volume not in guest.table:
                return
            deadline = Deadline.after(guest.clock, BUSY_RETRY_S)
            if not guest.wait(lambda: volume not in guest.busy, deadline):
                raise StillMounted(f"volume {volume} is busy")
            # The machine may have lost its power while we waited.
            if volume in guest.table:
                guest.unmounted(volume)

    def mounted(self) -> Mapping[VolumeId, tuple[int, int]]:
        self._guest.step("mounted")
        with self._guest.changed:
            return {volume: entry.number for volume, entry in self._guest.table.items()}

    def users(self, device: Device) -> Collection[MountTarget]:
        self._guest.step("users")
        with self._guest.changed:
            known = self._guest.plugged.get(device.number)
            return tuple(known.elsewhere) if known is not None else ()

    def prepare(self, volume: VolumeId, layout: str, uid: int, gid: int, mode: int) -> None:
        self._guest.step("prepare")
        with self._guest.changed:
            entry = self._entry(volume)
            disk = self._guest.disk(entry.number)
            if entry.read_only:
                raise TruthUnknown(f"volume {volume} is mounted read-only")
            self._refuse_symlink(volume, layout, disk)
            disk.now = replace(disk.now, owners={**disk.now.owners, _name(layout): (uid, gid, mode)})
            if self._guest.flushes:
                disk.durable = disk.now

    def path(self, volume: VolumeId, layout: str) -> str:
        return "/".join(part for part in (self._guest.root, str(volume), _name(layout)) if part)

    def verify(self, device: Device, volume: VolumeId, layout: str, *, read_only: bool = False) -> str:
        self._guest.step("verify")
        with self._guest.changed:
            entry = self._entry(volume)
            if entry.number != device.number:
                raise WrongDisk(f"another device is mounted for volume {volume}")
            disk = self._guest.disk(entry.number)
            self._refuse_symlink(volume, layout, disk)
            if _name(layout) not in disk.now.owners:
                raise WrongDisk(f"volume {volume} has no directory {_name(layout)}")
            if entry.read_only != read_only:
                self._guest.table[volume] = replace(entry, read_only=read_only)
        return self.path(volume, layout)

    def _entry(self, volume: VolumeId) -> Mounted:
        entry = self._guest.table.get(volume)
        if entry is None or entry.number not in self._guest.plugged:
            raise TruthUnknown(f"volume {volume} is not mounted")
        return entry

    def _refuse_symlink(self, volume: VolumeId, layout: str, disk: Disk) -> None:
        if layout == "data" and disk.now.data_is_symlink:
            raise WrongDisk(f"the directory data of volume {volume} is a symbolic link")


def _name(layout: str) -> str:
    return "" if layout == "root" else layout
