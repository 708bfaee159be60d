"""The agent's own records in two SQLite files: this boot's holders in the run directory, the catalogue in the state directory.

Both are copies of facts that the kernel, Docker and the service have. So a file that is damaged or of another version
is put aside and begun anew (F65), and every write is on the disk before the call returns. What was read once is kept
in memory: List must answer for 10,000 volumes at any time.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from vmdkvol import wire
from vmdkvol.errors import MetadataDamaged, NoSpace, VolumeError
from vmdkvol.volume import Attachment, VolumeId, VolumeInfo
from vmdkvol_guest.ports import Holdings

T = TypeVar("T")

_VERSION = 1
_HOLDERS = """
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE holding (volume TEXT PRIMARY KEY, ids TEXT NOT NULL, attachment TEXT, linger_until REAL) WITHOUT ROWID;
"""
_CATALOGUE = """
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE volume (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, info TEXT NOT NULL) WITHOUT ROWID;
"""
# What SQLite says of a file that is not what it should be: not a database, malformed, without our tables.
_DAMAGED = frozenset(
    {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_MISMATCH}
)
# How long to wait for another process's write: a worker that is just ending while the next one starts (corrections 15).
_BUSY_S = 10.0


class SqliteNotebook:
    """The ``Notebook`` port. ``boot_id`` is the kernel's; records of another boot are gone when this returns."""

    def __init__(self, run_dir: Path, state_dir: Path, boot_id: str) -> None:
        self._lock = threading.RLock()
        self._held: dict[VolumeId, Holdings] = {}
        self._infos: dict[VolumeId, VolumeInfo] = {}
        self._ids: dict[str, VolumeId] = {}
        self._sorted: tuple[VolumeInfo, ...] | None = None
        self._change: int | None = None
        self._holders = _File(run_dir / "holders.db", _HOLDERS)
        self._holders.read_or_begin_anew(lambda: self._open_holdings(boot_id))
        self._names = _File(state_dir / "catalogue.db", _CATALOGUE)
        self._names.read_or_begin_anew(self._open_catalogue)

    def end(self) -> None:
        """Close the files; the notebook is not used afterwards."""
        with self._lock:
            self._holders.end()
            self._names.end()

    def hold(self, volume: VolumeId, mount_id: str) -> None:
        with self._lock:
            held = self._held.get(volume, Holdings(volume))
            self._write(replace(held, ids=held.ids | {mount_id}, linger_until=None))

    def drop(self, volume: VolumeId, mount_id: str) -> None:
        with self._lock:
            held = self._held.get(volume, Holdings(volume))
            self._write(replace(held, ids=held.ids - {mount_id}))

    def note(self, volume: VolumeId, *, attachment: Attachment | None, linger_until: float | None) -> None:
        with self._lock:
            self._write(replace(self._held.get(volume, Holdings(volume)), attachment=attachment, linger_until=linger_until))

    def close(self, volume: VolumeId) -> None:
        with self._lock:
            self._write(Holdings(volume))

    def holdings(self) -> Mapping[VolumeId, Holdings]:
        with self._lock:
            return dict(self._held)

    def remember(self, info: VolumeInfo) -> None:
        with self._lock:
            if self._infos.get(info.id) == info:
                return
            with self._names.writing() as database:
                # The name was bound to another volume that is gone (corrections 30): one name, one volume.
                database.execute("DELETE FROM volume WHERE name = ? AND id <> ?", (info.name, str(info.id)))
                row = (str(info.id), info.name, json.dumps(wire.dump(info)))
                database.execute("INSERT OR REPLACE INTO volume VALUES (?, ?, ?)", row)
            self._take_out(info.id)
            self._take_out(self._ids.get(info.name, info.id))
            self._put_in(info)

    def forget(self, volume: VolumeId) -> None:
        with self._lock:
            with self._names.writing() as database:
                database.execute("DELETE FROM volume WHERE id = ?", (str(volume),))
            self._take_out(volume)

    def known(self, name: str) -> VolumeInfo | None:
        with self._lock:
            return self._infos[self._ids[name]] if name in self._ids else None

    def catalogue(self) -> Collection[VolumeInfo]:
        with self._lock:
            if self._sorted is None:
                self._sorted = tuple(self._infos[self._ids[name]] for name in sorted(self._ids))
            return self._sorted

    def change(self) -> int | None:
        with self._lock:
            return self._change

    def set_change(self, change: int | None) -> None:
        with self._lock:
            if change == self._change:
                return
            with self._names.writing() as database:
                _store_change(database, change)
            self._change = change

    def _write(self, held: Holdings) -> None:
        """Store what is noted of one volume; nothing noted means no row."""
        key, empty = str(held.volume), Holdings(held.volume)
        if held == self._held.get(held.volume, empty):
            return
        attachment = None if held.attachment is None else json.dumps(wire.dump(held.attachment))
        with self._holders.writing() as database:
            if held == empty:
                database.execute("DELETE FROM holding WHERE volume = ?", (key,))
            else:
                row = (key, json.dumps(sorted(held.ids)), attachment, held.linger_until)
                database.execute("INSERT OR REPLACE INTO holding VALUES (?, ?, ?, ?)", row)
        self._held[held.volume] = held
        if held == empty:
            del self._held[held.volume]

    def _put_in(self, info: VolumeInfo) -> None:
        self._infos[info.id] = info
        self._ids[info.name] = info.id
        self._sorted = None

    def _take_out(self, volume: VolumeId) -> None:
        info = self._infos.pop(volume, None)
        if info is not None:
            del self._ids[info.name]
        self._sorted = None

    def _open_holdings(self, boot_id: str) -> None:
        """Read the holders of this boot; whatever another boot left is removed (corrections 5, F)."""
        self._held.clear()
        with self._holders.transaction() as database:
            if database.execute("SELECT value FROM fact WHERE name = 'boot'").fetchall() != [(boot_id,)]:
                database.execute("DELETE FROM holding")
                database.execute("INSERT OR REPLACE INTO fact VALUES ('boot', ?)", (boot_id,))
            rows = database.execute("SELECT volume, ids, attachment, linger_until FROM holding").fetchall()
        for key, ids, attachment, linger_until in rows:
            volume = VolumeId(UUID(key))
            self._held[volume] = Holdings(volume, frozenset(json.loads(ids)), _load(Attachment, attachment), linger_until)

    def _open_catalogue(self) -> None:
        """Read the catalogue; rows that this version cannot read are removed, and it counts as incomplete then."""
        self._infos.clear()
        self._ids.clear()
        with self._names.transaction() as database:
            unread = []
            for text, name, row in database.execute("SELECT id, name, info FROM volume").fetchall():
                info = _load(VolumeInfo, row)
                if info is None or str(info.id) != text or info.name != name:
                    unread.append((text,))
                else:
                    self._put_in(info)
            if unread:
                database.executemany("DELETE FROM volume WHERE id = ?", unread)
                _store_change(database, None)
            rows = database.execute("SELECT value FROM fact WHERE name = 'change'").fetchall()
        self._change = int(rows[0][0]) if rows else None


