"""Statements that SQLAlchemy writes once and SQLite runs as they are, many times.

SQLAlchemy's own execution takes five to ten times as long as SQLite with such a statement (measured: 60 us against 8), and
an attach has some forty. So it writes the SQL, makes the tables and keeps the connections; between a statement and its
rows there is nothing of it. No column's type needs a conversion: they are texts, numbers and blobs (``schema``).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from sqlalchemy import ClauseElement
from sqlalchemy.dialects import sqlite

_DIALECT = sqlite.dialect(paramstyle="named")


class Row(Protocol):
    """A row by the names of its columns, or as its values in the order in which they were selected."""

    def __getitem__(self, name: str, /) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...


class Statement:
    """One statement's SQL, with the values that are always the same."""

    def __init__(self, clause: ClauseElement) -> None:
        compiled = clause.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
        self.sql = str(compiled)
        self._fixed = {name: value for name, value in compiled.params.items() if value is not None}

    def values(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**self._fixed, **given} if self._fixed else given


class Transaction:
    """A transaction under way on one connection; ``engine.Database`` begins and ends it. Raises ``sqlite3.Error``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def first(self, statement: Statement, /, **given: Any) -> Row | None:
        """Return the first row, or None. What the statement changes is changed, whether a row is returned or not."""
        cursor = self._run(statement, given)
        try:
            row: Row | None = cursor.fetchone()
            return row
        finally:
            # A statement that is not at its end keeps the snapshot that it reads.
            cursor.close()

    def all(self, statement: Statement, /, **given: Any) -> Sequence[Row]:
        return self._run(statement, given).fetchall()

    def change(self, statement: Statement, /, **given: Any) -> int:
        """Return how many rows were changed."""
        return self._run(statement, given).rowcount

    def change_many(self, statement: Statement, rows: Sequence[Mapping[str, Any]], /) -> None:
        self._connection.executemany(statement.sql, rows)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """What goes wrong in the block undoes what was done in the block; the transaction itself goes on, if it ``stands``."""
        self._connection.execute("SAVEPOINT apart")
        try:
            yield
        except BaseException:
            if self.stands:
                self._connection.execute("ROLLBACK TO apart")
                self._connection.execute("RELEASE apart")
            raise
        self._connection.execute("RELEASE apart")

    @property
    def stands(self) -> bool:
        """False once SQLite has ended it by itself, as it does on a full disk (sqlite.org/lang_transaction.html)."""
        return self._connection.in_transaction

    def _run(self, statement: Statement, given: Mapping[str, Any]) -> sqlite3.Cursor:
        cursor = self._connection.cursor()
        cursor.row_factory = sqlite3.Row
        return cursor.execute(statement.sql, statement.values(given))
