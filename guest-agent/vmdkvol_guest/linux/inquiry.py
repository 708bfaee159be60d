"""Asks a SCSI disk itself, past what the kernel remembers of it: a disk that was swapped unseen says who it is now."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct

from vmdkvol.volume import DiskUuid
from vmdkvol_guest.linux import vpd

_SG_IO = 0x2285
# struct sg_io_hdr of scsi/sg.h; the last item pads it to what it is aligned to.
_HEADER = struct.Struct("@iiBBHIPPPIIiPBBBBHHiII0P")
_STATUS, _SENSE_WRITTEN, _HOST_STATUS = 13, 16, 17
_FROM_DEVICE = -3
# SPC-4, 6.4: operation code, "vital product data", page, length, control. Old disks know no length above 255.
_INQUIRY = struct.Struct(">BBBHB")
_LENGTH = 252
_SENSE = 32
_TIMEOUT_MS = 5000


def disk_uuid(descriptor: int) -> DiskUuid | None:
    """Return the UUID that the open disk says it has, None if it says none. OSError if it does not answer.

    For an open for reading no privilege is needed: the kernel lets INQUIRY pass.
    """
    found = vpd.disk_uuid(_page(descriptor, vpd.IDENTIFICATION), b"")
    return found or vpd.disk_uuid(b"", _page(descriptor, vpd.SERIAL))


def _page(descriptor: int, page: int) -> bytes:
    """Return a page of the vital product data; nothing if the disk has no such page."""
    command = ctypes.create_string_buffer(_INQUIRY.pack(0x12, 1, page, _LENGTH, 0), _INQUIRY.size)
    data, sense = ctypes.create_string_buffer(_LENGTH), ctypes.create_string_buffer(_SENSE)
    addresses = [ctypes.addressof(buffer) for buffer in (data, command, sense)]
    fields = [ord("S"), _FROM_DEVICE, _INQUIRY.size, _SENSE, 0, _LENGTH, *addresses, _TIMEOUT_MS, 0, 0, 0]
    header = bytearray(_HEADER.pack(*fields, *[0] * 9))
    fcntl.ioctl(descriptor, _SG_IO, header, True)
    answer = _HEADER.unpack(header)
    # Looked at before the status: QEMU's controller says that the transfer failed, since nothing was transferred.
    if answer[_SENSE_WRITTEN] and vpd.sense_key(sense.raw) == vpd.ILLEGAL_REQUEST:
        return b""
    if answer[_STATUS] or answer[_HOST_STATUS]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return data.raw
