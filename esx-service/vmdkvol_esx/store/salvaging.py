"""What a rebuild takes over from the database that it replaces: who is enrolled. All of it, or nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from vmdkvol.errors import VolumeError
from vmdkvol_esx.identities import Identity, Ticket
from vmdkvol_esx.store import identities
from vmdkvol_esx.store.engine import Database
from vmdkvol_esx.store.opening import check_header


def read_identities(path: Path) -> tuple[Sequence[Identity], Sequence[Ticket]]:
    """Return what the database at ``path`` has on record, as far as all of it can be read; else nothing.

    Of a part it could not be said whom it lets in that was revoked in the other part. Raises no VolumeError.
    """
    if not path.exists():
        return (), ()
    try:
        check_header(path)
        database = Database(path)
        try:
            with database.reading() as transaction:
                return identities.identities(transaction, None), identities.tickets(transaction, None)
        finally:
            database.close()
    except (VolumeError, sqlite3.Error):
        # The latter: tables that are not there, or other ones.
        return (), ()
