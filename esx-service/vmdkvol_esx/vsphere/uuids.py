"""A disk's identity in the spellings of the vSphere API. Pure."""

from __future__ import annotations

import re
from uuid import UUID

from vmdkvol.volume import DiskUuid

_HEX = re.compile(r"[0-9a-fA-F]{32}")


def read_uuid(text: object) -> DiskUuid | None:
    """Return the identity in ``text``, dashed ("6000C29a-...") or in spaced pairs ("60 00 C2 9a ..-.."); None if it is none."""
    if not isinstance(text, str):
        return None
    digits = re.sub(r"[\s-]", "", text)
    return DiskUuid(UUID(hex=digits)) if _HEX.fullmatch(digits) else None


def spaced(uuid: DiskUuid) -> str:
    """Return the identity as a descriptor has it: eight pairs of digits, a dash, eight pairs."""
    pairs = [uuid.hex[at : at + 2] for at in range(0, 32, 2)]
    return f"{' '.join(pairs[:8])}-{' '.join(pairs[8:])}"
