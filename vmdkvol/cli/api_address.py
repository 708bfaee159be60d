"""Addresses of the API: ``unix:///PATH`` for root at the service's own machine, ``https://HOST[:PORT]`` from anywhere. Pure.

There is no ``http://``: a token that is sent in the clear is everybody's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vmdkvol.addresses import UnixAddress, unix_address
from vmdkvol.errors import BadRequest, quoted

API = "VMDKVOL_API"
DEFAULT_PORT = 1020
_FORMS = "write unix:///PATH or https://HOST[:PORT]"
_HTTPS = re.compile(r"https://(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9][A-Za-z0-9.\-]{0,252})(?::([0-9]{1,5}))?/?", re.ASCII)


@dataclass(frozen=True, slots=True)
class WebAddress:
    """A host and a port that speak HTTP inside TLS."""

    host: str
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}"


def parse_api(text: str) -> UnixAddress | WebAddress:
    """Return the API's address; BadRequest says what is wrong with the text."""
    if text.startswith("unix://"):
        return unix_address(text.removeprefix("unix://"))
    if text.startswith("http://"):
        raise BadRequest(f"{quoted(text)} would show the token to everybody on the way", remedy=_FORMS)
    found = _HTTPS.fullmatch(text)
    port = int(found[2] or DEFAULT_PORT) if found else 0
    if found is None or not 0 < port < 1 << 16:
        raise BadRequest(f"API address {quoted(text)} cannot be used", remedy=_FORMS)
    return WebAddress(found[1].strip("[]"), port)
