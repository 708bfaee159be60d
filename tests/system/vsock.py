"""A vsock device for a QEMU guest, without the kernel's vhost.

``python -m tests.system.vsock CID DEVICE BASE [PORT=SOCKET ...]`` serves one machine, for all its lives, and ends with its
standard input. DEVICE is the socket that QEMU connects to (vhost-user). The guest has real AF_VSOCK: what connects to (2, PORT)
there reaches this computer's Unix socket ``BASE_PORT``, whose first line is ``PEER <cid> <port of the guest>``, which is all
that the kernel of an ESXi host would tell. With ``PORT=SOCKET`` it reaches SOCKET, without that line.

Foreign rules: virtio 1.2, 5.10 (the socket device); docs/interop/vhost-user.rst of QEMU 7.2.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from tests.system.virtqueue import Memory, Ring

# source and destination id and port, length, type, operation, flags, room for us, what of it we have taken.
_HEADER = struct.Struct("<QQIIIHHIII")
_REQUEST, _RESPONSE, _RESET, _SHUTDOWN, _DATA, _CREDIT, _ASK_CREDIT = range(1, 8)
_STREAM, _HOST = 1, 2
_ROOM = 256 << 10
_CHUNK = 32 << 10
# Of SHUTDOWN: no more to receive, no more to send.
_NO_RECEIVE, _NO_SEND = 1, 2


class Ask(IntEnum):
    """The requests of vhost-user that QEMU makes of this device."""

    GET_FEATURES = 1
    SET_MEMORY = 5
    SET_SIZE = 8
    SET_PLACE = 9
    SET_NEXT = 10
    GET_NEXT = 11
    SET_KICK = 12
    SET_CALL = 13
    SET_ERROR = 14
    GET_PROTOCOL = 15
    GET_QUEUES = 17
    SET_ENABLED = 18
    GET_CONFIG = 24


# Features of vhost-user that this backend has.
_VERSION_1, _PROTOCOL = 1 << 32, 1 << 30
_REPLY_ACK, _CONFIG = 1 << 3, 1 << 9
_ANSWERED = {Ask.GET_FEATURES, Ask.GET_NEXT, Ask.GET_PROTOCOL, Ask.GET_QUEUES, Ask.GET_CONFIG}
_WANTS_ACK = 8


@dataclass
class _Connection:
    """One of the guest's: its port, the host's port, and the Unix socket that stands for the host."""

    socket: socket.socket
    guest_port: int
    host_port: int
    room: int
    guest_took: int
    out: bytearray = field(default_factory=bytearray)
    sent: int = 0
    took: int = 0
    told: int = 0
    ended: bool = False
    half: bool = False
    closing: bool = False

    @property
    def credit(self) -> int:
        return self.room - ((self.sent - self.guest_took) & 0xFFFFFFFF)


class Device:
    def __init__(self, cid: int, device: Path, base: str, bridges: Mapping[int, str]) -> None:
        self._cid = cid
        self._base = base
        self._bridges = bridges
        self._memory = Memory()
        self._receive, self._transmit = Ring(self._memory), Ring(self._memory)
        self._rings = (self._receive, self._transmit)
        self._poll = select.epoll()
        self._on: dict[int, Callable[[int], None]] = {}
        self._connections: dict[tuple[int, int], _Connection] = {}
        self._pending: deque[tuple[list[int], bytes]] = deque()
        self._qemu: socket.socket | None = None
        device.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(device))
        self._listener.listen()
        self._watch(self._listener.fileno(), self._connected)

    def serve(self) -> None:
        """Serve until standard input ends, that is until who started this is gone."""
        ended: list[int] = []
        self._watch(0, ended.append)
        while not ended:
            for file, events in self._poll.poll():
                if file in self._on:
                    self._on[file](events)
            self._deliver()

    def _watch(self, file: int, on: Callable[[int], None], events: int = select.EPOLLIN) -> None:
        if file in self._on:
            self._poll.modify(file, events)
        else:
            self._poll.register(file, events)
        self._on[file] = on

    def _forget(self, file: int) -> None:
        if self._on.pop(file, None) is not None:
            self._poll.unregister(file)

    # --- QEMU ----------------------------------------------------------------------------------------------------

    def _connected(self, _: int) -> None:
        if self._qemu is not None:
            # The machine was killed and is switched on again.
            self._lost()
        self._qemu, _place = self._listener.accept()
        self._watch(self._qemu.fileno(), self._told)

    def _lost(self) -> None:
        """The machine is off: nothing of it is left."""
        assert self._qemu is not None
        self._forget(self._qemu.fileno())
        self._qemu.close()
        self._qemu = None
        for ring in self._rings:
            self._stop(ring)
        for connection in list(self._connections.values()):
            self._end(connection, reset=False)
        self._pending.clear()

    def _stop(self, ring: Ring) -> None:
        if ring.kick >= 0:
            self._forget(ring.kick)
            os.close(ring.kick)
            ring.kick = -1
        ring.stop()

    def _told(self, _: int) -> None:
        assert self._qemu is not None
        try:
            header, files, _flags, _place = socket.recv_fds(self._qemu, 12, 8)
        except OSError:
            header, files = b"", []
        if len(header) < 12:
            self._lost()
            return
        request, flags, size = struct.unpack("<III", header)
        payload = self._qemu.recv(size, socket.MSG_WAITALL) if size else b""
        answer = self._answer(request, payload, files)
        if answer is None and flags & _WANTS_ACK and request not in _ANSWERED:
            answer = struct.pack("<Q", 0)
        if answer is not None:
            self._qemu.sendall(struct.pack("<III", request, 5, len(answer)) + answer)

    def _answer(self, request: int, payload: bytes, files: Sequence[int]) -> bytes | None:
        index, number = struct.unpack_from("<II", payload) if len(payload) >= 8 else (0, 0)
        match request:
            case Ask.GET_FEATURES:
                return struct.pack("<Q", _VERSION_1 | _PROTOCOL)
            case Ask.GET_PROTOCOL:
                return struct.pack("<Q", _CONFIG | _REPLY_ACK)
            case Ask.GET_QUEUES:
                return struct.pack("<Q", len(self._rings))
            case Ask.SET_MEMORY:
                self._memory.take([struct.unpack_from("<QQQQ", payload, 8 + 32 * i) for i in range(index)], files)
            case Ask.SET_SIZE:
                self._rings[index].size = number
            case Ask.SET_PLACE:
                _index, _log, descriptors, used, available, _log_place = struct.unpack("<IIQQQQ", payload)
                self._rings[index].place(descriptors, used, available)
            case Ask.SET_NEXT:
                self._begin(self._rings[index], number)
            case Ask.GET_NEXT:
                self._stop(self._rings[index])
                return struct.pack("<II", index, self._rings[index].next)
            case Ask.SET_KICK | Ask.SET_CALL | Ask.SET_ERROR:
                self._take_event(request, self._rings[index & 0xFF], files[0] if files else -1)
            case Ask.SET_ENABLED:
                self._rings[index].enabled = bool(number)
            case Ask.GET_CONFIG:
                return self._config(payload)
        return None

    def _begin(self, ring: Ring, number: int) -> None:
        """Go on with a queue where QEMU says: after a halt where it stood, after a reset of the machine at its beginning.

        The connections of the life before end then, as those of VMCI do; else the service would find out by silence alone.
        """
        if ring is self._receive and ring.next and not number:
            for connection in list(self._connections.values()):
                self._end(connection, reset=False)
            self._pending.clear()
        ring.next = number

    def _take_event(self, request: int, ring: Ring, file: int) -> None:
        if request == Ask.SET_KICK:
            if ring.kick >= 0:
                self._forget(ring.kick)
                os.close(ring.kick)
            ring.kick = file
            if file >= 0:
                self._watch(file, self._sent if ring is self._transmit else self._room_again)
        elif request == Ask.SET_CALL:
            if ring.call >= 0:
                os.close(ring.call)
            ring.call = file
        elif file >= 0:
            os.close(file)

    def _config(self, payload: bytes) -> bytes:
        offset, size, flags = struct.unpack_from("<III", payload)
        own = struct.pack("<Q", self._cid).ljust(256, b"\0")
        return struct.pack("<III", offset, size, flags) + own[offset : offset + size]

    # --- the guest -------------------------------------------------------------------------------------------------

    def _room_again(self, _: int) -> None:
        """Take the event; what waits is delivered after it."""
        os.eventfd_read(self._receive.kick)

    def _sent(self, _: int) -> None:
        os.eventfd_read(self._transmit.kick)
        taken = 0
        while (buffers := self._transmit.pop()) is not None:
            packet = b"".join(bytes(view) for view in buffers.readable)
            self._transmit.push(buffers.head, 0)
            taken += 1
            self._packet(_HEADER.unpack_from(packet), packet[_HEADER.size :])
        if taken:
            self._transmit.signal()

    def _packet(self, header: tuple[int, ...], data: bytes) -> None:
        _source, target, guest_port, host_port, size, kind, operation, flags, room, took = header
        connection = self._connections.get((guest_port, host_port))
        if operation == _REQUEST and target == _HOST and kind == _STREAM:
            self._open(guest_port, host_port, room, took)
            return
        if connection is None:
            if operation != _RESET:
                self._refuse(guest_port, host_port)
            return
        connection.room, connection.guest_took = room, took
        if operation == _RESET:
            self._end(connection, reset=False)
            return
        if operation == _DATA:
            connection.out += data[:size]
        elif operation == _ASK_CREDIT:
            self._tell(connection, _CREDIT)
        elif operation == _SHUTDOWN:
            connection.closing = connection.closing or flags & 3 == _NO_RECEIVE | _NO_SEND
            connection.half = connection.half or bool(flags & _NO_SEND)
        self._drain(connection)
        self._listen_to(connection)

    def _open(self, guest_port: int, host_port: int, room: int, took: int) -> None:
        there = socket.socket(socket.AF_UNIX)
        try:
            there.connect(self._bridges.get(host_port, f"{self._base}_{host_port}"))
            if host_port not in self._bridges:
                there.sendall(b"PEER %d %d\n" % (self._cid, guest_port))
        except OSError:
            # Nobody listens: a guest is told ECONNRESET, as by an ESXi host.
            there.close()
            self._refuse(guest_port, host_port)
            return
        there.setblocking(False)
        connection = _Connection(there, guest_port, host_port, room, took)
        self._connections[guest_port, host_port] = connection
        self._tell(connection, _RESPONSE)
        self._listen_to(connection)

    def _refuse(self, guest_port: int, host_port: int) -> None:
        self._pending.append(([_HOST, self._cid, host_port, guest_port, 0, _STREAM, _RESET, 0, 0, 0], b""))

    def _tell(self, connection: _Connection, operation: int, data: bytes = b"", flags: int = 0) -> None:
        ports = [connection.host_port, connection.guest_port]
        took = connection.took & 0xFFFFFFFF
        self._pending.append(([_HOST, self._cid, *ports, len(data), _STREAM, operation, flags, _ROOM, took], data))
        connection.told = connection.took

    def _deliver(self) -> None:
        given = 0
        while self._pending and (buffers := self._receive.pop()) is not None:
            header, data = self._pending.popleft()
            room = sum(map(len, buffers.writable)) - _HEADER.size
            if len(data) > room:
                # The rest goes as a packet of its own.
                self._pending.appendleft(([*header[:4], len(data) - room, *header[5:]], data[room:]))
                header, data = [*header[:4], room, *header[5:]], data[:room]
            packet = memoryview(_HEADER.pack(*header) + data)
            written = 0
            for view in buffers.writable:
                part = packet[written : written + len(view)]
                view[: len(part)] = part
                written += len(part)
            self._receive.push(buffers.head, written)
            given += 1
        if given:
            self._receive.signal()

    # --- this computer ---------------------------------------------------------------------------------------------

    def _listen_to(self, connection: _Connection) -> None:
        file = connection.socket.fileno()
        if file < 0:
            return
        if not connection.ended and connection.credit <= 0 and not connection.out:
            # The kernel would tell of a hang-up again and again; the guest's next packet watches it again.
            self._forget(file)
            return
        reads = not connection.ended and connection.credit > 0
        events = (select.EPOLLIN if reads else 0) | (select.EPOLLOUT if connection.out else 0)
        self._watch(file, lambda seen: self._heard(connection, seen), events)

    def _drain(self, connection: _Connection) -> None:
        """Hand on what the guest has sent, as far as it is taken."""
        try:
            while connection.out:
                done = connection.socket.send(connection.out)
                del connection.out[:done]
                connection.took += done
        except BlockingIOError:
            pass
        except OSError:
            self._end(connection, reset=True)
            return
        if not connection.out and connection.closing:
            self._end(connection, reset=True)
            return
        if not connection.out and connection.half:
            connection.half = False
            connection.socket.shutdown(socket.SHUT_WR)
        if connection.took - connection.told > _ROOM // 4:
            self._tell(connection, _CREDIT)

    def _heard(self, connection: _Connection, events: int) -> None:
        if events & select.EPOLLOUT:
            self._drain(connection)
        if connection.socket.fileno() < 0:
            return
        if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR) and not connection.ended:
            self._read(connection, hung_up=bool(events & select.EPOLLHUP))
        elif events & select.EPOLLHUP:
            self._end(connection, reset=True)
        self._listen_to(connection)

    def _read(self, connection: _Connection, *, hung_up: bool) -> None:
        room = min(_CHUNK, connection.credit)
        if room <= 0:
            return
        try:
            data = connection.socket.recv(room)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._tell(connection, _DATA, data)
            connection.sent += len(data)
            return
        connection.ended = True
        self._tell(connection, _SHUTDOWN, flags=_NO_RECEIVE | _NO_SEND if hung_up else _NO_SEND)

    def _end(self, connection: _Connection, *, reset: bool) -> None:
        self._connections.pop((connection.guest_port, connection.host_port), None)
        if connection.socket.fileno() >= 0:
            self._forget(connection.socket.fileno())
            connection.socket.close()
        if reset:
            self._tell(connection, _RESET)


def main(cid: str, device: str, base: str, *bridges: str) -> None:
    ports = (bridge.split("=", 1) for bridge in bridges)
    Device(int(cid), Path(device), base, {int(port): path for port, path in ports}).serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
