"""gunicorn around the API: a process for each door, since gunicorn has all sockets of an instance inside TLS or none.

The Unix socket is root's (0600); the other door is TLS, where a client certificate is asked for, and needed by nobody who has
a token. Each door's worker has its own line to the core, made after the fork.
"""

from __future__ import annotations

import fcntl
import os
import signal
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from gunicorn.app.base import BaseApplication

from vmdkvol.arbiter import PromptArbiter
from vmdkvol.errors import Conflict
from vmdkvol.listening import connections
from vmdkvol_esx.web.tls_files import context
from vmdkvol_esx.web.workers import ApiWorker, SecureWorker
from vmdkvol_esx.web_setting import WebSetting

Leave = Callable[[int], NoReturn]


@dataclass(frozen=True, slots=True)
class Served:
    """What a worker serves, and what ends that. ``turned_away`` hears from which address no TLS came about, and why.

    ``knows`` tells of a request, by its head and its connection as WSGI has them, whether it is proved who asks.
    """

    app: Any
    end: Callable[[], None]
    turned_away: Callable[[str, str], None]
    knows: Callable[[Mapping[str, Any]], bool]


Make = Callable[[], Served]
GRACEFUL_S = 115
_PATIENCE_S, _PAUSE_S = 10.0, 0.1
_MOST_CONNECTIONS = 1024


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
            # Nobody before us is asked who somebody is, and no header says what the path is.
            "forwarded_allow_ips": "",
            "forwarder_headers": "",
            "secure_scheme_headers": {},
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

    def knows(self, environ: Mapping[str, Any]) -> bool:
        """Tell whether it is proved who asks."""
        return self._served is not None and self._served.knows(environ)

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
