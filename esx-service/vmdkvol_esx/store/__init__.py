"""The service's database: SQLite, one file, one writer at a time."""

from vmdkvol_esx.store.salvaging import read_groups, read_identities
from vmdkvol_esx.store.sql import SqlStore, open_store

__all__ = ["SqlStore", "open_store", "read_groups", "read_identities"]
