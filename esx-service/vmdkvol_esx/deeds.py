"""A disk's change in words: for the log, for errors, and what the audit says of one that was carried out. Pure."""

from __future__ import annotations

from uuid import UUID

from vmdkvol.admin_errors import NotAuthenticated
from vmdkvol.audit_messages import NoteLogin
from vmdkvol.errors import BadRequest, Busy, Conflict, Denied, Exhausted, NotFound, NotPermitted, TruthUnknown, from_code
from vmdkvol.orders import Role
from vmdkvol_esx.ports import CloneDisk, CreateDisk
from vmdkvol_esx.records import AuditRecord, Intent, VolumeRecord

SERVICE, GUEST = "service", "guest"
# The result of a change that was taken back, where nobody knows why any more: the process that knew has ended.
UNDONE = "undone"
DRY_RUN = "dry-run"
# Of the other errors nobody knows whether something was changed.
_CHANGED_NOTHING = (BadRequest, NotFound, Conflict, Denied, Exhausted, Busy, TruthUnknown)


def source(vm: object) -> str:
    """Return how the audit names a machine beside its name, which may be another's tomorrow."""
    return f"vm:{vm}"


def deed(intent: Intent, record: VolumeRecord, name: str, at: float, result: str = "done") -> AuditRecord:
    """Return the record of an intent that has ended. ``name`` is its caller's; nobody's call is the service's own work.

    Whoever gave an order stands in the order's own record, which has the same request id.
    """
    guest = intent.caller is not None
    if isinstance(intent.change, CreateDisk | CloneDisk):
        # As it was read when the work began; who makes volumes has perhaps never been seen otherwise.
        name = record.created_by
    return AuditRecord(
        at=at,
        actor=name if guest else SERVICE,
        role=GUEST if guest else SERVICE,
        source=source(intent.caller) if guest else SERVICE,
        verb=type(intent.change).__name__,
        target=record.name,
        result=result,
        request_id=intent.request or intent.id,
        detail=f"volume={record.id} operation={intent.id} disk=[{record.datastore}] {record.path}",
    )


def login(request: NoteLogin, call: UUID, at: float) -> AuditRecord:
    """Return the record of somebody who came to the API's door; who was not let in is nobody that is known."""
    who, role, result, detail = request.by.name, request.by.role.value, "done", ""
    if request.refused is not None:
        who, role, result, detail = "unknown", "none", NotAuthenticated.code, request.refused
    if request.more:
        detail = f"{request.more} more were refused like this: {detail}"
    return AuditRecord(at, who, role, request.source, "log-in", request.door, result, call, detail)


def share_of(record: AuditRecord) -> str | None:
    """Return within whose share this record is: an administrator's that changed nothing; None for one that is always written.

    What a role forbids has a share of its own: a thousand misspelt orders hide no try at what is forbidden.
    """
    if record.role not in tuple(Role):
        return None
    if record.result == NotPermitted.code:
        return record.actor
    if record.result == DRY_RUN or isinstance(from_code(record.result, "", {}), _CHANGED_NOTHING):
        return f"{record.actor} in vain"
    return None


def doing(intent: Intent, record: VolumeRecord) -> str:
    """Return the change as it stands in an error's text."""
    return f"{type(intent.change).__name__} for volume {record.name}"


def named(intent: Intent, record: VolumeRecord) -> dict[str, object]:
    """Return the change as fields of a log line."""
    return {"change": type(intent.change).__name__, "volume": record.name, "id": str(record.id), "intent": str(intent.id)}
