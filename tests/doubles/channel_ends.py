"""A service that answers from a handler of the test's own, and agents on its sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID, uuid4

from vmdkvol import frames, wire
from vmdkvol.channel import Address, UnixAddress
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.errors import NotEnrolled, VolumeError
from vmdkvol.frames import Decoder, Frame
from vmdkvol.line import Line
from vmdkvol.messages import Attachments, Call, Detach, Done, Hello, Request
from vmdkvol.volume import VmId
from vmdkvol_esx.callers import Caller, Proof
from vmdkvol_esx.server import Server

CLOCK = SystemClock()
VM_1 = VmId(UUID("00000000-0000-4000-8000-000000000001"))
VM_2 = VmId(UUID("00000000-0000-4000-8000-000000000002"))
VM_3 = VmId(UUID("00000000-0000-4000-8000-000000000003"))
VM_4 = VmId(UUID("00000000-0000-4000-8000-000000000004"))
NAMES = {VM_1: "host-1", VM_2: "host-2", VM_3: "host-3", VM_4: "host-4"}

Handle = Callable[[Request[Any], Call], Any]


def identify(proof: Proof, hello: Hello) -> Caller:
    if proof.vm not in NAMES:
        raise NotEnrolled(f"{proof.vm} is not registered")
    return Caller(proof.vm, NAMES[proof.vm])


def call(seconds: float = 5.0) -> Call:
    return Call(uuid4(), Deadline.after(CLOCK, seconds))


def soon(seconds: float = 5.0) -> Deadline:
    return Deadline.after(CLOCK, seconds)


def until(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Wait until ``condition()``; tell whether it came true."""
    deadline = soon(seconds)
    while not condition():
        if deadline.passed:
            return False
        CLOCK.sleep(0.002)
    return True


class Site:
    """A service with a socket for each VM in ``directory``; whatever was made of it ends with ``close``."""

    def __init__(self, directory: Path, handle: Handle, vms: tuple[VmId, ...] = (VM_1,), **server: Any) -> None:
        self.directory = directory
        self._sockets: dict[Address, VmId | None] = {self.address(vm): vm for vm in vms}
        self._handle = handle
        self._server = server
        self._lines: list[Line] = []
        self._guests: list[RawGuest] = []
        self.server = self.new_server()

    def address(self, vm: VmId) -> UnixAddress:
        # Short: the kernel takes 107 bytes, and pytest's directories have long names.
        return UnixAddress(self.directory / "run" / f"{vm.int % 1000}.sock")

    @staticmethod
    def address_in(directory: Path) -> UnixAddress:
        """Return an address of no VM's, for a server of the test's own."""
        return UnixAddress(directory / "own.sock")

    def new_server(self) -> Server:
        self.server = Server(self._sockets, self._handle, identify, CLOCK, **self._server).start()
        return self.server

    def line(self, vm: VmId = VM_1, *, address: Address | None = None, **more: Any) -> Line:
        line = Line(address or self.address(vm), CLOCK, agent="test", boot_id="boot", first_pause_s=0.002, **more).start()
        self._lines.append(line)
        return line

    def guest(self, vm: VmId = VM_1) -> RawGuest:
        guest = RawGuest(self.address(vm))
        self._guests.append(guest)
        return guest

    def close(self) -> None:
        for line in self._lines:
            line.close()
        for guest in self._guests:
            guest.close()
        self.server.drain(soon(1.0))


class Socket(Protocol):
    """What a raw guest needs of a socket."""

    def settimeout(self, seconds: float, /) -> None: ...
    def sendall(self, data: bytes, /) -> None: ...
    def recv(self, limit: int, /) -> bytes: ...
    def shutdown(self, how: int, /) -> None: ...
    def close(self) -> None: ...


def _connected(address: UnixAddress) -> Socket:
    # Blocking: it waits while the service's queue is full.
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.connect(str(address.path))
    return made


def ended(connection: Socket) -> bool:
    """Read to the end of the stream; tell whether it came before the socket's timeout."""
    try:
        while connection.recv(frames.MAX_FRAME):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


class RawGuest:
    """A guest that sends the bytes that the test wants."""

    def __init__(self, address: UnixAddress | Socket) -> None:
        self._socket = _connected(address) if isinstance(address, UnixAddress) else address
        self._socket.settimeout(5.0)
        self._decoder = Decoder()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def try_to_send(self, data: bytes) -> bool:
        try:
            self._socket.sendall(data)
        except OSError:
            return False
        return True

    def send_request(self, request: Request[Any], seconds: float = 5.0) -> UUID:
        call_id = uuid4()
        self.send(wire.write_request(request, call_id, seconds))
        return call_id

    def hello(self, oldest: int = 1, newest: int = 1) -> Frame:
        self.send_request(Hello(oldest, newest, "raw", "boot"))
        frame = self.receive()
        assert frame is not None
        return frame

    def receive(self) -> Frame | None:
        """Return the next frame; None at the end of the stream."""
        while (frame := self._decoder.take()) is None:
            try:
                piece = self._socket.recv(4096)
            except ConnectionResetError:
                return None
            if not piece:
                return None
            self._decoder.feed(piece)
        return frame

    def error(self) -> VolumeError:
        """Return the error that comes next."""
        frame = self.receive()
        assert frame is not None
        assert frame.type == wire.ERROR
        return wire.read_error(frame.body)

    def ended(self) -> bool:
        """Read to the end of the stream; tell whether it came within five seconds."""
        return ended(self._socket)

    def shut_down(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()


class Gated:
    """Detach waits at the gate; everything else is answered at once."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.seen: list[Call] = []

    def __call__(self, request: Request[Any], call: Call) -> Any:
        self.seen.append(call)
        if isinstance(request, Detach):
            assert self.gate.wait(10)
            return Done()
        return Attachments(())
