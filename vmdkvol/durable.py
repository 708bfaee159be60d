"""Files that are whole and on the disk: of what is written so, a crash leaves the whole old or the whole new.

Readable by their owner alone. OSError for what the file system refuses; then nothing stands in the place but what stood there.
"""

from __future__ import annotations

import os
from pathlib import Path


def write(path: Path, content: bytes) -> None:
    """Put the content in the place of what is at ``path``, by way of a file beside it that ends in ``.new``."""
    install(write_new(path.with_name(f"{path.name}.new"), content), path)


def write_new(path: Path, content: bytes) -> Path:
    """Make a file with this content; one that is there already goes first, and no link is followed. Not on the disk yet."""
    path.unlink(missing_ok=True)
    # The mode from the first moment on: whoever opens it between making and chmod keeps it.
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(content)
    return path


def install(fresh: Path, path: Path) -> None:
    """Put the file ``fresh``, of the same directory, in the place of what is at ``path``."""
    _flush(fresh)
    rename(fresh, path)


def rename(old: Path, new: Path) -> None:
    """Rename; what is in the file is as durable as it was before."""
    old.rename(new)
    _flush(new.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
