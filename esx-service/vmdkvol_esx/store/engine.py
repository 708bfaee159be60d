"""SQLite under SQLAlchemy: one writer at a time, many readers, and SQLite's errors in our words.

The write engine begins every transaction with BEGIN IMMEDIATE. SQLAlchemy's default sends no BEGIN before a SELECT,
and two transactions that read and then write lose an update without any error (corrections 6).
"""

from __future__ import annotations

import os
import queue
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, PoolProxiedConnection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from vmdkvol.errors import Busy, MetadataDamaged, NoSpace, TruthUnknown
from vmdkvol_esx.store.statements import Transaction

REBUILD = "the disks are not touched; stop the service and run `vmdkvol-esxd rebuild`"
# A rebuild refuses it too: what only the newer version knows would be lost by it.
NEWER = (
    "use the newer version of vmdkvol that wrote it; to go on with this one, stop the service, move the file away with those "
    "that end in -wal and -shm, and run `vmdkvol-esxd rebuild`, which brings back what this version can read"
)
RESTART = "put the file back, with the one that ends in -wal, then restart the service"
# A commit takes a millisecond; a writer that waits this long waits for something that hangs.
WAIT_S = 20.0
_READERS = 8
_WRITE, _READ = "BEGIN IMMEDIATE", "BEGIN"


class Database:
    """Connections to one database file, or to one in memory (``path`` None), where every transaction is alone."""

    def __init__(self, path: Path | None, wait_s: float = WAIT_S) -> None:
        self._wait_s = wait_s
        self.name = "the database in memory" if path is None else f"the database {path}"
        self._failed = ""
        self._path = path
        # Which file it is, once the first transaction has found it.
        self._inode: tuple[int, int] | None = None
        self._write = _Kept(_engine(path, wait_s, writes=True), 1, wait_s)
        # Memory has one connection only: another one would see another, empty database.
        self._read = self._write if path is None else _Kept(_engine(path, wait_s, writes=False), _READERS, wait_s)

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """A transaction that no other write runs beside: committed at the end of the block, undone on any error.

        Raises NoSpace, Busy, TruthUnknown or MetadataDamaged, and then nothing is done that a reader could see.
        """
        self._check_writable()
        with self._translated(), self._write.connection() as connection:
            self._note_file()
            with _transaction(connection, _WRITE) as transaction:
                yield transaction

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """A transaction in which every read sees the same moment. Raises MetadataDamaged if the file was taken away."""
        self._check_in_place()
        begin = _READ if self._read is not self._write else _WRITE
        with self._translated(), self._read.connection() as connection, _transaction(connection, begin) as transaction:
            yield transaction

    @contextmanager
    def altering(self) -> Iterator[Connection]:
        """As ``writing``, through SQLAlchemy, for whoever looks at the tables themselves or makes them."""
        self._check_writable()
        with self._translated(), self._write.engine() as engine, engine.begin() as connection:
            self._note_file()
            yield connection

    def close(self) -> None:
        """Close every connection that is not in use; the last one puts the log back into the file."""
        self._read.close()
        self._write.close()

    def _note_file(self) -> None:
        if self._inode is None and self._path is not None:
            self._inode = _inode(self._path)

    def _check_writable(self) -> None:
        if self._failed:
            raise MetadataDamaged(
                f"{self.name} takes no writes since: {self._failed}", remedy="check the disk under it, then restart the service"
            )
        self._check_in_place()

    def _check_in_place(self) -> None:
        """Raise MetadataDamaged if the file was removed or replaced since it was opened.

        SQLite would go on with what nobody finds any more: what it answers "done" to would be gone at the next start. And a
        new connection would make an empty file in its place.
        """
        if self._path is None or self._inode is None:
            return
        found = _inode(self._path)
        if found != self._inode:
            gone = "replaced" if found else "removed"
            raise MetadataDamaged(f"{self.name} was {gone} while the service runs: nothing is written", remedy=RESTART)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (PoolTimeout, queue.Empty) as error:
            raise Busy(f"{self.name}: no connection became free in {self._wait_s:g} s") from error
        except DBAPIError as error:
            raise self._in_our_words(error.orig, error) from error
        except sqlite3.Error as error:
            raise self._in_our_words(error, error) from error
        except UnicodeDecodeError as error:
            # A flipped bit in the schema comes back in SQLite's own message, which Python then cannot read.
            raise MetadataDamaged(f"{self.name} has text that is not UTF-8: {error.object!r}", remedy=REBUILD) from error

    def _in_our_words(self, said: BaseException | None, error: Exception) -> Exception:
        """Return our error for what SQLite ``said``, or ``error`` itself."""
        # The low byte is the primary code, the rest says more about it (sqlite.org/rescode.html).
        code = getattr(said, "sqlite_errorcode", 0) & 0xFF
        told = f"{self.name}: {said}"
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Busy(told)
        if code == sqlite3.SQLITE_FULL:
            return NoSpace(told, remedy="free space on the file system of the service's state directory")
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT):
            return MetadataDamaged(told, remedy=REBUILD)
        if code == sqlite3.SQLITE_IOERR:
            # After a failed fsync the kernel may call lost pages clean, so a second try proves nothing (faults 7.10).
            self._failed = str(said)
            return MetadataDamaged(told, remedy="check the disk under it, then restart the service")
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            return TruthUnknown(told, remedy="check owner, mode and file system of the service's state directory")
        # A broken constraint or a wrong statement is a bug of ours: the request's last handler says so.
        return error


