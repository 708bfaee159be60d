"""The label beside a disk: what its descriptor cannot carry. Pure bytes in and out.

X.vmdk            the descriptor; its UUID is the disk's identity
X.vmdkvol.label   written before the disk is made, and taken away after it is gone
X.vmdkvol.json    the sidecar, and X.vmdkvol.json.new while it is written
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from vmdkvol.errors import MetadataDamaged, quoted
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.vsphere import framed

FORMAT = "vmdkvol label"
VERSION = 1
LABEL = ".vmdkvol.label"
SIDECAR = ".vmdkvol.json"
NEW_SIDECAR = f"{SIDECAR}.new"
FLAT = "-flat.vmdk"
DESCRIPTOR = ".vmdk"
# What a disk, or the rest of one, is known by; the longer ending first.
TRACES = (NEW_SIDECAR, SIDECAR, LABEL, FLAT, DESCRIPTOR)
_KEYS = frozenset({"format", "version", "uuid", "size_bytes", "diskformat", "note", "deleting"})


@dataclass(frozen=True, slots=True)
class Label:
    """What was asked for when the disk was made. ``deleting``: its deletion has begun, and goes on until nothing is left.

    ``growing``: it was begun to make the disk so large; until that is known to have ended, the server says how large it is.
    """

    uuid: DiskUuid
    size_bytes: int
    diskformat: str
    note: Mapping[str, str]
    deleting: bool = False
    growing: int | None = None


def encode(label: Label) -> bytes:
    """Return the file."""
    fields: dict[str, object] = {
        "format": FORMAT,
        "version": VERSION,
        "uuid": str(label.uuid),
        "size_bytes": label.size_bytes,
        "diskformat": label.diskformat,
        "note": dict(label.note),
        "deleting": label.deleting,
    }
    if label.growing is not None:
        fields["growing"] = label.growing
    return framed.frame(json.dumps(fields, indent=1, sort_keys=True).encode("ascii") + b"\n")


def decode(file: bytes, what: str) -> Label:
    """Return the label in a file; MetadataDamaged, naming ``what``, for anything that ``encode`` did not return."""
    try:
        fields = json.loads(framed.content_of(file, what).decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise MetadataDamaged(f"{what} is not JSON: {error}") from error
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise MetadataDamaged(f"{what} is not a label of vmdkvol")
    if fields.get("version") != VERSION:
        raise MetadataDamaged(
            f"{what} has version {quoted(fields.get('version'), 40)}, this service reads {VERSION}",
            remedy="upgrade the service",
        )
    if fields.keys() - {"growing"} != _KEYS or not _right(fields):
        raise MetadataDamaged(f"{what} does not have the fields of a label")
    uuid, growing = DiskUuid(UUID(fields["uuid"])), fields.get("growing")
    return Label(uuid, fields["size_bytes"], fields["diskformat"], fields["note"], fields["deleting"], growing)


def _right(fields: Mapping[str, Any]) -> bool:
    """Tell whether each field has its type, and the only spelling that is written."""
    uuid, size, note = fields["uuid"], fields["size_bytes"], fields["note"]
    try:
        spelled = isinstance(uuid, str) and str(UUID(uuid)) == uuid
    except ValueError:
        return False
    return (
        spelled
        and type(size) is int
        and size > 0
        and isinstance(fields["diskformat"], str)
        and type(fields["deleting"]) is bool
        and ("growing" not in fields or (type(fields["growing"]) is int and fields["growing"] > 0))
        and isinstance(note, dict)
        and all(isinstance(text, str) for text in note.values())
    )


def beside(path: str, ending: str) -> str:
    """Return the path of the file with this ending that belongs to the disk at ``path``."""
    return path.removesuffix(DESCRIPTOR) + ending


def disk_of(path: str) -> tuple[str, str] | None:
    """Return the descriptor's path and the ending, of a file that belongs to a disk; None for any other file."""
    for ending in TRACES:
        stem = path.removesuffix(ending)
        if stem != path and stem and not stem.endswith("/"):
            return stem + DESCRIPTOR, ending
    return None
