"""Datastores that take no new volumes."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute(
        "CREATE TABLE cordons (datastore TEXT NOT NULL, ordered_by TEXT NOT NULL, at REAL NOT NULL, reason TEXT NOT NULL, "
        "checksum TEXT NOT NULL, PRIMARY KEY (datastore)) STRICT"
    )
