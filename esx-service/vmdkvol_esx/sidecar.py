"""The second copy of a record, beside its disk: what ``rebuild`` restores a lost database from. Pure bytes in and out."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from vmdkvol.errors import MetadataDamaged, VolumeError, quoted
from vmdkvol.wire import dump, load
from vmdkvol_esx.records import VolumeRecord

FORMAT = "vmdkvol sidecar"
VERSION = 2
# What a record has got since version 1, and with which version. A copy has that of the newest field in which it says something:
# an older service reads what it knows, and takes a copy that says more for newer, not for damaged. Each later field goes here.
ADDED = {"policy_pending": 2}
# A record has at most 32 labels of 255 characters, and options that came in a frame of 48 KiB.
MAX_BYTES = 256 << 10
_KEYS = frozenset({"format", "version", "generation", "sha256", "record"})


def encode(record: VolumeRecord) -> bytes:
    """Return the sidecar of ``record``: readable JSON with a checksum over the record."""
    fields = dump(record)
    content = {
        "format": FORMAT,
        "version": max((since for name, since in ADDED.items() if name in fields), default=1),
        "generation": record.generation,
        "sha256": _checksum(fields),
        "record": fields,
    }
    return json.dumps(content, indent=1, sort_keys=True).encode("ascii") + b"\n"


def decode(content: bytes) -> VolumeRecord:
    """Return the record in a sidecar; raise MetadataDamaged for anything that ``encode`` did not write (F40).

    A sidecar of a newer version is refused too (see ``is_newer``): what it means is not known here.
    """
    data = _parsed(content)
    _check_version(data["version"])
    if data["sha256"] != _checksum(data["record"]):
        raise MetadataDamaged("the sidecar's checksum does not match its record")
    try:
        record = load(VolumeRecord, data["record"])
    except VolumeError as error:
        raise MetadataDamaged(f"the sidecar's record cannot be read: {error.text}") from error
    if data["generation"] != record.generation:
        raise MetadataDamaged("the sidecar's generation is not its record's")
    return record


def is_newer(error: MetadataDamaged) -> bool:
    """Tell whether ``decode`` refused what a newer version wrote, which is kept and believed to say more than we know."""
    return error.fields.get("newer_version") is True


def _check_version(version: object) -> None:
    number = version if isinstance(version, int) and not isinstance(version, bool) else 0
    if not 1 <= number <= VERSION:
        raise MetadataDamaged(
            f"the sidecar has version {quoted(version, 40)}, this service reads up to {VERSION}",
            remedy="upgrade the service",
            newer_version=number > VERSION,
        )


def _parsed(content: bytes) -> dict[str, Any]:
    if len(content) > MAX_BYTES:
        raise MetadataDamaged(f"the sidecar has {len(content)} bytes, {MAX_BYTES} are allowed")
    try:
        data = json.loads(content.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise MetadataDamaged(f"the sidecar is not JSON: {error}") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT or data.keys() != _KEYS:
        raise MetadataDamaged("the file is not a sidecar of ours")
    return data


def _checksum(fields: object) -> str:
    # Without blanks and in one order, so that the same record has one checksum however the file is laid out.
    plain = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode("ascii")
    return hashlib.sha256(plain).hexdigest()
