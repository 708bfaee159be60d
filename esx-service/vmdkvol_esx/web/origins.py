"""From where a browser sends a request: of our own page, or of a page of somebody else, whom nobody asked. Pure.

A certificate, and a tunnel to the root's socket, prove who asks whatever page makes the browser ask. Browsers say which page it
is, and no page can say otherwise; programs say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from vmdkvol.admin_errors import ForeignPage
from vmdkvol.errors import quoted

# "none" is a person: an address that was typed, or a bookmark.
_OWN = frozenset({"same-origin", "none"})
# By these names a tunnel ends on the reader's own machine.
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def check_origin(environ: Mapping[str, Any]) -> None:
    """Raise ForeignPage if a browser says that a page of another site asks."""
    site = environ.get("HTTP_SEC_FETCH_SITE")
    if site is not None and site not in _OWN:
        raise ForeignPage(f"a page of another site ({quoted(site, 20)}) asks")
    origin = environ.get("HTTP_ORIGIN")
    own = f"{environ.get('wsgi.url_scheme')}://{environ.get('HTTP_HOST')}"
    if origin is not None and origin != own:
        raise ForeignPage(f"a page of {quoted(origin, 60)} asks")


def check_host(environ: Mapping[str, Any]) -> None:
    """Raise ForeignPage unless the request is for a name of the reader's own machine, as a tunnel to the socket is.

    Any name on the internet may lead to 127.0.0.1, and a page that came from there would be one with ours for a browser.
    """
    host = str(environ.get("HTTP_HOST") or "")
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        name = None
    if host and name not in _LOOPBACK:
        raise ForeignPage(f"the socket does not answer for {quoted(host, 60)}", remedy="ask for localhost")
