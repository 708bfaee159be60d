"""A volume says that its policy waits for the disk's next attach."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.execute("ALTER TABLE volumes ADD COLUMN policy_pending INTEGER")
