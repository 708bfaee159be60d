"""Files that say of themselves whether they are whole: a line with the length and the checksum, then the content. Pure.

A file that is sent to a datastore may arrive in part, and what is read from there over HTTP may be a proxy's page. What
follows the first line is as it was: people and scripts read it from the second line on.
"""

from __future__ import annotations

import hashlib
import re

from vmdkvol.errors import MetadataDamaged

# Of a content: a sidecar has at most 256 KiB, a label less.
MAX_BYTES = 1 << 20
_HEAD = re.compile(rb"vmdkvol-file 1 (0|[1-9][0-9]{0,7}) ([0-9a-f]{64})\n")
MAX_HEAD = 100


def frame(content: bytes) -> bytes:
    """Return ``content`` behind its line."""
    return b"vmdkvol-file 1 %d %s\n" % (len(content), hashlib.sha256(content).hexdigest().encode("ascii")) + content


def content_of(file: bytes, what: str) -> bytes:
    """Return the content of a whole file; MetadataDamaged, naming ``what``, for anything that ``frame`` did not return."""
    head = _HEAD.match(file[:MAX_HEAD])
    if head is None:
        raise MetadataDamaged(f"{what} does not begin as a file of vmdkvol")
    content = file[head.end() :]
    if len(content) != int(head[1]):
        raise MetadataDamaged(f"{what} has {len(content)} bytes after its first line, not {int(head[1])}")
    if hashlib.sha256(content).hexdigest().encode("ascii") != head[2]:
        raise MetadataDamaged(f"{what} does not have the checksum in its first line")
    return content


def begins_as_frame(file: bytes) -> bool:
    """Tell whether this is the beginning of a file of ours, whole or not: what else comes over HTTP is not from a datastore."""
    return file.startswith(b"vmdkvol-file ") or b"vmdkvol-file ".startswith(file)
