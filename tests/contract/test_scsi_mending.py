"""SCSI disks where the kernel is wrong, late or has given up: what comes right without a restart, and what is left alone."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from tests.contract.guest_benches import MIB, VM
from tests.contract.scsi_bench import ScsiBench
from tests.doubles.scsi_sysfs import mute
from vmdkvol.clock import Deadline
from vmdkvol.errors import StillMounted, TruthUnknown, WrongDisk
from vmdkvol.volume import Attachment, Content, ScsiAddress
from vmdkvol_guest.linux.devices import LinuxDevices, Uevents

pytestmark = pytest.mark.integration

# No disk of this machine has this number: an open fails with ENXIO, as that of a disk that the kernel has given up.
NOWHERE = (8, 0xFFF0)
LOOP_SET_CAPACITY = 0x4C07


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[ScsiBench]:
    bench = ScsiBench(tmp_path)
    yield bench
    bench.end()


def soon(bench: ScsiBench, seconds: float = 0.1) -> Deadline:
    return Deadline.after(bench.clock, seconds)


def place(attached: Attachment) -> ScsiAddress:
    assert isinstance(attached.address, ScsiAddress)
    return attached.address


def silent(bench: ScsiBench, attached: Attachment, address: ScsiAddress | None = None) -> Attachment:
    """The machine has no disk.EnableUUID: the disk is seen, at this address, and says nothing."""
    disk = mute(bench.sysfs.attached[place(attached)])
    bench.sysfs.detach(place(attached))
    bench.sysfs.attach(address or place(attached), disk)
    return attached


# --- events ----------------------------------------------------------------------------------------------------------


class Storm:
    """So many events at once, and then none; ``fails``: the socket could not hold them, and says so for ever."""

    def __init__(self, events: int, *, fails: bool = False) -> None:
        self.left = events
        self.fails = fails
        self.waits = 0

    def poll(self, timeout: float) -> object | None:
        self.waits += timeout > 0
        if self.fails:
            raise OSError("Error while polling fd")
        if not self.left:
            time.sleep(timeout)
            return None
        self.left -= 1
        return object()


def listening(bench: ScsiBench, uevents: Uevents) -> LinuxDevices:
    return LinuxDevices(
        bench.clock, lambda: VM, sysfs=bench.sysfs.root, dev=bench.dev, tell=bench.sysfs.tell, uevents=lambda: uevents
    )


def test_a_disk_is_found_after_more_events_than_the_socket_holds(bench: ScsiBench) -> None:
    attached = bench.announce()
    bench.plug_later(attached)
    assert listening(bench, Storm(0, fails=True)).find(attached, soon(bench, 10.0)).disk_uuid == attached.disk_uuid


def test_a_storm_of_events_is_one_reason_to_look(bench: ScsiBench) -> None:
    """Sixty disks come with some five hundred, and each of sixty Mounts hears all of them."""
    storm = Storm(500)
    attached = bench.announce()
    bench.plug_later(attached)
    assert listening(bench, storm).find(attached, soon(bench, 10.0)).disk_uuid == attached.disk_uuid
    assert storm.left == 0
    assert storm.waits < 100


# --- other disks ------------------------------------------------------------------------------------------------------


def test_a_search_does_not_bring_back_what_leaves_at_the_same_unit_elsewhere(bench: ScsiBench) -> None:
    """It is out of the kernel, and its detach is on its way: brought back, somebody could open it meanwhile."""
    bench.sysfs.controller(1, label="SCSI1")
    leaving = bench.plug()
    disk = bench.sysfs.attached[place(leaving)]
    bench.sysfs.detach(place(leaving))
    bench.sysfs.attach(ScsiAddress(1, 0), disk)
    with bench.devices.claim(device := bench.devices.find(leaving, soon(bench)), soon(bench)):
        bench.devices.forget(device)

    sought = replace(bench.announce(), address=ScsiAddress(0, 0))
    with pytest.raises(TruthUnknown):
        bench.devices.find(sought, soon(bench, 1.2))

    assert bench.sysfs.names() == set()
    assert ScsiAddress(1, 0) in bench.sysfs.attached


def test_a_disk_that_cannot_be_read_for_a_moment_holds_up_no_other_for_good(bench: ScsiBench) -> None:
    attached, other = bench.plug(), bench.plug()
    size = bench.sysfs.root / "block/sdb/size"
    good = size.read_text()
    size.write_text("many\n")

    def come_right() -> None:
        bench.clock.sleep(0.8)
        size.write_text(good)

    worker = bench.clock.start("come right", come_right)
    assert bench.devices.find(attached, soon(bench, 20.0)).disk_uuid == attached.disk_uuid
    worker.join()
    assert bench.devices.present(VM, other) is not None


# --- disks that have grown --------------------------------------------------------------------------------------------


class Growing:
    """The disk under ``attached`` is larger than the kernel says, which learns it when it is told to look again."""

    def __init__(self, bench: ScsiBench, attached: Attachment) -> None:
        self._bench, self._place = bench, place(attached)
        self._number = bench.places[self._place]
        os.truncate(bench.loops[self._number], 4 * MIB)
        bench.sysfs.grow(self._place, 4 * MIB)
        self.devices = LinuxDevices(bench.clock, lambda: VM, sysfs=bench.sysfs.root, dev=bench.dev, tell=self._tell)

    def _tell(self, attribute: Path, text: str) -> None:
        if attribute.name == "rescan":
            descriptor = os.open(f"/dev/loop{self._number}", os.O_RDONLY)
            fcntl.ioctl(descriptor, LOOP_SET_CAPACITY)
            os.close(descriptor)
        self._bench.sysfs.tell(attribute, text)


@pytest.mark.parametrize("named", [True, False], ids=["named", "silent"])
def test_a_disk_that_grew_unseen_is_found_with_its_new_size(bench: ScsiBench, named: bool) -> None:
    attached = bench.plug()
    if not named:
        silent(bench, attached)
    growing = Growing(bench, attached)
    grown = replace(attached, size_bytes=4 * MIB)
    assert growing.devices.find(grown, soon(bench, 20.0)).size_bytes == 4 * MIB


def test_a_silent_disk_that_has_grown_is_not_detached_from_under_its_user(bench: ScsiBench) -> None:
    attached = silent(bench, bench.plug())
    before = replace(attached, size_bytes=MIB)
    device = bench.devices.present(VM, before)
    assert device is not None
    busy = os.open(device.path, os.O_RDONLY | os.O_EXCL)
    try:
        with pytest.raises(StillMounted), bench.devices.claim(device, soon(bench)):
            pass
    finally:
        os.close(busy)


def test_behind_a_guess_it_is_told_by_its_file_system(bench: ScsiBench) -> None:
    guessed(bench)
    attached = silent(bench, bench.plug())
    device = bench.devices.present(VM, attached)
    assert device is not None
    uuid = uuid4()
    bench.filesystems.make(device, "ext4", uuid, (), pristine=True)
    before = replace(attached, size_bytes=MIB, content=Content.FORMATTED, filesystem_uuid=uuid)
    assert bench.devices.present(VM, before) is not None
    assert bench.devices.present(VM, replace(before, filesystem_uuid=uuid4())) is None
    assert bench.devices.present(VM, replace(before, filesystem_uuid=None)) is None


# --- guesses ----------------------------------------------------------------------------------------------------------


def guessed(bench: ScsiBench) -> None:
    """Two controllers, and nothing that says which is which."""
    for entry in bench.sysfs.root.glob("devices/*/*/*/label"):
        entry.unlink()
    bench.sysfs.controller(1)


def test_a_disk_that_may_be_another_s_is_not_taken_out_of_the_kernel(bench: ScsiBench) -> None:
    """Ours was taken out, the agent died, and at the same unit of the other controller there is one of the same size."""
    guessed(bench)
    attached = silent(bench, bench.plug(), ScsiAddress(1, 0))
    device = bench.devices.present(VM, attached)
    assert device is not None
    with bench.devices.claim(device, soon(bench)):
        bench.devices.forget(device)
    assert bench.sysfs.names() == {"sda"}


def test_where_it_is_certain_a_silent_disk_is_taken_out(bench: ScsiBench) -> None:
    device = bench.devices.find(silent(bench, bench.plug()), soon(bench))
    with bench.devices.claim(device, soon(bench)):
        bench.devices.forget(device)
    assert bench.sysfs.names() == set()


# --- disks that the kernel has given up -----------------------------------------------------------------------------


class GivenUp:
    """After an outage of its storage the kernel lets nobody open the disk; looked for anew, it is as good as before."""

    def __init__(self, bench: ScsiBench, *, state: str = "offline") -> None:
        self._bench = bench
        self.attached = bench.plug()
        address = place(self.attached)
        good = bench.sysfs.attached[address]
        bench.sysfs.detach(address)
        bench.sysfs.attach(address, replace(good, number=NOWHERE, sequence=1))
        bench.sysfs.swap(address, good)
        bench.sysfs.give_up(address, state)
        self.devices = LinuxDevices(bench.clock, lambda: VM, sysfs=bench.sysfs.root, dev=bench.dev, tell=self._tell)

    def _tell(self, attribute: Path, text: str) -> None:
        self._bench.sysfs.tell(attribute, text)
        if attribute.name == "delete":
            (self._bench.dev / "sda").unlink()


def test_a_disk_that_was_given_up_is_found_again_without_a_restart(bench: ScsiBench) -> None:
    given_up = GivenUp(bench)
    found = given_up.devices.find(given_up.attached, soon(bench, 20.0))
    assert found.disk_uuid == given_up.attached.disk_uuid


def test_a_disk_that_was_given_up_can_be_detached(bench: ScsiBench) -> None:
    given_up = GivenUp(bench)
    assert given_up.devices.present(VM, given_up.attached) is None
    assert bench.sysfs.names() == set()


def test_a_disk_that_cannot_be_opened_and_was_not_given_up_is_not_absent(bench: ScsiBench) -> None:
    given_up = GivenUp(bench, state="running")
    with pytest.raises(TruthUnknown, match="cannot be opened"):
        given_up.devices.present(VM, given_up.attached)
    assert bench.sysfs.names() == {"sda"}


def test_a_disk_that_was_given_up_and_is_still_mounted_stays(bench: ScsiBench) -> None:
    attached = bench.plug()
    there = bench.sysfs.attached[place(attached)]
    assert there.sequence is not None
    bench.sysfs.detach(place(attached))
    bench.sysfs.attach(place(attached), replace(there, sequence=there.sequence - 1))
    bench.sysfs.give_up(place(attached))
    busy = os.open(f"/dev/loop{bench.places[place(attached)]}", os.O_RDONLY | os.O_EXCL)
    try:
        with pytest.raises(WrongDisk):
            bench.devices.present(VM, attached)
        with pytest.raises(WrongDisk):
            bench.devices.find(attached, soon(bench, 1.0))
    finally:
        os.close(busy)
    assert bench.sysfs.names() == {"sda"}
