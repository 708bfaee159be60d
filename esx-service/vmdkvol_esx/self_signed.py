"""A certificate of the API's own, for a site that has no authority for it: who looks compares its SHA-256."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vmdkvol import durable
from vmdkvol.clock import Clock
from vmdkvol.errors import BadRequest, Conflict, quoted

LASTS = timedelta(days=397)
# Made anew when less is left: a browser warns of one that is over in words that fit an attack.
_LEFT = timedelta(days=30)
_EARLIER = timedelta(days=2)
_MOST_NAME = 253
# By this it is known as one that was made here.
_SUBJECT = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vmdkvol")])


def ensure_certificate(path: Path, hosts: Sequence[str], clock: Clock) -> bool:
    """Afterwards ``path`` holds a key and a certificate for these hosts that counts for a month at least; tell if it is new.

    Conflict if something else is there, which is not replaced; BadRequest for what is no host's name. The file is its owner's.
    """
    names = [_host(each) for each in hosts]
    now = datetime.fromtimestamp(clock.wall(), UTC)
    if path.exists() and _counts(path, names, now):
        # Its key is nobody else's to read, whoever copied it here.
        path.chmod(0o600)
        return False
    key = ec.generate_private_key(ec.SECP256R1())
    made = (
        x509.CertificateBuilder()
        .subject_name(_SUBJECT)
        .issuer_name(_SUBJECT)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + LASTS)
        # Of no use for signing another one, should the key get lost.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + made.public_bytes(serialization.Encoding.PEM)
    durable.write(path, pem)
    return True


def _counts(path: Path, names: Sequence[x509.GeneralName], now: datetime) -> bool:
    """Tell whether the file is one of ours that will do; Conflict if it is none of ours."""
    try:
        content = path.read_bytes()
        kept = x509.load_pem_x509_certificate(content)
        key = serialization.load_pem_private_key(content, None)
        shown = list(kept.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (ValueError, TypeError, x509.ExtensionNotFound, UnsupportedAlgorithm) as error:
        raise Conflict(f"{path} is no certificate with its key", remedy="move it away, or name another file") from error
    if kept.issuer != kept.subject:
        raise Conflict(f"{path} holds a certificate that an authority signed", remedy="use it, or name another file")
    if kept.subject != _SUBJECT:
        raise Conflict(f"{path} holds a certificate that was not made here", remedy="use it, or name another file")
    whole = key.public_key() == kept.public_key() and shown == list(names)
    return whole and kept.not_valid_before_utc <= now < kept.not_valid_after_utc - _LEFT


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    if not text.isascii() or not 0 < len(text) <= _MOST_NAME or not text.replace("-", "").replace(".", "").isalnum():
        raise BadRequest(f"{quoted(text)} is no host's name", remedy="give the name or the address that the browser is given")
    return x509.DNSName(text)
