"""Sizes as users write them, and as bytes. Units are binary, as in vDVS: 1 gb = 1024 mb. Pure."""

from __future__ import annotations

import re

from vmdkvol.errors import InvalidSize, quoted

SECTOR = 512
_SHORT = len("1000gb")
_FACTORS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
# [0-9], not \d: Python's \d takes Arabic and other digits, which vDVS then created volumes from (vdvs-facts L19, F52).
# ASCII, or IGNORECASE lets the Kelvin sign through as a k. The digits are bounded: int() of a megabyte of them takes long.
_SIZE = re.compile(r"([0-9]{1,40})(?:\.([0-9]{1,40}))? ?([kmgtp])(?:i?b)?", re.IGNORECASE | re.ASCII)
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
            raise InvalidSize(f"size {quoted(text)} has no unit")
        raise InvalidSize(f"size {quoted(text)} cannot be read")
    whole, fraction, unit = match.groups()
    # Exact, in whole numbers: the digits without their point, and what they are to be divided by for it.
    digits = int(whole + (fraction or ""))
    divisor: int = 10 ** len(fraction or "")
    size = -(-digits * _FACTORS[unit.lower()] // (divisor * SECTOR)) * SECTOR
    if size == 0:
        raise InvalidSize(f"size {quoted(text)} is no size at all")
    if size > MAX_SIZE:
        raise InvalidSize(f"size {quoted(text)} is more than the largest disk, 62tb")
    return size


def format_size(size_bytes: int) -> str:
    """Return an exact short form, such as ``20gb`` or ``4000kb``, that ``parse_size`` reads back for every size it gives."""
    for unit in "tgmk":
        if size_bytes and size_bytes % _FACTORS[unit] == 0:
            return f"{size_bytes // _FACTORS[unit]}{unit}b"
    if size_bytes % SECTOR == 0:
        # A disk ends on a sector, which may be half of a kb (field case C03).
        return f"{size_bytes // _FACTORS['k']}.5kb" if size_bytes else "0kb"
    return f"{size_bytes} bytes"


def short_size(size_bytes: int) -> str:
    """Return a form for people: exact if that is short, else rounded to a tenth of its unit, such as ``1.5tb``."""
    exact = format_size(size_bytes)
    if len(exact) <= _SHORT:
        return exact
    unit = next(unit for unit in "tgmk" if size_bytes >= _FACTORS[unit] or unit == "k")
    return f"{size_bytes / _FACTORS[unit]:.1f}{unit}b"


def compared(first: int, second: int) -> tuple[str, str]:
    """Return two sizes that a text compares: as ``short_size`` has them, exact where different ones would read alike."""
    one, other = short_size(first), short_size(second)
    return (format_size(first), format_size(second)) if one == other else (one, other)


def vdvs_capacity(size_bytes: int) -> str:
    """Return vDVS's form for Status: a truncated integer with KB, MB or GB, no TB (vdvs-facts 5.2)."""
    for unit, factor in (("GB", _FACTORS["g"]), ("MB", _FACTORS["m"]), ("KB", _FACTORS["k"])):
        if size_bytes >= factor:
            return f"{size_bytes // factor}{unit}"
    return str(size_bytes)
