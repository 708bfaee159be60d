"""A pinned certificate: read from PEM, and compared with what a server presents. Pure."""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from base64 import b64decode
from dataclasses import dataclass

from vmdkvol.errors import BadRequest

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----\s(.+?)-----END CERTIFICATE-----", re.DOTALL)
_REMEDY = "pin the PEM certificate that the server itself presents, alone in its file"


@dataclass(frozen=True, slots=True)
class Pin:
    """One certificate, as its PEM text and its DER bytes."""

    pem: str
    der: bytes

    @property
    def fingerprint(self) -> str:
        """SHA-256 in the form that vSphere's pages and ``openssl x509 -fingerprint`` show."""
        return fingerprint(self.der)

    def matches(self, presented: bytes | None) -> bool:
        """Tell whether ``presented``, DER or None for no certificate, is the pinned one, byte for byte.

        Not by its key or issuer: an authority that is pinned by mistake would let in all that it signed.
        """
        return presented is not None and hmac.compare_digest(self.der, presented)


def fingerprint(der: bytes) -> str:
    """Return the SHA-256 of a certificate as upper-case pairs with colons."""
    return hashlib.sha256(der).digest().hex(":").upper()


def parse_pin(text: str) -> Pin:
    """Return the one certificate of a PEM text; BadRequest if it holds none, several, a private key, or no base64."""
    if "PRIVATE KEY" in text:
        raise BadRequest("the pinned certificate's file holds a private key", remedy=_REMEDY)
    blocks = _BLOCK.findall(text)
    if len(blocks) != 1:
        raise BadRequest(f"the pinned certificate's file holds {len(blocks)} certificates instead of one", remedy=_REMEDY)
    try:
        der = b64decode("".join(blocks[0].split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"the pinned certificate is not PEM: {error}", remedy=_REMEDY) from error
    # A DER sequence: the rest is for the TLS library, which reads the same bytes when the context is made.
    if not der.startswith(b"\x30"):
        raise BadRequest("the pinned certificate is not an X.509 certificate", remedy=_REMEDY)
    return Pin(f"-----BEGIN CERTIFICATE-----\n{blocks[0].strip()}\n-----END CERTIFICATE-----\n", der)
