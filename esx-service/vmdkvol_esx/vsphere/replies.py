"""What the answer to a file's GET or PUT on a datastore means. Pure, and total: every status has its row.

These answers are plain HTTP: whatever stands between us and the server answers in its stead, with a login page and status 200
for example.
"""

from __future__ import annotations

from vmdkvol_esx.vsphere import framed
from vmdkvol_esx.vsphere.faults import Meaning, Trouble

_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


def of_get(status: int, content_type: str, encoding: str, body: bytes) -> Trouble | None:
    """Return what keeps ``body`` from being the file; None if it is the file. ABSENT: the server knows no such file."""
    if status != 200:
        return _of_status(status)
    if encoding not in ("", "identity"):
        return Trouble(Meaning.NOT_UNDERSTOOD, "it is compressed, which was not asked for")
    page = content_type.lower().startswith("text/html") or body.lstrip()[:1] == b"<"
    if page and not framed.begins_as_frame(body):
        return Trouble(Meaning.NOT_UNDERSTOOD, "it is a page, not a file of a datastore: is there a proxy in between?")
    return None


def of_put(status: int) -> Trouble | None:
    """Return what the answer to a PUT leaves open, None if it says that the file is there. ABSENT: there is no such folder."""
    return None if status in (200, 201, 204) else _of_status(status)


def _of_status(status: int) -> Trouble:
    said = f"HTTP {status}"
    if status == 404:
        return Trouble(Meaning.ABSENT, said)
    if status == 401:
        return Trouble(Meaning.LOGGED_OUT, said)
    if status == 403:
        return Trouble(Meaning.FORBIDDEN, f"{said}: Datastore.Browse and Datastore.FileManagement")
    if status == 507:
        return Trouble(Meaning.FULL, said)
    if status in _AGAIN:
        # It may have been carried out before the server met with that.
        return Trouble(Meaning.LOST, said)
    if 300 <= status < 400:
        return Trouble(Meaning.NOT_UNDERSTOOD, f"{said}: the server sends us elsewhere, where we do not follow")
    return Trouble(Meaning.NOT_UNDERSTOOD, said)
