"""A pin is one certificate, compared byte for byte."""

from __future__ import annotations

from base64 import b64encode

import pytest

from vmdkvol.errors import BadRequest
from vmdkvol_esx.vsphere.pins import fingerprint, parse_pin

DER = b"\x30\x82" + bytes(range(200))


def pem(der: bytes = DER) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{b64encode(der).decode()}\n-----END CERTIFICATE-----\n"


def test_the_same_certificate_matches() -> None:
    assert parse_pin(pem()).matches(DER)


@pytest.mark.parametrize(
    "presented",
    [
        pytest.param(None, id="none"),
        pytest.param(b"", id="empty"),
        pytest.param(DER[:-1], id="cut"),
        pytest.param(DER + b"\0", id="longer"),
        pytest.param(DER[:50] + b"\xff" + DER[51:], id="one-byte"),
    ],
)
def test_any_other_does_not(presented: bytes | None) -> None:
    assert not parse_pin(pem()).matches(presented)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        pytest.param("", "0 certificates", id="empty"),
        pytest.param("\0" * 99, "0 certificates", id="nul"),
        pytest.param(pem() + pem(), "2 certificates", id="two"),
        pytest.param(pem().replace("END CERTIFICATE", "END CERTIFICAT"), "0 certificates", id="cut"),
        pytest.param(pem()[:60] + "!" + pem()[61:], "not PEM", id="no-base64"),
        pytest.param(pem(b"\x31text"), "not an X.509", id="no-sequence"),
        pytest.param(pem() + "-----BEGIN PRIVATE KEY-----", "private key", id="with-its-key"),
    ],
)
def test_what_is_no_pin_is_refused_with_the_cause(text: str, cause: str) -> None:
    with pytest.raises(BadRequest, match=cause):
        parse_pin(text)


def test_text_around_the_certificate_does_no_harm() -> None:
    assert parse_pin(f"subject=/CN=vc1\n{pem()}\ntrailing\n") == parse_pin(pem())


def test_a_fingerprint_is_written_as_people_compare_it() -> None:
    assert fingerprint(b"abc").startswith("BA:78:16:BF:8F:01:CF:EA")
