"""Files inside a datastore's directory: opened by directory descriptors, never through a link, replaced as a whole."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from vmdkvol.errors import InvalidSize, MetadataDamaged, NoSpace, NotPermitted, OutcomeUnknown, TruthUnknown, VolumeError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO that somebody put there would wait for ever.
_SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_DENIED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_MISPLACED = frozenset({errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG})


def refusal(error: OSError, what: str) -> VolumeError:
    """Return what an error of the file system means for our caller.

    A read-only datastore is NotPermitted: it is there and whole, and repeating does not help. What is not understood,
    such as EIO, is TruthUnknown: neither there nor absent.
    """
    reason = f"{what}: {os.strerror(error.errno) if error.errno else error}"
    if error.errno in _FULL:
        return NoSpace(reason)
    if error.errno in _DENIED:
        return NotPermitted(reason, remedy="make the datastore writable for the service, or use another one")
    if error.errno == errno.EFBIG:
        return InvalidSize(reason, remedy="the datastore's file system takes no file of this size; use another one")
    if error.errno in _MISPLACED:
        return MetadataDamaged(f"{reason} (a link, or not the kind of file that belongs there)")
    return TruthUnknown(reason)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise a VolumeError for every OSError inside; ``what`` names the object."""
    try:
        yield
    except OSError as error:
        raise refusal(error, what) from error


def relative_parts(path: str) -> tuple[str, ...]:
    """Return the parts of a path inside a datastore; MetadataDamaged for one that leads out of it."""
    parts = tuple(path.split("/"))
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise MetadataDamaged(f"{path!r} is not a path inside a datastore")
    return parts


def open_folder(root: str, parts: tuple[str, ...], *, check: Callable[[int], None], make: bool = False) -> int:
    """Return a descriptor of the directory ``parts`` under ``root``; FileNotFoundError if it is not there.

    ``check`` gets the open root first, and raises if it is not the right one. With ``make`` missing directories are
    made, durably. No part is followed if it is a link (OSError: ELOOP or ENOTDIR). A root that is not there is
    TruthUnknown: a datastore that is not mounted is not an empty one.
    """
    try:
        current = os.open(root, _DIRECTORY)
    except OSError as error:
        raise TruthUnknown(f"the datastore's directory {root} cannot be opened: {error.strerror}") from error
    try:
        check(current)
    except BaseException:
        os.close(current)
        raise
    for part in parts:
        try:
            if make:
                _make_directory(current, part)
            below = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=current)
        finally:
            os.close(current)
        current = below
    return current


def _make_directory(parent: int, name: str) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        return
    os.fsync(parent)


def open_file(directory: int, name: str, *, writable: bool = False) -> int:
    """Return a descriptor of a regular file; OSError if it is not there, MetadataDamaged if it is something else."""
    descriptor = os.open(name, _SAFE | (os.O_RDWR if writable else os.O_RDONLY), dir_fd=directory)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.set_blocking(descriptor, True)
        return descriptor
    os.close(descriptor)
    raise MetadataDamaged(f"{name} is not a regular file")


def new_file(directory: int, name: str) -> int:
    """Return a descriptor of a new, empty file; FileExistsError if there is one."""
    return os.open(name, _SAFE | os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory)


def exists(directory: int, name: str) -> bool:
    """Tell whether there is anything of this name, a dangling link too."""
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def read_whole(directory: int, name: str, limit: int) -> bytes | None:
    """Return at most ``limit`` + 1 bytes of a file, so that one that is too long shows; None if it is not there."""
    try:
        descriptor = open_file(directory, name)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as file:
        return file.read(limit + 1)


def write_new(directory: int, name: str, content: bytes, like: os.stat_result | None = None) -> None:
    """Make a file with this content, flushed, that has owner and mode of ``like``.

    On an error it is gone again: a failed fsync is final (faults 7.10).
    """
    descriptor = new_file(directory, name)
    try:
        with open(descriptor, "wb") as file:
            if like is not None:
                _own_alike(file.fileno(), like)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        remove(directory, name)
        raise


def replace(directory: int, name: str, content: bytes, like: os.stat_result | None = None) -> None:
    """Give the file this content: afterwards, and after a crash at any moment, the whole old or the whole new.

    ``like`` says whose the new one is; without it, it is the service's alone.
    The temporary name is ``.<name>.<random>.tmp``, since two writers of one name would mix in a common one;
    ``remove_temporary`` takes away what a crash left.
    """
    temporary = f".{name}.{secrets.token_hex(4)}.tmp"
    write_new(directory, temporary, content, like)
    try:
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        remove(directory, temporary)
        raise
    settle(directory, name)


def _own_alike(file: int, like: os.stat_result) -> None:
    now = os.fstat(file)
    if (now.st_uid, now.st_gid) != (like.st_uid, like.st_gid):
        os.fchown(file, like.st_uid, like.st_gid)
    # After the owner: a change of it takes bits away.
    os.fchmod(file, stat.S_IMODE(like.st_mode))


def rename(directory: int, old: str, new: str) -> None:
    """Rename durably."""
    os.rename(old, new, src_dir_fd=directory, dst_dir_fd=directory)
    settle(directory, new)


def settle(directory: int, name: str) -> None:
    """Flush the directory. If that fails the change is there but may not survive a crash: OutcomeUnknown."""
    try:
        os.fsync(directory)
    except OSError as error:
        raise OutcomeUnknown(f"{name}: the directory could not be flushed: {error.strerror}") from error


def remove(directory: int, name: str) -> None:
    """Afterwards there is no such name; not there before is fine."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


def remove_temporary(directory: int, name: str) -> None:
    """Take away what ``replace`` of this name left when it was killed."""
    for entry in os.listdir(directory):
        if entry.startswith(f".{name}.") and entry.endswith(".tmp"):
            remove(directory, entry)
