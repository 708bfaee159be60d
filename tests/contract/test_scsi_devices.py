"""What a virtual machine's kernel adds to the promises of ``Devices``: names that are used again, disks that say no UUID,
disks that nobody noticed."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from tests.contract.guest_benches import MIB, OTHER_VM, VM, attachment, configure, found, free_loop, release
from tests.contract.scsi_bench import ScsiBench
from tests.doubles.hurried_clock import HurriedClock
from tests.doubles.scsi_sysfs import identification, mute
from vmdkvol.clock import Deadline
from vmdkvol.errors import StillMounted, TruthUnknown, WrongDisk
from vmdkvol.volume import Attachment, Content, DiskUuid, ScsiAddress, loop_tag
from vmdkvol_guest.linux import inquiry, loop_devices
from vmdkvol_guest.linux.devices import LinuxDevices
from vmdkvol_guest.linux.opening import check_identity
from vmdkvol_guest.ports import Device

pytestmark = pytest.mark.integration


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[ScsiBench]:
    bench = ScsiBench(tmp_path)
    yield bench
    bench.end()


def soon(bench: ScsiBench, seconds: float = 0.1) -> Deadline:
    return Deadline.after(bench.clock, seconds)


def silent(bench: ScsiBench, attached: Attachment, address: ScsiAddress | None = None) -> Attachment:
    """The machine has no disk.EnableUUID: the disk is seen, at this address, and says nothing."""
    assert isinstance(attached.address, ScsiAddress)
    disk = mute(bench.sysfs.attached[attached.address])
    bench.sysfs.detach(attached.address)
    bench.sysfs.attach(address or attached.address, disk)
    return attached


def formatted(attached: Attachment) -> Attachment:
    return replace(attached, content=Content.FORMATTED, filesystem_uuid=uuid4())


def refused(bench: ScsiBench, attached: Attachment, kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match):
        bench.devices.find(attached, soon(bench))


# --- names -----------------------------------------------------------------------------------------------------------


def test_the_node_of_a_disk_is_made_where_nothing_else_makes_it(bench: ScsiBench) -> None:
    device = found(bench, bench.plug())
    assert (device.path, os.stat(device.path).st_rdev) == (str(bench.dev / "sda"), os.makedev(*device.number))


def test_a_name_that_went_to_another_disk_is_no_disk_of_ours(bench: ScsiBench) -> None:
    first, second = bench.plug(), bench.announce()
    device = found(bench, first)
    bench.unplug(first)
    bench.insert(second)
    os.unlink(device.path)
    assert found(bench, second).path == device.path
    with pytest.raises(WrongDisk), bench.devices.claim(device, soon(bench)):
        pass


def test_the_same_disk_that_came_again_is_another_device(bench: ScsiBench) -> None:
    """What was proved of the first appearance says nothing of the second."""
    attached = bench.plug()
    device = found(bench, attached)
    assert isinstance(attached.address, ScsiAddress)
    number, image = bench.places[attached.address], bench.loops[bench.places[attached.address]]
    bench.sysfs.detach(attached.address)
    release(number)
    free_again(number)
    bench.insert(attached, image)
    with pytest.raises(WrongDisk, match="came later"), bench.devices.claim(device, soon(bench)):
        pass
    assert found(bench, attached) != device


def test_somebody_else_s_node_under_the_name_is_refused(bench: ScsiBench) -> None:
    attached = bench.plug()
    (bench.dev / "sda").write_bytes(bytes(2 * MIB))
    refused(bench, attached, WrongDisk, "is device 0:0 now")


def test_who_has_built_a_device_on_the_disk_is_named(bench: ScsiBench) -> None:
    device = found(bench, bench.plug())
    (bench.sysfs.root / "block/sda/holders/dm-0/dm").mkdir(parents=True)
    (bench.sysfs.root / "block/sda/holders/dm-0/dm/name").write_text("mpatha\n")
    (bench.sysfs.root / "block/sda/holders/dm-1").mkdir()
    busy = os.open(device.path, os.O_RDONLY | os.O_EXCL)
    try:
        with pytest.raises(StillMounted, match=r"by dm-0 \(mpatha\), dm-1"), bench.devices.claim(device, soon(bench)):
            pass
    finally:
        os.close(busy)


# --- disks that the kernel did not notice --------------------------------------------------------------------------------


def test_a_disk_that_comes_without_an_event_is_looked_for(bench: ScsiBench) -> None:
    attached = bench.plug()
    assert isinstance(attached.address, ScsiAddress)
    disk = bench.sysfs.attached[attached.address]
    bench.sysfs.detach(attached.address)
    bench.sysfs.attach(attached.address, disk, seen=False)
    assert found(bench, attached).disk_uuid == attached.disk_uuid


def test_a_forgotten_disk_whose_detach_failed_comes_back(bench: ScsiBench) -> None:
    attached = bench.plug()
    device = found(bench, attached)
    with bench.devices.claim(device, soon(bench)):
        bench.devices.forget(device)
    assert bench.devices.present(VM, attached) is None
    assert found(bench, attached).disk_uuid == attached.disk_uuid


def test_what_the_kernel_remembers_of_a_disk_is_not_believed(bench: ScsiBench) -> None:
    """The slot has another disk by now, and the kernel shows the pages of the first one (F45)."""
    attached = bench.plug()
    assert isinstance(attached.address, ScsiAddress)
    number = bench.places[attached.address]
    remembered = bench.sysfs.attached[attached.address]
    release(number)
    free_again(number)
    configure(number, bench.loops[number], loop_tag(VM, DiskUuid(uuid4())))
    bench.sysfs.detach(attached.address)
    sequence = int(Path(f"/sys/block/loop{number}/diskseq").read_text())
    bench.sysfs.attach(attached.address, replace(remembered, sequence=sequence))
    refused(bench, attached, WrongDisk, "is another disk than")
    with pytest.raises(WrongDisk):
        bench.devices.present(VM, attached)


class Swapped:
    """A disk that was swapped for another one, and the kernel shows what the first one said."""

    def __init__(self, bench: ScsiBench) -> None:
        remembered = bench.plug()
        assert isinstance(remembered.address, ScsiAddress)
        address, number = remembered.address, bench.places[remembered.address]
        release(number)
        free_again(number)
        self.attached = replace(attachment(0, remembered.size_bytes), address=address)
        configure(number, bench.loops[number], loop_tag(VM, self.attached.disk_uuid))
        now = bench.disk(number, self.attached)
        bench.sysfs.detach(address)
        assert now.sequence is not None
        earlier = replace(now, identification=identification(remembered.disk_uuid), sequence=now.sequence - 1)
        bench.sysfs.attach(address, earlier)
        bench.sysfs.swap(address, now)
        tell, root = bench.sysfs.tell, bench.sysfs.root
        self.devices = LinuxDevices(bench.clock, lambda: VM, sysfs=root, dev=bench.dev, tell=tell, ask=loop_devices.disk_uuid)


def test_a_disk_that_was_swapped_without_an_event_is_looked_for_again(bench: ScsiBench) -> None:
    swapped = Swapped(bench)
    device = swapped.devices.find(swapped.attached, soon(bench, 20.0))
    assert device.disk_uuid == swapped.attached.disk_uuid
    assert [path.rpartition("/")[2] for path, _ in bench.sysfs.told] == ["delete", "scan"]


def test_one_that_somebody_has_open_exclusively_stays_as_it_is(bench: ScsiBench) -> None:
    swapped = Swapped(bench)
    (bench.dev / "sda").unlink(missing_ok=True)
    number = next(iter(bench.places.values()))
    busy = os.open(f"/dev/loop{number}", os.O_RDONLY | os.O_EXCL)
    try:
        with pytest.raises(WrongDisk):
            swapped.devices.find(swapped.attached, soon(bench, 1.0))
    finally:
        os.close(busy)
    assert {path.rpartition("/")[2] for path, _ in bench.sysfs.told} == {"scan"}


def test_another_disk_at_the_address_is_named(bench: ScsiBench) -> None:
    attached = bench.plug()
    other = replace(attached, disk_uuid=DiskUuid(uuid4()))
    refused(bench, other, WrongDisk, f"sda at scsi0:0 is disk {attached.disk_uuid}, not {other.disk_uuid}")


def test_another_disk_that_stays_is_not_waited_for_to_the_end(bench: ScsiBench) -> None:
    other = replace(bench.plug(), disk_uuid=DiskUuid(uuid4()))
    clock = HurriedClock(factor=20)
    devices = LinuxDevices(clock, lambda: VM, sysfs=bench.sysfs.root, dev=bench.dev, tell=bench.sysfs.tell)
    deadline = Deadline.after(clock, 600.0)
    with pytest.raises(WrongDisk):
        devices.find(other, deadline)
    assert deadline.left_s > 300.0


def test_another_disk_that_leaves_makes_room(bench: ScsiBench) -> None:
    there = bench.plug()
    assert isinstance(there.address, ScsiAddress)
    number = bench.places[there.address]
    comes = replace(bench.announce(), address=there.address)

    def hand_over() -> None:
        bench.clock.sleep(0.3)
        bench.sysfs.detach(comes.address)  # type: ignore[arg-type]
        bench.detach(number)
        bench.places[there.address] = free_loop()  # type: ignore[index]
        bench.insert(comes)

    worker = bench.clock.start("hand over", hand_over)
    assert bench.devices.find(comes, soon(bench, 20.0)).disk_uuid == comes.disk_uuid
    worker.join()


def test_the_disk_counts_and_not_where_it_sits(bench: ScsiBench) -> None:
    attached = bench.plug()
    moved = replace(attached, address=ScsiAddress(2, 9))
    assert found(bench, moved).disk_uuid == attached.disk_uuid
    assert bench.devices.present(VM, moved) is not None


def test_two_disks_that_say_the_same_uuid_are_both_left_alone(bench: ScsiBench) -> None:
    attached = bench.plug()
    bench.insert(replace(bench.announce(), disk_uuid=attached.disk_uuid))
    refused(bench, attached, TruthUnknown, "may both be disk")
    with pytest.raises(TruthUnknown):
        bench.devices.present(VM, attached)


# --- a machine without disk.EnableUUID -----------------------------------------------------------------------------------


def test_a_disk_that_says_no_uuid_is_taken_at_the_only_controller_s_unit(bench: ScsiBench) -> None:
    attached = silent(bench, bench.plug())
    device = found(bench, attached)
    assert (device.disk_uuid, device.named) == (attached.disk_uuid, False)
    assert bench.devices.present(VM, attached) == device


def test_at_another_unit_it_is_not_taken(bench: ScsiBench) -> None:
    attached = silent(bench, bench.plug(), ScsiAddress(0, 5))
    refused(bench, attached, TruthUnknown, "no device appeared at scsi0:0")
    assert bench.devices.present(VM, attached) is None


def test_with_another_size_it_is_not_taken(bench: ScsiBench) -> None:
    attached = silent(bench, bench.plug())
    refused(bench, replace(attached, size_bytes=4 * MIB), WrongDisk, "EnableUUID")


def test_a_silent_disk_that_says_another_name_when_asked_is_refused(bench: ScsiBench) -> None:
    attached = silent(bench, bench.plug())
    refused(bench, replace(attached, disk_uuid=DiskUuid(uuid4())), WrongDisk, "is another disk than")


class Guessed(ScsiBench):
    """Two controllers, and nothing that says which is which."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        for entry in self.sysfs.root.glob("devices/*/*/*/label"):
            entry.unlink()
        self.sysfs.controller(1)


