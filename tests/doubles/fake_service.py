"""A service that does with each connection what the test says, and lines to it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.doubles.channel_ends import CLOCK, VM_1
from vmdkvol import unix_socket, wire
from vmdkvol.channel import UnixAddress
from vmdkvol.errors import VolumeError
from vmdkvol.frames import Decoder, Frame
from vmdkvol.line import Line
from vmdkvol.messages import Attachments, Welcome

WELCOME = Welcome(1, VM_1, "host-1", "fake")


class FakeService:
    """Listens at an address and does with each connection what the next of ``acts`` says; the last one is repeated."""

    def __init__(self, address: UnixAddress, *acts: Callable[[FakePeer], None]) -> None:
        self._acts = list(acts)
        self._listener = unix_socket.bind(address.path)
        self._listener.socket.setblocking(True)
        self.peers: list[FakePeer] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.socket.accept()
            except OSError:
                return
            peer = FakePeer(connection)
            self.peers.append(peer)
            act = self._acts.pop(0) if len(self._acts) > 1 else self._acts[0]
            threading.Thread(target=peer.play, args=(act,)).start()

    def close(self) -> None:
        self._listener.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for peer in self.peers:
            peer.hang_up()


class FakePeer:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._decoder = Decoder()
        self.seen: list[Frame] = []

    def play(self, act: Callable[[FakePeer], None]) -> None:
        try:
            act(self)
        except OSError:
            pass
        finally:
            self.hang_up()

    def hang_up(self) -> None:
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._connection.close()

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def next(self) -> Frame:
        while (frame := self._decoder.take()) is None:
            piece = self._connection.recv(4096)
            if not piece:
                raise OSError("the agent hung up")
            self._decoder.feed(piece)
        self.seen.append(frame)
        return frame

    def welcome(self) -> None:
        frame = self.next()
        assert frame.type == "Hello"
        assert frame.id is not None
        self.send(wire.write_answer(frame.id, WELCOME))

    def answer(self, frame: Frame) -> None:
        assert frame.id is not None
        kind = WELCOME if frame.type == "Hello" else Attachments(())
        self.send(wire.write_answer(frame.id, kind))


def well(peer: FakePeer) -> None:
    """Answer everything."""
    while True:
        peer.answer(peer.next())


def deaf(peer: FakePeer) -> None:
    """Read everything, say nothing."""
    while True:
        peer.next()


def greeted_and_deaf(peer: FakePeer) -> None:
    peer.welcome()
    deaf(peer)


def greeted_then(*replies: bytes | Callable[[UUID], bytes]) -> Callable[[FakePeer], None]:
    """Answer Hello, wait for a request, send ``replies`` and hang up."""

    def act(peer: FakePeer) -> None:
        peer.welcome()
        frame = peer.next()
        assert frame.id is not None
        for reply in replies:
            peer.send(reply if isinstance(reply, bytes) else reply(frame.id))

    return act


def refusing(error: VolumeError) -> Callable[[FakePeer], None]:
    def act(peer: FakePeer) -> None:
        peer.send(wire.write_error(peer.next().id, error))

    return act


class Desk:
    """Makes services and lines at one address, and ends them."""

    def __init__(self, directory: Path) -> None:
        self.address = UnixAddress(directory / "service.sock")
        self._ends: list[Callable[[], None]] = []

    def service(self, *acts: Callable[[FakePeer], None]) -> FakeService:
        made = FakeService(self.address, *acts)
        self._ends.append(made.close)
        return made

    def line(self, **more: Any) -> Line:
        more = {"agent": "test", "boot_id": "boot", "first_pause_s": 0.002, **more}
        line = Line(self.address, CLOCK, **more).start()
        self._ends.append(line.close)
        return line

    def close(self) -> None:
        for end in reversed(self._ends):
            end()
