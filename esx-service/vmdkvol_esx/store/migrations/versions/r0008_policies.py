"""Storage policies that are made here."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute(
        "CREATE TABLE policies (name TEXT NOT NULL, description TEXT NOT NULL, diskformat TEXT, revision INTEGER NOT NULL, "
        "checksum TEXT NOT NULL, PRIMARY KEY (name)) STRICT"
    )