@pytest.fixture
def guessed(tmp_path: Path) -> Iterator[Guessed]:
    bench = Guessed(tmp_path)
    yield bench
    bench.end()


def test_a_new_disk_is_not_taken_by_a_guess(guessed: Guessed) -> None:
    """A file system would be made on what may be another volume's disk."""
    attached = silent(guessed, guessed.plug())
    refused(guessed, attached, TruthUnknown, "is not certain")
    clone = replace(attached, content=Content.FORMATTED)
    refused(guessed, clone, TruthUnknown, "is not certain")


def test_a_disk_whose_file_system_is_on_record_is_taken_by_the_order_of_controllers(guessed: Guessed) -> None:
    attached = formatted(silent(guessed, guessed.plug()))
    assert found(guessed, attached).disk_uuid == attached.disk_uuid


def test_the_only_disk_that_may_be_it_is_present(guessed: Guessed) -> None:
    attached = silent(guessed, guessed.plug(), ScsiAddress(1, 0))
    device = guessed.devices.present(VM, attached)
    assert device is not None
    assert not device.named


def test_which_of_two_disks_is_present_is_not_guessed(guessed: Guessed) -> None:
    attached = silent(guessed, guessed.plug())
    twin = guessed.announce()
    guessed.insert(twin)
    silent(guessed, twin, ScsiAddress(1, 0))
    configure_as(guessed, twin, attached)
    with pytest.raises(TruthUnknown, match="may both be disk"):
        guessed.devices.present(VM, attached)


