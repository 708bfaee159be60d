"""What sysfs says of SCSI disks and controllers: places, names, scans, and how a disk leaves."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from tests.doubles.hand_clock import HandClock
from tests.doubles.scsi_sysfs import ScsiSysfs, Virtual, identification, mute
from vmdkvol.errors import TruthUnknown
from vmdkvol.volume import DiskUuid, ScsiAddress
from vmdkvol_guest.linux.scsi import ScsiTree, Seat, tell

DISK = DiskUuid(UUID("6000c29a-1122-3344-5566-778899aabbcc"))
ADDRESS = ScsiAddress(0, 3)
NUMBER = (8, 16)
VIRTUAL = Virtual(NUMBER, 1 << 20, 17, identification(DISK))


@pytest.fixture
def sysfs(tmp_path: Path) -> ScsiSysfs:
    return ScsiSysfs(tmp_path)


def no_node(name: str, number: tuple[int, int]) -> str:
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def tree(sysfs: ScsiSysfs, write: Callable[[Path, str], None] | None = None) -> ScsiTree:
    return ScsiTree(HandClock(), no_node, sysfs=sysfs.root, tell=write or sysfs.tell)


# --- disks -----------------------------------------------------------------------------------------------------------


def test_a_disk_is_told_by_what_the_kernel_read_of_it(sysfs: ScsiSysfs) -> None:
    host = sysfs.controller(0)
    sysfs.attach(ADDRESS, VIRTUAL)

    (disk,) = tree(sysfs).disks()

    assert (disk.name, disk.number, disk.place) == ("sda", NUMBER, (host, 3))
    assert (disk.uuid, disk.size_bytes, disk.sequence) == (DISK, 1 << 20, 17)


def test_an_old_kernel_counts_no_disks(sysfs: ScsiSysfs) -> None:
    sysfs.controller(0)
    sysfs.attach(ADDRESS, replace(VIRTUAL, sequence=None))
    assert [disk.sequence for disk in tree(sysfs).disks()] == [None]


def test_what_a_disk_is_is_read_once_for_each_appearance(sysfs: ScsiSysfs) -> None:
    """With 60 disks, and one look for each event, it is the most of what a look costs."""
    sysfs.controller(0)
    sysfs.attach(ADDRESS, VIRTUAL)
    found = tree(sysfs)
    first = found.disks()
    (sysfs.root / "block/sda/device/vpd_pg83").unlink()
    assert found.disks() == first

    sysfs.detach(ADDRESS)
    other = DiskUuid(UUID(int=DISK.int + 1))
    sysfs.attach(ADDRESS, replace(VIRTUAL, sequence=18, identification=identification(other)))
    assert [disk.uuid for disk in found.disks()] == [other]


def test_a_disk_that_has_grown_has_its_new_size(sysfs: ScsiSysfs) -> None:
    sysfs.controller(0)
    sysfs.attach(ADDRESS, VIRTUAL)
    found = tree(sysfs)
    found.disks()
    (sysfs.root / "block/sda/size").write_text("4096\n")
    assert [(disk.uuid, disk.size_bytes) for disk in found.disks()] == [(DISK, 2 << 20)]


def test_where_the_kernel_counts_no_disks_each_is_read_each_time(sysfs: ScsiSysfs) -> None:
    sysfs.controller(0)
    sysfs.attach(ADDRESS, replace(VIRTUAL, sequence=None))
    found = tree(sysfs)
    found.disks()
    other = DiskUuid(UUID(int=DISK.int + 1))
    (sysfs.root / "block/sda/device/vpd_pg83").write_bytes(identification(other))
    assert [disk.uuid for disk in found.disks()] == [other]


def test_a_disk_that_did_not_answer_is_asked_again(sysfs: ScsiSysfs) -> None:
    sysfs.controller(0)
    sysfs.attach(ADDRESS, replace(VIRTUAL, identification=None))
    found = tree(sysfs)
    found.disks()
    (sysfs.root / "block/sda/device/vpd_pg83").write_bytes(identification(DISK))
    assert [disk.uuid for disk in found.disks()] == [DISK]


def test_a_disk_that_says_nothing_is_a_disk_all_the_same(sysfs: ScsiSysfs) -> None:
    sysfs.controller(0)
    sysfs.attach(ADDRESS, mute(VIRTUAL))
    assert [disk.uuid for disk in tree(sysfs).disks()] == [None]


def test_a_disk_that_cannot_be_asked_is_a_disk_all_the_same(sysfs: ScsiSysfs) -> None:
    """It may be mounted: whoever asks whether it is here must not hear that it is not."""
    sysfs.controller(0)
    sysfs.attach(ADDRESS, replace(VIRTUAL, identification=None))
    assert [(disk.name, disk.uuid) for disk in tree(sysfs).disks()] == [("sda", None)]


def test_a_disk_that_is_gone_is_left_out(sysfs: ScsiSysfs) -> None:
    sysfs.controller(0)
    sysfs.attach(ADDRESS, VIRTUAL)
    sysfs.attach(ScsiAddress(0, 4), VIRTUAL)
    shutil.rmtree((sysfs.root / "block/sda").resolve())
    assert [disk.name for disk in tree(sysfs).disks()] == ["sdb"]


def test_a_disk_that_goes_while_it_is_read_is_left_out(sysfs: ScsiSysfs) -> None:
    sysfs.controller(0)
    sysfs.attach(ADDRESS, VIRTUAL)
    (sysfs.root / "block/sda/size").unlink()

    class Going(HandClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            sysfs.detach(ADDRESS)

    assert ScsiTree(Going(), no_node, sysfs=sysfs.root, tell=sysfs.tell).disks() == []


def test_a_disk_that_stays_and_cannot_be_read_is_no_absent_one(sysfs: ScsiSysfs) -> None:
    """Somebody may have it mounted: a detach must not go on as if it were not here."""
    sysfs.controller(0)
    sysfs.attach(ADDRESS, VIRTUAL)
    (sysfs.root / "block/sda/size").write_text("many\n")
    with pytest.raises(TruthUnknown, match="sda cannot be looked at"):
        tree(sysfs).disks()


def test_a_machine_without_scsi_has_no_disks(tmp_path: Path) -> None:
    empty = ScsiTree(HandClock(), no_node, sysfs=tmp_path)
    assert (empty.disks(), empty.controllers(), empty.seat(ADDRESS)) == ([], [], None)


# --- controllers -----------------------------------------------------------------------------------------------------


def test_the_firmware_tells_which_controller_is_which(sysfs: ScsiSysfs) -> None:
    """In an order that nobody would guess."""
    first = sysfs.controller(0, label="SCSI3", slot=160)
    second = sysfs.controller(1, label="SCSI1", slot=192)
    found = tree(sysfs)
    assert found.seat(ScsiAddress(3, 2)) == Seat((first, 2), certain=True)
    assert found.seat(ScsiAddress(1, 2)) == Seat((second, 2), certain=True)
    assert found.seat(ScsiAddress(0, 2)) is None


def test_without_it_the_order_of_the_slots_is_a_guess(sysfs: ScsiSysfs) -> None:
    hosts = {slot: sysfs.controller(bus, slot=slot) for bus, slot in ((2, 192), (0, 224), (1, 160))}
    found = tree(sysfs)
    assert [found.seat(ScsiAddress(bus, 0)) for bus in range(4)] == [
        *(Seat((hosts[slot], 0), certain=False) for slot in (160, 192, 224)),
        None,
    ]


def test_a_bus_behind_ten_slots_is_in_the_order_of_numbers(sysfs: ScsiSysfs) -> None:
    late, early = sysfs.controller(0, slot=1184), sysfs.controller(1, slot=256)
    assert [each.host for each in tree(sysfs).controllers()] == [early, late]


def test_the_only_controller_is_certain(sysfs: ScsiSysfs) -> None:
    host = sysfs.controller(0)
    assert tree(sysfs).seat(ADDRESS) == Seat((host, 3), certain=True)
    assert tree(sysfs).seat(ScsiAddress(1, 3)) is None


def test_other_kinds_of_scsi_controllers_are_counted_and_those_of_other_buses_not(sysfs: ScsiSysfs) -> None:
    sysfs.controller(0, driver="ahci", slot=32)
    boot = sysfs.controller(1, driver="mptspi", slot=16)
    host = sysfs.controller(2, slot=160)
    found = tree(sysfs)
    assert [found.seat(ScsiAddress(bus, 0)) for bus in range(2)] == [
        Seat((boot, 0), certain=False),
        Seat((host, 0), certain=False),
    ]


def test_two_controllers_with_one_name_are_not_certain(sysfs: ScsiSysfs) -> None:
    sysfs.controller(0, label="SCSI0", slot=160)
    sysfs.controller(1, label="SCSI0", slot=192)
    seat = tree(sysfs).seat(ADDRESS)
    assert seat is not None
    assert not seat.certain


# --- scans -----------------------------------------------------------------------------------------------------------


def test_a_scan_brings_a_disk_that_the_kernel_did_not_notice(sysfs: ScsiSysfs) -> None:
    host = sysfs.controller(0)
    sysfs.attach(ADDRESS, VIRTUAL, seen=False)
    tree(sysfs).scan((host, 3))
    assert [disk.uuid for disk in tree(sysfs).disks()] == [DISK]


def test_only_the_unit_is_looked_for(sysfs: ScsiSysfs) -> None:
    host = sysfs.controller(0)
    tree(sysfs).scan((host, 3))
    assert sysfs.told == [(f"class/scsi_host/host{host}/scan", "0 3 0")]


def test_a_disk_comes_on_pvscsi_alone_and_at_any_that_may_be_meant(sysfs: ScsiSysfs) -> None:
    sysfs.controller(1, driver="mptspi")
    first, second = sysfs.controller(0), sysfs.controller(2)
    assert sorted(tree(sysfs).places(ADDRESS)) == sorted([(first, 3), (second, 3)])


def test_where_it_is_certain_a_disk_comes_at_one_controller(sysfs: ScsiSysfs) -> None:
    """A scan at the others would bring back what is just being detached at the same unit there."""
    host = sysfs.controller(0, label="SCSI0")
    sysfs.controller(1, label="SCSI1")
    assert tree(sysfs).places(ADDRESS) == [(host, 3)]


def test_a_controller_that_cannot_be_told_is_no_error(sysfs: ScsiSysfs) -> None:
    host = sysfs.controller(0)

    def write(attribute: Path, text: str) -> None:
        raise OSError(errno.EROFS, "read-only")

    tree(sysfs, write).scan((host, 3))
    assert tree(sysfs).disks() == []


@pytest.mark.parametrize(("state", "given_up"), [("running", False), ("offline", True), ("transport-offline", True)])
def test_a_disk_that_the_kernel_has_given_up_is_told_from_others(sysfs: ScsiSysfs, state: str, given_up: bool) -> None:
    sysfs.controller(0)
    sysfs.attach(ADDRESS, VIRTUAL)
    assert not tree(sysfs).offline("sda")
    sysfs.give_up(ADDRESS, state)
    assert tree(sysfs).offline("sda") == given_up


# --- leaving ---------------------------------------------------------------------------------------------------------


def test_a_forgotten_disk_is_gone_from_the_kernel_and_stays_attached(sysfs: ScsiSysfs) -> None:
    sysfs.controller(0)
    sysfs.attach(ADDRESS, VIRTUAL)
    tree(sysfs).forget("sda", NUMBER)
    assert sysfs.names() == set()
    assert ADDRESS in sysfs.attached


def test_a_disk_that_is_gone_is_forgotten(sysfs: ScsiSysfs) -> None:
    tree(sysfs).forget("sda", NUMBER)
    assert sysfs.told == []


def test_another_disk_under_the_name_is_left_alone(sysfs: ScsiSysfs) -> None:
    sysfs.controller(0)
    sysfs.attach(ADDRESS, replace(VIRTUAL, number=(8, 32)))
    tree(sysfs).forget("sda", NUMBER)
    assert sysfs.names() == {"sda"}


@pytest.mark.parametrize("code", [errno.ENOENT, errno.ENODEV])
def test_a_disk_that_goes_at_that_moment_is_forgotten(sysfs: ScsiSysfs, code: int) -> None:
    sysfs.controller(0)
    sysfs.attach(ADDRESS, VIRTUAL)

    def write(attribute: Path, text: str) -> None:
        sysfs.detach(ADDRESS)
        raise OSError(code, os.strerror(code))

    tree(sysfs, write).forget("sda", NUMBER)

    assert sysfs.names() == set()


def test_a_disk_that_stays_is_no_success(sysfs: ScsiSysfs) -> None:
    sysfs.controller(0)
    sysfs.attach(ADDRESS, VIRTUAL)
    sysfs.stuck = True
    with pytest.raises(TruthUnknown, match="did not leave"):
        tree(sysfs).forget("sda", NUMBER)


def test_a_sysfs_that_takes_no_writes_says_so(sysfs: ScsiSysfs) -> None:
    sysfs.controller(0)
    sysfs.attach(ADDRESS, VIRTUAL)

    def write(attribute: Path, text: str) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with pytest.raises(TruthUnknown, match="must be writable"):
        tree(sysfs, write).forget("sda", NUMBER)


def test_a_write_to_an_attribute_is_one_write(tmp_path: Path) -> None:
    attribute = tmp_path / "delete"
    attribute.touch()
    tell(attribute, "1")
    assert attribute.read_text() == "1"
    with pytest.raises(FileNotFoundError):
        tell(tmp_path / "none", "1")
