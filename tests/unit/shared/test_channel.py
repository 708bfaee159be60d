"""Addresses, listening, connecting: one service on a path, private to root, and a clear word about everything else."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from vmdkvol.channel import Address, Listener, connect, listen, peer_uid
from vmdkvol.errors import BadRequest, Conflict, ServiceUnreachable


@pytest.fixture
def address(tmp_path: Path) -> Address:
    return Address(tmp_path / "run" / "service.sock")


@pytest.fixture
def listener(address: Address) -> Iterator[Listener]:
    with closing(listen(address)) as made:
        yield made


def test_an_address_is_a_path() -> None:
    assert Address.parse("unix:///run/vmdkvol/a.sock") == Address(Path("/run/vmdkvol/a.sock"))


def test_an_address_reads_back() -> None:
    text = "unix:///run/vmdkvol/a.sock"
    assert str(Address.parse(text)) == text


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
        pytest.param("tcp://10.0.0.1:1019", id="tcp"),
        pytest.param("vsock://2:1019", id="vsock"),
        pytest.param("http://example.org", id="http"),
    ],
)
def test_what_is_no_address_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(BadRequest) as raised:
        Address.parse(text)
    assert "\n" not in str(raised.value)


def test_a_channel_of_a_later_stage_is_refused_with_what_works_now() -> None:
    with pytest.raises(BadRequest, match="unix:///PATH only"):
        Address.parse("tcp://10.0.0.1:1019")


def test_the_socket_is_for_root_alone(address: Address, listener: Listener) -> None:
    assert stat.S_IMODE(address.path.stat().st_mode) == 0o600


def test_a_directory_that_is_made_is_for_root_alone(address: Address, listener: Listener) -> None:
    assert stat.S_IMODE(address.path.parent.stat().st_mode) == 0o700


def test_the_mode_of_a_directory_that_was_there_is_kept(address: Address) -> None:
    address.path.parent.mkdir(mode=0o755)
    with closing(listen(address)):
        assert stat.S_IMODE(address.path.parent.stat().st_mode) == 0o755


def test_a_second_listener_is_refused(address: Address, listener: Listener) -> None:
    with pytest.raises(Conflict, match="another process serves"):
        listen(address)


def test_a_second_listener_leaves_the_first_ones_socket(address: Address, listener: Listener) -> None:
    with pytest.raises(Conflict):
        listen(address)
    connect(address, 1.0).close()


def test_a_foreign_server_without_our_lock_keeps_its_path(address: Address) -> None:
    address.path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as foreign:
        foreign.bind(str(address.path))
        foreign.listen()
        with pytest.raises(Conflict):
            listen(address)


def test_a_full_foreign_server_counts_as_one_that_answers(address: Address) -> None:
    address.path.parent.mkdir()
    with ExitStack() as stack:
        foreign = stack.enter_context(socket.socket(socket.AF_UNIX))
        foreign.bind(str(address.path))
        foreign.listen(0)
        waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
        waiting.connect(str(address.path))
        with pytest.raises(Conflict):
            listen(address)


def test_the_socket_of_a_dead_service_is_replaced(address: Address) -> None:
    address.path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(address.path))
    with closing(listen(address)):
        connect(address, 1.0).close()


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_kept(address: Address, kind: str) -> None:
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


def test_a_closed_listener_leaves_no_socket(address: Address) -> None:
    listen(address).close()
    assert not address.path.exists()


def test_a_closed_listener_leaves_another_ones_socket(address: Address) -> None:
    first = listen(address)
    address.path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(address.path))
        first.close()
        assert address.path.exists()


def test_closing_twice_is_closing_once(address: Address) -> None:
    first = listen(address)
    first.close()
    with closing(listen(address)):
        first.close()
        assert address.path.exists()


def test_after_a_refusal_the_path_is_free_again(address: Address) -> None:
    address.path.parent.mkdir()
    address.path.write_text("in the way")
    with pytest.raises(Conflict):
        listen(address)
    address.path.unlink()
    listen(address).close()


def test_a_service_that_is_not_there_is_unreachable(address: Address) -> None:
    with pytest.raises(ServiceUnreachable, match="no such file"):
        connect(address, 1.0)


def test_a_service_that_died_is_unreachable(address: Address) -> None:
    address.path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(address.path))
    with pytest.raises(ServiceUnreachable, match="refused"):
        connect(address, 1.0)


def test_a_service_that_accepts_nobody_is_unreachable_in_time(address: Address) -> None:
    address.path.parent.mkdir()
    with ExitStack() as stack:
        deaf = stack.enter_context(socket.socket(socket.AF_UNIX))
        deaf.bind(str(address.path))
        deaf.listen(0)
        stack.enter_context(socket.socket(socket.AF_UNIX)).connect(str(address.path))
        with pytest.raises(ServiceUnreachable, match="does not accept"):
            connect(address, 0.1)


def test_the_kernel_says_who_is_at_the_other_end(address: Address, listener: Listener) -> None:
    with connect(address, 1.0):
        accepted, _ = listener.socket.accept()
        with accepted:
            assert peer_uid(accepted) == os.getuid()


def test_a_connection_that_is_closed_gives_no_uid(address: Address, listener: Listener) -> None:
    with connect(address, 1.0):
        accepted, _ = listener.socket.accept()
        accepted.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            peer_uid(accepted)


def test_a_closed_listener_leaves_no_lock(address: Address) -> None:
    listen(address).close()
    assert list(address.path.parent.iterdir()) == []


def test_of_many_that_start_at_once_one_listens(address: Address) -> None:
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


def _try_to_listen(address: Address, won: list[Listener]) -> None:
    try:
        won.append(listen(address))
    except Conflict:
        pass