# --- asking the disk -------------------------------------------------------------------------------------------------------


class Asked:
    """What disks of SCSI answer, in place of the loop devices that cannot be asked so."""

    def __init__(self, answer: DiskUuid | None | OSError) -> None:
        self.answer = answer

    def __call__(self, descriptor: int) -> DiskUuid | None:
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer


def test_a_disk_of_which_the_kernel_read_nothing_is_asked(bench: ScsiBench) -> None:
    attached = bench.plug()
    assert isinstance(attached.address, ScsiAddress)
    disk = bench.sysfs.attached[attached.address]
    bench.sysfs.detach(attached.address)
    bench.sysfs.attach(attached.address, replace(disk, identification=None))
    moved = replace(attached, address=ScsiAddress(0, 9))

    assert asking(bench, Asked(attached.disk_uuid)).find(moved, soon(bench)).named
    with pytest.raises(TruthUnknown):
        asking(bench, Asked(OSError(errno.EIO, "no answer"))).find(moved, soon(bench))


def asking(bench: ScsiBench, asked: Asked) -> LinuxDevices:
    return LinuxDevices(bench.clock, lambda: VM, sysfs=bench.sysfs.root, dev=bench.dev, tell=bench.sysfs.tell, ask=asked)


def test_a_loop_device_answers_no_inquiry(bench: ScsiBench) -> None:
    descriptor = os.open(found(bench, bench.plug()).path, os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="Inappropriate ioctl|Invalid argument"):
            inquiry.disk_uuid(descriptor)
    finally:
        os.close(descriptor)


