"""What an administrator may ask of the audit, and the answers: who did what to what, and what came of it. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from vmdkvol.messages import Done, Request
from vmdkvol.orders import Query, Role


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One record. ``at`` is UTC seconds since 1970, ``result`` ``done``, ``dry-run`` or an error's code.

    ``actor`` is an administrator, or a virtual machine by its name (``role`` is ``guest``, ``source`` its id), or the service.
    ``request_id`` is the call's; it begins as every id of its request (``request_ids``). ``intact`` is False if the record is
    not what was once written, or not in its place: somebody changed the database, or it is damaged.
    """

    seq: int
    at: float
    actor: str
    role: str
    source: str
    verb: str
    target: str
    result: str
    request_id: UUID
    detail: str
    intact: bool


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some records, newest first. ``next`` is the ``before`` of the next page, None on the last.

    ``oldest`` is the ``seq`` of the oldest record that is kept at all, ``missing`` how many between it and the newest are not.
    """

    entries: tuple[AuditEntry, ...]
    next: int | None
    oldest: int
    missing: int = 0


class Form(StrEnum):
    """How an export writes a record: a JSON object, or cells that a spreadsheet takes for text and never for a formula."""

    JSON = "json"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class AuditLines:
    """Some records, a line each, the oldest first. ``next`` is the ``after`` of the next page, None on the last."""

    lines: tuple[str, ...]
    next: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryAudit(Query[AuditPage]):
    """The records that fit all that is given; None is any.

    From ``since`` on, up to but without ``until``. ``actor`` is a name or a source, word by word. ``target`` is a pattern
    with ``*``, ``?`` and ``[...]``. ``request`` is an id from the agent's or the service's log, or vCenter's ``operationID``:
    all that was done for that request. ``before`` continues a listing. Raises BadRequest for a filter that cannot be one.
    """

    needs: ClassVar[Role] = Role.OPERATOR
    since: float | None = None
    until: float | None = None
    actor: str | None = None
    verb: str | None = None
    target: str | None = None
    result: str | None = None
    request: UUID | None = None
    before: int | None = None
    limit: int = 100
    answer: ClassVar[type] = AuditPage


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportAudit(Query[AuditLines]):
    """As ``QueryAudit``, for a file: ``after`` is the ``seq`` of the last record that is there already, 0 for none.

    The first line of a CSV, which its first page (``after=0``) begins with, names the columns.
    """

    needs: ClassVar[Role] = Role.OPERATOR
    since: float | None = None
    until: float | None = None
    actor: str | None = None
    verb: str | None = None
    target: str | None = None
    result: str | None = None
    request: UUID | None = None
    after: int = 0
    limit: int = 500
    form: Form = Form.JSON
    answer: ClassVar[type] = AuditLines


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteLogin(Query[Done]):
    """The API's process tells that somebody came to its ``door``: afterwards the audit has a record of it.

    ``refused`` is why nobody was let in, None: ``by`` logged in. ``more``: so many of this source were refused after those that
    were told one by one. The process itself sees to it that these are few; it is asked nowhere but on the admin socket.
    """

    door: str
    source: str
    refused: str | None = None
    more: int = 0
    answer: ClassVar[type] = Done


AUDIT_REQUESTS: tuple[type[Request[object]], ...] = (QueryAudit, ExportAudit)
