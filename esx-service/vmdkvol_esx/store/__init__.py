"""The service's database: SQLite, one file, one writer at a time."""

from vmdkvol_esx.store.audit import Carried
from vmdkvol_esx.store.old_audit import old_audit
from vmdkvol_esx.store.salvaging import check_not_newer, read_groups, read_identities, read_policies
from vmdkvol_esx.store.sql import SqlStore, open_store

__all__ = [
    "Carried",
    "SqlStore",
    "check_not_newer",
    "old_audit",
    "open_store",
    "read_groups",
    "read_identities",
    "read_policies",
]
