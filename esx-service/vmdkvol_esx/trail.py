"""The audit as it is kept: what of a record is kept, which records are asked for, how a row is told that was changed. Pure.

Each row's checksum is over its own words and the checksum of the row before it. It holds no key: it tells a flipped bit, an
edit and a row that is missing, not somebody who can write the whole file and does the sums again. Against that, export it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol
from uuid import UUID

from vmdkvol.errors import one_line
from vmdkvol_esx.records import AuditRecord

# So many characters of each text are kept: a megabyte in a name is not the audit's.
LIMITS: Mapping[str, int] = {
    "actor": 120,
    "role": 20,
    "source": 120,
    "verb": 60,
    "target": 240,
    "result": 60,
    "detail": 500,
}
_FIELDS = tuple(field.name for field in fields(AuditRecord))


def clean(record: AuditRecord) -> AuditRecord:
    """Return the record as it is kept: each text one line, unprintable characters escaped, cut to its limit."""
    # Cut once more: an escape is longer than what it stands for.
    texts: dict[str, Any] = {name: one_line(getattr(record, name), limit)[:limit] for name, limit in LIMITS.items()}
    return replace(record, **texts)


def checksum(record: AuditRecord, previous: str) -> str:
    """Return the checksum of a record as it is kept; ``previous`` is that of the row before it, empty for the first."""
    # JSON ends each text: what moves from one field into the next changes it.
    words = [previous, *(_word(getattr(record, name)) for name in _FIELDS)]
    return hashlib.sha256(json.dumps(words, separators=(",", ":")).encode()).hexdigest()


def _word(value: object) -> object:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which records: None is any. ``actor`` is its name or its source, ``target`` a pattern with ``*``, ``?`` and ``[...]``.

    ``request`` is any id with the request's mark (``request_ids``). Times are UTC seconds since 1970: from ``since`` on, up to
    but without ``until``.
    """

    since: float | None = None
    until: float | None = None
    actor: str | None = None
    verb: str | None = None
    target: str | None = None
    result: str | None = None
    request: UUID | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """A row; ``intact`` is False if it, or its place after the row before it, is not what was once written."""

    record: AuditRecord
    intact: bool = True


@dataclass(frozen=True, slots=True)
class Extent:
    """What is kept: ``count`` records from ``first`` to ``last``, all of them unless somebody took some away."""

    first: int
    last: int
    count: int


class Trail(Protocol):
    """The audit in the database. One transaction each; raises what ``Store`` raises for a database that cannot be used."""

    def append(self, record: AuditRecord) -> int:
        """Write the record behind the last one, as ``clean`` makes it, durably; return its ``seq``."""
        ...

    def older(self, wanted: AuditFilter, before: int | None, limit: int) -> Sequence[Kept]:
        """Return up to ``limit`` records, newest first; ``before``: only those with a smaller ``seq``."""
        ...

    def newer(self, wanted: AuditFilter, after: int, limit: int) -> Sequence[Kept]:
        """As ``older``, but the oldest first, and those with a greater ``seq``."""
        ...

    def extent(self) -> Extent: ...

    def cut(self, upto: int, note: AuditRecord) -> None:
        """Forget the records up to this ``seq``, and append ``note``, which says so, in the same transaction."""
        ...

    def last_before(self, at: float) -> int:
        """Return the ``seq`` up to which all records are older than ``at``."""
        ...
