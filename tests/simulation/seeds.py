"""Which seeds are run: new ones for each change of the product, so that the ground that is covered grows."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import vmdkvol
import vmdkvol_esx
import vmdkvol_guest

# Apart from the seeds that somebody types.
_FROM, _MANY = 1_000_000, 1_000_000_000


def content_hash() -> str:
    """Return the hash of the product's source as it is imported now."""
    digest = hashlib.sha256()
    for package in (vmdkvol, vmdkvol_guest, vmdkvol_esx):
        root = Path(next(iter(package.__path__)))
        for path in sorted(root.rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def first_seed() -> int:
    """Return the seed that this change begins with; VMDKVOL_FIRST_SEED overrides it, to replay what another one found."""
    told = os.environ.get("VMDKVOL_FIRST_SEED")
    return int(told) if told else _FROM + int(content_hash()[:16], 16) % _MANY
