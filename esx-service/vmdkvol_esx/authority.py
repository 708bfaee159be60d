"""The site's certificate authority: its key, its certificate and the service's own, in ``<state_dir>/ca``.

Nobody else of the product makes or reads a certificate. It is made once, at the first start; while machines are enrolled with
it, never again by itself: all of them would have to enrol again, and an administrator decides that.
"""

from __future__ import annotations

import errno
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vmdkvol import durable
from vmdkvol.clock import Clock
from vmdkvol.errors import BadRequest, MetadataDamaged, NoSpace, NotPermitted
from vmdkvol.tls import SERVICE_NAME
from vmdkvol.tokens import pin_of
from vmdkvol.volume import VmId
from vmdkvol_esx.identities import Issued, fingerprint

DAY_S = 86400.0
LEAF_S = 90 * DAY_S
AUTHORITY_S = 10 * 365 * DAY_S
# A clock that is wrong by a day, on either side, harms nobody.
EARLIER_S = 2 * DAY_S
# Renewed when a third is left.
RENEW_S = LEAF_S / 3
RESTORE = "restore the service's state directory from its backup, or run `vmdkvol-esxd new-ca` and enrol every machine again"
_MAX_REQUEST = 16 << 10
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_RSA_BITS = range(2048, 8193)

_Key = ec.EllipticCurvePrivateKey


