"""How sandbox and doctor see that a service and an agent answer, at a host's own socket; all else is asked of the API."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import click

from vmdkvol import __version__, logs
from vmdkvol.addresses import Address
from vmdkvol.cli.layout import DEFAULT_DIRECTORY
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.errors import Unavailable
from vmdkvol.line import Line
from vmdkvol.messages import Call, ListVolumes, Request
from vmdkvol.volume import VolumeInfo

A = TypeVar("A")

_PATIENCE_S = 2.0
_ANSWER_S = 15.0

directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_DIRECTORY,
    envvar="VMDKVOL_DIR",
    show_default=True,
    show_envvar=True,
    help="The sandbox's directory.",
)


class Connection:
    """An open line to one service."""

    def __init__(self, line: Line, clock: SystemClock) -> None:
        self._line = line
        self._clock = clock

    def ask(self, request: Request[A], answer_s: float = _ANSWER_S) -> A:
        return self._line.ask(request, Call(uuid4(), Deadline.after(self._clock, answer_s)))


@contextmanager
def connected(address: Address, patience_s: float = _PATIENCE_S) -> Iterator[Connection]:
    """Yield a connection to the service; its first question waits ``patience_s`` for the service, then ServiceUnreachable."""
    # A line that is down is told as the command's own error, once.
    logs.configure("error")
    clock = SystemClock()
    line = Line(address, clock, agent=f"vmdkvol {__version__}", boot_id=boot_id(), patience_s=patience_s).start()
    try:
        yield Connection(line, clock)
    finally:
        line.close()


def all_volumes(connection: Connection) -> Iterator[VolumeInfo]:
    """Yield every volume that a host has once; one that is removed meanwhile is left out or still shown whole."""
    after = None
    while True:
        page = connection.ask(ListVolumes(after=after))
        yield from page.volumes
        if page.next is None:
            return
        after = page.next


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class _PluginConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("plugin", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def plugin_says(path: Path, endpoint: str, timeout_s: float = 2.0) -> object:
    """Call a plugin as Docker does; return what it answered. OSError, HTTPException or ValueError if it did not answer."""
    connection = _PluginConnection(path, timeout_s)
    try:
        connection.request("POST", endpoint, body=b"{}")
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def plugin_answers(path: Path) -> bool:
    """Tell whether a volume plugin answers at this socket."""
    try:
        # Not Activate: to the agent that is the sign of an engine's restart (docker-facts 2.1).
        answer = plugin_says(path, "/VolumeDriver.Capabilities")
    except (OSError, ValueError, http.client.HTTPException):
        return False
    return isinstance(answer, dict) and "Capabilities" in answer


def api_answers(path: Path) -> bool:
    """Tell whether a REST API answers at this socket; whether its core does is another question."""
    connection = _PluginConnection(path, _PATIENCE_S)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def listens(path: Path) -> bool:
    """Tell whether any process accepts connections at this socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except TimeoutError:
            return True
        except OSError:
            return False
    return True


def listens_at(host: str, port: int) -> bool:
    """Tell whether any process accepts connections at this TCP port."""
    try:
        socket.create_connection((host, port), 1.0).close()
    except TimeoutError:
        return True
    except OSError:
        return False
    return True


def free_port(host: str, preferred: int) -> int:
    """Return a TCP port at which nobody listens now: the preferred one if it is free, else any."""
    for port in (preferred, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # What ended a moment ago still has its port for a minute, and keeps nobody from it.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Unavailable(f"no port of {host} is free")
