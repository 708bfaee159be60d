"""One SQLite file of the notebook: opened or begun anew, durable at each commit, made again if it is taken away."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

from vmdkvol.errors import MetadataDamaged, NoSpace, VolumeError
from vmdkvol.volume import VolumeId
from vmdkvol_guest.ports import Log

_VERSION = 1
# What SQLite says of a file that is not what it should be: not a database, malformed, without our tables.
_DAMAGED = frozenset(
    {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_MISMATCH}
)
# How long to wait for another process's write: a worker that is just ending while the next one starts (corrections 15).
_BUSY_S = 10.0
# Every user may pass what leads to a mount point (field case C09).
_PASSABLE = 0o711


class Rows(Protocol):
    """Writes what memory has of these volumes now; ``new``: the file has nothing of ours yet, and may be an old copy."""

    def __call__(self, database: sqlite3.Connection, volumes: Collection[VolumeId], *, new: bool) -> None: ...


class NotebookFile:
    """One file with one connection; its caller has a lock around it. ``known`` are all volumes that memory has.

    ``synced`` is when a commit is on the disk: FULL at once; NORMAL within a checkpoint, which a loss of power may take
    away, whole, with the later ones (sqlite.org/pragma.html#pragma_synchronous). The process may die at any time.
    """

    def __init__(
        self,
        path: Path,
        schema: str,
        rows: Rows,
        known: Callable[[], Collection[VolumeId]],
        log: Log | None,
        *,
        synced: Literal["FULL", "NORMAL"],
    ) -> None:
        self._path = path
        self._synced = synced
        self._schema = schema
        self._rows = rows
        self._known = known
        self._log = log
        self._database: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        # Volumes of which memory says something else than the file, since a write failed.
        self._unstored: set[VolumeId] = set()
        self._failing = False
        self._ended = False
        # The file has nothing yet of what memory has.
        self._new = False

    def read_or_begin_anew(self, read: Callable[[], None]) -> None:
        """Open the file and ``read`` it; a damaged one, or one of another version, is put aside and begun anew.

        Raises NoSpace or MetadataDamaged if the directory takes no file.
        """
        try:
            if not self._readable(read):
                self._put_aside()
                self._open()
                read()
        except (OSError, sqlite3.Error) as error:
            raise _refused(self._path, error) from error

    def end(self) -> None:
        self._ended = True
        self._close()

    def store(self, volumes: Collection[VolumeId]) -> None:
        """What memory has of ``volumes``, and of all that could not be stored before, is on the disk afterwards.

        NoSpace or MetadataDamaged if the file takes nothing; nothing of it is stored then.
        """
        self._unstored |= set(volumes)
        try:
            if self._taken_away():
                self._make_again()
            with self.transaction() as database:
                self._rows(database, self._unstored, new=self._new)
        except (OSError, sqlite3.Error) as error:
            raise _refused(self._path, error) from error
        self._unstored.clear()
        self._new = self._failing = False

    def store_if_possible(self, volumes: Collection[VolumeId]) -> bool:
        """As ``store``, but what fails is told in the log and stored with the next write: memory has it. Tell whether it is."""
        try:
            self.store(volumes)
            return True
        except VolumeError as error:
            if self._log is not None and not self._failing:
                self._log.error("the notebook is kept in memory only", error=str(error))
            self._failing = True
            return False

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it is on the disk afterwards, or after an error nothing of it; sqlite3.Error."""
        database = self._database
        if database is None:
            raise sqlite3.ProgrammingError("it is closed")
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise

    def _readable(self, read: Callable[[], None]) -> bool:
        """Open and read the file; False if what is in it cannot be read. Trouble with the file itself is raised."""
        try:
            self._open()
            read()
        except sqlite3.Error as error:
            self._close()
            # A file that is locked or on a full disk is a good file.
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) not in _DAMAGED:
                raise
            return False
        except ValueError:
            self._close()
            return False
        return True

    def _taken_away(self) -> bool:
        """Tell whether there is no such file any more, or another one, since it was opened.

        SQLite would go on with the file that nobody finds any more, and the next process would know nothing. One that
        could not be made again at once, as on a full disk, is still to be made.
        """
        return not self._ended and (self._database is None or self._inode != _inode(self._path))

    def _make_again(self) -> None:
        if self._log is not None and not self._new:
            self._log.error("the notebook's file was taken away and is made again", file=str(self._path))
        self._unstored |= set(self._known())
        self._new = True
        self._close()
        if not self._readable(lambda: None):
            self._put_aside()
            self._open()

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _open(self) -> None:
        _make_directory(self._path.parent)
        database = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        self._database = database
        # Names of volumes are nobody else's business.
        os.chmod(self._path, 0o600)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(f"PRAGMA synchronous = {self._synced}")
        if database.execute("PRAGMA quick_check(1)").fetchall() != [("ok",)]:
            raise sqlite3.DatabaseError(f"{self._path} is damaged")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            database.executescript(f"BEGIN IMMEDIATE; {self._schema} PRAGMA user_version = {_VERSION}; COMMIT;")
        elif version != _VERSION:
            raise sqlite3.DatabaseError(f"{self._path} has version {version}, not {_VERSION}")
        self._inode = _inode(self._path)

    def _put_aside(self) -> None:
        """Rename the file and its journal to ``*.damaged``, for whoever wants to look; an older one is replaced."""
        for suffix in ("", "-wal", "-shm"):
            try:
                os.replace(f"{self._path}{suffix}", f"{self._path}.damaged{suffix}")
            except FileNotFoundError:
                continue


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _make_directory(directory: Path) -> None:
    # One by one: mkdir's own parents would get what gunicorn's umask leaves.
    for each in [each for each in reversed((directory, *directory.parents)) if not each.exists()]:
        each.mkdir(exist_ok=True)
        each.chmod(_PASSABLE)


def _refused(path: Path, error: sqlite3.Error | OSError) -> VolumeError:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or getattr(error, "errno", None) == errno.ENOSPC:
        return NoSpace(f"the agent's notebook {path} cannot be written: {error}", remedy="free space on this Docker host")
    remedy = "make its file system writable" if _read_only(error) else "restart the agent"
    return MetadataDamaged(f"the agent's notebook {path} cannot be used: {error}", remedy=remedy)


def _read_only(error: sqlite3.Error | OSError) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code == sqlite3.SQLITE_READONLY or getattr(error, "errno", None) == errno.EROFS
