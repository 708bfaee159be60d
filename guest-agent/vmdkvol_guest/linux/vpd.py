"""What a SCSI disk says of itself in its vital product data. Pure.

SPC-4, 7.8: each page has a header of four bytes, the page's code in the second and the length of the rest in the last two.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from vmdkvol.volume import DiskUuid

SERIAL, IDENTIFICATION = 0x80, 0x83
# The sense key of a command that asks for what is not there (SPC-4, 4.5.6).
ILLEGAL_REQUEST = 5
_HEADER = 4
# A designator: code set, type and association, a reserved byte, its length. Type 3 is NAA; association 0 is the disk itself.
_NAA = 3
_NAA_BYTES = 16


def disk_uuid(identification: bytes, serial: bytes) -> DiskUuid | None:
    """Return the UUID that a virtual disk says it has, or None if it says none: its machine lacks ``disk.EnableUUID``.

    VMware shows it as an NAA identifier of 16 bytes in page 0x83, and as the 32 digits of the serial number in page 0x80.
    Either page may be empty.
    """
    for kind, value in _designators(_body(identification, IDENTIFICATION)):
        if kind == _NAA and len(value) == _NAA_BYTES:
            return DiskUuid(UUID(bytes=value))
    text = _body(serial, SERIAL).decode("ascii", "replace").strip(" \0").replace("-", "").replace(" ", "")
    if len(text) != 2 * _NAA_BYTES:
        return None
    try:
        return DiskUuid(UUID(hex=text))
    except ValueError:
        return None


def sense_key(sense: bytes) -> int:
    """Return why a command failed, which stands in another byte in the newer of the two formats (SPC-4, 4.5.1)."""
    return (sense[1] if sense[0] & 0x7F >= 0x72 else sense[2]) & 0x0F


def _body(page: bytes, code: int) -> bytes:
    if len(page) < _HEADER or page[1] != code:
        return b""
    return page[_HEADER : _HEADER + int.from_bytes(page[2:4], "big")]


def _designators(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of each designator of the disk itself; one that is cut off ends it."""
    while len(body) >= _HEADER:
        kind, association, end = body[1] & 0x0F, body[1] >> 4 & 0x03, _HEADER + body[3]
        if end > len(body):
            return
        if association == 0:
            yield kind, body[_HEADER:end]
        body = body[end:]
