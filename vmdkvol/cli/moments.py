"""Times as people and programs read them: in UTC, to the second. Pure."""

from __future__ import annotations

from datetime import UTC, datetime


def iso(seconds: float | None) -> str | None:
    """Return UTC seconds since 1970 as ``2026-11-29T02:04:36+00:00``; None, and what no calendar has, as None."""
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return None
