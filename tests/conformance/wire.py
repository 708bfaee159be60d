"""A proxy in front of a plugin's socket that loses, doubles, halves and delays single calls, as a broken line does.

It has a socket in the plugin directory, so that the engine takes it for a driver of its own: its calls go to the real
plugin, its faults hit nobody else's.
"""

from __future__ import annotations

import http.client
import socket
import socketserver
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from http.server import BaseHTTPRequestHandler
from pathlib import Path


class Fault(Enum):
    REQUEST_LOST = "the connection breaks before the plugin has the request"
    ANSWER_LOST = "the plugin has done the work, and its answer is lost"
    ANSWER_CUT = "the connection breaks in the middle of the answer"
    DOUBLED = "the plugin gets the request twice, and the engine the second answer"
    LATE = "the answer comes two seconds late"


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as the engine sent it."""

    endpoint: str
    body: bytes


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket, with no more headers than asked for."""

    def __init__(self, path: Path, timeout_s: float = 130) -> None:
        super().__init__("plugin", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def post(path: Path, endpoint: str, body: bytes, *, method: str = "POST") -> tuple[int, bytes]:
    """Send one request as Docker does, without a Content-Type; return status and body, or raise OSError or HTTPException."""
    connection = UnixConnection(path)
    try:
        connection.putrequest(method, endpoint, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", "")
        connection.putheader("Accept", "application/vnd.docker.plugins.v1.2+json")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class Wire:
    """Listens at ``path`` and passes calls on to ``target``; a planned fault hits the next call of its endpoint."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self.target = target
        self._lock = threading.Lock()
        self._plan: list[tuple[str, Fault]] = []
        self._seen: list[Seen] = []
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def fail_next(self, endpoint: str, fault: Fault) -> None:
        with self._lock:
            self._plan.append((endpoint, fault))

    def take(self, endpoint: str, body: bytes) -> Fault | None:
        """Note a request; return the fault that is planned for it, once. An empty repeat is never hit."""
        with self._lock:
            self._seen.append(Seen(endpoint, body))
            for planned in self._plan:
                if planned[0] == endpoint and body.strip():
                    self._plan.remove(planned)
                    return planned[1]
        return None

    def seen(self, endpoint: str) -> list[Seen]:
        with self._lock:
            return [seen for seen in self._seen if seen.endpoint == endpoint]

    def expect_hit(self) -> None:
        """Fail if a planned fault hit no call: then the case has shown nothing."""
        with self._lock:
            assert self._plan == [], f"the engine made no such call: {self._plan}"

    def reset(self) -> None:
        with self._lock:
            self._plan.clear()
            self._seen.clear()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.path.unlink(missing_ok=True)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    # At close the engine's kept connections are still open; their threads end with them.
    block_on_close = False

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        super().__init__(str(wire.path), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """The other end went away, which is what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        endpoint = self.path.rpartition(".")[2]
        fault = self.server.wire.take(endpoint, body)
        if fault is Fault.REQUEST_LOST:
            self._break_off()
            return
        try:
            status, answer = post(self.server.wire.target, self.path, body)
            if fault is Fault.DOUBLED:
                status, answer = post(self.server.wire.target, self.path, body)
        except (OSError, http.client.HTTPException):
            # The plugin hung up, or is not there: so does the line.
            self._break_off()
            return
        if fault is Fault.ANSWER_LOST:
            self._break_off()
            return
        if fault is Fault.LATE:
            time.sleep(2)
        self._answer(status, answer, whole=fault is not Fault.ANSWER_CUT)

    def _answer(self, status: int, answer: bytes, *, whole: bool) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer if whole else answer[: len(answer) // 2])
        self.wfile.flush()
        if not whole:
            self._break_off()

    def _break_off(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what was asked is in ``seen``."""
