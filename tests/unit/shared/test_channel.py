"""Addresses, listening, connecting: one service on a path, private to root, and a clear word about everything else."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from vmdkvol import channel
from vmdkvol.channel import Listener, Peer, TcpAddress, UnixAddress, VsockAddress, connect, listen, parse_address
from vmdkvol.errors import BadRequest, Conflict, ServiceUnreachable


@pytest.fixture
def address(tmp_path: Path) -> UnixAddress:
    return UnixAddress(tmp_path / "run" / "service.sock")


@pytest.fixture
def listener(address: UnixAddress) -> Iterator[Listener]:
    with closing(listen(address)) as made:
        yield made


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:///run/vmdkvol/a.sock", UnixAddress(Path("/run/vmdkvol/a.sock"))),
        ("tcp://esx-1.example.org:4000", TcpAddress("esx-1.example.org", 4000)),
        ("tcp://10.0.0.1", TcpAddress("10.0.0.1", 1019)),
        ("tcp://[fe80::1%eth0]:1019", TcpAddress("fe80::1%eth0", 1019)),
        ("tcp://[::]", TcpAddress("::", 1019)),
        ("vsock://2:1019", VsockAddress(2, 1019)),
        ("vsock://host", VsockAddress(2, 1019)),
        ("vsock://any:7", VsockAddress(0xFFFFFFFF, 7)),
        ("vsock://4294967295:7", VsockAddress(0xFFFFFFFF, 7)),
    ],
)
def test_an_address_says_how_and_where(text: str, address: UnixAddress | TcpAddress | VsockAddress) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["unix:///run/a.sock", "tcp://host:1", "tcp://[::1]:1019", "vsock://7:1019", "vsock://any:1019"]
)
def test_an_address_reads_back(text: str) -> None:
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("/run/a.sock", id="no-scheme"),
        pytest.param("unix://a.sock", id="not-absolute"),
        pytest.param("unix://", id="no-path"),
        pytest.param("unix:/run/a.sock", id="one-slash"),
        pytest.param("unix:///run/a\0b", id="nul"),
        pytest.param("unix:///" + "x" * 107, id="longer-than-the-kernel-takes"),
        pytest.param("tcp://", id="tcp-without-host"),
        pytest.param("tcp://:1019", id="tcp-with-a-port-only"),
        pytest.param("tcp://10.0.0.1:", id="tcp-with-an-empty-port"),
        pytest.param("tcp://10.0.0.1:65536", id="a-port-too-high"),
        pytest.param("tcp://10.0.0.1:-1", id="a-port-below-0"),
        pytest.param("tcp://10.0.0.1:\u0661", id="a-port-in-other-digits"),
        pytest.param("tcp://10.0.0.1:1019/x", id="tcp-with-a-path"),
        pytest.param("tcp://user@host:1019", id="tcp-with-a-user"),
        pytest.param("tcp://fe80::1:1019", id="ipv6-without-brackets"),
        pytest.param("tcp://[fe80::1", id="an-open-bracket"),
        pytest.param("tcp://-host:1", id="an-option"),
        pytest.param("tcp://a host:1", id="a-space"),
        pytest.param("vsock://:1019", id="vsock-without-cid"),
        pytest.param("vsock://-1:1019", id="a-negative-cid"),
        pytest.param("vsock://4294967296:1019", id="a-cid-of-33-bits"),
        pytest.param("vsock://" + "0" * 5000 + ":1", id="a-cid-of-many-digits"),
        pytest.param("vsock://guest:1019", id="a-cid-in-words"),
        pytest.param("vsock://2:port", id="a-port-in-words"),
        pytest.param("http://example.org", id="http"),
    ],
)
def test_what_is_no_address_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(BadRequest) as raised:
        parse_address(text)
    assert "\n" not in str(raised.value)


def test_the_socket_is_for_root_alone(address: UnixAddress, listener: Listener) -> None:
    assert stat.S_IMODE(address.path.stat().st_mode) == 0o600


def test_a_directory_that_is_made_is_for_root_alone(address: UnixAddress, listener: Listener) -> None:
    assert stat.S_IMODE(address.path.parent.stat().st_mode) == 0o700


def test_the_mode_of_a_directory_that_was_there_is_kept(address: UnixAddress) -> None:
    address.path.parent.mkdir(mode=0o755)
    with closing(listen(address)):
        assert stat.S_IMODE(address.path.parent.stat().st_mode) == 0o755


def test_a_second_listener_is_refused(address: UnixAddress, listener: Listener) -> None:
    with pytest.raises(Conflict, match="another process serves"):
        listen(address)


def test_a_second_listener_leaves_the_first_ones_socket(address: UnixAddress, listener: Listener) -> None:
    with pytest.raises(Conflict):
        listen(address)
    connect(address, 1.0).close()


def test_a_foreign_server_without_our_lock_keeps_its_path(address: UnixAddress) -> None:
    address.path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as foreign:
        foreign.bind(str(address.path))
        foreign.listen()
        with pytest.raises(Conflict):
            listen(address)


def test_a_full_foreign_server_counts_as_one_that_answers(address: UnixAddress) -> None:
    address.path.parent.mkdir()
    with ExitStack() as stack:
        foreign = stack.enter_context(socket.socket(socket.AF_UNIX))
        foreign.bind(str(address.path))
        foreign.listen(0)
        waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
        waiting.connect(str(address.path))
        with pytest.raises(Conflict):
            listen(address)


def test_the_socket_of_a_dead_service_is_replaced(address: UnixAddress) -> None:
    address.path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(address.path))
    with closing(listen(address)):
        connect(address, 1.0).close()


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_kept(address: UnixAddress, kind: str) -> None:
    address.path.parent.mkdir()
    if kind == "file":
        address.path.write_text("precious")
    elif kind == "directory":
        address.path.mkdir()
    else:
        address.path.symlink_to("elsewhere")
    with pytest.raises(Conflict, match="no socket"):
        listen(address)
    assert os.path.lexists(address.path)


def test_a_closed_listener_leaves_no_socket(address: UnixAddress) -> None:
    listen(address).close()
    assert not address.path.exists()


def test_a_closed_listener_leaves_another_ones_socket(address: UnixAddress) -> None:
    first = listen(address)
    address.path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(address.path))
        first.close()
        assert address.path.exists()


def test_closing_twice_is_closing_once(address: UnixAddress) -> None:
    first = listen(address)
    first.close()
    with closing(listen(address)):
        first.close()
        assert address.path.exists()


def test_after_a_refusal_the_path_is_free_again(address: UnixAddress) -> None:
    address.path.parent.mkdir()
    address.path.write_text("in the way")
    with pytest.raises(Conflict):
        listen(address)
    address.path.unlink()
    listen(address).close()


def test_a_service_that_is_not_there_is_unreachable(address: UnixAddress) -> None:
    with pytest.raises(ServiceUnreachable, match="no such file"):
        connect(address, 1.0)


def test_a_service_that_died_is_unreachable(address: UnixAddress) -> None:
    address.path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(address.path))
    with pytest.raises(ServiceUnreachable, match="refused"):
        connect(address, 1.0)


def test_a_service_that_accepts_nobody_is_unreachable_in_time(address: UnixAddress) -> None:
    address.path.parent.mkdir()
    with ExitStack() as stack:
        deaf = stack.enter_context(socket.socket(socket.AF_UNIX))
        deaf.bind(str(address.path))
        deaf.listen(0)
        stack.enter_context(socket.socket(socket.AF_UNIX)).connect(str(address.path))
        with pytest.raises(ServiceUnreachable, match="does not accept"):
            connect(address, 0.1)


def test_the_kernel_says_who_is_at_the_other_end(address: UnixAddress, listener: Listener) -> None:
    with connect(address, 1.0):
        accepted, peer = listener.accept()
        with accepted:
            assert peer == Peer(os.getuid(), None, f"uid {os.getuid()} at {address}")


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_a_listener_never_waits(address: UnixAddress, kind: str) -> None:
    with closing(listen(address if kind == "unix" else TcpAddress("127.0.0.1", 0))) as listener, pytest.raises(BlockingIOError):
        listener.accept()


@pytest.mark.parametrize("kind", ["tcp", "vsock"])
def test_a_port_that_is_taken_is_a_conflict(kind: str) -> None:
    free = TcpAddress("127.0.0.1", 0) if kind == "tcp" else VsockAddress(0xFFFFFFFF, 0xFFFFFFFF)
    with closing(listen(free)) as listener, pytest.raises(Conflict, match="another process serves"):
        listen(listener.address)


def test_a_closed_listener_leaves_no_lock(address: UnixAddress) -> None:
    listen(address).close()
    assert list(address.path.parent.iterdir()) == []


def test_of_many_that_start_at_once_one_listens(address: UnixAddress) -> None:
    for _ in range(20):
        won: list[Listener] = []
        threads = [threading.Thread(target=_try_to_listen, args=(address, won)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        connect(address, 1.0).close()
        won[0].close()


def _try_to_listen(address: UnixAddress, won: list[Listener]) -> None:
    try:
        won.append(listen(address))
    except Conflict:
        pass


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (str(TcpAddress("10.0.0.1", 40000)), "10.0.0.1/32"),
        (str(TcpAddress("::ffff:10.0.0.1", 40000)), "10.0.0.1/32"),
        (str(TcpAddress("2001:db8::1:2:3:4", 40000)), "2001:db8::/64"),
        (str(TcpAddress("fe80::1%eth0", 40000)), "fe80::/64"),
        ("uid 0 at unix:///run/a.sock", ""),
        ("unix:///run/a.sock, whose user cannot be read", ""),
    ],
)
def test_where_a_peer_is_on_the_network(text: str, place: str) -> None:
    assert Peer(None, None, text).place == place


def test_where_the_kernel_names_the_machine_there_is_no_place() -> None:
    assert Peer(None, 7, str(VsockAddress(7, 1023))).place == ""


def test_a_name_that_no_resolver_answers_for_is_given_up_in_time() -> None:
    silent = threading.Event()

    def resolve(*_: object, **__: object) -> list[Any]:
        silent.wait(30.0)
        return []

    with pytest.raises(OSError, match="not resolved in time"):
        channel._places(TcpAddress("service.example"), 0.05, resolve)
    silent.set()


def test_what_the_resolver_says_is_told() -> None:
    def resolve(*_: object, **__: object) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(socket.gaierror, match="not known"):
        channel._places(TcpAddress("service.example"), 5.0, resolve)


def test_a_number_is_not_looked_up() -> None:
    def resolve(*_: object, **__: object) -> list[Any]:
        raise AssertionError("looked up")

    assert channel._places(TcpAddress("127.0.0.1", 7), 5.0, resolve)[0][4] == ("127.0.0.1", 7)
