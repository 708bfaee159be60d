"""HTTPS to the API: who is believed to be the service, and that nobody else ever sees the token."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.doubles.certificates import Authority
from tests.doubles.small_api import Says, SmallApi
from vmdkvol.cli.api_address import WebAddress
from vmdkvol.cli.client import Client
from vmdkvol.cli.endpoint import Endpoint, Trust
from vmdkvol.clock import SystemClock
from vmdkvol.errors import ServiceUnreachable, UnknownCaller
from vmdkvol.logs import Secret

pytestmark = pytest.mark.integration


@dataclass(frozen=True, slots=True)
class Secured:
    api: SmallApi
    authority: Authority
    pin: bytes

    def get(self, **trust: object) -> object:
        endpoint = Endpoint(WebAddress("localhost", self.api.port), Trust(token=Secret("hunter2hunter2"), **trust))  # type: ignore[arg-type]
        client = Client(endpoint, SystemClock(), patience_s=0.0)
        try:
            return client.get("/v1/status")
        finally:
            client.close()


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    authority = Authority(tmp_path)
    identity = authority.service("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity)
    pem = identity.read_text()
    der = ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN CERTIFICATE") :])
    api = SmallApi(None, [Says({"live": True})], context)
    yield Secured(api, authority, hashlib.sha256(der).digest())
    api.stop()


def test_the_authority_of_the_site_is_believed(secured: Secured) -> None:
    assert secured.get(authority=secured.authority.path) == {"live": True}
    assert secured.api.asked[0].headers["Authorization"] == "Bearer hunter2hunter2"


def test_the_pinned_certificate_is_believed_without_its_authority(secured: Secured) -> None:
    assert secured.get(pin=secured.pin) == {"live": True}


def test_nobody_else_is_told_anything(secured: Secured, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    for trust in ({}, {"authority": other.path}, {"pin": bytes(32)}, {"pin": bytes(32), "authority": secured.authority.path}):
        with pytest.raises(UnknownCaller):
            secured.get(**trust)

    assert secured.api.asked == []


def test_another_name_in_the_certificate_is_not_believed(secured: Secured) -> None:
    endpoint = Endpoint(WebAddress("127.0.0.1", secured.api.port), Trust(authority=secured.authority.path))

    with pytest.raises(UnknownCaller, match="127.0.0.1"):
        Client(endpoint, SystemClock(), patience_s=0.0).get("/v1/status")


def test_a_port_that_speaks_no_tls_is_no_api() -> None:
    plain = SmallApi(None, [Says({})])
    try:
        with pytest.raises(ServiceUnreachable):
            Client(Endpoint(WebAddress("localhost", plain.port)), SystemClock(), patience_s=0.0).get("/v1/status")
    finally:
        plain.stop()
