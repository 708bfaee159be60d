"""Who did what: appended to, cut at its old end alone, never changed. The triggers hold for every program.

And of an open piece of work which call began it.
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute("ALTER TABLE intents ADD COLUMN request TEXT")
    op.execute(
        "CREATE TABLE audit (seq INTEGER NOT NULL PRIMARY KEY, at REAL NOT NULL, actor TEXT NOT NULL, role TEXT NOT NULL, "
        "source TEXT NOT NULL, verb TEXT NOT NULL, target TEXT NOT NULL, result TEXT NOT NULL, request_id TEXT NOT NULL, "
        "detail TEXT NOT NULL, checksum TEXT NOT NULL) STRICT"
    )
    op.execute(
        "CREATE TABLE audit_ends (id INTEGER NOT NULL PRIMARY KEY, floor INTEGER NOT NULL, floor_checksum TEXT NOT NULL, "
        "head INTEGER NOT NULL, head_checksum TEXT NOT NULL) STRICT"
    )
    op.execute("INSERT INTO audit_ends (id, floor, floor_checksum, head, head_checksum) VALUES (1, 0, '', 0, '')")
    refuse = "BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END"
    op.execute(f"CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit {refuse}")
    op.execute(
        f"CREATE TRIGGER audit_is_cut_at_its_floor BEFORE DELETE ON audit "
        f"WHEN OLD.seq > (SELECT floor FROM audit_ends) {refuse}"
    )
    # An INSERT OR REPLACE would change a row without either of them (sqlite.org/lang_replace.html).
    op.execute(
        f"CREATE TRIGGER audit_grows_at_its_end BEFORE INSERT ON audit "
        f"WHEN NEW.seq <> (SELECT head + 1 FROM audit_ends) {refuse}"
    )
    op.execute(
        f"CREATE TRIGGER audit_ends_go_forward BEFORE UPDATE ON audit_ends "
        f"WHEN NEW.id <> OLD.id OR NEW.floor < OLD.floor OR NEW.head < OLD.head {refuse}"
    )
    op.execute(f"CREATE TRIGGER audit_ends_stay BEFORE DELETE ON audit_ends {refuse}")
    op.execute(f"CREATE TRIGGER audit_ends_are_one BEFORE INSERT ON audit_ends {refuse}")
