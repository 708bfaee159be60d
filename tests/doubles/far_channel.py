"""Guests on other machines, without a network: the connections are Unix sockets that say to be a vsock's, TLS included."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from tests.doubles.certificates import Authority, vm_of
from tests.doubles.channel_ends import CLOCK, NAMES, VM_1, Handle, RawGuest, soon
from vmdkvol import unix_socket
from vmdkvol.channel import Address, Connect, Peer, VsockAddress
from vmdkvol.errors import NotEnrolled, UnknownCaller
from vmdkvol.line import Line
from vmdkvol.messages import Hello
from vmdkvol.stream import Secure
from vmdkvol.tls import StrangerSide
from vmdkvol.volume import VmId
from vmdkvol_esx.callers import Caller, Proof
from vmdkvol_esx.server import Server

ADDRESS = VsockAddress(2, 1019)


class Far:
    """A kernel that knows one address, and lets each guest have the context id that it says."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "far.sock"
        self._turn = threading.Lock()
        self._coming: deque[int] = deque()

    def listen(self, address: Address) -> _FarListener:
        return _FarListener(address, unix_socket.bind(self.path), self._coming)

    def by(self, cid: int) -> Connect:
        """Return how the guest with this context id connects."""

        def connect(_: Address, timeout_s: float) -> socket.socket:
            with self._turn:
                # Before it connects, as the service may accept at once.
                self._coming.append(cid)
                try:
                    return unix_socket.connect(self.path, timeout_s)
                except BaseException:
                    self._coming.pop()
                    raise

        return connect


class _FarListener:
    def __init__(self, address: Address, bound: unix_socket.Bound, coming: deque[int]) -> None:
        self.address = address
        self._bound = bound
        self._coming = coming
        self._others = count(1000)
        self.fileno, self.close = bound.socket.fileno, bound.close

    def accept(self) -> tuple[socket.socket, Peer]:
        accepted, _ = self._bound.socket.accept()
        accepted.setblocking(False)
        # Who comes some other way, through a proxy say, is a machine of its own each time.
        cid = self._coming.popleft() if self._coming else next(self._others)
        return accepted, Peer(None, cid, f"vsock://{cid}:1023")


def identify(proof: Proof, hello: Hello) -> Caller:
    if proof.certificate is None:
        raise UnknownCaller("no certificate")
    vm = vm_of(proof.certificate)
    if vm not in NAMES:
        raise NotEnrolled(f"{vm} is not enrolled")
    return Caller(vm, NAMES[vm])


class FarSite:
    """A service for guests of one authority; whatever was made of it ends with ``close``."""

    def __init__(self, directory: Path, handle: Handle, authority: Authority | None = None, **server: Any) -> None:
        self.authority = authority or Authority(directory)
        self.far = Far(directory)
        more = {"secure": self.authority.service_side(), "listen": self.far.listen, **server}
        self._ends: list[Callable[[], None]] = []
        self.server = Server({ADDRESS: None}, handle, more.pop("identify", identify), CLOCK, **more).start()

    def line(self, vm: VmId = VM_1, *, cid: int = 3, secure: Secure | None = None, **more: Any) -> Line:
        more = {"agent": "test", "boot_id": "boot", "first_pause_s": 0.002, "connect": self.far.by(cid), **more}
        line = Line(ADDRESS, CLOCK, secure=secure or self.authority.agent_side(vm), **more).start()
        self._ends.append(line.close)
        return line

    def connect(self, cid: int = 3) -> socket.socket:
        """Return a connection on which nothing was said."""
        connection = self.far.by(cid)(ADDRESS, 5.0)
        connection.settimeout(5.0)
        self._ends.append(connection.close)
        return connection

    def guest(self, vm: VmId | None = VM_1, *, cid: int = 3, secure: Secure | None = None) -> RawGuest:
        """Return a guest that sends the bytes that the test wants inside TLS; ``vm`` None: without a certificate."""
        side = secure or (StrangerSide(self.authority.pem) if vm is None else self.authority.agent_side(vm))
        made = RawGuest(InTls(self.connect(cid), side))
        self._ends.append(made.close)
        return made

    def close(self) -> None:
        for end in reversed(self._ends):
            end()
        self.server.drain(soon(1.0))


class InTls:
    """A socket that blocks, as seen through a stream that does not."""

    def __init__(self, connection: socket.socket, secure: Secure) -> None:
        self._socket = connection
        self.stream = secure(connection)

    def settimeout(self, seconds: float) -> None:
        self._socket.settimeout(seconds)

    def sendall(self, data: bytes) -> None:
        rest = bytearray(data)
        self.shake()
        while rest or self.stream.sending:
            before = self.stream.moved
            del rest[: self.stream.send(rest)]
            if self.stream.moved == before:
                # A stream leaves it to whoever reads to find that the peer is gone.
                raise BrokenPipeError

    def recv(self, limit: int) -> bytes:
        while True:
            try:
                return self.stream.receive(limit)
            except BlockingIOError:
                continue

    def shake(self) -> None:
        """End the handshake. What came with its end is not ours: the service speaks when it is asked."""
        while not self.stream.ready:
            try:
                if not self.stream.receive(1 << 14):
                    raise ConnectionResetError
            except BlockingIOError:
                continue

    def shutdown(self, how: int) -> None:
        self._socket.shutdown(how)

    def close(self) -> None:
        self._socket.close()
