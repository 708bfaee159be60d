"""What the service is watched by, put together: the audit, figures, and whether it is well. Composition."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from vmdkvol import __version__, logs
from vmdkvol.admin_requests import NOUNS, OWN
from vmdkvol.clock import Clock
from vmdkvol.errors import TruthUnknown
from vmdkvol.messages import NEWEST_VERSION, REQUESTS, Call, Request
from vmdkvol.volume import VmId
from vmdkvol_esx.alarms import Alarms
from vmdkvol_esx.auditing import Auditing
from vmdkvol_esx.backends import slot_counter
from vmdkvol_esx.certificates import Certificates
from vmdkvol_esx.figures import Figures
from vmdkvol_esx.housekeeping import Housekeeping
from vmdkvol_esx.measuring import Measuring
from vmdkvol_esx.observing import Observer
from vmdkvol_esx.ports import Hypervisor
from vmdkvol_esx.settings import ServiceSettings
from vmdkvol_esx.store import SqlStore
from vmdkvol_esx.token_notes import TokenNotes
from vmdkvol_esx.vitals import Checking, Looks

if TYPE_CHECKING:
    from vmdkvol_esx.registry import Registry

Answer = Callable[[Request[Any], Call], Any]


@dataclass(frozen=True, slots=True)
class Watch:
    """The parts, of one service."""

    settings: ServiceSettings
    clock: Clock
    store: SqlStore
    hypervisor: Hypervisor
    auditing: Auditing
    observer: Observer
    figures: Figures
    tokens: TokenNotes

    def rows(self, housekeeping: Housekeeping, registry: Registry | None) -> Mapping[type[Request[Any]], Answer]:
        """Return what answers each request about the audit, figures and health."""
        certificates = Certificates(self.settings, self.store, self.clock, registry)
        measuring = Measuring(
            self.store,
            self.hypervisor,
            self.clock,
            logs.get("metrics"),
            uuid4,
            self.figures.render,
            lambda: housekeeping.strays.count,
            each_volume=self.settings.metrics_volumes,
            free_slots=slot_counter(self.hypervisor),
            certificates=certificates.ends,
        )
        looks = Looks(
            check_writable=self.store.trail.check_writable,
            free_bytes=self._free_bytes,
            ends=certificates.ends,
            scanned_at=lambda: housekeeping.scanned_at,
            every_s=self.settings.housekeeping_s,
            unwritten=lambda: self.auditing.unwritten,
        )
        checking = Checking(self.store, self.hypervisor, self.store.trail, self.clock, looks)
        audit = {asked: self.tokens.before(answer) for asked, answer in self.auditing.rows().items()}
        return {**audit, **measuring.rows(), **checking.rows()}

    def _free_bytes(self) -> int:
        try:
            return shutil.disk_usage(self.settings.state_dir).free
        except OSError as error:
            raise TruthUnknown(f"the space under {self.settings.state_dir} cannot be read: {error.strerror}") from error


def open_watch(
    settings: ServiceSettings,
    clock: Clock,
    store: SqlStore,
    hypervisor: Hypervisor,
    alarms: Alarms,
    connected: Callable[[VmId], bool],
) -> Watch:
    """Return the parts. The audit is tidied, has what was done to tokens, and hears alarms and what the store could not write.

    ``connected`` tells whether a machine's agent is there.
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
    tokens = TokenNotes(Path(settings.token_file), store.trail, logs.get("audit"))
    tokens.take()
    figures = Figures(
        clock,
        version=__version__,
        protocol=NEWEST_VERSION,
        backend="local" if settings.vsphere is None else "vsphere",
        connected=connected,
        unwritten=lambda: auditing.unwritten,
    )
    observer = Observer(figures, clock, (*REQUESTS, *NOUNS, *OWN))
    figures.guests = observer.guests
    return Watch(settings, clock, store, hypervisor, auditing, observer, figures, tokens)


def logged(answer: Answer) -> Answer:
    """Return ``answer`` with the call's id on every log line that it causes on its thread."""

    def answered(request: Request[Any], call: Call) -> Any:
        with logs.bound(call=str(call.id), vm=str(call.caller)):
            return answer(request, call)

    return answered
