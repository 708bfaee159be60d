"""Where agent and service meet: addresses, listening, connecting, what the kernel tells of who is at the other end.

A Unix socket has SO_PEERCRED, a vsock the context id of the other machine, tcp nothing (faults 3.2): on the last two
certificates prove who calls, and a name or number in an address never does (design D2).
"""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_network
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from vmdkvol import unix_socket
from vmdkvol.addresses import Address, TcpAddress, UnixAddress, VsockAddress, parse_address
from vmdkvol.errors import Conflict, ServiceUnreachable
from vmdkvol.unix_socket import peer_uid

__all__ = [
    "Address",
    "Connect",
    "Listen",
    "Listener",
    "Peer",
    "TcpAddress",
    "UnixAddress",
    "VsockAddress",
    "connect",
    "listen",
    "parse_address",
]

# A peer whose machine is gone, or whose network is cut, is found by the kernel in about ten seconds, whether bytes of ours
# are on their way to it or not (tcp(7)).
_ALIVE = ((socket.TCP_KEEPIDLE, 4), (socket.TCP_KEEPINTVL, 2), (socket.TCP_KEEPCNT, 3), (socket.TCP_USER_TIMEOUT, 10_000))


@dataclass(frozen=True, slots=True)
class Peer:
    """What the kernel tells of the other end: its ``uid`` on a Unix socket, its ``context_id`` on a vsock. ``text`` for logs.

    None where there is no such thing, and where it could not be read: that proves nobody.
    """

    uid: int | None
    context_id: int | None
    text: str

    @property
    def source(self) -> str:
        """The machine that it comes from, as far as an address tells: it is for limits, and proves nothing."""
        return self.text.rpartition(":")[0] if self.context_id is None else f"cid {self.context_id}"

    @property
    def place(self) -> str:
        """Where on the network it seems to be; empty where the kernel names the machine itself.

        Of IPv6 the network alone: a machine has several addresses there, and another one each day (RFC 8981).
        """
        if self.context_id is not None:
            return ""
        host = self.text.removeprefix("tcp://").rpartition(":")[0].strip("[]").partition("%")[0]
        host = host.rpartition(":")[2] if "." in host else host
        try:
            return str(ip_network((host, 64 if ":" in host else 32), strict=False))
        except ValueError:
            return ""


class Listener(Protocol):
    """A socket that listens, without ever waiting."""

    @property
    def address(self) -> Address:
        """Where it listens, with the port that the kernel gave if none was asked for."""
        ...

    def fileno(self) -> int: ...

    def accept(self) -> tuple[socket.socket, Peer]:
        """Return the next connection, which does not block; BlockingIOError if nobody waits, OSError as accept(2)."""
        ...

    def close(self) -> None:
        """Stop listening; a second time does nothing."""
        ...


Listen = Callable[[Address], Listener]
Connect = Callable[[Address, float], socket.socket]


def listen(address: Address) -> Listener:
    """Return a listener at ``address``. Raises Conflict if the place is taken, OSError for what the system refuses.

    A Unix socket has mode 0600, in a directory that is made with 0700 if it is missing; see ``unix_socket.bind``.
    """
    match address:
        case UnixAddress():
            return _UnixListener(address, unix_socket.bind(address.path))
        case TcpAddress():
            return _TcpListener(_bind_tcp(address))
        case VsockAddress():
            bound = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
            return _VsockListener(_bind(bound, (address.cid, address.port), address))


def connect(address: Address, timeout_s: float) -> socket.socket:
    """Return a connection to the service; it is non-blocking. Raises ServiceUnreachable within ``timeout_s``, and as long again
    for a name that is to be looked up.

    Raises UnknownCaller when the process that listens at a Unix socket is neither root's nor of our own user.
    """
    if isinstance(address, UnixAddress):
        return unix_socket.connect(address.path, timeout_s)
    try:
        if isinstance(address, TcpAddress):
            connection = _connect_tcp(address, timeout_s)
        else:
            connection = _connected(socket.AF_VSOCK, (address.cid, address.port), timeout_s)
    except OSError as error:
        reason = "it does not answer" if isinstance(error, TimeoutError) else (error.strerror or str(error)).lower()
        raise ServiceUnreachable(f"the service at {address} cannot be reached: {reason}") from error
    connection.setblocking(False)
    return connection


