"""The service's database: SQLite, one file, one writer at a time."""

from vmdkvol_esx.store.sql import SqlStore, open_store

__all__ = ["SqlStore", "open_store"]
