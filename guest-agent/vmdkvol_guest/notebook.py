"""The agent's own records in two SQLite files: this boot's holders in the run directory, the catalogue in the state directory.

Both are copies of facts that the kernel, Docker and the service have. So a file that is damaged or of another version is put
aside and begun anew, and one that is taken away meanwhile is made again from memory (F65). A new holder is on the disk
before the call returns. Other news of holders is too, unless the disk is full or takes nothing: then it counts in memory and
is written with the next write that succeeds (F26). The catalogue outlives any end of the process; a loss of power may set it
back a little, and then the service tells again what changed since. What was read once is kept in memory: List must answer
for 10,000 volumes at any time.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from vmdkvol import wire
from vmdkvol.errors import VolumeError
from vmdkvol.volume import Attachment, VolumeId, VolumeInfo
from vmdkvol_guest.notebook_file import NotebookFile
from vmdkvol_guest.ports import Holdings, Log

T = TypeVar("T")

_HOLDERS = """
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE holding (volume TEXT PRIMARY KEY, ids TEXT NOT NULL, attachment TEXT, linger_until REAL) WITHOUT ROWID;
"""
_CATALOGUE = """
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE volume (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, info TEXT NOT NULL) WITHOUT ROWID;
"""


class SqliteNotebook:
    """The ``Notebook`` port. ``boot_id`` is the kernel's; records of another boot are gone when this returns."""

    def __init__(self, run_dir: Path, state_dir: Path, boot_id: str, log: Log | None = None) -> None:
        self._boot_id = boot_id
        self._lock = threading.RLock()
        self._held: dict[VolumeId, Holdings] = {}
        self._infos: dict[VolumeId, VolumeInfo] = {}
        self._ids: dict[str, VolumeId] = {}
        self._sorted: tuple[VolumeInfo, ...] | None = None
        self._change: int | None = None
        # Whether the file has another number than memory.
        self._change_unstored = False
        self._holders = NotebookFile(
            run_dir / "holders.db", _HOLDERS, self._store_holdings, lambda: self._held, log, synced="FULL"
        )
        self._holders.read_or_begin_anew(self._open_holdings)
        # The service has every name too, and tells what changed since the number that lies in the same file.
        self._names = NotebookFile(
            state_dir / "catalogue.db", _CATALOGUE, self._store_infos, lambda: self._infos, log, synced="NORMAL"
        )
        self._names.read_or_begin_anew(self._open_catalogue)

    def end(self) -> None:
        """Close the files; the notebook is not used afterwards."""
        with self._lock:
            self._holders.end()
            self._names.end()

    def hold(self, volume: VolumeId, mount_id: str) -> None:
        with self._lock:
            held = self._held.get(volume, Holdings(volume))
            self._put(replace(held, ids=held.ids | {mount_id}, linger_until=None))
            try:
                self._holders.store({volume})
            except VolumeError:
                # Docker is told that it has no mount.
                self._put(held)
                raise

    def drop(self, volume: VolumeId, mount_id: str) -> None:
        with self._lock:
            held = self._held.get(volume, Holdings(volume))
            self._keep(replace(held, ids=held.ids - {mount_id}))

    def note(self, volume: VolumeId, *, attachment: Attachment | None, linger_until: float | None) -> None:
        with self._lock:
            self._keep(replace(self._held.get(volume, Holdings(volume)), attachment=attachment, linger_until=linger_until))

    def close(self, volume: VolumeId) -> None:
        with self._lock:
            self._keep(Holdings(volume))

    def holdings(self) -> Mapping[VolumeId, Holdings]:
        with self._lock:
            return dict(self._held)

    def remember(self, *infos: VolumeInfo) -> None:
        with self._lock:
            new = [info for info in infos if self._infos.get(info.id) != info]
            if not new:
                return
            changed: set[VolumeId] = set()
            for info in new:
                # The name may be bound to another volume, that is gone (corrections 30): one name, one volume.
                other = self._ids.get(info.name, info.id)
                self._take_out(info.id)
                self._take_out(other)
                self._put_in(info)
                changed |= {info.id, other}
            self._keep_names(changed)

    def forget(self, *volumes: VolumeId) -> None:
        with self._lock:
            for volume in volumes:
                self._take_out(volume)
            self._keep_names(volumes)

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
            self._change = change
            self._change_unstored = True
            self._keep_names(())

    def _keep(self, held: Holdings) -> None:
        if held != self._held.get(held.volume, Holdings(held.volume)):
            self._put(held)
            self._holders.store_if_possible({held.volume})

    def _put(self, held: Holdings) -> None:
        self._held[held.volume] = held
        if held == Holdings(held.volume):
            del self._held[held.volume]

    def _store_holdings(self, database: sqlite3.Connection, volumes: Collection[VolumeId], *, new: bool) -> None:
        """Store what is noted of ``volumes``; nothing noted means no row."""
        if new:
            database.execute("DELETE FROM holding")
            database.execute("INSERT OR REPLACE INTO fact VALUES ('boot', ?)", (self._boot_id,))
        for volume in volumes:
            held = self._held.get(volume)
            if held is None:
                database.execute("DELETE FROM holding WHERE volume = ?", (str(volume),))
                continue
            attachment = None if held.attachment is None else json.dumps(wire.dump(held.attachment))
            row = (str(volume), json.dumps(sorted(held.ids)), attachment, held.linger_until)
            database.execute("INSERT OR REPLACE INTO holding VALUES (?, ?, ?, ?)", row)

    def _store_infos(self, database: sqlite3.Connection, volumes: Collection[VolumeId], *, new: bool) -> None:
        """Store what is known of ``volumes``, and with it the change number that it belongs to."""
        if new:
            database.execute("DELETE FROM volume")
        database.executemany("DELETE FROM volume WHERE id = ?", [(str(volume),) for volume in volumes])
        found = [self._infos[volume] for volume in volumes if volume in self._infos]
        rows = [(str(info.id), info.name, json.dumps(wire.dump(info))) for info in found]
        database.executemany("INSERT INTO volume VALUES (?, ?, ?)", rows)
        if new or self._change_unstored:
            _store_change(database, self._change)

    def _keep_names(self, volumes: Collection[VolumeId]) -> None:
        if self._names.store_if_possible(volumes):
            self._change_unstored = False

    def _put_in(self, info: VolumeInfo) -> None:
        self._infos[info.id] = info
        self._ids[info.name] = info.id
        self._sorted = None

    def _take_out(self, volume: VolumeId) -> None:
        info = self._infos.pop(volume, None)
        if info is not None:
            del self._ids[info.name]
        self._sorted = None

    def _open_holdings(self) -> None:
        """Read the holders of this boot; whatever another boot left is removed (corrections 5, F)."""
        self._held.clear()
        with self._holders.transaction() as database:
            if database.execute("SELECT value FROM fact WHERE name = 'boot'").fetchall() != [(self._boot_id,)]:
                database.execute("DELETE FROM holding")
                database.execute("INSERT OR REPLACE INTO fact VALUES ('boot', ?)", (self._boot_id,))
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
            for text, name, row in database.execute("SELECT id, name, info FROM volume"):
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
