"""gunicorn's master with a stop of our own: at once when there is nothing to wait for, and heard by each worker.

Both processes end without the interpreter's own end, which frees everything piece by piece: 50 ms of each restart.

Read in gunicorn 27.0.1: its stop looks for ended workers every 0.1 s, twice at least, so that each restart has 0.2 s in
which nobody serves. And a signal that reaches a worker before that has handlers of its own goes into its copy of the
master's queue, which nobody reads: the master then waits for all of ``graceful_timeout``, in vain.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any, NoReturn

from gunicorn import sock
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from vmdkvol.listening import STOPS

# A worker's end wakes the master; this is for a signal that the kernel gave to another thread.
_LOOK_AGAIN_S = 0.5
# A second signal that says to hurry, and how long the workers have then: gunicorn's own.
_HURRY = frozenset({signal.SIGINT, signal.SIGQUIT})
_HURRY_S = 2.0
_KILLED_S = 2.0


class PromptArbiter(Arbiter):  # type: ignore[misc]  # gunicorn has no types
    """Its workers let ``STOPS`` in once they have handlers for them, as ``listening.BoundedWorker`` does.

    ``leave`` ends its process, with this exit code, after what was logged is written; it is called in each of them.
    """

    LISTENERS: list[Any]

    def __init__(self, app: BaseApplication, leave: Callable[[int], NoReturn]) -> None:
        super().__init__(app)
        self._leave = leave

    def run(self) -> NoReturn:
        """Serve until told to stop."""
        try:
            super().run()
        except SystemExit as end:
            self._leave(_code(end))
        self._leave(0)

    def stop(self, graceful: bool = True) -> None:
        """Close the socket and end the workers, within ``graceful_timeout`` if they do so by themselves.

        The socket's file stays if systemd, or a master that replaces this one, goes on with it.
        """
        sock.close_sockets(self.LISTENERS, self.reexec_pid == self.master_pid == 0 and not self.systemd)
        self.LISTENERS = []
        self.kill_workers(signal.SIGTERM if graceful else signal.SIGQUIT)
        if self._told_to_hurry(self.cfg.graceful_timeout, _HURRY if graceful else frozenset()):
            self.kill_workers(signal.SIGQUIT)
            self._told_to_hurry(_HURRY_S)
        self.kill_workers(signal.SIGKILL)
        # One that hangs in the kernel outlives the master; the next agent waits for it (guards.wait_alone).
        self._told_to_hurry(_KILLED_S)

    def spawn_worker(self) -> int:
        """Fork a worker, to which no signal to stop is lost: what comes before it listens to them waits in the kernel."""
        master = os.getpid()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        try:
            pid: int = super().spawn_worker()
            return pid
        except SystemExit as end:
            if os.getpid() != master:
                self._leave(_code(end))
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _told_to_hurry(self, seconds: float, by: frozenset[signal.Signals] = frozenset()) -> bool:
        """Wait until there is no worker, or the time is over; tell whether one of the signals ``by`` came before."""
        limit = time.monotonic() + seconds
        self._reap()
        while self.WORKERS and (left_s := limit - time.monotonic()) > 0:
            # The end of a worker is a signal too.
            told = self.wait_for_signals(timeout=min(left_s, _LOOK_AGAIN_S))
            self._reap()
            if self.WORKERS and not by.isdisjoint(told):
                return True
        return False

    def _reap(self) -> None:
        try:
            self.reap_workers()
        except HaltServer:
            # A worker that could not begin: it has ended, which is all that is wanted here.
            return


def _code(end: SystemExit) -> int:
    return end.code & 0xFF if isinstance(end.code, int) else int(end.code is not None)
