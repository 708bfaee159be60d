"""The first schema, with the vmgroup that every VM is in. Never edited once it is released: a change is a new file."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

_STATEMENTS = (
    """CREATE TABLE vmgroups (
        id TEXT NOT NULL PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        default_datastore TEXT
    ) STRICT""",
    """CREATE TABLE volumes (
        id TEXT NOT NULL PRIMARY KEY,
        vmgroup TEXT NOT NULL REFERENCES vmgroups (id),
        name TEXT NOT NULL,
        datastore TEXT NOT NULL,
        path TEXT NOT NULL,
        disk_uuid TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        state TEXT NOT NULL,
        content TEXT NOT NULL,
        filesystem_uuid TEXT,
        options TEXT NOT NULL,
        generation INTEGER NOT NULL,
        created_at REAL NOT NULL,
        created_by TEXT NOT NULL,
        last_vm TEXT,
        trashed_at REAL,
        changed INTEGER NOT NULL,
        checksum TEXT NOT NULL
    ) STRICT""",
    """CREATE UNIQUE INDEX live_names ON volumes (vmgroup, name)
        WHERE state IN ('preparing', 'ready', 'lost', 'damaged')""",
    "CREATE UNIQUE INDEX one_record_a_disk ON volumes (disk_uuid)",
    "CREATE UNIQUE INDEX one_record_a_path ON volumes (datastore, path)",
    "CREATE INDEX volumes_changed ON volumes (changed)",
    """CREATE TABLE intents (
        id TEXT NOT NULL PRIMARY KEY,
        volume TEXT NOT NULL,
        kind TEXT NOT NULL,
        change TEXT NOT NULL,
        caller TEXT,
        opened_at REAL NOT NULL,
        source TEXT,
        before TEXT,
        task TEXT,
        closed_at REAL,
        outcome TEXT,
        checksum TEXT NOT NULL
    ) STRICT""",
    "CREATE UNIQUE INDEX one_open_intent ON intents (volume) WHERE closed_at IS NULL",
    "CREATE INDEX open_sources ON intents (source) WHERE closed_at IS NULL",
    """CREATE TABLE removed (
        change INTEGER NOT NULL PRIMARY KEY,
        volume TEXT NOT NULL,
        vmgroup TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE counters (
        id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
        change INTEGER NOT NULL,
        floor INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE answers (
        caller TEXT NOT NULL,
        call TEXT NOT NULL,
        answer BLOB NOT NULL,
        kept_at REAL NOT NULL,
        PRIMARY KEY (caller, call)
    ) STRICT""",
    "CREATE INDEX answers_kept ON answers (kept_at)",
    # vDVS's constant for the group of every VM that is in no other one (vdvs-facts 6.1).
    "INSERT INTO vmgroups (id, name) VALUES ('11111111-1111-1111-1111-111111111111', '_DEFAULT')",
    "INSERT INTO counters (id, change, floor) VALUES (1, 0, 0)",
    # "vmkv"
    "PRAGMA application_id = 1986882422",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
