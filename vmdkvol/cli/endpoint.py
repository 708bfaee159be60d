"""Who is believed to be the API, and what proves who asks: a pin or an authority, a token or a certificate.

At a Unix socket the kernel says who calls.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import os
import re
import socket
import ssl
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vmdkvol.addresses import UnixAddress
from vmdkvol.cli.api_address import WebAddress
from vmdkvol.errors import BadRequest, NotPermitted, UnknownCaller, quoted
from vmdkvol.logs import Secret

TOKEN_FILE, CA, PIN, CERT = "VMDKVOL_TOKEN_FILE", "VMDKVOL_CA", "VMDKVOL_PIN", "VMDKVOL_CERT"
_PIN = re.compile(r"([0-9A-Fa-f]{2}:?){32}", re.ASCII)
_TOKEN = re.compile(r"[!-~]{8,4096}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Trust:
    """What proves the two to each other: a certificate's SHA-256, an authority's file; our token, our certificate with its key.

    Without pin and authority the machine's own authorities count.
    """

    token: Secret | None = None
    authority: Path | None = None
    pin: bytes | None = None
    certificate: Path | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An API that can be asked."""

    address: UnixAddress | WebAddress
    trust: Trust = Trust()

    def __str__(self) -> str:
        return str(self.address)

    def connect(self, timeout_s: float) -> http.client.HTTPConnection:
        """Return a connection on which nothing was said yet.

        Raises OSError if nobody is there, and UnknownCaller if who answers is not whom the user trusts.
        """
        connection = _Connection(self, timeout_s)
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise UnknownCaller(
                f"what answers at {self} is not believed: {error.verify_message}",
                remedy=f"give the authority's file in {CA}, or the certificate's SHA-256 in {PIN}",
            ) from error
        except BaseException:
            connection.close()
            raise
        return connection


class _Connection(http.client.HTTPConnection):
    """HTTP over what the endpoint says."""

    def __init__(self, endpoint: Endpoint, timeout_s: float) -> None:
        self._endpoint = endpoint
        web = endpoint.address if isinstance(endpoint.address, WebAddress) else WebAddress("localhost")
        super().__init__(web.host, web.port, timeout=timeout_s)

    def connect(self) -> None:
        address = self._endpoint.address
        if isinstance(address, UnixAddress):
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(str(address.path))
            return
        context = _context(self._endpoint.trust)
        plain = socket.create_connection((address.host, address.port), self.timeout)
        try:
            secured = context.wrap_socket(plain, server_hostname=address.host)
        except BaseException:
            plain.close()
            raise
        self.sock = secured
        # Before a word is said: the token is for the right one only.
        _check_pin(self._endpoint, secured.getpeercert(binary_form=True))


def _check_pin(endpoint: Endpoint, presented: bytes | None) -> None:
    pin = endpoint.trust.pin
    if pin is None:
        return
    seen = hashlib.sha256(presented or b"").digest()
    if not hmac.compare_digest(seen, pin):
        raise UnknownCaller(
            f"what answers at {endpoint} has another certificate than {PIN} says: {seen.hex(':').upper()}",
            remedy="if the service has a new certificate, ask its administrator for the SHA-256",
        )


def _context(trust: Trust) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if trust.pin is not None:
        # The one certificate itself is compared: no name and no authority says more.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif trust.authority is not None:
        context = ssl.create_default_context(cafile=str(trust.authority))
    if trust.certificate is not None:
        context.load_cert_chain(trust.certificate)
    return context


def trust_from(environment: Mapping[str, str]) -> Trust:
    """Return what the environment says about trust; BadRequest for what cannot be read, NotPermitted for a token of many."""
    token, authority, pin, certificate = (environment.get(name) or None for name in (TOKEN_FILE, CA, PIN, CERT))
    for name, file in ((CA, authority), (CERT, certificate)):
        if file is not None and not Path(file).is_file():
            raise BadRequest(f"{name} names {quoted(file)}, and there is no such file", remedy="name a file in PEM")
    return Trust(
        None if token is None else read_token(Path(token)),
        None if authority is None else Path(authority),
        None if pin is None else _parse_pin(pin),
        None if certificate is None else Path(certificate),
    )


def pin_in(certificate: Path) -> bytes:
    """Return the SHA-256 of the certificate in a file in PEM; BadRequest if there is none."""
    try:
        text = certificate.read_text(encoding="ascii")
        begin = text.index("-----BEGIN CERTIFICATE-----")
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(text[begin:].strip())).digest()
    except (OSError, ValueError) as error:
        raise BadRequest(f"{quoted(str(certificate))} holds no certificate: {error}", remedy="name a file in PEM") from error


def _parse_pin(text: str) -> bytes:
    if not _PIN.fullmatch(text):
        raise BadRequest(f"{PIN} is no SHA-256", remedy="write its 64 hexadecimal digits, with or without colons")
    return bytes.fromhex(text.replace(":", ""))


def read_token(path: Path) -> Secret:
    """Return the token in a file that is its owner's alone. No error repeats what is in it."""
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            text = file.read(8192).decode("ascii", "replace").strip()
    except OSError as error:
        raise BadRequest(
            f"{TOKEN_FILE} names {quoted(str(path))}, which cannot be read: {error.strerror}",
            remedy="name the file that holds the token",
        ) from error
    if stat.S_ISREG(facts.st_mode) and facts.st_mode & 0o077:
        raise NotPermitted(f"others may read the token in {quoted(str(path))}", remedy=f"chmod 600 {quoted(str(path))}")
    if not _TOKEN.fullmatch(text):
        raise BadRequest(f"{quoted(str(path))} holds no token", remedy="write the token into it, alone, on one line")
    return Secret(text)
