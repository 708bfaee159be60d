"""A certificate that nobody else signed: made once, kept while it counts, and never in the place of something else."""

from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.doubles.certificates import Authority
from tests.doubles.hand_clock import HandClock
from vmdkvol.errors import BadRequest, Conflict
from vmdkvol_esx.self_signed import LASTS, ensure_certificate

HOSTS = ("localhost", "127.0.0.1", "::1", "vmdkvol.example.com")
MONTH_S = 30 * 86400.0


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "certificate.pem"


def test_it_is_for_the_hosts_that_are_named_and_its_owners_alone(path: Path, clock: HandClock) -> None:
    assert ensure_certificate(path, HOSTS, clock) is True

    made = x509.load_pem_x509_certificate(path.read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "vmdkvol.example.com"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path)


def test_it_can_sign_no_other(path: Path, clock: HandClock) -> None:
    ensure_certificate(path, HOSTS, clock)

    made = x509.load_pem_x509_certificate(path.read_bytes())
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False


def test_one_that_counts_is_left_as_it_is(path: Path, clock: HandClock) -> None:
    ensure_certificate(path, HOSTS, clock)
    before = path.read_bytes()

    clock.pass_time(LASTS.total_seconds() - MONTH_S - 3600.0)

    assert ensure_certificate(path, HOSTS, clock) is False
    assert path.read_bytes() == before


@pytest.mark.parametrize("later_s", [LASTS.total_seconds() - MONTH_S + 3600.0, LASTS.total_seconds() + 3600.0])
def test_one_that_is_nearly_over_is_made_anew(path: Path, clock: HandClock, later_s: float) -> None:
    ensure_certificate(path, HOSTS, clock)
    clock.pass_time(later_s)

    assert ensure_certificate(path, HOSTS, clock) is True
    assert ensure_certificate(path, HOSTS, clock) is False


def test_one_for_other_hosts_is_made_anew(path: Path, clock: HandClock) -> None:
    ensure_certificate(path, HOSTS, clock)

    assert ensure_certificate(path, ("localhost",), clock) is True


@pytest.mark.parametrize("content", [b"", b"my diary", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_file_that_is_something_else_is_not_replaced(path: Path, clock: HandClock, content: bytes) -> None:
    path.write_bytes(content)

    with pytest.raises(Conflict):
        ensure_certificate(path, HOSTS, clock)

    assert path.read_bytes() == content


def test_a_certificate_of_an_authority_is_not_replaced(tmp_path: Path, clock: HandClock) -> None:
    theirs = Authority(tmp_path).service("vmdkvol.example.com")
    before = theirs.read_bytes()

    with pytest.raises(Conflict, match="an authority signed"):
        ensure_certificate(theirs, HOSTS, clock)

    assert theirs.read_bytes() == before


def theirs(clock: HandClock) -> bytes:
    """What somebody made with `openssl req -x509`, for the same hosts."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vmdkvol.example.com")])
    began = datetime.fromtimestamp(clock.wall(), UTC)
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key()).serial_number(1)
    made = made.not_valid_before(began).not_valid_after(began + timedelta(days=5))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_somebody_s_own_certificate_is_not_replaced(path: Path, clock: HandClock) -> None:
    before = theirs(clock)
    path.write_bytes(before)

    with pytest.raises(Conflict, match="was not made here"):
        ensure_certificate(path, HOSTS, clock)

    assert path.read_bytes() == before


def test_one_that_is_kept_is_its_owner_s_alone_again(path: Path, clock: HandClock) -> None:
    ensure_certificate(path, HOSTS, clock)
    path.chmod(0o644)

    assert ensure_certificate(path, HOSTS, clock) is False
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("host", ["", "a b", "é.example", "a" * 254, "*", "x\n", "-", "a_b", "https://x"])
def test_what_is_no_host_is_refused_before_anything_is_written(path: Path, clock: HandClock, host: str) -> None:
    with pytest.raises(BadRequest):
        ensure_certificate(path, (host,), clock)

    assert not path.exists()