NULL = Device("/dev/null", (1, 3), DiskUuid(OTHER_VM), 0)


def test_a_file_that_is_no_disk_is_none(bench: ScsiBench) -> None:
    descriptor = os.open("/dev/null", os.O_RDONLY)
    try:
        with pytest.raises(TruthUnknown):
            check_identity(descriptor, NULL, Asked(DiskUuid(OTHER_VM)))
    finally:
        os.close(descriptor)


def free_again(number: int) -> None:
    """Make a loop device that was released usable under its number again."""
    control = os.open("/dev/loop-control", os.O_RDWR)
    try:
        fcntl.ioctl(control, 0x4C80, number)
    finally:
        os.close(control)


def configure_as(bench: ScsiBench, attached: Attachment, other: Attachment) -> None:
    """The disk at the address, which says nothing, is a copy of the other."""
    assert isinstance(attached.address, ScsiAddress)
    number = bench.places[attached.address]
    release(number)
    free_again(number)
    configure(number, bench.loops[number], loop_tag(VM, other.disk_uuid))
    (address,) = (address for address, disk in bench.sysfs.attached.items() if disk.number[1] == number)
    disk = bench.sysfs.attached[address]
    bench.sysfs.detach(address)
    sequence = int(Path(f"/sys/block/loop{number}/diskseq").read_text())
    bench.sysfs.attach(address, replace(disk, sequence=sequence))
