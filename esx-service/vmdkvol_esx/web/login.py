"""Who asks the API, by what the door proves: root by the socket, a certificate's name, a token. Nothing else counts."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from vmdkvol.admin_errors import NotAuthenticated
from vmdkvol.errors import VolumeError, quoted
from vmdkvol.logs import Log
from vmdkvol.orders import ROOT, Actor, Role
from vmdkvol_esx.web.origins import check_host
from vmdkvol_esx.web.token_file import Tokens, checked_name

_CREDENTIALS = struct.Struct("3i")
_SCHEME = "bearer "
_MOST_TOKEN = 200
UNIX = "unix"
# What somebody wants to come in at, as the audit calls it.
API, PAGE = "api", "page"


class Hears(Protocol):
    """Who writes down who came and who was not let in, with the request's id if it has one. Waits for nothing."""

    def refused(self, door: str, source: str, reason: str, request: UUID | None) -> None: ...
    def entered(self, door: str, by: Actor, request: UUID | None) -> None: ...


@dataclass(frozen=True, slots=True)
class Login:
    """Tells who asks, by a WSGI environment."""

    tokens: Tokens
    log: Log
    audit: Hears | None = None

    def actor(self, environ: Mapping[str, Any]) -> Actor:
        """Return who asks; NotAuthenticated if nothing proves it. A token that is shown counts before all else."""
        try:
            return self.proved(environ)
        except NotAuthenticated as error:
            self.refused(environ, self.source(environ), error)
            raise

    def proved(self, environ: Mapping[str, Any]) -> Actor:
        """As ``actor``; nobody hears of a refusal."""
        header, source = environ.get("HTTP_AUTHORIZATION"), self.source(environ)
        found = self._by_token(header, source) if header is not None else self.connected(environ)
        if found is None:
            raise NotAuthenticated("nothing was shown that proves who asks")
        return found

    def source(self, environ: Mapping[str, Any]) -> str:
        """Return from where somebody asks: ``unix``, or an address."""
        return UNIX if _is_unix(environ.get("gunicorn.socket")) else str(environ.get("REMOTE_ADDR") or "unknown")

    def known(self, environ: Mapping[str, Any]) -> bool:
        """Tell whether it is proved who asks. Who shows nothing is no warning: a probe asks every few seconds."""
        try:
            found = self.connected(environ) if environ.get("HTTP_AUTHORIZATION") is None else self.actor(environ)
        except VolumeError:
            return False
        return found is not None

    def connected(self, environ: Mapping[str, Any]) -> Actor | None:
        """Return whom the connection itself proves, by its socket or its certificate; None if it does not.

        NotAuthenticated if it proves somebody who may not come in, ForeignPage for another name's page at the socket.
        """
        connection, source = environ.get("gunicorn.socket"), self.source(environ)
        if source == UNIX:
            check_host(environ)
            return _by_socket(connection)
        return by_certificate(connection.getpeercert(), source) if isinstance(connection, ssl.SSLSocket) else None

    def refused(self, environ: Mapping[str, Any], source: str, error: NotAuthenticated, door: str = API) -> None:
        """Nobody was let in: the log says so, and the audit hears of it."""
        self.log.warning("nobody known asks", door=door, source=source, reason=error.text)
        if self.audit is not None:
            self.audit.refused(door, source, error.text, environ.get("vmdkvol.id"))

    def entered(self, environ: Mapping[str, Any], by: Actor, door: str) -> None:
        """Somebody logged in, who need not prove it again for a while."""
        self.log.info("logged in", door=door, name=by.name, role=by.role.value, source=by.source)
        if self.audit is not None:
            self.audit.entered(door, by, environ.get("vmdkvol.id"))

    def _by_token(self, header: str, source: str) -> Actor:
        if not header.lower().startswith(_SCHEME) or len(header) > _MOST_TOKEN:
            raise NotAuthenticated("the Authorization header has no bearer token")
        known = self.tokens.find(header[len(_SCHEME) :].strip())
        if known is None:
            raise NotAuthenticated("the token is unknown, over or revoked")
        return Actor(known.name, known.role, source)


def by_certificate(shown: Mapping[str, Any] | None, source: str) -> Actor | None:
    """Return whom a certificate names (common name) with which role (its one organizational unit); None if none was shown.

    ``shown`` is as ``ssl`` tells it: verified against the authority for administrators.
    """
    if not shown:
        return None
    subject = [pair for each in shown.get("subject", ()) for pair in each]
    names = [value for key, value in subject if key == "commonName"]
    units = [value for key, value in subject if key == "organizationalUnitName"]
    if len(names) != 1 or len(units) != 1 or units[0] not in list(Role):
        raise NotAuthenticated(
            "the certificate does not name one person (CN) and one role (OU)",
            remedy=f"make one with OU {', '.join(Role)}; see docs/how-to/api.md",
        )
    try:
        return Actor(checked_name(names[0]), Role(units[0]), source)
    except VolumeError as error:
        raise NotAuthenticated(f"the certificate's common name {quoted(names[0], 40)} cannot be a name") from error


def _is_unix(connection: Any) -> bool:
    return getattr(connection, "family", None) == socket.AF_UNIX


def _by_socket(connection: Any) -> Actor:
    try:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except OSError as error:
        raise NotAuthenticated(f"the connection gives no proof of who asks: {error}") from error
    _, uid, _ = _CREDENTIALS.unpack(credentials)
    if uid != 0:
        raise NotAuthenticated(f"uid {uid} may not use this socket", remedy="ask as root, or show a token")
    return ROOT
