"""A volume whose disk somebody else made says where it was found."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.execute("ALTER TABLE volumes ADD COLUMN adopted TEXT")
