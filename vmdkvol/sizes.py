"""Sizes as users write them, and as bytes. Units are binary, as in vDVS: 1 gb = 1024 mb. Pure."""

from __future__ import annotations

import re
from fractions import Fraction

from vmdkvol.errors import InvalidSize

SECTOR = 512
_FACTORS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
# [0-9], not \d: Python's \d takes Arabic and other digits, which vDVS then created volumes from (vdvs-facts L19, F52).
_SIZE = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,12}))? ?([kmgtp])(?:i?b)?", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
# VMFS takes a VMDK of up to 62 TiB (vdvs-facts 9).
MAX_SIZE = 62 * _FACTORS["t"]


def parse_size(text: str) -> int:
    """Return the bytes that ``text`` means, a multiple of 512; a fraction is rounded up to the next sector.

    ``20gb``, ``20g``, ``20GiB`` and ``20 gb`` are the same 21474836480. Raise InvalidSize for anything else than a
    number with a unit, for zero, and for more than 62 TiB.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        if _NUMBER.fullmatch(text):
            raise InvalidSize(f"size {text[:40]!r} has no unit")
        raise InvalidSize(f"size {text[:40]!r} cannot be read")
    whole, fraction, unit = match.groups()
    exact = Fraction(int(whole + (fraction or "")), 10 ** len(fraction or "")) * _FACTORS[unit.lower()]
    sectors = -(-exact // SECTOR)
    size = int(sectors) * SECTOR
    if size == 0:
        raise InvalidSize("size 0 is not a size")
    if size > MAX_SIZE:
        raise InvalidSize(f"size {text[:40]!r} is more than the largest disk, 62tb")
    return size


def format_size(size_bytes: int) -> str:
    """Return an exact short form that ``parse_size`` reads back, such as ``20gb`` or ``4000kb``."""
    for unit in "tgmk":
        if size_bytes and size_bytes % _FACTORS[unit] == 0:
            return f"{size_bytes // _FACTORS[unit]}{unit}b"
    return f"{size_bytes} bytes"


def vdvs_capacity(size_bytes: int) -> str:
    """Return vDVS's form for Status: a truncated integer with KB, MB or GB, no TB (vdvs-facts 5.2)."""
    for unit, factor in (("GB", _FACTORS["g"]), ("MB", _FACTORS["m"]), ("KB", _FACTORS["k"])):
        if size_bytes >= factor:
            return f"{size_bytes // factor}{unit}"
    return str(size_bytes)
