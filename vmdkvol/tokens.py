"""The text that enrols a Docker host once: a secret, and by what the host knows the service. A value.

``vmdkvol1.SECRET.PIN``: PIN is the SHA-256 of the authority's certificate (DER), so that whoever carries the text to the host
also carries whom the host may trust. Both are base64url without padding (RFC 4648 5).
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field

from vmdkvol.errors import BadFrame, BadRequest

PREFIX = "vmdkvol1"
SECRET_BYTES = 32
# Where a token lies in a virtual machine's configuration, behind "guestinfo.".
GUESTINFO_KEY = "vmdkvol.token"
_PIN_BYTES = hashlib.sha256().digest_size
_CERTIFICATE = re.compile(r"\s*-----BEGIN CERTIFICATE-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END CERTIFICATE-----\s*")
_REMEDY = "copy the whole line that `vmdkvol vm enroll NAME` printed"


@dataclass(frozen=True, slots=True)
class Token:
    """``secret`` is shown once and kept by nobody but its reader; the service keeps ``hash``."""

    secret: bytes = field(repr=False)
    pin: bytes

    @property
    def hash(self) -> str:
        """What the service stores. Of 256 bits of chance nobody guesses the origin: it needs no salt."""
        return hashlib.sha256(self.secret).hexdigest()

    @property
    def text(self) -> str:
        return f"{PREFIX}.{_encoded(self.secret)}.{_encoded(self.pin)}"

    @classmethod
    def parse(cls, text: str) -> Token:
        """Return the token in ``text``; BadRequest, without the text, if it is none: it may be half of a secret."""
        parts = text.strip().split(".")
        if len(parts) != 3 or parts[0] != PREFIX:
            raise BadRequest("this is no token of vmdkvol", remedy=_REMEDY)
        return cls(_decoded(parts[1], SECRET_BYTES), _decoded(parts[2], _PIN_BYTES))


def pin_of(certificate: bytes) -> bytes:
    """Return the pin of a certificate's DER."""
    return hashlib.sha256(certificate).digest()


def one_certificate(pem: str) -> bytes:
    """Return the DER of the certificate in ``pem``; BadFrame unless it is just one: a second one would be trusted as well."""
    found = _CERTIFICATE.fullmatch(pem)
    try:
        if found is None:
            raise ValueError("not one PEM block")
        return base64.b64decode("".join(found[1].split()), validate=True)
    except ValueError as error:
        raise BadFrame(f"this is not a certificate: {error}") from error


def certificate_pem(certificate: bytes) -> str:
    """Return a certificate's DER as PEM (RFC 7468)."""
    text = base64.b64encode(certificate).decode("ascii")
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])


def _encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def _decoded(text: str, length: int) -> bytes:
    try:
        value = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise BadRequest("this token has characters that no token has", remedy=_REMEDY) from error
    # One value has one text: bits of the last character that say nothing are zero.
    if len(value) != length or _encoded(value) != text:
        raise BadRequest("this token is not whole", remedy=_REMEDY)
    return value
