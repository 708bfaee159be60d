"""What a disk says of itself, as bytes of its vital product data."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.doubles.scsi_sysfs import identification, serial
from vmdkvol.volume import DiskUuid
from vmdkvol_guest.linux.vpd import ILLEGAL_REQUEST, disk_uuid, sense_key

DISK = DiskUuid(UUID("6000c29a-1122-3344-5566-778899aabbcc"))
DIGITS = DISK.hex
# Code set, type and association, reserved, length: eight bytes of NAA, as QEMU writes them.
SHORT_NAA = bytes([1, 3, 0, 8]) + DISK.bytes[:8]
VENDOR = bytes([2, 0, 0, 4]) + b"disk"


def page(*designators: bytes) -> bytes:
    body = b"".join(designators)
    return bytes([0, 0x83]) + len(body).to_bytes(2, "big") + body


def test_a_vmware_disk_is_told_by_its_naa_identifier() -> None:
    assert disk_uuid(identification(DISK), b"") == DISK


def test_the_identifier_stands_behind_others() -> None:
    assert disk_uuid(page(VENDOR, SHORT_NAA, identification(DISK)[4:]), b"") == DISK


@pytest.mark.parametrize("text", [DIGITS, DIGITS.upper(), str(DISK), f"{DIGITS}  ", f"{DIGITS[:16]} {DIGITS[16:]}"])
def test_without_it_the_serial_number_tells(text: str) -> None:
    assert disk_uuid(page(VENDOR, SHORT_NAA), serial(text)) == DISK


def test_the_identifier_counts_before_the_serial_number() -> None:
    assert disk_uuid(identification(DISK), serial("0" * 32)) == DISK


@pytest.mark.parametrize(
    ("identifier", "number"),
    [
        pytest.param(b"", b"", id="nothing"),
        pytest.param(page(VENDOR), b"", id="a name of the vendor's"),
        pytest.param(page(SHORT_NAA), serial("1234"), id="too short"),
        pytest.param(page(), serial("z" * 32), id="no digits"),
        pytest.param(page(), serial(DIGITS + "0"), id="too long"),
        pytest.param(page(bytes([1, 0x13, 0, 16]) + DISK.bytes), b"", id="of the port, not of the disk"),
        pytest.param(serial(DIGITS), identification(DISK), id="each page in the other's place"),
        pytest.param(b"\xff" * 40, b"\xff" * 40, id="noise"),
    ],
)
def test_other_pages_tell_nothing(identifier: bytes, number: bytes) -> None:
    assert disk_uuid(identifier, number) is None


@pytest.mark.parametrize("whole", [identification(DISK), serial(DIGITS)], ids=["identification", "serial"])
def test_a_page_that_is_cut_off_tells_nothing(whole: bytes) -> None:
    pages = [(whole[:length], b"") if whole[1] == 0x83 else (b"", whole[:length]) for length in range(len(whole))]
    assert [disk_uuid(*each) for each in pages] == [None] * len(whole)


@pytest.mark.parametrize(
    ("sense", "key"),
    [
        # As vmw_pvscsi hands it on: fixed format, invalid field in the command.
        (bytes([0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0]), ILLEGAL_REQUEST),
        (bytes([0xF0, 0, 0x25, 0]), ILLEGAL_REQUEST),
        (bytes([0x72, 5, 0x24, 0]), ILLEGAL_REQUEST),
        (bytes([0x70, 5, 3, 0]), 3),
        (bytes([0x72, 6, 5, 0]), 6),
    ],
)
def test_a_page_that_is_missing_is_told_from_other_trouble(sense: bytes, key: int) -> None:
    assert sense_key(sense) == key