class _File:
    """One SQLite file with one connection, durable at each commit."""

    def __init__(self, path: Path, schema: str) -> None:
        self._path = path
        self._schema = schema
        self._database: sqlite3.Connection | None = None

    def read_or_begin_anew(self, read: Callable[[], None]) -> None:
        """Open the file and ``read`` it; a damaged one, or one of another version, is put aside and begun anew.

        Raises NoSpace or MetadataDamaged if the directory takes no file.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if not self._readable(read):
                self._put_aside()
                self._open()
                read()
        except (OSError, sqlite3.Error) as error:
            raise _refused(self._path, error) from error

    def _readable(self, read: Callable[[], None]) -> bool:
        """Open and read the file; False if what is in it cannot be read. Trouble with the file itself is raised."""
        try:
            self._open()
            read()
        except sqlite3.Error as error:
            self.end()
            # A file that is locked or on a full disk is a good file.
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) not in _DAMAGED:
                raise
            return False
        except ValueError:
            self.end()
            return False
        return True

    def end(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """As ``transaction``; NoSpace or MetadataDamaged if the file takes nothing."""
        try:
            with self.transaction() as database:
                yield database
        except sqlite3.Error as error:
            raise _refused(self._path, error) from error

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

    def _open(self) -> None:
        database = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        self._database = database
        # Names of volumes are nobody else's business.
        os.chmod(self._path, 0o600)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        if database.execute("PRAGMA quick_check(1)").fetchall() != [("ok",)]:
            raise sqlite3.DatabaseError(f"{self._path} is damaged")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            database.executescript(f"BEGIN IMMEDIATE; {self._schema} PRAGMA user_version = {_VERSION}; COMMIT;")
        elif version != _VERSION:
            raise sqlite3.DatabaseError(f"{self._path} has version {version}, not {_VERSION}")

    def _put_aside(self) -> None:
        """Rename the file and its journal to ``*.damaged``, for whoever wants to look; an older one is replaced."""
        for suffix in ("", "-wal", "-shm"):
            try:
                os.replace(f"{self._path}{suffix}", f"{self._path}.damaged{suffix}")
            except FileNotFoundError:
                continue


def _store_change(database: sqlite3.Connection, change: int | None) -> None:
    database.execute("DELETE FROM fact WHERE name = 'change'")
    if change is not None:
        database.execute("INSERT INTO fact VALUES ('change', ?)", (str(change),))


def _load(kind: type[T], text: str | None) -> T | None:
    """Return the value in ``text``, or None if this version cannot read it: it is only a copy."""
    if text is None:
        return None
    try:
        return wire.load(kind, json.loads(text))
    except (VolumeError, ValueError):
        return None


def _refused(path: Path, error: sqlite3.Error | OSError) -> VolumeError:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or getattr(error, "errno", None) == errno.ENOSPC:
        return NoSpace(f"the agent's notebook {path} cannot be written: {error}", remedy="free space on this Docker host")
    return MetadataDamaged(f"the agent's notebook {path} cannot be used: {error}", remedy="restart the agent")
