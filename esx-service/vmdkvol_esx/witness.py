"""What guests are refused, and what they do that is no disk's change: the audit hears of it, the guest nothing.

A disk's change is written by the journal, in the transaction that ends it: whatever becomes of the call that began it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol
from uuid import UUID

from vmdkvol.clock import Clock
from vmdkvol.errors import AtRisk, Conflict, Denied, Exhausted, StaleRequest, VolumeError
from vmdkvol.messages import Attach, Call, CreateVolume, Detach, Mark, RemoveVolume, Request
from vmdkvol.volume import VmId, VolumeId
from vmdkvol_esx.deeds import GUEST, source
from vmdkvol_esx.records import AuditRecord, VolumeRecord

# Errors that an administrator is asked about later. The others say that something is not there, is late or is misspelt.
MATTER = (Denied, Conflict, Exhausted, AtRisk)
# A call that is asked again, after a break or while it lasts, is one call.
_REMEMBERED = 10_000

Handle = Callable[[Request[Any], Call], Any]


class GuestAudit(Protocol):
    """Where it is written; see ``Auditing.note_guest``."""

    def note_guest(self, vm: VmId, record: AuditRecord) -> None: ...


class Witness:
    """Answers as ``inner`` does. For any thread."""

    def __init__(
        self,
        inner: Handle,
        audit: GuestAudit,
        clock: Clock,
        *,
        name: Callable[[VmId], str],
        volume: Callable[[VolumeId], VolumeRecord | None],
    ) -> None:
        """``name`` returns a machine's name, ``volume`` a volume's record; what they raise hinders nothing."""
        self._inner = inner
        self._audit = audit
        self._clock = clock
        self._name = name
        self._volume = volume
        self._lock = clock.condition()
        self._told: OrderedDict[tuple[VmId, UUID, str], None] = OrderedDict()

    def answer(self, request: Request[Any], call: Call) -> Any:
        """Return the answer, or raise what it raises."""
        # Its name is known before it is gone.
        target = self._target(request) if isinstance(request, RemoveVolume) else None
        try:
            answer = self._inner(request, call)
        except MATTER as error:
            if request.changes and not isinstance(error, StaleRequest) or isinstance(error, Denied):
                self._tell(request, call, error.code, error.text, target)
            raise
        if isinstance(request, RemoveVolume):
            self._tell(request, call, "done", "", target)
        elif isinstance(request, Mark) and request.damage is not None:
            self._tell(request, call, "done", f"the volume is damaged: {request.damage}", None)
        return answer

    def _tell(self, request: Request[Any], call: Call, result: str, detail: str, target: str | None) -> None:
        vm = call.caller
        if vm is None or self._known(vm, call.id, result):
            return
        name = self._surely(lambda: self._name(vm)) or str(vm)
        told = target if target is not None else self._target(request)
        record = AuditRecord(self._clock.wall(), name, GUEST, source(vm), type(request).__name__, told, result, call.id, detail)
        self._audit.note_guest(vm, record)

    def _known(self, vm: VmId, call: UUID, result: str) -> bool:
        key = vm, call, result
        with self._lock:
            if key in self._told:
                return True
            self._told[key] = None
            if len(self._told) > _REMEMBERED:
                self._told.popitem(last=False)
        return False

    def _target(self, request: Request[Any]) -> str:
        match request:
            case CreateVolume():
                return request.ref.text
            case RemoveVolume() | Attach() | Detach() | Mark():
                volume = request.volume
                record = self._surely(lambda: self._volume(volume))
                return str(volume) if record is None else record.name
            case _:
                return ""

    def _surely(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except VolumeError:
            return None
