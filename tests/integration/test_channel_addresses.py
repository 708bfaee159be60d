"""Connections over tcp, and to nobody over vsock: what goes through, and a clear word about everything else."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, closing

import pytest

from vmdkvol.channel import Listener, Peer, TcpAddress, VsockAddress, connect, listen
from vmdkvol.errors import ServiceUnreachable

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_bytes_go_both_ways_over_tcp(host: str) -> None:
    with closing(listen(TcpAddress(host, 0))) as listener, connect(listener.address, 5.0) as connection:
        accepted, peer = _accepted(listener)
        with accepted:
            for one, other in ((accepted, connection), (connection, accepted)):
                one.sendall(b"word")
                other.settimeout(5.0)
                assert other.recv(10) == b"word"
    assert (peer.uid, peer.context_id) == (None, None)
    assert peer.text.startswith("tcp://")


def test_every_address_is_also_those_of_ipv4() -> None:
    with closing(listen(TcpAddress("::", 0))) as listener:
        assert isinstance(listener.address, TcpAddress)
        connect(TcpAddress("127.0.0.1", listener.address.port), 5.0).close()


def test_both_ends_of_a_tcp_connection_find_out_that_the_other_is_gone() -> None:
    with closing(listen(TcpAddress("127.0.0.1", 0))) as listener, connect(listener.address, 5.0) as connection:
        accepted, _ = _accepted(listener)
        with accepted:
            for end in (accepted, connection):
                assert end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
                assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_a_port_where_nobody_listens_is_unreachable() -> None:
    with closing(listen(TcpAddress("127.0.0.1", 0))) as listener:
        address = listener.address
    with pytest.raises(ServiceUnreachable, match="refused"):
        connect(address, 5.0)


def test_a_host_that_accepts_nobody_is_unreachable_in_time() -> None:
    with ExitStack() as stack:
        deaf = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        place = deaf.getsockname()
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(place)
        with pytest.raises(ServiceUnreachable, match="does not answer"):
            connect(TcpAddress(*place), 0.1)


def test_a_name_that_nobody_knows_is_unreachable() -> None:
    with pytest.raises(ServiceUnreachable):
        connect(TcpAddress("no-such-host.invalid"), 1.0)


def test_a_machine_that_is_not_there_is_unreachable_over_vsock() -> None:
    with pytest.raises(ServiceUnreachable):
        connect(VsockAddress(0xFFFF), 0.1)


def _accepted(listener: Listener) -> tuple[socket.socket, Peer]:
    for _ in range(500):
        try:
            return listener.accept()
        except BlockingIOError:
            time.sleep(0.01)
    raise TimeoutError
