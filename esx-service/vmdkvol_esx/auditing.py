"""The audit as the service uses it: written for everybody, read by administrators, cut by its retention.

Who floods the service does not fill it: of one machine only so many records an hour are written, and of one administrator only
so many of what changed nothing (a dry run, a refused order, a login), and then one that says how many more there were.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any
from uuid import UUID

from vmdkvol import frames
from vmdkvol.audit_messages import AuditEntry, AuditLines, AuditPage, ExportAudit, NoteLogin, QueryAudit
from vmdkvol.clock import Clock
from vmdkvol.errors import BadRequest, VolumeError, one_line, quoted
from vmdkvol.messages import Call, Done, Request
from vmdkvol.volume import VmId
from vmdkvol.wire import answer_size
from vmdkvol_esx import exporting
from vmdkvol_esx.deeds import GUEST, SERVICE, login, share_of, source
from vmdkvol_esx.ports import AttachDisk, DetachDisk, Log
from vmdkvol_esx.records import AuditRecord
from vmdkvol_esx.trail import AuditFilter, Kept, Trail, clean

MOST_LISTED = 500
# SQLite tries a pattern's stars against each other; nobody needs many.
_MOST_STARS = 8
_MOST_TEXT = 240
_PAGE_BYTES = frames.MAX_FRAME - 4096
# Of one machine so many records in so long a time: a container that starts and stops every twelve seconds, day and night.
GUESTS_RECORDS, GUESTS_TIME_S = 600, 3600.0
# Of one administrator: at this rate the audit holds what was written before for months.
PERSONS_RECORDS = 100
# Machines that are counted at a time; more of them were never seen, and the rest is counted together.
_MOST_COUNTED = 10_000
# Whatever the clock says: a clock set forward by years does not empty the audit (F33).
NEVER_AGED = 1000
_LOOK_AFTER = 256


@dataclass(slots=True)
class _Share:
    """What one machine or person has had of its records since ``since``; ``more`` were left out, the last with ``result``."""

    since: float
    first: AuditRecord
    written: int = 0
    more: int = 0
    result: str = ""


class Auditing:
    """The ``Audit`` port, and the requests about it. For any thread.

    ``unwritten`` counts the records that the database did not take since this process began.
    """

    def __init__(
        self,
        trail: Trail,
        clock: Clock,
        log: Log,
        new_id: Callable[[], UUID],
        *,
        retention_s: float,
        most: int,
        attachments: bool = True,
        machines: int = _MOST_COUNTED,
    ) -> None:
        """``retention_s`` and ``most``: older records and more of them are not kept. ``machines`` are counted one by one.

        Without ``attachments`` it is not written when a disk is attached or detached as usual.
        """
        self._trail = trail
        self._clock = clock
        self._log = log
        self._new_id = new_id
        self._retention_s = retention_s
        self._most = most
        self._machines = machines
        self._left_out = () if attachments else (AttachDisk.__name__, DetachDisk.__name__)
        self._state = clock.condition()
        self._shares: dict[VmId | str, _Share] = {}
        self._since_look = 0
        # Of shares that are over: what they held back.
        self._waiting: list[AuditRecord] = []
        self.unwritten = 0
        # The wall clock as it stood when this process began: ages are counted by time that never jumps.
        self._began = clock.wall() - clock.monotonic()

    def rows(self) -> Mapping[type[Request[Any]], Callable[[Any, Call], Any]]:
        """Return what answers each request about the audit."""
        return {
            QueryAudit: lambda request, _: self.page(request),
            ExportAudit: lambda request, _: self.export(request),
            NoteLogin: self.note_login,
        }

    # --- writing -------------------------------------------------------------------------------------------------

    def note(self, record: AuditRecord) -> None:
        """See ``ports.Audit``. What an administrator asked and changed nothing is within its share, as what a guest does."""
        if (share := share_of(record)) is not None and not self.admit(share, record):
            return
        self.write_waiting()
        self._append(record)
        if self._due():
            self.tidy()

    def _append(self, record: AuditRecord) -> None:
        try:
            self._trail.append(record)
        except VolumeError as error:
            self.lost(record, error)

    def note_guest(self, vm: VmId, record: AuditRecord) -> None:
        """As ``note``, of what a guest does: within its machine's share; beyond it the record is counted, and told of later."""
        if self.admit(vm, record):
            self.note(record)

    def note_login(self, request: NoteLogin, call: Call) -> Done:
        """See ``NoteLogin``. Raises what the database raises, so that who tells it keeps it until it is taken."""
        record = login(request, call.id, self._clock.wall())
        if request.refused is not None or self.admit(record.actor, record):
            self._trail.append(record)
        return Done()

    def alarm(self, event: str, fields: Mapping[str, object]) -> None:
        """Write down soon that an administrator was to hear of ``event`` (``Alarms``); waits for nothing."""
        told = {name: one_line(str(value), _MOST_TEXT) for name, value in fields.items()}
        where = told.get("refused") or told.get("peer") or SERVICE
        detail = " ".join((event, *(f"{name}={value}" for name, value in told.items())))
        record = self._own("alarm", told.get("vm") or told.get("of") or "", detail, "refused")
        with self._state:
            self._waiting.append(replace(record, actor="unknown", role=GUEST, source=where))
            alone = len(self._waiting) == 1
        if alone:
            self._start_writing()

    def _start_writing(self) -> None:
        try:
            self._clock.start("audit", self.write_waiting)
        except RuntimeError:
            # No thread left: the next record takes it along.
            return

    def write_waiting(self) -> None:
        """Write what could not wait to be written."""
        for record in self._held_back():
            self._append(record)

    def lost(self, record: AuditRecord, error: Exception) -> None:
        """A record was not written: the log has it instead."""
        kept = clean(record)
        told = {field.name: str(getattr(kept, field.name)) for field in fields(kept) if field.name != "seq"}
        self._log.error("audit record not written", error=str(error), **told)
        with self._state:
            self.unwritten += 1

    def tidy(self) -> None:
        """Write what guests' shares held back and are due, and forget what is too old or too much; the audit says so."""
        self._end_shares()
        self.write_waiting()
        try:
            self._forget()
        except VolumeError as error:
            self._log.warning("audit not tidied", error=str(error))

    def _forget(self) -> None:
        extent = self._trail.extent()
        now = self._began + self._clock.monotonic()
        aged = min(self._trail.last_before(now - self._retention_s), extent.last - NEVER_AGED)
        upto = max(aged, extent.last - self._most)
        if upto < extent.first:
            return
        detail = f"{upto - extent.first + 1} records, {extent.first} to {upto}, by the retention of the settings"
        self._trail.cut(upto, self._own("forget-audit", "audit", detail))
        self._log.info("audit records forgotten", first=extent.first, last=upto)

    def _own(self, verb: str, target: str, detail: str, result: str = "done") -> AuditRecord:
        return AuditRecord(self._clock.wall(), SERVICE, SERVICE, SERVICE, verb, target, result, self._new_id(), detail)

    def _due(self) -> bool:
        with self._state:
            self._since_look = (self._since_look + 1) % _LOOK_AFTER
            return self._since_look == 0

    # --- shares --------------------------------------------------------------------------------------------------

    def admit(self, who: VmId | str | None, record: AuditRecord) -> bool:
        """Tell whether a record of what this machine, or who has this name, did is to be written: its share is not used up.

        One that is not is counted, and how many there were is told in a record of their own. None: the service itself.
        """
        if record.verb in self._left_out:
            return False
        if who is None:
            return True
        now, most = self._clock.monotonic(), PERSONS_RECORDS if isinstance(who, str) else GUESTS_RECORDS
        with self._state:
            if who not in self._shares and len(self._shares) >= self._machines:
                who = VmId(UUID(int=0))
            share = self._shares.get(who)
            if share is None or now - share.since >= GUESTS_TIME_S:
                self._end(who, share)
                share = self._shares[who] = _Share(now, record)
            if share.written >= most:
                share.more, share.result = share.more + 1, record.result
                return False
            share.written += 1
            return True

    def _end(self, who: VmId | str, share: _Share | None) -> None:
        if share is not None and share.more:
            first, where = share.first, share.first.source if isinstance(who, str) else source(who)
            detail = f"{share.more} more records of this actor within {GUESTS_TIME_S:.0f} s were not written"
            told = self._own("and-more", "audit", detail, share.result)
            self._waiting.append(replace(told, actor=first.actor, role=first.role, source=where))

    def _end_shares(self) -> None:
        now = self._clock.monotonic()
        with self._state:
            for who in [who for who, share in self._shares.items() if now - share.since >= GUESTS_TIME_S]:
                self._end(who, self._shares.pop(who))

    def _held_back(self) -> Sequence[AuditRecord]:
        if not self._waiting:
            return ()
        with self._state:
            waiting, self._waiting = self._waiting, []
        return waiting

    # --- reading -------------------------------------------------------------------------------------------------

    def page(self, request: QueryAudit) -> AuditPage:
        """See ``QueryAudit``."""
        _check(request)
        self.write_waiting()
        # One more than is shown: whether there is a next page.
        found = self._trail.older(_filter(request), request.before, request.limit + 1)
        extent = self._trail.extent()
        entries = [_entry(each) for each in found[: request.limit]]
        count = _that_fit([answer_size(entry) for entry in entries])
        more = count < len(found)
        missing = extent.last - extent.first + 1 - extent.count
        return AuditPage(tuple(entries[:count]), entries[count - 1].seq if more else None, extent.first, max(0, missing))

    def export(self, request: ExportAudit) -> AuditLines:
        """See ``ExportAudit``."""
        _check(request)
        self.write_waiting()
        found = self._trail.newer(_filter(request), request.after, request.limit + 1)
        lines = [exporting.line(_entry(each), request.form) for each in found[: request.limit]]
        count = _that_fit([answer_size(line) for line in lines])
        heading = exporting.heading(request.form) if request.after == 0 else None
        told = (*(() if heading is None else (heading,)), *lines[:count])
        return AuditLines(told, found[count - 1].record.seq if count < len(found) else None)


