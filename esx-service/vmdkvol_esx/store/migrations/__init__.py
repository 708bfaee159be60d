"""Brings a database to our schema. Imported only when its revision is not ours, so Alembic costs nothing at a start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from vmdkvol_esx.store.schema import REVISION


def known(revision: str | None) -> bool:
    """Tell whether ``upgrade`` can start from ``revision``."""
    scripts = ScriptDirectory(str(Path(__file__).parent))
    return revision in {script.revision for script in scripts.walk_revisions()}


def upgrade(connection: Connection) -> None:
    """Run what is missing up to our revision, inside the caller's transaction: all of it, or nothing."""
    scripts = ScriptDirectory(str(Path(__file__).parent))

    def steps(revision: Any, _: Any) -> Any:
        return scripts._upgrade_revs(REVISION, revision)

    # What an env.py would do; that file is run by Alembic's own command, which we do not have.
    with EnvironmentContext(Config(), scripts, fn=steps) as environment:
        environment.configure(connection=connection, transactional_ddl=True)
        environment.run_migrations()
