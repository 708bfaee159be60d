"""When the certificates in a file end. Loaded by those alone who have such files: the library costs 0.1 s."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509

from vmdkvol.errors import TruthUnknown


def first_end(path: Path) -> float:
    """Return when the first of the certificates in the file ends (UTC s); TruthUnknown if there is none to be read."""
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise TruthUnknown(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise TruthUnknown(f"{path} has no certificate that can be read") from error
    return min(each.not_valid_after_utc.timestamp() for each in found)
