"""The kernel in memory at the moments that no contract test can bring about on a real one."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from tests.doubles.memory_guest import AgentDied, Disks, MemoryGuest
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.errors import NoSpace, StillMounted, TruthUnknown
from vmdkvol.options import CreateOptions
from vmdkvol.volume import Attachment, Content, DiskUuid, LoopAddress, VmId, VolumeId
from vmdkvol_guest.ports import Device

CLOCK = SystemClock()
UUID_OF_FS = UUID(int=5)


@pytest.fixture
def guest() -> MemoryGuest:
    return MemoryGuest(CLOCK, VmId(UUID(int=1)))


def attachment(number: int = 1) -> Attachment:
    disk, volume = DiskUuid(uuid4()), VolumeId(uuid4())
    return Attachment(volume, disk, 1 << 30, LoopAddress(number), 1, Content.UNFORMATTED, None, CreateOptions())


def used(guest: MemoryGuest, attached: Attachment) -> Device:
    device = guest.plug(attached)
    guest.filesystems.make(device, "ext4", UUID_OF_FS, (), pristine=True)
    guest.mounts.mount(device, attached.volume, "ext4", (), read_only=False)
    return device


def soon() -> Deadline:
    return Deadline.after(CLOCK, 0.0)


def test_the_power_takes_what_was_not_flushed(guest: MemoryGuest) -> None:
    attached = attachment()
    device = used(guest, attached)
    guest.write(attached.volume, "kept", b"1", fsync=True)
    guest.write(attached.volume, "lost", b"2", fsync=False)
    guest.reboot()
    guest.mounts.mount(device, attached.volume, "ext4", (), read_only=False)
    assert guest.read(attached.volume, "kept") == b"1"
    with pytest.raises(KeyError):
        guest.read(attached.volume, "lost")


def test_a_death_of_the_agent_takes_nothing(guest: MemoryGuest) -> None:
    attached = attachment()
    device = used(guest, attached)
    guest.write(attached.volume, "f", b"1", fsync=False)
    guest.crash()
    assert guest.mounts.mounted() == {attached.volume: device.number}
    assert guest.read(attached.volume, "f") == b"1"


def test_a_mkfs_outlives_the_agent_and_holds_the_device(guest: MemoryGuest) -> None:
    """corrections 10."""
    device = guest.plug(attachment())
    guest.die_in_make = True
    with pytest.raises(AgentDied):
        guest.filesystems.make(device, "ext4", UUID_OF_FS, (), pristine=True)
    assert guest.filesystems.probe(device).blank
    with pytest.raises(StillMounted), guest.devices.claim(device, soon()):
        pass
    with pytest.raises(TruthUnknown):
        guest.filesystems.make(device, "ext4", uuid4(), (), pristine=True)
    guest.finish_mkfs(device)
    assert guest.filesystems.probe(device).uuid == UUID_OF_FS


def test_a_disk_in_use_is_not_detached(guest: MemoryGuest) -> None:
    attached = attachment()
    used(guest, attached)
    with pytest.raises(StillMounted):
        guest.unplug(attached.disk_uuid)


def test_the_same_disk_is_read_by_another_kernel_afterwards() -> None:
    disks, attached = Disks(), attachment()
    first, second = (MemoryGuest(CLOCK, VmId(UUID(int=number)), disks) for number in (1, 2))
    used(first, attached)
    first.write(attached.volume, "f", b"1", fsync=False)
    first.mounts.unmount(attached.volume)
    first.unplug(attached.disk_uuid)
    second.mounts.mount(second.plug(attached), attached.volume, "ext4", (), read_only=False)
    assert second.read(attached.volume, "f") == b"1"


def test_a_scripted_error_is_raised_once_and_before_anything_is_done(guest: MemoryGuest) -> None:
    device = guest.plug(attachment())
    guest.script["make"] = [NoSpace("full")]
    with pytest.raises(NoSpace):
        guest.filesystems.make(device, "ext4", UUID_OF_FS, (), pristine=True)
    assert guest.filesystems.probe(device).blank
    guest.filesystems.make(device, "ext4", UUID_OF_FS, (), pristine=True)


def test_a_full_datastore_stops_the_journal_but_is_no_damage(guest: MemoryGuest) -> None:
    """corrections 22."""
    attached = attachment()
    device = used(guest, attached)
    guest.reboot()
    guest.disks[attached.disk_uuid].full = True
    with pytest.raises(NoSpace):
        guest.filesystems.check(device, "ext4", full=False)
    guest.disks[attached.disk_uuid].full = False
    guest.filesystems.check(device, "ext4", full=False)
