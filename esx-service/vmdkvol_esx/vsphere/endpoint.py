"""Where the vSphere API is and how its server proves that it is the one meant. Values, checked when they are made."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vmdkvol.errors import BadRequest
from vmdkvol_esx.vsphere.pins import Pin

# RFC 1123 names and IPv4 addresses; an IPv6 address stands without its brackets.
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]{2,45}")
_MAX_USER = 256


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A vCenter or ESXi host and the account on it. The password is no part of it: it is read at each login."""

    host: str
    user: str
    port: int = 443

    def __post_init__(self) -> None:
        if not _HOST.fullmatch(self.host):
            # Of an address for a browser only what follows the account, and with it a password, is told.
            shown = self.host.rpartition("@")[2][:60]
            raise BadRequest(
                f"{shown!r} is no host name or address of a vCenter or ESXi host",
                remedy="write the name alone: no https://, no path, no account; the port is a setting of its own",
                setting="host",
            )
        if not 1 <= self.port <= 65535:
            raise BadRequest(
                f"port {self.port} of {self.host} is not from 1 to 65535",
                remedy="leave it out (443), or write the port of vCenter or the ESXi host",
                setting="port",
            )
        if not self.user or len(self.user) > _MAX_USER or not self.user.isprintable():
            raise BadRequest(
                f"the account on {self.host} has 1 to {_MAX_USER} printable characters",
                remedy="write it as NAME@DOMAIN, or as the ESXi host has it",
                setting="user",
            )

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Trust:
    """Which certificates are taken for the endpoint's; each thing that is given must hold, on loopback too.

    ``ca``: PEM text of the only authorities that count, and the certificate must be for the host's name. ``pin``: the
    certificate must be this very one; without ``ca`` it needs no authority and may be for any name. Neither: the
    machine's authorities, and the host's name. The time of validity counts always.
    """

    ca: str | None = None
    pin: Pin | None = None
