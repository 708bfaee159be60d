"""What the service is watched by, put together: the audit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from vmdkvol import logs
from vmdkvol.clock import Clock
from vmdkvol.messages import Call, Request
from vmdkvol_esx.alarms import Alarms
from vmdkvol_esx.auditing import Auditing
from vmdkvol_esx.settings import ServiceSettings
from vmdkvol_esx.store import SqlStore


def open_audit(settings: ServiceSettings, clock: Clock, store: SqlStore, alarms: Alarms) -> Auditing:
    """Return the audit, tidied: what its retention lets go of is forgotten.

    It hears alarms, and what the store could not write.
    """
    auditing = Auditing(
        store.trail,
        clock,
        logs.get("audit"),
        uuid4,
        retention_s=settings.audit_retention_s,
        most=settings.audit_records,
        attachments=settings.audit_attachments,
    )
    store.trail.lost, alarms.heard = auditing.lost, auditing.alarm
    auditing.tidy()
    return auditing


def logged(answer: Callable[[Request[Any], Call], Any]) -> Callable[[Request[Any], Call], Any]:
    """Return ``answer`` with the call's id on every log line that it causes on its thread."""

    def answered(request: Request[Any], call: Call) -> Any:
        with logs.bound(call=str(call.id), vm=str(call.caller)):
            return answer(request, call)

    return answered
