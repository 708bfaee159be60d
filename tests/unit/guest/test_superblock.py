"""What a first block must say for nobody to look further. Everything doubtful is for the tools."""

from __future__ import annotations

import struct
from uuid import UUID

import pytest

from vmdkvol_guest.linux.superblock import BLOCK_BYTES, clean, uuid
from vmdkvol_guest.ports import Probe

OURS = UUID("0f0e0d0c-0b0a-4908-8706-050403020100")
SIZE = 64 << 20


def ext4(**fields: int) -> bytes:
    """Return the first block of a clean ext4 of 64 MiB; ``fields`` are offsets in its superblock ("at_58") with 16 bits."""
    block = bytearray(BLOCK_BYTES)
    values = {0x04: SIZE >> 10 & 0xFFFF, 0x36: 0xFFFF, 0x38: 0xEF53, 0x3A: 1}
    values |= {int(name.removeprefix("at_"), 16): value for name, value in fields.items()}
    for at, value in values.items():
        struct.pack_into("<H", block, 1024 + at, value)
    struct.pack_into("16s", block, 1024 + 0x68, OURS.bytes)
    return bytes(block)


def xfs(size_bytes: int = SIZE, unfinished: int = 0) -> bytes:
    block = bytearray(BLOCK_BYTES)
    struct.pack_into(">4sIQ", block, 0, b"XFSB", 4096, size_bytes // 4096)
    struct.pack_into("16s", block, 32, OURS.bytes)
    block[126] = unfinished
    return bytes(block)


def test_a_clean_ext4_is_known_by_its_uuid() -> None:
    # 0x4: blocks; 64 MiB of 1 KiB blocks are 65536, which is 1 in the upper half of the field.
    assert clean(ext4(at_4=0, at_6=1), SIZE) == Probe("ext4", OURS)


def test_an_xfs_is_known_by_its_uuid() -> None:
    assert clean(xfs(), SIZE) == Probe("xfs", OURS)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"at_3a": 0}, id="not-unmounted"),
        pytest.param({"at_3a": 3}, id="with-errors"),
        pytest.param({"at_60": 0x4}, id="a-journal-to-replay"),
        pytest.param({"at_66": 0x1}, id="an-orphan-file-to-work-off"),
        pytest.param({"at_e8": 12}, id="an-orphaned-inode"),
        pytest.param({"at_194": 1}, id="an-error-on-record"),
        pytest.param({"at_36": 20}, id="checked-after-so-many-mounts"),
        pytest.param({"at_44": 1}, id="checked-after-so-much-time"),
        pytest.param({"at_38": 0}, id="no-magic-number"),
        pytest.param({"at_4": 1}, id="larger-than-the-disk"),
        pytest.param({"at_6": 0}, id="without-blocks"),
        pytest.param({"at_18": 0xFFFF}, id="blocks-of-an-impossible-size"),
    ],
)
def test_an_ext4_that_needs_a_look_is_for_the_tools(fields: dict[str, int]) -> None:
    assert clean(ext4(**{"at_4": 0, "at_6": 1, **fields}), SIZE) is None


def test_what_stands_before_the_superblock_is_for_the_tools() -> None:
    block = b"\x01" + ext4(at_4=0, at_6=1)[1:]

    assert clean(block, SIZE) is None


@pytest.mark.parametrize("size_bytes", [SIZE + 4096, 0], ids=["larger-than-the-disk", "empty"])
def test_an_xfs_of_another_size_is_for_the_tools(size_bytes: int) -> None:
    assert clean(xfs(size_bytes), SIZE) is None


def test_an_xfs_that_is_being_made_is_for_the_tools() -> None:
    assert clean(xfs(unfinished=1), SIZE) is None


@pytest.mark.parametrize("length", [0, 1, 1024, BLOCK_BYTES - 1])
def test_a_short_read_is_for_the_tools(length: int) -> None:
    assert clean(ext4(at_4=0, at_6=1)[:length], SIZE) is None


def test_whose_it_is_stands_there_whether_it_is_clean_or_in_use() -> None:
    """A mounted ext4 has a journal to replay, and is not marked as unmounted."""
    assert uuid(ext4(at_3a=0, at_60=0x4)) == OURS
    assert uuid(xfs(unfinished=1)) == OURS


@pytest.mark.parametrize("block", [b"", bytes(BLOCK_BYTES), ext4(at_38=0), ext4()[:-1], xfs()[:-1]])
def test_a_block_that_is_none_of_ours_says_no_uuid(block: bytes) -> None:
    assert uuid(block) is None
