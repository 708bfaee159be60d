"""TLS answers some of what a peer sends by itself: one that sends without end and reads nothing fills no memory (T6, T15)."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.doubles.certificates import Authority
from vmdkvol.errors import BadFrame
from vmdkvol.tls import Secured

_KEY_UPDATE = b"\x18\0\0\x01\x01"
_HANDSHAKE = b"\x16"


class KeyUpdates:
    """Records that ask for a new key, each under the key before (RFC 8446, 4.6.3 and 7.2; TLS_AES_256_GCM_SHA384)."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def next(self) -> bytes:
        key, nonce = self._expanded(b"key", 32), self._expanded(b"iv", 12)
        head = b"\x17\x03\x03" + (len(_KEY_UPDATE) + 1 + 16).to_bytes(2, "big")
        record = head + AESGCM(key).encrypt(nonce, _KEY_UPDATE + _HANDSHAKE, head)
        self._secret = self._expanded(b"traffic upd", 48)
        return record

    def _expanded(self, label: bytes, length: int) -> bytes:
        full = b"tls13 " + label
        info = length.to_bytes(2, "big") + bytes([len(full)]) + full + b"\0"
        return hmac.digest(self._secret, info + b"\x01", hashlib.sha384)[:length]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


def received(end: Secured | socket.socket) -> None:
    """Take what has come."""
    with contextlib.suppress(BlockingIOError):
        end.receive(1 << 14) if isinstance(end, Secured) else end.recv(1 << 14)


def shaken(tmp_path: Path, connection: socket.socket, theirs: socket.socket) -> tuple[Secured, KeyUpdates]:
    """Return the service's end after the handshake, and what its peer can send from then on."""
    authority, log = Authority(tmp_path), tmp_path / "keys"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority.path)
    context.keylog_filename = str(log)
    peer = Secured(theirs, context, "vmdkvol-service")
    service = authority.service_side()(connection)
    while not (peer.ready and service.ready):
        received(service)
        received(peer)
    [secret] = [line.split()[2] for line in log.read_text().splitlines() if line.startswith("CLIENT_TRAFFIC_SECRET_0")]
    return service, KeyUpdates(bytes.fromhex(secret))


def test_new_keys_without_end_whose_answers_nobody_reads_end_the_connection(
    tmp_path: Path, pair: tuple[socket.socket, socket.socket]
) -> None:
    service, updates = shaken(tmp_path, *pair)

    def flood() -> None:
        for _ in range(20_000):
            pair[1].send(updates.next())
            received(service)

    with pytest.raises(BadFrame, match="reads none"):
        flood()
    assert len(service._encrypted) < 1 << 17


def test_new_keys_whose_answers_are_read_harm_nobody(tmp_path: Path, pair: tuple[socket.socket, socket.socket]) -> None:
    service, updates = shaken(tmp_path, *pair)
    for _ in range(5_000):
        pair[1].send(updates.next())
        received(service)
        received(pair[1])
    assert not service.sending
