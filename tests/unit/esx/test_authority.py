"""The authority: made once, never anew while machines trust it, and what it signs is taken by OpenSSL and says whose it is."""

from __future__ import annotations

import contextlib
import hashlib
import ssl
import stat
import time
from pathlib import Path
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from tests.doubles.hand_clock import HandClock
from vmdkvol.errors import BadRequest, MetadataDamaged, NotPermitted
from vmdkvol.volume import VmId
from vmdkvol_esx.authority import LEAF_S, CertificateAuthority, open_authority
from vmdkvol_esx.identities import fingerprint

VM = VmId(UUID(int=7))
DAY_S = 86400.0
# OpenSSL looks at the machine's own clock.
NOW = float(int(time.time()))


def request(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None, name: str = "anything") -> str:
    name_ = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(name_)
    signed = made.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture
def clock() -> HandClock:
    return HandClock(wall=NOW)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ca"


@pytest.fixture
def authority(directory: Path, clock: HandClock) -> CertificateAuthority:
    return open_authority(directory, clock, enrolled=False)


def taken(authority: CertificateAuthority, server: Path, client: Path | None = None) -> bool:
    """Tell whether both ends of a TLS connection, which is OpenSSL's, take each other's certificates."""
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(server)
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context in (ours, theirs):
        context.load_verify_locations(authority.ca_file)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    if client is not None:
        theirs.verify_mode = ssl.CERT_REQUIRED
        ours.load_cert_chain(client)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        ours.wrap_bio(down, up, server_hostname="vmdkvol-service"),
        theirs.wrap_bio(up, down, server_side=True),
    )
    try:
        for end in ends * 4:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
        return ends[1].version() == "TLSv1.3" and ends[1].cipher() is not None
    except ssl.SSLCertVerificationError:
        return False


