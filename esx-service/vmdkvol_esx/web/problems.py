"""Errors as HTTP tells them: a status, and Problem Details (RFC 9457). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vmdkvol.admin_errors import BodyTooLong, KeyReused, NotAuthenticated, TooManyLogins, WrongMedia
from vmdkvol.errors import (
    AtRisk,
    BadRequest,
    Busy,
    Conflict,
    Denied,
    Exhausted,
    MetadataDamaged,
    NotFound,
    ProtocolError,
    StaleRequest,
    StillWorking,
    Unavailable,
    VolumeError,
)

MEDIA = "application/problem+json"
# The first class that fits says it.
_STATUS: tuple[tuple[type[VolumeError], int], ...] = (
    (BodyTooLong, 413),
    (WrongMedia, 415),
    (BadRequest, 400),
    (NotAuthenticated, 401),
    (TooManyLogins, 429),
    (Denied, 403),
    (NotFound, 404),
    (KeyReused, 422),
    (Conflict, 409),
    (Exhausted, 507),
    (Unavailable, 503),
    # What came from the core is no answer of its protocol: it is of another version.
    (ProtocolError, 502),
    (MetadataDamaged, 503),
    (AtRisk, 409),
)


def status_of(error: VolumeError, *, expected: bool = False) -> int:
    """Return the status; ``expected``: the request named a revision (If-Match)."""
    if expected and isinstance(error, StaleRequest):
        return 412
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def retry_after(error: VolumeError) -> int | None:
    """Return after how many seconds it may be worth a repeat, None if nothing says that it ever is."""
    if isinstance(error, TooManyLogins):
        return 60
    if not isinstance(error, Unavailable):
        return None
    return 5 if isinstance(error, StillWorking | Busy) else 1


def problem(error: VolumeError, status: int, request_id: str) -> Mapping[str, Any]:
    """Return the members of the answer. ``code`` and what ``vmdkvol explain`` knows never change; the texts may."""
    return {
        "type": f"urn:vmdkvol:error:{error.code}",
        "title": title_of(type(error)),
        "status": status,
        "detail": error.text,
        "code": error.code,
        "remedy": error.remedy,
        "request_id": request_id,
    }


def title_of(kind: type[VolumeError]) -> str:
    """Return what all errors of this code have in common, in words."""
    return (kind.__doc__ or kind.code).splitlines()[0]
