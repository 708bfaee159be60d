"""gunicorn around the API: a process for each door, since gunicorn has all sockets of an instance inside TLS or none.

The Unix socket is root's (0600); the other door is TLS, where a client certificate is asked for, and needed by nobody who has
a token. Each door's worker has its own line to the core, made after the fork.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

from gunicorn import util
from gunicorn.app.base import BaseApplication
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException

from vmdkvol.arbiter import PromptArbiter
from vmdkvol.errors import BadRequest, Conflict, Internal, VolumeError, one_line
from vmdkvol.listening import BoundedWorker, connections
from vmdkvol_esx.web import problems
from vmdkvol_esx.web.incoming import ApiConnection, SecureConnection
from vmdkvol_esx.web.tls_files import FilesUnfit, NoTls, context
from vmdkvol_esx.web_setting import WebSetting

Leave = Callable[[int], NoReturn]


@dataclass(frozen=True, slots=True)
class Served:
    """What a worker serves, and what ends that. ``turned_away`` hears from which address no TLS came about, and why."""

    app: Any
    end: Callable[[], None]
    turned_away: Callable[[str, str], None]


Make = Callable[[], Served]
GRACEFUL_S = 115
_PATIENCE_S, _PAUSE_S = 10.0, 0.1
_MOST_CONNECTIONS = 1024
# Whoever connects would have a line each time.
_UNFIT_EVERY_S = 60.0
_LIMITS = {LimitRequestLine: (414, "URI Too Long"), LimitRequestHeaders: (431, "Request Header Fields Too Large")}


class ApiWorker(BoundedWorker):
    """Answers what is no HTTP as the API answers all that is wrong: with a problem."""

    connection = ApiConnection
    unfit_told: float | None = None

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        if isinstance(exc, FilesUnfit):
            self._tell_unfit(exc)
            return
        if isinstance(exc, ssl.SSLError):
            # Nobody is there who could read an answer: the handshake failed, or the peer broke off.
            self.log.info("TLS refused: %s", exc)
            if isinstance(exc, NoTls):
                self.app.turned_away(str(addr[0]), exc.why)
            return
        if isinstance(exc, ParseException):
            status, reason = _LIMITS.get(type(exc), (400, "Bad Request"))
            error: VolumeError = BadRequest(
                f"this is not HTTP as the API takes it: {one_line(str(exc), 80)}",
                remedy="see docs/how-to/api.md",
            )
        else:
            self.log.exception("request failed")
            status, reason, error = 500, "Internal Server Error", Internal("the API failed on this request")
        body = json.dumps(problems.problem(error, status, str(uuid4()))).encode()
        head = f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: {problems.MEDIA}\r\n"
        try:
            util.write_nonblock(client, f"{head}Content-Length: {len(body)}\r\n\r\n".encode("ascii") + body)
        except OSError:
            # The peer was first.
            return

    def _tell_unfit(self, error: FilesUnfit) -> None:
        now = time.monotonic()
        if self.unfit_told is None or now - self.unfit_told >= _UNFIT_EVERY_S:
            self.unfit_told = now
            self.log.error("no TLS with the files of [web]: %s; see `vmdkvol-esxd doctor`", error)


class SecureWorker(ApiWorker):
    """Gives a connection that has not asked yet a thread for what is here, and the poller while its peer is silent."""

    connection = SecureConnection

    def handle(self, conn: Any) -> Any:
        try:
            conn.come_in()
        except Exception as error:  # noqa: BLE001 - the top of a request, as gunicorn's own
            if not isinstance(error, OSError) or isinstance(error, ssl.SSLError):
                self.handle_error(None, conn.sock, conn.client, error)
            return False
        return False if conn.waits_for else super().handle(conn)

    def finish_request(self, conn: Any, fs: Any) -> None:
        events, conn.waits_for = conn.waits_for, 0
        if not events:
            super().finish_request(conn, fs)
            return
        conn.timeout = conn.until
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, events, partial(self.on_pending_socket_readable, conn))

    def murder_pending(self) -> None:
        # gunicorn looks no further than the first whose time is not over, and these come back in any order.
        waiting = sorted(self.pending_conns, key=lambda conn: float(conn.timeout))
        self.pending_conns.clear()
        self.pending_conns.extend(waiting)
        super().murder_pending()


class FollowingArbiter(PromptArbiter):
    """Ends when the process that started it does."""

    def __init__(self, app: BaseApplication, leave: Leave, parent: int) -> None:
        super().__init__(app, leave)
        self._parent = parent

    def maybe_promote_master(self) -> None:
        if os.getppid() != self._parent:
            self.halt()


@dataclass(frozen=True, slots=True)
class Bind:
    """A door: where, inside TLS or not."""

    setting: WebSetting
    secure: bool

    def options(self) -> dict[str, Any]:
        """Return gunicorn's settings of this door."""
        return self._secured() if self.secure else {"bind": f"unix:{self.setting.socket}", "worker_class": ApiWorker}

    def _secured(self) -> dict[str, Any]:
        authority = self.setting.admin_ca_file
        return {
            "bind": self.setting.listen,
            "worker_class": SecureWorker,
            "certfile": self.setting.certificate_file,
            "keyfile": self.setting.key_file or self.setting.certificate_file,
            "ca_certs": authority,
            "cert_reqs": ssl.CERT_NONE if authority is None else ssl.CERT_OPTIONAL,
            "ssl_context": context,
        }