def agents(authority: CertificateAuthority, file: Path) -> Path:
    """Put an agent's key and certificate into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(encoding, form, serialization.NoEncryption()).decode()
    file.write_text(pem + authority.sign(request(key), VM).certificate_pem)
    return file


def test_the_first_start_makes_it_and_the_next_finds_it(
    authority: CertificateAuthority, directory: Path, clock: HandClock
) -> None:
    before = {file.name: file.read_bytes() for file in directory.iterdir()}
    assert before.keys() == {"ca.key", "ca.pem", "service.pem"}
    for enrolled in (False, True):
        again = open_authority(directory, clock, enrolled=enrolled)
        assert (again.pin, again.ca_pem) == (authority.pin, authority.ca_pem)
    assert {file.name: file.read_bytes() for file in directory.iterdir()} == before


def test_its_keys_are_readable_by_root_alone(authority: CertificateAuthority, directory: Path) -> None:
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE((directory / name).stat().st_mode) for name in ("ca.key", "service.pem")} == {0o600}


def test_the_pin_is_that_of_the_certificate_in_the_file(authority: CertificateAuthority) -> None:
    der = ssl.PEM_cert_to_DER_cert(authority.ca_file.read_text())
    assert authority.pin == hashlib.sha256(der).digest()


def test_openssl_takes_both_ends_certificates(authority: CertificateAuthority, tmp_path: Path) -> None:
    assert taken(authority, authority.service_file, agents(authority, tmp_path / "agent.pem"))


def test_nobody_takes_an_agent_for_the_service(authority: CertificateAuthority, tmp_path: Path) -> None:
    assert not taken(authority, agents(authority, tmp_path / "agent.pem"))


def test_nobody_takes_the_service_for_an_agent(authority: CertificateAuthority) -> None:
    assert not taken(authority, authority.service_file, authority.service_file)


def test_nobody_takes_the_certificates_of_another_authority(
    authority: CertificateAuthority, tmp_path: Path, clock: HandClock
) -> None:
    other = open_authority(tmp_path / "other", clock, enrolled=False)
    assert not taken(authority, other.service_file)
    assert not taken(authority, authority.service_file, agents(other, tmp_path / "agent.pem"))


@pytest.mark.parametrize("days", [-1, 1])
def test_what_a_clock_that_is_wrong_by_a_day_made_is_taken(tmp_path: Path, days: int) -> None:
    wrong = open_authority(tmp_path / "wrong", HandClock(wall=NOW + days * DAY_S), enrolled=False)
    assert taken(wrong, wrong.service_file, agents(wrong, tmp_path / "agent.pem"))


@pytest.mark.parametrize("days", [-91, 3])
def test_a_certificate_that_is_over_or_not_yet_is_not_taken(authority: CertificateAuthority, tmp_path: Path, days: int) -> None:
    wrong = CertificateAuthority(
        authority.ca_file.parent,
        x509.load_pem_x509_certificate(authority.ca_pem.encode()),
        key_of(authority),
        HandClock(wall=NOW + days * DAY_S),
    )
    assert not taken(authority, authority.service_file, agents(wrong, tmp_path / "agent.pem"))


def key_of(authority: CertificateAuthority) -> ec.EllipticCurvePrivateKey:
    found = serialization.load_pem_private_key((authority.ca_file.parent / "ca.key").read_bytes(), None)
    assert isinstance(found, ec.EllipticCurvePrivateKey)
    return found


def test_a_certificate_names_the_vm_and_nothing_of_what_the_request_says(authority: CertificateAuthority) -> None:
    issued = authority.sign(request(name="vmdkvol-service"), VM)
    signed = x509.load_pem_x509_certificate(issued.certificate_pem.encode())
    names = signed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == [f"urn:uuid:{VM}"]
    assert "vmdkvol-service" not in signed.subject.rfc4514_string()
    assert issued.fingerprint == fingerprint(signed.public_bytes(serialization.Encoding.DER))
    assert issued.not_after == NOW + LEAF_S


def test_no_two_certificates_are_the_same(authority: CertificateAuthority) -> None:
    asked = request()
    assert authority.sign(asked, VM).fingerprint != authority.sign(asked, VM).fingerprint


def forged() -> str:
    """A request whose signature was made with another key than the one in it."""
    lines = request().splitlines()
    body = bytearray(ssl.PEM_cert_to_DER_cert("\n".join(lines).replace("CERTIFICATE REQUEST", "CERTIFICATE")))
    body[-1] ^= 1
    return ssl.DER_cert_to_PEM_cert(bytes(body)).replace("CERTIFICATE", "CERTIFICATE REQUEST")


@pytest.mark.parametrize(
    "csr",
    [
        pytest.param("", id="nothing"),
        pytest.param("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", id="garbage"),
        pytest.param(request()[:200], id="half"),
        pytest.param(forged(), id="of-another-key"),
        pytest.param(request(ec.generate_private_key(ec.SECP192R1())), id="a-weak-curve"),
        pytest.param(request(rsa.generate_private_key(65537, 1024)), id="a-weak-rsa-key"),
        pytest.param("x" * (1 << 20), id="huge"),
    ],
)
def test_what_is_no_request_of_a_strong_key_is_refused(authority: CertificateAuthority, csr: str) -> None:
    with pytest.raises(BadRequest):
        authority.sign(csr, VM)


def test_the_service_gets_a_new_certificate_when_a_third_is_left(authority: CertificateAuthority, clock: HandClock) -> None:
    first = authority.service_file.read_bytes()
    clock.jump(LEAF_S * 2 / 3 - DAY_S)
    assert not authority.renew_service()
    clock.jump(2 * DAY_S)
    assert authority.renew_service()
    assert authority.service_file.read_bytes() != first
    renewed = x509.load_pem_x509_certificate(authority.service_file.read_bytes())
    assert renewed.not_valid_after_utc.timestamp() == clock.wall() + LEAF_S


@pytest.mark.parametrize("damage", [b"", b"no PEM", None])
def test_a_service_certificate_that_is_lost_or_damaged_is_made_again(
    authority: CertificateAuthority, directory: Path, clock: HandClock, damage: bytes | None
) -> None:
    if damage is None:
        authority.service_file.unlink()
    else:
        authority.service_file.write_bytes(damage)
    open_authority(directory, clock, enrolled=True)
    assert taken(authority, authority.service_file)


def test_without_its_key_it_goes_on_but_signs_nothing(
    authority: CertificateAuthority, directory: Path, clock: HandClock
) -> None:
    (directory / "ca.key").unlink()
    lame = open_authority(directory, clock, enrolled=True)
    assert lame.pin == authority.pin
    with pytest.raises(NotPermitted, match="ca.key is missing.*new-ca"):
        lame.sign(request(), VM)
    assert not (directory / "ca.key").exists()


@pytest.mark.parametrize("lost", [["ca.pem"], ["ca.pem", "ca.key"], ["ca.key", "service.pem"]])
def test_while_machines_trust_it_what_is_lost_is_told_and_not_made_anew(
    authority: CertificateAuthority, directory: Path, clock: HandClock, lost: list[str]
) -> None:
    for name in lost:
        (directory / name).unlink()
    with pytest.raises(MetadataDamaged, match="restore .* from its backup, or run `vmdkvol-esxd new-ca`"):
        open_authority(directory, clock, enrolled=True)
    assert not any((directory / name).exists() for name in lost)


def test_without_its_key_and_when_the_services_certificate_is_over_there_is_no_service(
    authority: CertificateAuthority, directory: Path, clock: HandClock
) -> None:
    (directory / "ca.key").unlink()
    clock.jump(LEAF_S + DAY_S)
    with pytest.raises(MetadataDamaged):
        open_authority(directory, clock, enrolled=True)


def test_nobody_trusts_it_yet_so_a_first_start_that_was_killed_is_made_whole(directory: Path, clock: HandClock) -> None:
    open_authority(directory, clock, enrolled=False)
    (directory / "ca.pem").unlink()
    (directory / "service.pem").unlink()
    made = open_authority(directory, clock, enrolled=False)
    assert taken(made, made.service_file)


def test_a_key_of_another_authority_is_not_taken(authority: CertificateAuthority, directory: Path, clock: HandClock) -> None:
    other = open_authority(directory.parent / "other", clock, enrolled=False)
    (other.ca_file.parent / "ca.key").rename(directory / "ca.key")
    with pytest.raises(MetadataDamaged, match="not that of the certificate"):
        open_authority(directory, clock, enrolled=True)


def test_a_key_that_others_can_read_is_not_used(authority: CertificateAuthority, directory: Path, clock: HandClock) -> None:
    (directory / "ca.key").chmod(0o640)
    with pytest.raises(NotPermitted, match="chmod 600"):
        open_authority(directory, clock, enrolled=True)


@pytest.mark.parametrize("name", ["ca.key", "ca.pem"])
def test_a_damaged_file_is_told(authority: CertificateAuthority, directory: Path, clock: HandClock, name: str) -> None:
    (directory / name).write_bytes((directory / name).read_bytes()[:100])
    with pytest.raises(MetadataDamaged, match=name):
        open_authority(directory, clock, enrolled=True)


# --- the clock was wrong -------------------------------------------------------------------------------------------


def test_a_service_certificate_that_was_made_with_a_wrong_clock_is_made_again(
    authority: CertificateAuthority, clock: HandClock
) -> None:
    clock.jump(100 * DAY_S)
    assert authority.renew_service()
    clock.jump(-100 * DAY_S)
    assert not taken(authority, authority.service_file)
    assert authority.renew_service()
    assert taken(authority, authority.service_file)


@pytest.mark.parametrize("years", [-20, 20])
def test_an_authority_that_nobody_trusts_yet_and_that_a_wrong_clock_made_is_made_again(
    directory: Path, clock: HandClock, years: int
) -> None:
    clock.jump(years * 365 * DAY_S)
    wrong = open_authority(directory, clock, enrolled=False)
    clock.jump(-years * 365 * DAY_S)
    made = open_authority(directory, clock, enrolled=False)
    assert made.pin != wrong.pin
    assert taken(made, made.service_file)


@pytest.mark.parametrize("years", [-20, 20])
def test_outside_its_time_nobody_is_invited(authority: CertificateAuthority, clock: HandClock, years: int) -> None:
    clock.jump(years * 365 * DAY_S)
    with pytest.raises(MetadataDamaged, match=r"counts from \d{4}-.*set this machine's clock"):
        authority.check()


def test_a_clock_that_begins_in_1970_costs_the_service_no_certificate(
    authority: CertificateAuthority, directory: Path, clock: HandClock
) -> None:
    before, now = authority.service_file.read_bytes(), clock.wall()
    clock.jump(-now)
    assert not open_authority(directory, clock, enrolled=True).renew_service()
    clock.jump(now)
    assert authority.service_file.read_bytes() == before
    assert not authority.renew_service()


def test_after_its_end_it_signs_nothing_says_why_and_stays_as_it_is(
    authority: CertificateAuthority, directory: Path, clock: HandClock
) -> None:
    before = authority.service_file.read_bytes()
    clock.jump(20 * 365 * DAY_S)
    for refused in (
        authority.renew_service,
        lambda: authority.sign(request(), VM),
        lambda: open_authority(directory, clock, enrolled=True),
    ):
        with pytest.raises(MetadataDamaged, match=r"counts from \d{4}-.*set this machine's clock"):
            refused()
    assert authority.service_file.read_bytes() == before


def test_in_the_authoritys_last_month_the_service_is_not_renewed_without_end(
    authority: CertificateAuthority, clock: HandClock
) -> None:
    clock.jump(authority.not_after - clock.wall() - 20 * DAY_S)
    assert authority.renew_service()
    assert not authority.renew_service()
    clock.jump(10 * DAY_S)
    assert not authority.renew_service()