class _UnixListener:
    def __init__(self, address: UnixAddress, bound: unix_socket.Bound) -> None:
        self.address = address
        self.socket = bound.socket
        self._bound = bound

    def fileno(self) -> int:
        return self.socket.fileno()

    def accept(self) -> tuple[socket.socket, Peer]:
        accepted, _ = self.socket.accept()
        accepted.setblocking(False)
        try:
            uid = peer_uid(accepted)
        except OSError:
            return accepted, Peer(None, None, f"{self.address}, whose user cannot be read")
        return accepted, Peer(uid, None, f"uid {uid} at {self.address}")

    def close(self) -> None:
        self._bound.close()


class _TcpListener:
    def __init__(self, bound: socket.socket) -> None:
        self.socket = bound
        host, port = bound.getsockname()[:2]
        self.address = TcpAddress(host, port)

    def fileno(self) -> int:
        return self.socket.fileno()

    def accept(self) -> tuple[socket.socket, Peer]:
        accepted, place = self.socket.accept()
        _prepare(accepted)
        accepted.setblocking(False)
        return accepted, Peer(None, None, str(TcpAddress(*place[:2])))

    def close(self) -> None:
        self.socket.close()


class _VsockListener:
    def __init__(self, bound: socket.socket) -> None:
        self.socket = bound
        self.address = VsockAddress(*bound.getsockname())

    def fileno(self) -> int:
        return self.socket.fileno()

    def accept(self) -> tuple[socket.socket, Peer]:
        accepted, (cid, port) = self.socket.accept()
        accepted.setblocking(False)
        # The kernel's word, which no guest can change; its port is any program's choice (faults 1.9).
        return accepted, Peer(None, cid, str(VsockAddress(cid, port)))

    def close(self) -> None:
        self.socket.close()


def _bind_tcp(address: TcpAddress) -> socket.socket:
    family, kind, number, _, place = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, number)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        # [::] is every address, those of IPv4 too, whatever the machine's default is.
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    return _bind(bound, place, address)


def _bind(bound: socket.socket, place: Any, address: Address) -> socket.socket:
    """Have ``bound`` listen at ``place`` and return it; it is closed if that fails."""
    try:
        bound.setblocking(False)
        bound.bind(place)
        bound.listen(unix_socket.BACKLOG)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise Conflict(f"another process serves {address}", remedy="stop it, or use another port") from error
        raise
    return bound


def _connect_tcp(address: TcpAddress, timeout_s: float) -> socket.socket:
    places = _places(address, timeout_s)[:4]
    for family, _, _, _, place in places[:-1]:
        try:
            return _prepare(_connected(family, place, timeout_s / len(places)))
        except OSError:
            # The last one's reason is told.
            continue
    family, _, _, _, place = places[-1]
    return _prepare(_connected(family, place, timeout_s / len(places)))


def _places(address: TcpAddress, timeout_s: float, resolve: Callable[..., list[Any]] = socket.getaddrinfo) -> list[Any]:
    """Look the name up. The system's resolver takes half a minute for silent servers, and cannot be told to end."""
    try:
        return socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass
    found: SimpleQueue[list[Any] | OSError] = SimpleQueue()

    def look_up() -> None:
        try:
            found.put(resolve(address.host, address.port, type=socket.SOCK_STREAM))
        except OSError as error:
            found.put(error)

    threading.Thread(target=look_up, name="resolver", daemon=True).start()
    try:
        answer = found.get(timeout=timeout_s)
    except Empty:
        raise OSError(f"its name {address.host} is not resolved in time") from None
    if isinstance(answer, OSError):
        raise answer
    return answer


def _connected(family: int, place: Any, timeout_s: float) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect(place)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: socket.socket) -> socket.socket:
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _ALIVE:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
    except OSError:
        connection.close()
        raise
    return connection
