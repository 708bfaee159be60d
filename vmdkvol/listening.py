"""gunicorn's worker with bounds of our own: what no peer may do to the others on the socket.

A thread is given only to a connection that has sent something, and a request that is not here in full after ``READ_S`` is
cut off: half a request, or a body shorter than its Content-Length, would keep its thread for ever, and 256 of them the
agent. So would an answer that nobody reads: it is given up after ``SEND_S`` in which nothing of it was taken.

Read in gunicorn 27.0.1: an idle connection takes a thread for 5 s, an answered one that its peer does not close
takes the loop that accepts for 2 s, and a process without descriptors ends its worker.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from functools import partial
from selectors import EVENT_READ
from typing import Any

from gunicorn import util
from gunicorn.workers.gthread import TConn, ThreadWorker

# Docker sends a request in one piece right after it has connected.
READ_S = 10.0
# A stopped peer, or one that hangs. More than the kernel takes at once (some 200 KiB) has only a List of many volumes.
SEND_S = 30
# A stopping worker waits no longer for connections that never said anything.
_STOP_S = 1.0
# Connections that are open at once; the next ones wait in the kernel's backlog.
MOST_CONNECTIONS = 16384
# For the worker's own files, its database, its mounts, what it starts.
_OWN_DESCRIPTORS = 512
_FEWEST_CONNECTIONS = 64
_PAUSE_S = 0.05
_GONE = frozenset({errno.EAGAIN, errno.ECONNABORTED})
# What a master sends to a worker to end it, a terminal to both.
STOPS = frozenset({signal.SIGTERM, signal.SIGQUIT, signal.SIGINT})
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def connections() -> int:
    """Return how many connections this process may have open, with its limit of descriptors raised as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(_FEWEST_CONNECTIONS, min(MOST_CONNECTIONS, hard - _OWN_DESCRIPTORS))


class Connection(TConn):  # type: ignore[misc]  # gunicorn has no types
    """One request's connection; ``closing`` is told before it is closed."""

    def __init__(self, *made_of: Any, closing: Callable[[Connection], None]) -> None:
        super().__init__(*made_of)
        self._closing = closing

    def close(self, graceful: bool = False) -> None:
        # Never gracefully, which is to wait for the peer: a unix socket keeps what was sent although we close it.
        self._closing(self)
        util.close(self.sock)

    def cut_off(self, now: float) -> float | None:
        """Read no more, since its time is over: what was received is still read, and an answer still goes out.

        Or return until when it has time after all.
        """
        self.sock.shutdown(socket.SHUT_RD)
        return None


class BoundedWorker(ThreadWorker):  # type: ignore[misc]
    """Serves like gunicorn's own; everything here runs on the worker's main thread."""

    send_s = SEND_S
    connection: type[Connection] = Connection

    def __init__(self, *made_of: Any, **named: Any) -> None:
        super().__init__(*made_of, **named)
        # Until when each open connection may send, the oldest first.
        self._reading: dict[Connection, float] = {}

    def init_signals(self) -> None:
        super().init_signals()
        # What a stop sends is held back since the fork, see arbiter.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        if not self.alive:
            # It was told before it could listen: nothing that it would load now is of use to anybody.
            sys.exit(0)

    def run(self) -> None:
        # The interpreter's C handler writes here from whatever thread the kernel gives a signal to; Python's own handler
        # runs in this thread alone, which would only look once in a second.
        self.poller.register(self.PIPE[0], EVENT_READ, _emptied)
        super().run()

    def accept(self, listener: Any) -> None:
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno in _NO_ROOM:
                self.log.error("connection not accepted: %s", error)
                # The socket stays readable: without a pause this thread would do nothing else.
                time.sleep(_PAUSE_S)
            elif error.errno not in _GONE:
                raise
            return
        # struct timeval. The kernel's own timeout: gunicorn makes the socket blocking before an answer goes out.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@2l", self.send_s, 0))
        self.nr_conns += 1
        connection = self.connection(self.cfg, client, address, listener.getsockname(), closing=self._forget)
        self._reading[connection] = time.monotonic() + READ_S
        self.enqueue_req(connection)

    def enqueue_req(self, conn: Any) -> None:
        if conn.data_ready or _readable(conn.sock):
            conn.data_ready = True
            self.hand_over(conn)
            return
        conn.timeout = self._reading[conn]
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def hand_over(self, conn: Any) -> None:
        """Give a connection that can be read to a thread."""
        super().enqueue_req(conn)

    def murder_pending(self) -> None:
        """Close what never sent anything, and cut off what did not send all of it; called about once in a second."""
        now = time.monotonic()
        if not self.alive:
            for conn in self.pending_conns:
                conn.timeout = min(conn.timeout, now + _STOP_S)
        super().murder_pending()
        for conn, until in list(self._reading.items()):
            if until > now:
                break
            del self._reading[conn]
            try:
                longer = conn.cut_off(now)
            except OSError:
                # The peer was first.
                continue
            if longer is not None:
                self._reading[conn] = longer

    def _forget(self, connection: Connection) -> None:
        self._reading.pop(connection, None)


def _emptied(descriptor: int) -> None:
    try:
        os.read(descriptor, 4096)
    except BlockingIOError:
        return


def _readable(sock: socket.socket) -> bool:
    """Tell whether there is something to read, the end included."""
    try:
        sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        # Whoever reads it learns the reason.
        return True
    return True
