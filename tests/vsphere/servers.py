"""What a simulator cannot do: servers that speak TLS and then nothing, or too slowly, or nonsense; and a line that breaks."""

from __future__ import annotations

import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.vsphere.simulators import Pair

# One accepted connection, in a thread of its own; it is closed when this returns.
Serve = Callable[[socket.socket], None]
VERSIONS = (
    b'<?xml version="1.0"?><namespaces version="1.0"><namespace><name>urn:vim25</name>'
    b"<version>7.0.3.0</version></namespace></namespaces>"
)


@dataclass(slots=True)
class Listener:
    """A listening socket whose connections are served by ``serve`` until the end of its block."""

    serve: Serve
    listener: socket.socket
    accepted: int = 0
    open: list[socket.socket] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def port(self) -> int:
        number: int = self.listener.getsockname()[1]
        return number

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            # A descriptor of our own: TLS takes the other one over.
            kept = connection.dup()
            self.open.append(kept)
            thread = threading.Thread(target=self._one, args=(connection, kept), name="served", daemon=True)
            self.threads.append(thread)
            thread.start()

    def _one(self, connection: socket.socket, kept: socket.socket) -> None:
        try:
            self.serve(connection)
        except OSError:
            # The client went away, or the test ended.
            pass
        finally:
            _shut(kept)
            connection.close()


@contextmanager
def listening(serve: Serve) -> Iterator[Listener]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = Listener(serve, server)
        thread = threading.Thread(target=found.run, name="listener", daemon=True)
        thread.start()
        try:
            yield found
        finally:
            found.ended.set()
            _shut(server, *found.open)
            for each in (thread, *found.threads):
                each.join(10.0)
            for end in found.open:
                end.close()


def _shut(*ends: socket.socket) -> None:
    for end in ends:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            # It is closed already.
            pass


def over_tls(pair: Pair, serve: Serve) -> Serve:
    """Return ``serve`` behind a TLS handshake with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pair.pem"
        file.write_text(pair.cert + pair.key)
        context.load_cert_chain(file)

    def served(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as inside:
            serve(inside)

    return served


def silent(connection: socket.socket) -> None:
    """Read what comes, and never answer."""
    while connection.recv(65536):
        pass


def request(connection: socket.socket) -> bytes:
    """Return one HTTP request, whole; nothing at the end of the connection."""
    seen = b""
    while b"\r\n\r\n" not in seen:
        more = connection.recv(65536)
        if not more:
            return b""
        seen += more
    head, _, body = seen.partition(b"\r\n\r\n")
    wanted = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0)
    while len(body) < wanted:
        more = connection.recv(65536)
        if not more:
            return b""
        body += more
    return head + b"\r\n\r\n" + body


def reply(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n" % (status.encode(), len(body)) + body


def answering(*answers: bytes) -> Serve:
    """Answer the list of versions rightly, and every call with the next of ``answers``; the last one for ever."""
    left = list(answers)

    def served(connection: socket.socket) -> None:
        while asked := request(connection):
            if asked.startswith(b"GET"):
                connection.sendall(reply(VERSIONS))
            else:
                connection.sendall(left.pop(0) if len(left) > 1 else left[0])

    return served


@dataclass(slots=True)
class Line:
    """A TCP line to a server that can be cut: at once, or once the server has answered (so that the answer is lost)."""

    port: int
    target: int
    answers_lost: bool = False
    refusing: bool = False
    pairs: list[tuple[socket.socket, socket.socket]] = field(default_factory=list)

    def cut(self) -> None:
        """Break every connection that is open now."""
        for pair in tuple(self.pairs):
            _shut(*pair)

    def serve(self, near: socket.socket) -> None:
        if self.refusing:
            return
        with socket.create_connection(("127.0.0.1", self.target), timeout=60) as far:
            pair = (near, far)
            self.pairs.append(pair)
            back = threading.Thread(target=self._back, args=(far, near), name="back", daemon=True)
            back.start()
            try:
                while data := near.recv(65536):
                    far.sendall(data)
            except OSError:
                # Cut: the other way ends with it.
                pass
            _shut(*pair)
            back.join(10.0)

    def _back(self, far: socket.socket, near: socket.socket) -> None:
        try:
            while data := far.recv(65536):
                if self.answers_lost:
                    break
                near.sendall(data)
        except OSError:
            # Cut: the other way ends with it.
            pass
        _shut(near, far)


@contextmanager
def line_to(target: int) -> Iterator[Line]:
    """Put a line before ``target``, a port of this machine."""
    found = Line(0, target)
    with listening(found.serve) as listener:
        found.port = listener.port
        yield found
