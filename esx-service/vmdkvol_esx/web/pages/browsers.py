"""What a browser may do with an answer of the pages, and where it may be sent. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ROOT = "/ui"
COOKIE = "__Host-vmdkvol"
# A session is shown to us alone, inside TLS, and to no script.
ALONE: Mapping[str, Any] = {"secure": True, "httponly": True, "samesite": "Strict", "path": "/"}
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    # Not no-referrer: a browser then sends a form with "Origin: null", and our own page could not be told from another.
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def is_ours(path: str) -> bool:
    """Tell whether a path leads to a page of ours, and to no other machine."""
    return path.startswith(f"{ROOT}/") and path.isascii() and path.isprintable() and "\\" not in path and "//" not in path


def session_in(cookies: str) -> str | None:
    """Return the session in a Cookie header, None if there is none."""
    pairs = (each.partition("=") for each in cookies.split(";"))
    return next((value.strip() for name, _, value in pairs if name.strip() == COOKIE), None)
