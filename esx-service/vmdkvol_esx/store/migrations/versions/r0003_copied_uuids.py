"""Which file system a clone was copied with: another one on its disk is somebody else's."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("ALTER TABLE volumes ADD COLUMN copied_uuids TEXT")
