"""Which datastore each name is, by the UUID in its marker: another file system in its place is not taken for it."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("CREATE TABLE datastores (name TEXT NOT NULL PRIMARY KEY, id TEXT NOT NULL) STRICT")
