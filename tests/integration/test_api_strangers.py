"""What strangers do at the API's TLS door, however many they are, keeps nobody waiting who is known; and the audit has it."""

from __future__ import annotations

import contextlib
import resource
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.daemons.site import eventually
from tests.integration.api_site import ApiSite, api_site
from vmdkvol.listening import READ_S
from vmdkvol.orders import Role

pytestmark = pytest.mark.integration
THREADS = 8
# More than a door of that many threads has connections.
CROWD = 1100
SOON_S = READ_S / 3


@pytest.fixture(scope="module")
def site() -> Iterator[ApiSite]:
    with api_site(threads=THREADS) as made:
        yield made


@pytest.fixture
def alone() -> Iterator[ApiSite]:
    """A site whose audit is a test's own."""
    with api_site(threads=THREADS) as made:
        yield made


@pytest.fixture
def crowd() -> Iterator[ExitStack]:
    """Closes what was opened through it; there is room for a crowd."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limits[1], 2 * CROWD), limits[1]))
    with ExitStack() as opened:
        yield opened
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def plain(site: ApiSite, crowd: ExitStack) -> socket.socket:
    return crowd.enter_context(socket.create_connection(("127.0.0.1", site.port), 30.0))


def secured(site: ApiSite, crowd: ExitStack) -> ssl.SSLSocket:
    return crowd.enter_context(site.context().wrap_socket(plain(site, crowd), server_hostname="localhost"))


def last_words(connection: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        while piece := connection.recv(4096):
            found += piece
    return found


def asked_soon(site: ApiSite, ask: Callable[[], Any]) -> None:
    time.sleep(0.3)
    begun = time.monotonic()
    assert ask().status == 200
    assert time.monotonic() - begun < SOON_S


def audited(site: ApiSite) -> list[str]:
    told = site.unix("GET", "/v1/audit?verb=log-in").json["entries"]
    return [each["detail"] for each in told if each["target"] == "tls"]


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"POST /v1/vms/a/enroll HTTP/1.1\r\nContent-Length: 100\r\n", id="an-order"),
        pytest.param(b"POST /ui/login HTTP/1.1\r\nContent-Length: 100\r\n", id="a-login"),
        pytest.param(b"GET /livez HTTP/1.1\r\nContent-Length: 100\r\n", id="what-is-open"),
        pytest.param(b"POST /ui/login HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", id="in-chunks"),
        pytest.param(b"POST /ui/login HTTP/1.1\r\nContent-Length: 60000\r\n", id="a-long-one"),
        pytest.param(b"POST /ui/login HTTP/1.1\r\nContent-Length: 600000\r\n", id="one-that-is-too-long"),
        pytest.param(b"POST /ui/login HTTP/1.1\r\nContent-Length: 100\r\nExpect: 100-continue\r\n", id="that-waits-for-a-word"),
    ],
)
def test_half_a_body_of_a_stranger_keeps_no_thread(site: ApiSite, crowd: ExitStack, head: bytes) -> None:
    """Three times as many as there are threads."""
    for _ in range(3 * THREADS):
        secured(site, crowd).sendall(head + b"Host: localhost\r\n\r\n{")
    token = site.token(f"known-{hash(head) % 10**6}", Role.VIEWER)
    asked_soon(site, lambda: site.far("GET", "/v1/vms", token=token))


def test_half_a_body_with_a_token_that_is_none_keeps_no_thread(site: ApiSite, crowd: ExitStack) -> None:
    head = b"POST /v1/vms/a/enroll HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer vmdkvol_x\r\nContent-Length: 9\r\n\r\n{"
    for _ in range(3 * THREADS):
        secured(site, crowd).sendall(head)
    asked_soon(site, lambda: site.far("GET", "/livez"))


def test_a_crowd_that_says_nothing_makes_room_for_who_comes_after(site: ApiSite, crowd: ExitStack) -> None:
    for _ in range(CROWD):
        plain(site, crowd)
    token = site.token("after-the-crowd", Role.VIEWER)
    asked_soon(site, lambda: site.far("GET", "/v1/vms", token=token))


def test_who_shows_a_certificate_or_a_session_is_served_beside_a_crowd_of_logins(site: ApiSite, crowd: ExitStack) -> None:
    shown = site.administrators.administrator("ann", "viewer")
    for _ in range(3 * THREADS):
        secured(site, crowd).sendall(b"POST /ui/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nt")
    asked_soon(site, lambda: site.far("GET", "/v1/vms", certificate=shown))


def test_a_login_in_pieces_is_one(site: ApiSite, crowd: ExitStack) -> None:
    token = site.token("in-pieces", Role.VIEWER)
    body = f"token={token}".encode()
    far = secured(site, crowd)
    head = b"POST /ui/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    for piece in (head, b"Content-Length: %d\r\n\r\n" % len(body), body[:10], body[10:]):
        far.sendall(piece)
        time.sleep(0.1)
    found = last_words(far)
    assert found.startswith(b"HTTP/1.1 303"), found
    assert b"Set-Cookie: __Host-vmdkvol=" in found


def test_a_login_brings_along_what_was_typed_before_it(site: ApiSite, crowd: ExitStack) -> None:
    token = site.token("typed-much", Role.VIEWER)
    body = f"token={token}&then={'%25'.ljust(50_000, 'x')}".encode()
    far = secured(site, crowd)
    head = b"POST /ui/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    far.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body))
    for start in range(0, len(body), 10_000):
        time.sleep(0.1)
        far.sendall(body[start : start + 10_000])
    assert last_words(far).startswith((b"HTTP/1.1 303", b"HTTP/1.1 200"))


def test_a_known_one_s_body_may_come_later_than_its_head(site: ApiSite, crowd: ExitStack) -> None:
    token = site.token("slow-but-known", Role.ADMIN)
    body = b'{"name": "slow", "default_datastore": "ds1"}'
    far = secured(site, crowd)
    head = (
        f"POST /v1/vmgroups HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
    )
    far.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body))
    time.sleep(1.5)
    far.sendall(body)
    assert last_words(far).startswith(b"HTTP/1.1 201")


def test_a_stranger_with_a_long_body_hears_that_nothing_proves_who_it_is(site: ApiSite) -> None:
    form = "application/x-www-form-urlencoded"
    assert site.far("POST", "/v1/vmgroups", b"x" * 15000).status == 401
    assert site.far("POST", "/ui/change/create-vmgroup", b"a=" + b"x" * 15000, Content_Type=form).status == 401


@pytest.mark.parametrize(
    ("said", "why"),
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01", "no handshake", id="half-of-one"),
        pytest.param(b"", "not a word", id="silence"),
    ],
)
def test_handshakes_that_never_end_stand_in_the_audit_once_with_how_often(
    alone: ApiSite, crowd: ExitStack, said: bytes, why: str
) -> None:
    slow = [plain(alone, crowd) for _ in range(4)]
    for each in slow:
        each.sendall(said)
    for each in slow:
        assert last_words(each) == b""
    eventually(lambda: len(audited(alone)) == 1, "the audit has the first")
    alone.stop()
    alone.start()

    more, first = audited(alone)
    assert first == f"no TLS: {why} within {READ_S:.0f} s"
    assert more == f"3 more were refused like this: {first}"


def test_a_stop_is_no_fault_of_who_is_in_a_handshake(alone: ApiSite, crowd: ExitStack) -> None:
    plain(alone, crowd).sendall(b"\x16")
    assert alone.stop() == 0
    alone.start()
    assert audited(alone) == []
