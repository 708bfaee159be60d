"""Somebody on the network who knows no key: what he can do to the TLS records that pass."""

from __future__ import annotations

import struct
import threading
from enum import StrEnum

from tests.doubles.cutting_proxy import Way

# RFC 8446, 5.1: type, legacy version, length.
_HEAD = struct.Struct(">BHH")


class Deed(StrEnum):
    TWICE = "a record twice"
    SWAPPED = "two records in the other order"
    LEFT_OUT = "a record left out"
    EARLIER = "an earlier record again"
    FOREIGN = "a record of another connection in front"
    CHANGED = "one bit of a record changed"
    LONGER = "a byte more in a record"
    HUGE = "a record longer than TLS allows"
    IN_THE_CLEAR = "a frame in the clear between two records"


class Meddler:
    """A ``Change``: passes everything on until it is told to do its one deed, to the records that come next one way."""

    def __init__(self, deed: Deed, way: Way, foreign: bytes = b"") -> None:
        self._deed, self._way, self._foreign = deed, way, foreign
        self._begun = threading.Event()
        self.done = threading.Event()
        self._held = b""
        self.last = b""

    def begin(self) -> None:
        self._begun.set()

    def __call__(self, way: Way, data: bytes) -> tuple[bytes, bytes]:
        out = b""
        while len(data) >= _HEAD.size and len(data) >= (end := _HEAD.size + _HEAD.unpack_from(data)[2]):
            record, data = data[:end], data[end:]
            if way is self._way:
                out += self._changed(record) if self._begun.is_set() and not self.done.is_set() else record
                self.last = record
            else:
                out += record
        return out, data

    def _changed(self, record: bytes) -> bytes:
        if self._deed in (Deed.SWAPPED, Deed.LEFT_OUT) and not self._held:
            self._held = record
            return b""
        self.done.set()
        match self._deed:
            case Deed.TWICE:
                return record * 2
            case Deed.SWAPPED:
                return record + self._held
            case Deed.LEFT_OUT:
                return record
            case Deed.EARLIER:
                return record + self.last
            case Deed.FOREIGN:
                return self._foreign + record
            case Deed.CHANGED:
                return record[:-1] + bytes([record[-1] ^ 1])
            case Deed.LONGER:
                kind, version, length = _HEAD.unpack_from(record)
                return _HEAD.pack(kind, version, length + 1) + record[_HEAD.size :] + b"\0"
            case Deed.HUGE:
                return _HEAD.pack(0x17, 0x0303, 0xFFFF) + b"\0" * 0xFFFF
            case Deed.IN_THE_CLEAR:
                return record + b"\0\0\0\x02{}"