class CertificateAuthority:
    """Implements ``Signing``. One user at a time renews the service's certificate; signing is for any thread."""

    def __init__(self, directory: Path, certificate: x509.Certificate, key: _Key | None, clock: Clock) -> None:
        self._directory = directory
        self._certificate = certificate
        self._key = key
        self._clock = clock
        self.ca_pem = _pem(certificate)
        self.pin = pin_of(certificate.public_bytes(serialization.Encoding.DER))

    @property
    def ca_file(self) -> Path:
        """Holds the certificate that every machine's is signed by."""
        return self._directory / "ca.pem"

    @property
    def service_file(self) -> Path:
        """Holds the service's own key and certificate."""
        return self._directory / "service.pem"

    @property
    def not_after(self) -> float:
        """When the authority itself ends."""
        return self._certificate.not_valid_after_utc.timestamp()

    def check(self) -> None:
        self._check_key()
        if not _counts(self._certificate, self._clock):
            raise self._of_another_time()

    def sign(self, csr_pem: str, vm: VmId) -> Issued:
        self._check_key()
        request = _request(csr_pem)
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"urn:uuid:{vm}")])
        signed = self._sign(request.public_key(), str(vm), names, ExtendedKeyUsageOID.CLIENT_AUTH)
        return Issued(_pem(signed), fingerprint(signed.public_bytes(serialization.Encoding.DER)), _end(signed))

    def renew_service(self) -> bool:
        """Give the service a new certificate if a third or less of its time is left; tell whether it did.

        Raises MetadataDamaged if it has none that counts and none can be made.
        """
        end, now = self._service_end(), self._clock.wall()
        if now < self._certificate.not_valid_before_utc.timestamp() and self.service_file.exists():
            # A clock from before the authority is wrong, such as one that begins in 1970: what is there counts again soon.
            return False
        left_s = end - now
        if left_s > RENEW_S or (left_s > 0 and (self._key is None or end >= self.not_after)):
            return False
        if self._key is None:
            raise MetadataDamaged(f"the service has no certificate in {self._directory}, and no key for one", remedy=RESTORE)
        own = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(SERVICE_NAME)])
        signed = self._sign(own.public_key(), SERVICE_NAME, names, ExtendedKeyUsageOID.SERVER_AUTH)
        durable.write(self.service_file, _key_pem(own) + _pem(signed).encode())
        return True

    def _check_key(self) -> None:
        if self._key is None:
            key = self._directory / "ca.key"
            raise NotPermitted(f"the authority's key {key} is missing: nobody can be enrolled or renewed", remedy=RESTORE)

    def _of_another_time(self) -> MetadataDamaged:
        valid, now = self._certificate, datetime.fromtimestamp(self._clock.wall(), UTC)
        span = f"from {valid.not_valid_before_utc:%Y-%m-%d} to {valid.not_valid_after_utc:%Y-%m-%d}"
        return MetadataDamaged(
            f"the authority in {self._directory} counts {span}, and it is {now:%Y-%m-%d} here",
            remedy="set this machine's clock; if it is right, run `vmdkvol-esxd new-ca` and enrol every machine again",
        )

    def _service_end(self) -> float:
        """Return when the service's certificate ends; 0 if none has begun that is signed by this authority and has its key."""
        try:
            content = self.service_file.read_bytes()
            own = x509.load_pem_x509_certificate(content)
            key = serialization.load_pem_private_key(content, None)
            own.verify_directly_issued_by(self._certificate)
        except (OSError, ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            return 0.0
        return _end(own) if _counts(own, self._clock) and key.public_key() == own.public_key() else 0.0

    def _sign(
        self,
        key: CertificatePublicKeyTypes,
        name: str,
        names: x509.SubjectAlternativeName,
        use: x509.ObjectIdentifier,
    ) -> x509.Certificate:
        assert self._key is not None, "it is checked by every caller"
        now = datetime.fromtimestamp(self._clock.wall(), UTC)
        if now >= self._certificate.not_valid_after_utc:
            raise self._of_another_time()
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        end = min(now + timedelta(seconds=LEAF_S), self._certificate.not_valid_after_utc)
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(self._certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(seconds=EARLIER_S))
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(names, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(signer, critical=False)
            .sign(self._key, hashes.SHA256())
        )


def open_authority(directory: Path, clock: Clock, *, enrolled: bool) -> CertificateAuthority:
    """Return the authority in ``directory``, with a certificate for the service; a new one if there is none that counts.

    ``enrolled``: machines have certificates of it, so that no new one is made. Then, without its key, it goes on as long as
    the service's certificate does and signs nothing. Raises MetadataDamaged for what is not whole or does not fit together,
    or is over, NotPermitted if other users can read the key.
    """
    key_file, ca_file = directory / "ca.key", directory / "ca.pem"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not enrolled and not (key_file.exists() and ca_file.exists() and _counts(_read_certificate(ca_file), clock)):
            _make(directory, clock)
        authority = CertificateAuthority(directory, _read_certificate(ca_file), _read_key(key_file), clock)
        authority.renew_service()
    except OSError as error:
        kind = NoSpace if error.errno in (errno.ENOSPC, errno.EDQUOT) else NotPermitted
        raise kind(f"the authority in {directory} cannot be used: {error}", remedy="make the directory writable") from error
    return authority


def _make(directory: Path, clock: Clock) -> None:
    """Make an authority. Its certificate comes last: without that there is none, and nobody was told of it."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.fromtimestamp(clock.wall(), UTC)
    name = _name(f"vmdkvol authority of {now:%Y-%m-%d}")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(seconds=EARLIER_S))
        .not_valid_after(now + timedelta(seconds=AUTHORITY_S))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    (directory / "ca.pem").unlink(missing_ok=True)
    durable.write(directory / "ca.key", _key_pem(key))
    durable.write(directory / "ca.pem", _pem(certificate).encode())


def _read_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except FileNotFoundError:
        raise MetadataDamaged(f"the authority's certificate {path} is missing, and machines trust it", remedy=RESTORE) from None
    except ValueError as error:
        raise MetadataDamaged(f"the authority's certificate {path} cannot be read: {error}", remedy=RESTORE) from error


def _read_key(path: Path) -> _Key | None:
    """Return the key; None if there is none. It must be the certificate's beside it."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read()
    except FileNotFoundError:
        return None
    if mode & 0o077:
        raise NotPermitted(f"the authority's key {path} can be read by other users", remedy=f"chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise MetadataDamaged(f"the authority's key {path} cannot be read: {error}", remedy=RESTORE) from error
    if not isinstance(key, _Key) or key.public_key() != _read_certificate(path.with_name("ca.pem")).public_key():
        raise MetadataDamaged(f"the authority's key {path} is not that of the certificate beside it", remedy=RESTORE)
    return key


def _request(csr_pem: str) -> x509.CertificateSigningRequest:
    """Return the request, of which only the key counts; BadRequest unless whoever made it has that key, and it is strong."""
    if len(csr_pem) > _MAX_REQUEST:
        raise BadRequest(
            f"a signing request has no more than {_MAX_REQUEST} bytes", remedy="send one of a single key, without extensions"
        )
    try:
        request = x509.load_pem_x509_csr(csr_pem.encode())
        valid, key = request.is_signature_valid, request.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadRequest(
            f"this is no signing request: {error}", remedy="send a PEM certificate signing request (RFC 2986)"
        ) from error
    strong = (
        (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES))
        or isinstance(key, ed25519.Ed25519PublicKey)
        or (isinstance(key, rsa.RSAPublicKey) and key.key_size in _RSA_BITS)
    )
    if not valid or not strong:
        what = "a key that is too weak" if valid else "the signature of another key"
        raise BadRequest(f"this signing request has {what}", remedy="make one with an EC key on P-256")
    return request


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _counts(certificate: x509.Certificate, clock: Clock) -> bool:
    """Tell whether it counts at this time."""
    return certificate.not_valid_before_utc.timestamp() <= clock.wall() < _end(certificate)


def _end(certificate: x509.Certificate) -> float:
    return certificate.not_valid_after_utc.timestamp()


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _key_pem(key: _Key) -> bytes:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption())
