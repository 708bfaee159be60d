"""What a rebuild takes over from the database that it replaces: who is enrolled, the vmgroups, the storage policies.

Of each all, or nothing.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from sqlalchemy import text

from vmdkvol.errors import MetadataDamaged, VolumeError
from vmdkvol_esx.identities import Identity, Ticket
from vmdkvol_esx.records import Group
from vmdkvol_esx.storage_policies import LocalPolicy
from vmdkvol_esx.store import identities, policies, vmgroups
from vmdkvol_esx.store.engine import NEWER, Database
from vmdkvol_esx.store.opening import check_header
from vmdkvol_esx.store.schema import REVISION
from vmdkvol_esx.store.statements import Statement, Transaction

T = TypeVar("T")
_REVISION = re.compile(r"[0-9]{4}", re.ASCII)
_STORED = Statement(text("SELECT version_num FROM alembic_version"))


def read_identities(path: Path) -> tuple[Sequence[Identity], Sequence[Ticket]]:
    """Return what the database at ``path`` has on record, as far as all of it can be read; else nothing.

    Of a part it could not be said whom it lets in that was revoked in the other part. Raises no VolumeError.
    """

    def read(transaction: Transaction) -> tuple[Sequence[Identity], Sequence[Ticket]]:
        return identities.identities(transaction, None), identities.tickets(transaction, None)

    found = _read(path, read)
    return ((), ()) if found is None else found


def read_groups(path: Path) -> Sequence[Group] | None:
    """Return the vmgroups in the database at ``path``; None unless all of them can be read. Raises no VolumeError.

    Of a part it could not be said whom it lets into a group that the other part had taken out.
    """
    return _read(path, vmgroups.every)


def read_policies(path: Path) -> Sequence[LocalPolicy]:
    """Return the storage policies that were made here, in the database at ``path``; none unless all of them can be read.

    Those that volumes name are told as missing then. Raises no VolumeError.
    """
    return _read(path, policies.every) or ()


def check_not_newer(path: Path) -> None:
    """Raise MetadataDamaged if a newer version wrote the database at ``path``. Whatever else is wrong with it is no matter."""
    found = _read(path, lambda transaction: transaction.first(_STORED))
    stored = None if found is None else found["version_num"]
    # The revisions are numbers. A damaged one is none.
    if isinstance(stored, str) and _REVISION.fullmatch(stored) and stored > REVISION:
        raise MetadataDamaged(
            f"{path} was written by a newer version: its schema is {stored}, this one's {REVISION}", remedy=NEWER
        )


def _read(path: Path, read: Callable[[Transaction], T]) -> T | None:
    if not path.exists():
        return None
    try:
        check_header(path)
        database = Database(path)
        try:
            with database.reading() as transaction:
                return read(transaction)
        finally:
            database.close()
    except (VolumeError, sqlite3.Error):
        # The latter: tables that are not there, or other ones.
        return None
