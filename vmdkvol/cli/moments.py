"""Times as people and programs write and read them: in UTC, to the second. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from vmdkvol.errors import BadRequest, quoted

_AGO = re.compile(r"([0-9]{1,9})([smhdw])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def iso(seconds: float | None) -> str | None:
    """Return UTC seconds since 1970 as ``2026-11-29T02:04:36+00:00``; None, and what no calendar has, as None."""
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return None


def parse_moment(text: str, now: float) -> float:
    """Return the UTC seconds that an ISO time (in UTC unless it says its zone) or ``2h``, so long before ``now``, means.

    Raises BadRequest for anything else.
    """
    ago = _AGO.fullmatch(text.strip())
    if ago is not None:
        return now - int(ago[1]) * _SECONDS[ago[2]]
    try:
        found = datetime.fromisoformat(text.strip())
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise BadRequest(f"time {quoted(text)} cannot be read", remedy="write 2026-11-29, 2026-11-29T10:00 or 2h") from None
