"""The agent as a process: gunicorn's master guards the socket and starts the one worker that does the work.

The master knows nothing of that work, but loads the code of it before the fork: a fresh process does so faster than one
whose pages are copied at each touch, and a worker that died is replaced at once. It costs 1 MB, measured.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from gunicorn.app.base import BaseApplication

from vmdkvol import logs
from vmdkvol.arbiter import PromptArbiter
from vmdkvol.clock import SystemClock
from vmdkvol.errors import VolumeError
from vmdkvol.listening import BoundedWorker, connections
from vmdkvol.points import Point, pass_by
from vmdkvol_guest.guards import guard_socket
from vmdkvol_guest.settings import AgentSettings

if TYPE_CHECKING:
    from vmdkvol_guest.composing import MakeDevices
    from vmdkvol_guest.worker import Worker

At = Callable[[Point], None]

# Above the longest limit of an answer: a call that is cut off is repeated by Docker with an empty body (docker-facts 2.4).
GRACEFUL_S = 115
# What a full pipe or a slow disk may cost at the end.
_FLUSH_S = 1.0
# gunicorn's own code for "the application cannot be loaded": the master ends too.
_CANNOT_LOAD = 4


def serve(settings: AgentSettings, at: At = pass_by, devices: MakeDevices | None = None) -> NoReturn:
    """Serve Docker until SIGTERM; calls under way are answered first, mounts stay. Ends the process.

    ``devices`` makes what finds this host's disks; without it, what does on Linux.

    Raises Conflict if another agent serves the socket. systemd may hand over the listening socket (LISTEN_FDS).
    """
    output = logs.configure(settings.log_level)
    inherited = os.environ.get("LISTEN_PID") == str(os.getpid())
    guard = guard_socket(Path(settings.socket), SystemClock(), inherited=inherited)
    PromptArbiter(Application(settings, at, guard, devices), partial(_leave, output)).run()


def _leave(output: logs.Output, code: int) -> NoReturn:
    output.flush(_FLUSH_S)
    os._exit(code)


class Application(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    def __init__(self, settings: AgentSettings, at: At, guard: int, devices: MakeDevices | None = None) -> None:
        self._settings = settings
        self._devices = devices
        self._at = at
        self._guard = guard
        self._worker: Worker | None = None
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options().items():
            self.cfg.set(name, value)

    def _options(self) -> dict[str, Any]:
        return {
            "bind": f"unix:{self._settings.socket}",
            # The socket's mode becomes 0600: whoever can write to it can attach disks (docker-facts 2.11).
            "umask": 0o177,
            # State is in the process, and List must work while Mounts hang.
            "workers": 1,
            "worker_class": BoundedWorker,
            "worker_connections": connections(),
            # The kernel takes what net.core.somaxconn allows; a full backlog is an error to Go, not a wait.
            "backlog": 4096,
            "threads": self._settings.threads,
            # No watchdog: a Create of 110 s is no hang.
            "timeout": 0,
            "graceful_timeout": GRACEFUL_S,
            # No idle connections, so none that closes just when a request is sent (corrections 19).
            "keepalive": 0,
            # gunicorn 27 opens one in $HOME otherwise (ecosystem-facts 3.3).
            "control_socket_disable": True,
            "accesslog": None,
            "errorlog": "-",
            "loglevel": "warning",
            "when_ready": self._ready,
            "post_fork": self._forked,
            "worker_exit": self._ending,
        }

    def load(self) -> Worker:
        """Called by gunicorn in the worker."""
        from vmdkvol_guest.worker import Worker

        try:
            self._worker = Worker(self._settings, self._at, *filter(None, [self._devices]))
        except VolumeError as error:
            logs.get("agent").error("the agent cannot start", error=str(error))
            sys.exit(_CANNOT_LOAD)
        gc.freeze()
        gc.enable()
        return self._worker

    def _ready(self, _arbiter: object) -> None:
        importlib.import_module("vmdkvol_guest.worker")
        # What both have in common stays so: a look for garbage would write to all of it.
        gc.freeze()
        gc.enable()

    def _forked(self, _arbiter: object, _worker: object) -> None:
        # Until ``load`` has loaded, as in cli.
        gc.disable()
        # The guard is the master's: it must be free as soon as that one is gone (corrections 36).
        os.close(self._guard)

    def _ending(self, _arbiter: object, _worker: object) -> None:
        if self._worker is not None:
            self._worker.stop()