class _Kept:
    """An engine's connections, taken from it once and handed on: to take one from it costs more than a statement."""

    def __init__(self, engine: Engine, most: int, wait_s: float) -> None:
        self._engine = engine
        self._wait_s = wait_s
        # Those that nobody uses; None for one that is still the engine's. The last one used comes first.
        self._free: queue.LifoQueue[PoolProxiedConnection | None] = queue.LifoQueue()
        self._most = most
        for _ in range(most):
            self._free.put(None)

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for one user at a time; queue.Empty if none becomes free in time."""
        kept = self._free.get(timeout=self._wait_s)
        try:
            if kept is None:
                kept = self._engine.raw_connection()
            connection = kept.dbapi_connection
            assert isinstance(connection, sqlite3.Connection), "it is checked out"
            yield connection
        finally:
            self._free.put(_usable(kept))

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """The engine itself, with one of its connections in it."""
        kept = self._free.get(timeout=self._wait_s)
        try:
            if kept is not None:
                kept.close()
            yield self._engine
        finally:
            self._free.put(None)

    def close(self) -> None:
        """Close every connection that is not in use; whoever comes yet opens one anew."""
        free = 0
        for _ in range(self._most):
            try:
                kept = self._free.get_nowait()
            except queue.Empty:
                break
            if kept is not None:
                kept.close()
            free += 1
        self._engine.dispose()
        for _ in range(free):
            self._free.put(None)


def _usable(kept: PoolProxiedConnection | None) -> PoolProxiedConnection | None:
    """Return the connection, or None after closing one whose transaction neither COMMIT nor ROLLBACK could end.

    Whoever came next could begin none on it.
    """
    connection = None if kept is None else kept.dbapi_connection
    if kept is not None and isinstance(connection, sqlite3.Connection) and connection.in_transaction:
        kept.invalidate()
        return None
    return kept


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[Transaction]:
    connection.execute(begin)
    try:
        yield Transaction(connection)
        connection.execute("COMMIT")
    except BaseException:
        # A full disk or an I/O error may have ended it already (sqlite.org/lang_transaction.html).
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _engine(path: Path | None, wait_s: float, *, writes: bool) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=None if path is None else str(path)),
        poolclass=QueuePool,
        pool_size=1 if writes else _READERS,
        max_overflow=0,
        pool_timeout=wait_s,
        # isolation_level None: the driver sends no BEGIN of its own, ours below is the only one.
        connect_args={"isolation_level": None, "check_same_thread": False, "timeout": wait_s},
    )

    def connected(connection: sqlite3.Connection, _: Any) -> None:
        connection.execute("PRAGMA foreign_keys = ON")
        # A bit flip in the schema must not make SQLite run functions; a bad cell must be an error, not a guess.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        if path is None:
            return
        if writes:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA query_only = {'OFF' if writes else 'ON'}")

    event.listen(engine, "connect", connected)
    begin = _WRITE if writes else _READ
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine
