"""Where a service is: addresses of the channel, and their one reader."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vmdkvol.errors import BadRequest

DEFAULT_PORT = 1019
# vsock(7): VMADDR_CID_ANY, to listen; VMADDR_CID_HOST, whom a guest calls.
ANY_CONTEXT, HOST_CONTEXT = 0xFFFFFFFF, 2
# sockaddr_un has 108 bytes with the NUL.
MAX_PATH = 107
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?|\[[0-9A-Fa-f:.]{2,45}(%[A-Za-z0-9_.-]{1,15})?\]")
_FORMS = "write unix:///PATH, tcp://HOST:PORT or vsock://CID:PORT"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A socket's path on this kernel."""

    path: Path

    def __str__(self) -> str:
        return f"unix://{self.path}"


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A name or number and a port. ``host`` of IPv6 has no brackets; port 0 to listen: any that is free."""

    host: str
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        return f"tcp://[{self.host}]:{self.port}" if ":" in self.host else f"tcp://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class VsockAddress:
    """A virtual machine's context id, or ANY_CONTEXT or HOST_CONTEXT, and a port."""

    cid: int
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        return f"vsock://{'any' if self.cid == ANY_CONTEXT else self.cid}:{self.port}"


Address = UnixAddress | TcpAddress | VsockAddress


def parse_address(text: str) -> Address:
    """Return the address in ``unix:///PATH``, ``tcp://HOST[:PORT]`` or ``vsock://CID[:PORT]``; BadRequest names what is wrong.

    An IPv6 number stands in brackets; a CID is a number, ``any`` or ``host``. The port is 1019 if none is given.
    """
    scheme, separator, rest = text.partition("://")
    reader = _READERS.get(scheme)
    if not separator or reader is None:
        raise BadRequest(f"channel address {text[:100]!r} cannot be used", remedy=_FORMS)
    return reader(text, rest)


def unix_address(path: str) -> UnixAddress:
    """Return the address of the socket at ``path``; BadRequest if no socket can be there."""
    if not path.startswith("/") or "\0" in path:
        raise BadRequest(f"channel address {f'unix://{path[:100]}'!r} has no absolute path", remedy="write unix:///PATH")
    if len(path.encode("utf-8", "surrogateescape")) > MAX_PATH:
        raise BadRequest(
            f"channel address {f'unix://{path[:100]}'!r} is too long",
            remedy=f"the kernel takes paths of up to {MAX_PATH} bytes",
        )
    return UnixAddress(Path(path))


def _read_unix(_: str, rest: str) -> Address:
    return unix_address(rest)


def _read_tcp(text: str, rest: str) -> Address:
    found = _HOST.match(rest)
    if found is None:
        raise BadRequest(f"channel address {text[:100]!r} has no host", remedy="write tcp://HOST:PORT, IPv6 in brackets")
    return TcpAddress(found.group().strip("[]"), _port(text, rest[found.end() :]))


def _read_vsock(text: str, rest: str) -> Address:
    name, separator, port = rest.partition(":")
    cid = {"any": ANY_CONTEXT, "host": HOST_CONTEXT}.get(name)
    if cid is None and name.isascii() and name.isdigit() and len(name) <= 10 and int(name) <= ANY_CONTEXT:
        cid = int(name)
    if cid is None:
        raise BadRequest(
            f"channel address {text[:100]!r} has no context id", remedy="write vsock://CID:PORT; a guest calls vsock://2:1019"
        )
    return VsockAddress(cid, _port(text, separator + port))


def _port(text: str, rest: str) -> int:
    digits = rest.removeprefix(":")
    if not rest:
        return DEFAULT_PORT
    if not (rest.startswith(":") and digits.isascii() and digits.isdigit() and len(digits) <= 5 and int(digits) < 1 << 16):
        raise BadRequest(f"channel address {text[:100]!r} has no port from 0 to 65535", remedy=_FORMS)
    return int(digits)


_READERS: Mapping[str, Callable[[str, str], Address]] = {"unix": _read_unix, "tcp": _read_tcp, "vsock": _read_vsock}
