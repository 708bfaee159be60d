"""Who is in which vmgroup and what it may. ``_DEFAULT`` may do everything everywhere, as it could before."""

from __future__ import annotations

import hashlib
import json

from alembic import op
from sqlalchemy import text

revision = "0006"
down_revision = "0005"

_DEFAULT = "11111111-1111-1111-1111-111111111111"
_STATEMENTS = (
    "ALTER TABLE vmgroups ADD COLUMN description TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE vmgroups ADD COLUMN defaults TEXT NOT NULL DEFAULT '[]'",
    "ALTER TABLE vmgroups ADD COLUMN policies TEXT NOT NULL DEFAULT '[]'",
    "ALTER TABLE vmgroups ADD COLUMN revision INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE vmgroups ADD COLUMN changed INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE vmgroups ADD COLUMN checksum TEXT NOT NULL DEFAULT ''",
    """CREATE TABLE rights (
        vmgroup TEXT NOT NULL REFERENCES vmgroups (id),
        datastore TEXT NOT NULL,
        allow_create INTEGER NOT NULL,
        max_bytes INTEGER,
        total_bytes INTEGER,
        policies TEXT NOT NULL,
        checksum TEXT NOT NULL,
        PRIMARY KEY (vmgroup, datastore)
    ) STRICT""",
    """CREATE TABLE members (
        vm TEXT NOT NULL PRIMARY KEY,
        vmgroup TEXT NOT NULL REFERENCES vmgroups (id),
        name TEXT NOT NULL,
        checksum TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX members_of ON members (vmgroup)",
    "CREATE INDEX volumes_used ON volumes (vmgroup, datastore, state, size_bytes)",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
    connection = op.get_bind()
    known = connection.execute(text("SELECT id, name, default_datastore FROM vmgroups")).all()
    for group, name, datastore in known:
        checksum = _checksum([group, name, datastore, "", "[]", "[]", 1, 0])
        connection.execute(text("UPDATE vmgroups SET checksum = :sum WHERE id = :id"), {"sum": checksum, "id": group})
    if _DEFAULT in [group for group, *_ in known]:
        checksum = _checksum([_DEFAULT, "_ALL_DS", 1, None, None, "[]"])
        given = text(
            "INSERT INTO rights (vmgroup, datastore, allow_create, policies, checksum) VALUES (:id, '_ALL_DS', 1, '[]', :sum)"
        )
        connection.execute(given, {"id": _DEFAULT, "sum": checksum})


def _checksum(values: list[object]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()
