"""Two locks that keep two agents apart: one on the socket's path, held by the master, one on the instance, by the worker.

flock belongs to the open file: the kernel frees it when the last process that has it open ends, however that ends.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from pathlib import Path

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import Conflict

# A master that was told to stop has closed its socket and waits for its worker's last calls (graceful_timeout 115 s).
PATIENCE_S = 120.0
_LOOK_AGAIN_S = 0.1
_CREDENTIALS = struct.Struct("3i")
_PROBE_S = 1.0


def guard_socket(path: Path, clock: Clock, *, patience_s: float = PATIENCE_S, inherited: bool = False) -> int:
    """Return a descriptor that keeps the right to bind ``path``; hold it as long as the socket is served.

    Without it a second agent unlinks the live socket, and the first one's stop then unlinks the second's (corrections
    36). An agent that is being stopped is waited for; Conflict if one serves and goes on. ``inherited``: systemd listens.
    """
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        deadline = Deadline.after(clock, patience_s)
        while not _try(lock):
            if _server(path) is not None or deadline.passed:
                raise _taken(path)
            clock.sleep(_LOOK_AGAIN_S)
        # With the lock in hand, whoever still listens is no agent with a master, but may be another product's plugin.
        server = None if inherited else _server(path)
        if server is not None and _alive(server):
            raise _taken(path)
    except BaseException:
        os.close(lock)
        raise
    return lock


def open_instance(path: Path) -> int:
    """Return the descriptor whose lock says that one worker alone acts on this host's mounts."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def is_alone(lock: int) -> bool:
    """Take the instance's lock if no other worker has it, and tell whether that worked; never waits."""
    return _try(lock)


def wait_alone(lock: int) -> None:
    """Wait for as long as it takes until no other worker acts on this host's mounts.

    A killed master's worker lives on until its calls have ended, beside the new one (corrections 15).
    """
    fcntl.flock(lock, fcntl.LOCK_EX)


def _try(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _server(path: Path) -> int | None:
    """Return the process id of who began to listen at ``path`` (0 from another PID namespace), None if nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(path))
        except TimeoutError:
            return 0
        except OSError:
            return None
        # The kernel tells who called listen(), which for an orphaned worker is its dead master.
        credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(credentials)[0])


def _alive(pid: int) -> bool:
    if pid == 0:
        return True
    try:
        # A zombie listens no more.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _taken(path: Path) -> Conflict:
    return Conflict(f"another process serves {path}", remedy="stop it, or give this agent another driver name and socket")
