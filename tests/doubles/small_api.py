"""A small HTTP server that answers what a test says, in order, and keeps what it was asked. On a Unix socket, or inside TLS."""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

PROBLEM = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class Says:
    """An answer. ``cut``: the connection ends after so many bytes of the body. ``hang``: after the answer was due."""

    body: Any = None
    status: int = 200
    kind: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    hang: bool = False

    @property
    def raw(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def problem(code: str, detail: str = "it is so", status: int = 409, **more: Any) -> Says:
    return Says({"code": code, "detail": detail, "status": status, "title": code, **more}, status, PROBLEM)


Answer = Says | Callable[[Asked], Says]


class SmallApi:
    """Serves until ``stop``. The last answer is given again and again."""

    def __init__(self, path: Path | None, answers: list[Answer], tls: ssl.SSLContext | None = None) -> None:
        """``path`` None: a port of this machine, inside ``tls``."""
        self.asked: list[Asked] = []
        self.connections = 0
        self.released = threading.Event()
        self._answers = answers
        self._lock = threading.Lock()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                api.connections += 1

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:
                    # Who asks may go before it has everything.
                    self.close_connection = True

            def address_string(self) -> str:
                return "client"

            def log_message(self, *_: Any) -> None:
                pass

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return lambda: api._answer(self)
                raise AttributeError(name)

        self._server: socketserver.ThreadingUnixStreamServer | socketserver.ThreadingTCPServer
        if path is not None:
            self._server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
        else:
            self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.socket.getsockname()[1])

    def stop(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(length)
        asked = Asked(handler.command, handler.path, dict(handler.headers), json.loads(body) if body else None)
        with self._lock:
            self.asked.append(asked)
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        said = answer if isinstance(answer, Says) else answer(asked)
        if said.hang:
            self.released.wait(30.0)
        raw = b"" if said.status == 204 else said.raw
        handler.send_response(said.status)
        for key, value in {"Content-Type": said.kind, "Content-Length": str(len(raw)), **said.headers}.items():
            handler.send_header(key, value)
        handler.end_headers()
        handler.wfile.write(raw[: said.cut])
        if said.cut is not None:
            handler.wfile.flush()
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True
