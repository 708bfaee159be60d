"""Who may speak as which VM: the certificates that count, and the tokens that get one. Neither table holds a secret."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute(
        "CREATE TABLE identities (fingerprint TEXT NOT NULL PRIMARY KEY, vm TEXT NOT NULL, name TEXT NOT NULL, "
        "issued_at REAL NOT NULL, not_after REAL NOT NULL, request TEXT NOT NULL, certificate_pem TEXT NOT NULL, "
        "revoked_at REAL, checksum TEXT NOT NULL) STRICT"
    )
    op.execute("CREATE INDEX identities_of ON identities (vm, issued_at)")
    op.execute(
        "CREATE TABLE tokens (hash TEXT NOT NULL PRIMARY KEY, vm TEXT NOT NULL, name TEXT NOT NULL, "
        "expires_at REAL NOT NULL, used_at REAL, used_for TEXT, checksum TEXT NOT NULL) STRICT"
    )
    op.execute("CREATE INDEX tokens_of ON tokens (vm, expires_at)")