def _that_fit(sizes: Sequence[int]) -> int:
    """Return how many of the first ones fit into a frame; at least one, which always does."""
    left = _PAGE_BYTES
    for number, size in enumerate(sizes):
        left -= size
        if left < 0 and number:
            return number
    return len(sizes)


def _check(request: QueryAudit | ExportAudit) -> None:
    if not 1 <= request.limit <= MOST_LISTED:
        raise BadRequest(f"a page of the audit has 1 to {MOST_LISTED} records", remedy="ask for fewer, and page by page")
    for name in ("since", "until"):
        value = getattr(request, name)
        if value is not None and not math.isfinite(value):
            raise BadRequest(f"{name} is no time", remedy="give UTC seconds since 1970")
    for name in ("actor", "verb", "target", "result"):
        value = getattr(request, name)
        if value is not None and len(value) > _MOST_TEXT:
            raise BadRequest(f"{name} {quoted(value[:40])}... is longer than any in the audit", remedy="give less of it")
        if value is not None and not value.isprintable():
            raise BadRequest(f"{name} {quoted(value)} has characters that are not printable", remedy="leave them out")
    if request.target is not None and request.target.count("*") > _MOST_STARS:
        raise BadRequest(f"target {quoted(request.target)} has more than {_MOST_STARS} stars", remedy="use fewer of them")
    place = request.before if isinstance(request, QueryAudit) else request.after
    if place is not None and not 0 <= place < 1 << 63:
        raise BadRequest("before and after are numbers of records", remedy="go on with the next of the page before")


def _filter(request: QueryAudit | ExportAudit) -> AuditFilter:
    return AuditFilter(**{field.name: getattr(request, field.name) for field in fields(AuditFilter)})


def _entry(kept: Kept) -> AuditEntry:
    record = kept.record
    return AuditEntry(intact=kept.intact, **{field.name: getattr(record, field.name) for field in fields(record)})
