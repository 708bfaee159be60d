"""How the vSphere API spells datastore paths and datastore names, and the URL of a file. Pure, total.

A name is nowhere parsed out of a path by its brackets: ``[a] b] x.vmdk`` is a path on a datastore named ``a] b``.
"""

from __future__ import annotations

import re
from urllib.parse import quote
from uuid import NAMESPACE_URL, UUID, uuid5

from vmdkvol.errors import MetadataDamaged

# The server escapes these three, and these alone, in the name of every object of its inventory.
_PLAIN = {"%25": "%", "%2f": "/", "%5c": "\\"}
_ESCAPED = re.compile("|".join(_PLAIN), re.IGNORECASE)


def datastore_path(datastore: str, path: str) -> str:
    """Return the API's spelling of ``path``, relative to the root of the datastore that the server names so."""
    return f"[{datastore}] {path}"


def path_on(datastore: str, text: str) -> str | None:
    """Return the path that ``text`` says, relative to the datastore of this name; None if it is not on it."""
    start = f"[{datastore}]"
    if not text.startswith(start):
        return None
    path = text[len(start) :].strip(" /")
    return path or None


def folder_on(datastore: str, text: str) -> str | None:
    """Return the folder that ``text`` says, as ``path_on``; empty for the root of the datastore."""
    path = path_on(datastore, f"{text}/")
    return "" if path is None and text.strip(" /") == f"[{datastore}]" else path


def checked(path: str) -> str:
    """Return ``path``; MetadataDamaged unless it stays inside of its datastore, and ends as a descriptor's does."""
    parts = path.split("/")
    if any(part in ("", ".", "..") or not part.isprintable() for part in parts) or not path.endswith(".vmdk"):
        raise MetadataDamaged(f"{path[:80]!r} is not the path of a disk on a datastore")
    return path


def folder_of(path: str) -> str:
    """Return the folder of a file's path; empty for the root."""
    return path.rpartition("/")[0]


def plain_name(name: str) -> str:
    """Return the name of an object of the inventory as people write it; the server escapes ``%``, ``/`` and ``\\`` in it."""
    # All in one pass: what an escape stands for is no part of another one.
    return _ESCAPED.sub(lambda found: _PLAIN[found[0].lower()], name)


def file_url(path: str, dc_path: str, datastore: str) -> str:
    """Return where the server hands out a file: ``/folder/PATH?dcPath=..&dsName=..``, everything in it quoted as UTF-8."""
    return f"/folder/{quote(path, safe='/')}?dcPath={quote(dc_path, safe='')}&dsName={quote(datastore, safe='')}"


def datastore_id(url: str) -> UUID:
    """Return what a datastore is known by when its name changes; ``url`` is the server's ``summary.url`` of it.

    A vCenter says ``ds:///vmfs/volumes/ID/``, a host of it ``/vmfs/volumes/ID``: one datastore, one answer.
    """
    plain = url.removeprefix("ds://").rstrip("/")
    return uuid5(NAMESPACE_URL, f"vmdkvol:datastore:{plain}")
