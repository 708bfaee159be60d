"""The channel on one kernel: a Unix socket that only root may open, one listener for each path (faults 3.2)."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import struct
from pathlib import Path

from vmdkvol.errors import Conflict, ServiceUnreachable, UnknownCaller

BACKLOG = 128
_CREDENTIALS = struct.Struct("3i")
_TIMEVAL = struct.Struct("@ll")
# How long a probe waits for whoever may hold the socket already.
_PROBE_S = 1.0


class Bound:
    """A listening socket and the lock that keeps its path ours. ``close`` takes the path away, only if it is still ours."""

    def __init__(self, path: Path, bound: socket.socket, lock: int) -> None:
        self.path = path
        self.socket = bound
        self._lock = lock
        self._inode = _inode(path)

    def close(self) -> None:
        """Stop listening; a second time does nothing."""
        if self._lock < 0:
            return
        self.socket.close()
        if _inode(self.path) == self._inode:
            self.path.unlink(missing_ok=True)
        _lock_path(self.path).unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = -1


def bind(path: Path) -> Bound:
    """Return a non-blocking socket that listens at ``path``, mode 0600, in a directory that is made with 0700 if it is missing.

    The socket file of a service that died is replaced; raises Conflict if somebody answers there, if another process
    is about to listen, or if the path is no socket. OSError for what the file system refuses.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = _lock(path)
    try:
        _clear(path)
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            bound.bind(str(path))
            # Before listen() every connect is refused, so nobody gets in while the mode is still the umask's.
            path.chmod(0o600)
            bound.listen(BACKLOG)
        except BaseException:
            bound.close()
            raise
    except BaseException:
        os.close(lock)
        raise
    return Bound(path, bound, lock)


def connect(path: Path, timeout_s: float) -> socket.socket:
    """Return a connection to the service; it is non-blocking. Raises ServiceUnreachable within ``timeout_s``.

    Raises UnknownCaller when the process that listens there is neither root's nor of our own user.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Not settimeout(): a non-blocking connect gives up at once when the service's queue is full for a moment.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(timeout_s))
        connection.connect(str(path))
        uid = peer_uid(connection)
        if uid not in (0, os.geteuid()):
            raise UnknownCaller(
                f"the process that listens at unix://{path} runs as uid {uid}", remedy="only root may serve here"
            )
        connection.setblocking(False)
    except OSError as error:
        connection.close()
        raise ServiceUnreachable(f"the service at unix://{path} cannot be reached: {_reason(error)}") from error
    except UnknownCaller:
        connection.close()
        raise
    return connection


def peer_uid(connection: socket.socket) -> int:
    """Return the uid that the peer had when it connected; the kernel says so. OSError if it cannot be read."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _pid, uid, _gid = _CREDENTIALS.unpack(credentials)
    return int(uid)


def _timeval(seconds: float) -> bytes:
    # Zero would mean for ever.
    microseconds = max(1, int(seconds * 1_000_000))
    return _TIMEVAL.pack(microseconds // 1_000_000, microseconds % 1_000_000)


def _reason(error: OSError) -> str:
    if error.errno == errno.EAGAIN:
        return "it does not accept connections at the moment"
    return os.strerror(error.errno).lower() if error.errno else str(error)


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _lock(path: Path) -> int:
    """Hold the right to this path: without it two services that start at once take it from each other (corrections 36)."""
    while True:
        lock = os.open(_lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise Conflict(f"another process serves {path}", remedy="stop it, or use another path") from None
        held = os.fstat(lock)
        if (held.st_dev, held.st_ino) == _inode(_lock_path(path)):
            return lock
        # Its holder took the file away between our open and our lock: that lock keeps nobody out.
        os.close(lock)


def _lock_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _clear(path: Path) -> None:
    """Remove the socket file of a dead service; anything else at the path raises Conflict and stays."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Conflict(f"{path} exists and is no socket", remedy="remove it, or use another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise Conflict(
                f"whether another process serves {path} cannot be told: {_reason(error)}",
                remedy="see who has it (`ss -xlp`), or use another path",
            ) from error
    raise Conflict(f"another process serves {path}", remedy="stop it, or use another path")
