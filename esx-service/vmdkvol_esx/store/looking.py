"""A look at the database without opening it for work: `doctor` changes nothing, and a service may be running on it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from uuid import UUID

from vmdkvol.errors import Busy, MetadataDamaged
from vmdkvol.names import DatastoreName
from vmdkvol.volume import VmId
from vmdkvol_esx.store.engine import REBUILD
from vmdkvol_esx.store.opening import check_header

# A writer's commit takes a millisecond.
_WAIT_S = 5.0
# Steps of SQLite's machine between two looks at the clock.
_STEPS = 1000


@dataclass(frozen=True, slots=True)
class Looked:
    """``datastores``: by what each is known again, of those that were seen once. ``enrolled``: the names of those machines."""

    size_bytes: int
    volumes: int
    datastores: Mapping[DatastoreName, UUID]
    enrolled: Mapping[VmId, str]


def look(path: Path, late: Callable[[], bool]) -> Looked | None:
    """Return the database's size and some of what it says; None if there is none.

    ``late()`` is asked now and then, and ends the look when it is true. MetadataDamaged, with the way out, for one that is
    not whole or not ours; TruthUnknown if it cannot be read; Busy if it is locked, or ``late``.
    """
    if not path.exists():
        return None
    check_header(path)
    # A log beside it: a service has it open, or was killed. Without one a reader would make one, and leave it.
    if not _has_log(path):
        try:
            return _looked(path, "immutable=1", late)
        except MetadataDamaged:
            # It may be that a service began to write just now.
            if not _has_log(path):
                raise
    return _looked(path, "mode=ro", late)


def _has_log(path: Path) -> bool:
    return Path(f"{path}-wal").exists()


def _looked(path: Path, how: str, late: Callable[[], bool]) -> Looked:
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?{how}", uri=True, timeout=_WAIT_S)) as database:
            database.set_progress_handler(late, _STEPS)
            found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise MetadataDamaged(f"the database {path} is damaged: {found}", remedy=REBUILD)
            (volumes,) = database.execute("SELECT count(*) FROM volumes").fetchone()
            rows = database.execute("SELECT name, id FROM datastores").fetchall()
            datastores = {DatastoreName(name): UUID(known) for name, known in rows}
            enrolled = {VmId(UUID(vm)): name for vm, name in _enrolled(database)}
    except ValueError as error:
        raise MetadataDamaged(f"the database {path} has a datastore or a machine without a UUID", remedy=REBUILD) from error
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "interrupted" in str(error):
            raise Busy(f"the database {path} was not read in time: {error}", remedy="try again") from error
        raise MetadataDamaged(f"the database {path} cannot be read: {error}", remedy=REBUILD) from error
    except sqlite3.DatabaseError as error:
        raise MetadataDamaged(f"the database {path} is damaged: {error}", remedy=REBUILD) from error
    return Looked(path.stat().st_size, volumes, datastores, enrolled)


def _enrolled(database: sqlite3.Connection) -> Sequence[tuple[str, str]]:
    """Return machines with a certificate that was not revoked; none of a database from before there were certificates."""
    if database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'identities'").fetchone() is None:
        return []
    return database.execute("SELECT vm, name FROM identities WHERE revoked_at IS NULL ORDER BY issued_at").fetchall()
