"""One service for one state directory: two on one database would each trust what the other changes (F66)."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vmdkvol.errors import Conflict, NoSpace, NotPermitted


@contextmanager
def alone(state_dir: str) -> Iterator[None]:
    """Hold the state directory, which is made with 0700. Raises Conflict if another process has it."""
    directory = Path(state_dir)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / "instance.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        kind = NoSpace if error.errno == errno.ENOSPC else NotPermitted
        raise kind(f"state_dir {directory} cannot be used: {error.strerror}", remedy="make it writable, with room") from error
    try:
        _take(lock, directory)
        yield
    finally:
        os.close(lock)


def _take(lock: int, directory: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Conflict(f"another service has the state directory {directory}", remedy="stop it first") from None
