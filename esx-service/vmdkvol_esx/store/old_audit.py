"""The audit of a database that is replaced, as far as it can be read: what lies behind a damaged page is reached past it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import pairwise
from pathlib import Path

from sqlalchemy import bindparam, select

from vmdkvol.errors import VolumeError
from vmdkvol_esx.store.audit import audit, ends
from vmdkvol_esx.store.opening import check_header
from vmdkvol_esx.store.statements import Row, Statement, Transaction

_ENDS = Statement(select(ends))
_NEXT = Statement(select(audit).where(audit.c.seq > bindparam("after")).order_by(audit.c.seq).limit(bindparam("most")))
_BATCH = 512
# A file with more damaged places than these is searched no further.
_MOST_GAPS = 1000
# Beyond the number of any record that could have been written.
_FARTHEST = 1 << 40
_TEXTS = ("actor", "role", "source", "verb", "target", "result", "request_id", "detail", "checksum")
_Unread = (sqlite3.Error, UnicodeDecodeError)


class OldAudit:
    """``ends`` is None if they cannot be read: then nobody knows how many records there were."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        try:
            found = transaction.first(_ENDS)
        except _Unread:
            found = None
        self.ends = found if found is not None and _are_ends(found) else None

    def rows(self) -> Iterator[Row]:
        """Yield the rows that can be read, by their ``seq``; nothing is raised for the others."""
        after = 0 if self.ends is None else int(self.ends["floor"])
        size, gaps = _BATCH, 0
        while True:
            rows = self._read(after, size)
            if rows is None and size > 1:
                size //= 2
            elif rows is None:
                past, gaps = self._past(after), gaps + 1
                if past is None or gaps > _MOST_GAPS:
                    return
                after = past
            elif not rows:
                return
            else:
                yield from (row for row in rows if _is_whole(row, self._last))
                after, size = int(rows[-1]["seq"]), min(_BATCH, 2 * size)

    @property
    def _last(self) -> int:
        return _FARTHEST if self.ends is None else int(self.ends["head"])

    def _read(self, after: int, most: int) -> Sequence[Row] | None:
        """Return the next rows, or None: a damaged page gives an error, or numbers that do not ascend."""
        try:
            rows = self._transaction.all(_NEXT, after=after, most=most)
        except _Unread:
            return None
        numbers = [after, *(row["seq"] for row in rows)]
        return rows if all(one < other for one, other in pairwise(numbers)) else None

    def _past(self, after: int) -> int | None:
        """Return the first number behind which something can be read again; None if nothing can."""
        step = 1
        while not self._reads(after + step):
            step *= 2
            if step > _FARTHEST:
                return None
        low, high = after + step // 2, after + step
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._reads(middle) else (middle, high)
        return high

    def _reads(self, after: int) -> bool:
        return self._read(after, 1) is not None


@contextmanager
def old_audit(path: Path) -> Iterator[OldAudit | None]:
    """Open the audit of the database at ``path``; None if there is none, or it cannot be opened. Raises nothing for it."""
    with ExitStack() as stack:
        yield _opened(path, stack)


def _opened(path: Path, stack: ExitStack) -> OldAudit | None:
    if not path.exists():
        return None
    try:
        check_header(path)
        connection = stack.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        # Each read by itself: a transaction that met a damaged page cannot even be ended.
        return OldAudit(Transaction(connection))
    except (VolumeError, sqlite3.Error):
        return None


def _are_ends(row: Row) -> bool:
    texts = all(isinstance(row[name], str) for name in ("floor_checksum", "head_checksum"))
    return texts and all(isinstance(row[name], int) for name in ("floor", "head")) and 0 <= row["floor"] <= row["head"]


def _is_whole(row: Row, last: int) -> bool:
    """Tell whether the columns have what their table lets in; a damaged page may give anything."""
    return row["seq"] <= last and isinstance(row["at"], float) and all(isinstance(row[name], str) for name in _TEXTS)
