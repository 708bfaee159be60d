"""What the first block of a disk says of a file system that was unmounted in order. Pure; no program has to be started.

Only for a disk whose record names the file system: it says "that one, clean" or nothing at all. Everything else, and
every disk that is to be made, is for blkid and e2fsck, which know all signatures and all kinds of damage.
"""

from __future__ import annotations

import struct
from uuid import UUID

from vmdkvol_guest.ports import Probe

# The ext4 superblock is at 1024 and has 1024 bytes; that of xfs is in the first sector.
BLOCK_BYTES = 4096
_EXT4_AT = 1024
_EXT4_MAGIC = 0xEF53
# Offsets of fields of struct ext4_super_block (kernel documentation, filesystems/ext4/super.rst); all little-endian.
_BLOCKS_LO, _LOG_BLOCK, _MOUNTS, _MAX_MOUNTS, _MAGIC, _STATE = 0x04, 0x18, 0x34, 0x36, 0x38, 0x3A
_CHECK_INTERVAL, _INCOMPAT, _RO_COMPAT, _UUID, _ORPHANS, _BLOCKS_HI, _ERRORS = 0x44, 0x60, 0x64, 0x68, 0xE8, 0x150, 0x194
_CLEANLY_UNMOUNTED = 1
_HAS_JOURNAL_TO_REPLAY = 0x4
_HAS_ORPHANS = 0x10000
_NEVER = 0xFFFF


def clean(block: bytes, size_bytes: int) -> Probe | None:
    """Return the file system in the first ``BLOCK_BYTES`` of a disk of this size if it needs no check, else None.

    For ext4 that is what ``e2fsck -p`` goes by when it leaves a file system unread, but for the checksums of the group
    descriptors, which the mount refuses. For xfs the mount replays the log.
    """
    if len(block) < BLOCK_BYTES:
        return None
    if block.startswith(b"XFSB"):
        return _clean_xfs(block, size_bytes)
    # mkfs.ext4 leaves nothing before its superblock: what stands there is somebody else's.
    return None if any(block[:_EXT4_AT]) else _clean_ext4(block[_EXT4_AT : 2 * _EXT4_AT], size_bytes)


def spanned(block: bytes) -> tuple[int, int] | None:
    """Return the bytes that the ext4 in the first ``BLOCK_BYTES`` spans and those of one of its blocks; None if it is none."""
    at = _EXT4_AT

    def long(offset: int) -> int:
        return int.from_bytes(block[at + offset : at + offset + 4], "little")

    if len(block) < BLOCK_BYTES or long(_MAGIC) & 0xFFFF != _EXT4_MAGIC:
        return None
    block_bytes: int = 1024 << min(long(_LOG_BLOCK), 6)
    return (long(_BLOCKS_LO) | long(_BLOCKS_HI) << 32) * block_bytes, block_bytes


def uuid(block: bytes) -> UUID | None:
    """Return the UUID of the file system in the first ``BLOCK_BYTES`` of a disk, in use or not; None if it is none of ours."""
    if len(block) < BLOCK_BYTES:
        return None
    if block.startswith(b"XFSB"):
        return UUID(bytes=block[32:48])
    at = _EXT4_AT
    if int.from_bytes(block[at + _MAGIC : at + _MAGIC + 2], "little") != _EXT4_MAGIC:
        return None
    return UUID(bytes=block[at + _UUID : at + _UUID + 16])


def _clean_ext4(block: bytes, size_bytes: int) -> Probe | None:
    def short(at: int) -> int:
        return int.from_bytes(block[at : at + 2], "little")

    def long(at: int) -> int:
        return int.from_bytes(block[at : at + 4], "little")

    if short(_MAGIC) != _EXT4_MAGIC or short(_STATE) != _CLEANLY_UNMOUNTED:
        return None
    if long(_INCOMPAT) & _HAS_JOURNAL_TO_REPLAY or long(_RO_COMPAT) & _HAS_ORPHANS or long(_ORPHANS) or long(_ERRORS):
        return None
    # A user's tune2fs may want a check after so many mounts or so much time.
    if short(_MAX_MOUNTS) not in (0, _NEVER) or long(_CHECK_INTERVAL):
        return None
    blocks = long(_BLOCKS_LO) | long(_BLOCKS_HI) << 32
    if not 0 < blocks << (10 + min(long(_LOG_BLOCK), 6)) <= size_bytes:
        return None
    return Probe("ext4", UUID(bytes=block[_UUID : _UUID + 16]))


def _clean_xfs(block: bytes, size_bytes: int) -> Probe | None:
    # struct xfs_dsb: magic, block size, blocks of data, two more counts, UUID; big-endian. At 126 "mkfs is not done".
    block_size, blocks = struct.unpack_from(">IQ", block, 4)
    if block[126] or not 0 < block_size * blocks <= size_bytes:
        return None
    return Probe("xfs", UUID(bytes=block[32:48]))
