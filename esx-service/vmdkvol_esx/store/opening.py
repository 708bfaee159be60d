"""Opening the database's file: made whole or not at all, and checked to the last record before anything believes it."""

from __future__ import annotations

import errno
import os
import zlib
from pathlib import Path

from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError

from vmdkvol.errors import MetadataDamaged, NoSpace, TruthUnknown, VolumeError
from vmdkvol_esx.identities import Identity, Ticket
from vmdkvol_esx.store.engine import NEWER, REBUILD, WAIT_S, Database
from vmdkvol_esx.store.schema import (
    APPLICATION_ID,
    RECORDS,
    REVISION,
    check_records,
    checked_value,
    counters,
    identities,
    intents,
    row_to_intent,
    tokens,
)
from vmdkvol_esx.store.vmgroup_rows import members, rights, row_to_member, row_to_right, row_to_vmgroup, vmgroups

_HEADER_BYTES = 100
_SIDE_FILES = ("-wal", "-shm", "-journal")


def open_database(path: Path | None, wall: float, wait_s: float = WAIT_S) -> Database:
    """Return the database at ``path``, checked and of our schema; a path where nothing is gets a new one.

    An existing file that is damaged, empty, foreign or of a newer version raises MetadataDamaged: it is never taken
    for a new database, because "no such volume" would then be said of every volume.
    """
    if path is None:
        database = Database(None)
        _make_tables(database, wall)
        return database
    if not path.exists():
        _create(path, wall)
    check_header(path)
    database = Database(path, wait_s)
    try:
        _check(database)
    except BaseException:
        database.close()
        raise
    return database


def _create(path: Path, wall: float) -> None:
    """Make an empty database under another name and move it to ``path``: what stands there is always whole."""
    for suffix in _SIDE_FILES:
        if Path(f"{path}{suffix}").exists():
            # SQLite would play the lost database's log into the new one.
            raise MetadataDamaged(f"the database {path} is gone, but its {path.name}{suffix} is there", remedy=REBUILD)
    fresh = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for suffix in ("", *_SIDE_FILES):
            Path(f"{fresh}{suffix}").unlink(missing_ok=True)
        os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        database = Database(fresh)
        try:
            _make_tables(database, wall)
        finally:
            database.close()
        _move(fresh, path)
    except OSError as error:
        kind: type[VolumeError] = NoSpace if error.errno in (errno.ENOSPC, errno.EDQUOT) else TruthUnknown
        raise kind(f"the database {path} cannot be made: {error}", remedy="check the service's state directory") from error


def _move(fresh: Path, path: Path) -> None:
    if Path(f"{fresh}-wal").exists():
        raise TruthUnknown(f"the database {path} cannot be made: its log was not written back")
    for target in (fresh, path.parent):
        if target == path.parent:
            os.rename(fresh, path)
        descriptor = os.open(target, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _make_tables(database: Database, wall: float) -> None:
    # Change numbers start at the time, in ms: a rebuilt database never gives out a number of the lost one again, so an
    # agent that asks for "what changed since" by an old number is told to list everything.
    start = int(wall * 1000)
    with database.altering() as connection:
        _upgrade(connection)
        connection.execute(counters.update().values(change=start, floor=start))


def check_header(path: Path) -> None:
    """Raise MetadataDamaged unless the file begins as ours does: SQLite would write into a foreign one to open it."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError as error:
        raise TruthUnknown(f"the database {path} cannot be read: {error.strerror}") from error
    # The application id is at offset 68 (sqlite.org/fileformat.html 1.3).
    if not header.startswith(b"SQLite format 3\0") or int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise MetadataDamaged(f"the database {path} is not one of vmdkvol's", remedy=REBUILD)


def _check(database: Database) -> None:
    """Raise MetadataDamaged unless the file is whole and readable to the last record; bring it to our schema."""
    try:
        with database.altering() as connection:
            found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
            if found != "ok" or connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
                raise MetadataDamaged(str(found).replace("ok", "a record's vmgroup is missing"))
            if connection.exec_driver_sql("PRAGMA user_version").scalar() != _fingerprint(connection):
                raise MetadataDamaged("its tables are not those that were made")
            _bring_up(connection)
            check_records(connection.exec_driver_sql(RECORDS))
            _check_others(connection)
    except MetadataDamaged as error:
        remedy = error.remedy if error.remedy == NEWER else REBUILD
        raise MetadataDamaged(f"{database.name} is damaged: {error.text}", remedy=remedy, **error.fields) from error
    except DBAPIError as error:
        # Text that is not UTF-8, a table without rows that must be there: what SQLite cannot even call corrupt.
        raise MetadataDamaged(f"{database.name} is damaged: {error.orig}", remedy=REBUILD) from error


def _check_others(connection: Connection) -> None:
    for row in connection.execute(select(intents).where(intents.c.closed_at.is_(None))).mappings():
        row_to_intent(row)
    for table, kind in ((identities, Identity), (tokens, Ticket)):
        for row in connection.execute(select(table)).mappings():
            checked_value(kind, row)
    for table, read in ((vmgroups, row_to_vmgroup), (rights, row_to_right), (members, row_to_member)):
        for row in connection.execute(select(table)).mappings():
            read(row)


def _fingerprint(connection: Connection) -> int:
    """Return a number for the words of the schema: a flipped bit in them could make a unique index one that is not."""
    rows = connection.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name").all()
    return zlib.crc32(repr([tuple(row) for row in rows]).encode()) & 0x7FFFFFFF


def _upgrade(connection: Connection) -> None:
    from vmdkvol_esx.store import migrations

    migrations.upgrade(connection)
    connection.exec_driver_sql(f"PRAGMA user_version = {_fingerprint(connection)}")


def _bring_up(connection: Connection) -> None:
    stored = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if stored == REVISION:
        return
    from vmdkvol_esx.store import migrations

    if not migrations.known(stored):
        raise MetadataDamaged(
            f"its schema is {stored!r}, this version knows up to {REVISION!r}",
            remedy=NEWER,
        )
    _upgrade(connection)
