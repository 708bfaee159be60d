"""An authority as a site has one, and the certificates that it and others sign, right and wrong ones."""

from __future__ import annotations

import datetime
from pathlib import Path
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vmdkvol.tls import SERVICE_NAME, AgentSide, ServiceSide
from vmdkvol.volume import VmId

_DAY = datetime.timedelta(days=1)
_NOBODY = x509.Name([])
_PEM = serialization.Encoding.PEM


class Authority:
    """Signs certificates into ``directory``; each file has a key and its certificate, as agent and service keep them."""

    def __init__(self, directory: Path, name: str = "site") -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.BasicConstraints(ca=True, path_length=0)
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(self._name).issuer_name(self._name)
        builder = builder.public_key(self._key.public_key()).serial_number(x509.random_serial_number())
        builder = (
            builder.not_valid_before(now - 2 * _DAY).not_valid_after(now + 3650 * _DAY).add_extension(usage, critical=True)
        )
        self.certificate = builder.sign(self._key, hashes.SHA256())
        self.path = directory / f"{name}-ca.pem"
        self.path.write_bytes(self.certificate.public_bytes(_PEM))

    @property
    def pem(self) -> str:
        return self.path.read_text()

    def service(self, name: str = SERVICE_NAME, *, ends: float = 90.0) -> Path:
        """Return the file of a certificate that proves to be the service, of that name; it ``ends`` in so many days."""
        return self._leaf(x509.DNSName(name), ExtendedKeyUsageOID.SERVER_AUTH, ends=ends)

    def agent(self, vm: VmId, *, starts: float = -2.0, ends: float = 90.0) -> Path:
        """Return the file of a certificate of ``vm``'s agent; ``starts`` and ``ends`` in days from now."""
        name = x509.UniformResourceIdentifier(f"urn:uuid:{vm}")
        return self._leaf(name, ExtendedKeyUsageOID.CLIENT_AUTH, starts=starts, ends=ends)

    def administrator(self, name: str, *units: str, starts: float = -2.0, ends: float = 90.0) -> Path:
        """Return the file of a certificate of somebody with this common name and these organizational units."""
        named = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units]
        subject = x509.Name([*named, x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return self._leaf(
            x509.DNSName("administrator"), ExtendedKeyUsageOID.CLIENT_AUTH, subject=subject, starts=starts, ends=ends
        )

    def service_side(self, name: str = SERVICE_NAME, *, ends: float = 90.0) -> ServiceSide:
        return ServiceSide(self.service(name, ends=ends), self.path)

    def agent_side(self, vm: VmId, **more: float) -> AgentSide:
        return AgentSide(self.agent(vm, **more), self.path)

    def _leaf(
        self,
        name: x509.GeneralName,
        use: x509.ObjectIdentifier,
        *,
        starts: float = -2.0,
        ends: float = 90.0,
        subject: x509.Name = _NOBODY,
    ) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name)
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now + starts * _DAY).not_valid_after(now + ends * _DAY)
        builder = builder.add_extension(x509.SubjectAlternativeName([name]), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        path = self._directory / f"{certificate.serial_number}.pem"
        private = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path.write_bytes(private + certificate.public_bytes(_PEM))
        path.chmod(0o600)
        return path


def der(path: Path) -> bytes:
    """Return the certificate in a file, as the channel's proof has it."""
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(serialization.Encoding.DER)


def vm_of(certificate: bytes) -> VmId:
    """Return the machine that a certificate names."""
    found = x509.load_der_x509_certificate(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    [uri] = found.value.get_values_for_type(x509.UniformResourceIdentifier)
    return VmId(UUID(uri.removeprefix("urn:uuid:")))
