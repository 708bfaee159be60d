"""When certificates in a file end, and what a server's says. Loaded by those who have such files: the library costs 0.1 s."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from vmdkvol.errors import TruthUnknown
from vmdkvol_esx.api_certificate import Kept

_NOBODY_ELSES = 0o077


def first_end(path: Path) -> float:
    """Return when the first of the certificates in the file ends (UTC s); TruthUnknown if there is none to be read."""
    return min(each.not_valid_after_utc.timestamp() for each in _certificates(path))


def kept(certificate: Path, key: Path) -> Kept:
    """Return what a server's certificate says, the first in its file, and whether the key is its own. TruthUnknown as above."""
    own = _certificates(certificate)[0]
    try:
        private = serialization.load_pem_private_key(_read(key), None)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise TruthUnknown(f"the key in {key} cannot be used: {error}") from error
    except ValueError as error:
        raise TruthUnknown(f"{key} has no key that can be read") from error
    return Kept(
        _names(own),
        own.not_valid_before_utc.timestamp(),
        own.not_valid_after_utc.timestamp(),
        private.public_key() == own.public_key(),
        bool(key.stat().st_mode & _NOBODY_ELSES),
    )


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return (*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress)))


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(path))
    except ValueError as error:
        raise TruthUnknown(f"{path} has no certificate that can be read") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TruthUnknown(f"{path} cannot be read: {error.strerror}") from error