class Application(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """One door. ``make`` returns what serves it, and what ends that; called in the worker."""

    def __init__(self, bind: Bind, make: Make) -> None:
        self._bind = bind
        self._make = make
        self._served: Served | None = None
        super().__init__()

    def load_config(self) -> None:
        options = {
            # The socket's mode becomes 0600: who can write to it is root.
            "umask": 0o177,
            "workers": 1,
            "worker_connections": min(_MOST_CONNECTIONS, connections()),
            "threads": self._bind.setting.threads,
            "timeout": 0,
            "graceful_timeout": GRACEFUL_S,
            "keepalive": 0,
            "limit_request_line": 8190,
            "limit_request_fields": 60,
            "limit_request_field_size": 8190,
            "control_socket_disable": True,
            "accesslog": None,
            "errorlog": "-",
            "loglevel": "warning",
            "worker_exit": self._ending,
            **self._bind.options(),
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        self._served = self._make()
        return self._served.app

    def turned_away(self, source: str, reason: str) -> None:
        """Tell of a connection that did not become one."""
        if self._served is not None:
            self._served.turned_away(source, reason)

    def _ending(self, _arbiter: object, _worker: object) -> None:
        if self._served is not None:
            self._served.end()


def serve_doors(setting: WebSetting, make: Make, leave: Leave) -> NoReturn:
    """Serve every door until told to stop; the end of one is the end of all. Ends the process."""
    guard = _guard(Path(setting.socket))
    make = partial(_unguarded, guard, make)
    doors = [Bind(setting, False), *([Bind(setting, True)] if setting.listen is not None else [])]
    if len(doors) == 1:
        PromptArbiter(Application(doors[0], make), leave).run()
    _watch([_started(door, make, leave) for door in doors], leave)


def _guard(path: Path) -> int:
    """Return what keeps the right to the socket's path: without it a second one would take a socket that is served.

    One that ends is waited for briefly. Conflict if another process has it.
    """
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    end = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise Conflict(f"another process serves {path}", remedy="stop it, or set another socket in [web]") from None
            time.sleep(_PAUSE_S)
        else:
            return lock


def _unguarded(guard: int, make: Make) -> Served:
    """The guard is the master's: a worker that outlives it keeps nobody from the socket."""
    os.close(guard)
    return make()


def _started(door: Bind, make: Make, leave: Leave) -> int:
    parent = os.getpid()
    child = os.fork()
    if not child:
        FollowingArbiter(Application(door, make), leave, parent).run()
    return child


def _watch(children: Sequence[int], leave: Leave) -> NoReturn:
    told = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, told)
    running, code, stopping = set(children), 0, False
    while running:
        ended = {pid: status for pid in running for found, status in [os.waitpid(pid, os.WNOHANG)] if found}
        running -= ended.keys()
        if ended and not stopping:
            code = max(map(os.waitstatus_to_exitcode, ended.values())) or 1
        if running and (ended or stopping):
            _end(running)
            stopping = True
        if running and signal.sigwait(told) != signal.SIGCHLD:
            stopping = True
    leave(abs(code) & 0xFF)


def _end(children: set[int]) -> None:
    for pid in children:
        os.kill(pid, signal.SIGTERM)
