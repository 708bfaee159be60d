"""Changes as intents: written down, carried out, closed; and settled by looking after a crash or a lost answer.

Nothing else in the service submits a change. Between ``begin`` and the end of the work the intent is open in the store,
so that whatever kills the process leaves a line that says what to look for (faults 5). All of it runs in the volume's lane.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, assert_never
from uuid import UUID

from vmdkvol.clock import Deadline
from vmdkvol.errors import Busy, OutcomeUnknown, StillWorking, TruthUnknown, VolumeError
from vmdkvol.messages import untold
from vmdkvol.names import DatastoreName
from vmdkvol.points import Point
from vmdkvol.volume import VmId, VolumeId
from vmdkvol_esx import sidecar
from vmdkvol_esx.begun import ADMINISTRATOR, key
from vmdkvol_esx.comparing import Comparing
from vmdkvol_esx.deeds import UNDONE, deed, doing, named
from vmdkvol_esx.glance import Glance
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.paths import copy_path
from vmdkvol_esx.pending_policies import PendingPolicies
from vmdkvol_esx.ports import AttachDisk, Change, ChangePolicy, CloneDisk, CreateDisk, DeleteDisk, DetachDisk, GrowDisk, TaskId
from vmdkvol_esx.records import AuditRecord, Intent, StoredAnswer, VolumeRecord
from vmdkvol_esx.reply import Answered
from vmdkvol_esx.settling import Step, Told, decide, told_by, when_done
from vmdkvol_esx.sighting import Sighting
from vmdkvol_esx.underway import Underway

_BUSY_S = 0.5  # How often a disk whose earlier change has not ended is tried again.
SETTLE = ("settle",)  # Equal work of whoever settles a volume's open intent: one follows its task, the others join.
# What taking back a create or an attach may take; it is the end of a piece of work that had its own time.
_UNDO_S = 60.0


class Journal:
    """Carries out intents, and brings those that a crash left open to one of their two ends."""

    def __init__(self, parts: Parts, underway: Underway, glance: Glance) -> None:
        self._parts = parts
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._clock = parts.clock
        self._at = parts.at
        self._log = parts.log
        self._sighting = Sighting(parts)
        self._comparing = Comparing(parts)
        self._pending = PendingPolicies(parts)
        self._underway = underway
        self._glance = glance
        # Of the work under way in this process, by intent.
        self._answered: dict[UUID, Answered[Any]] = {}

    def begin(
        self,
        change: Change,
        record: VolumeRecord,
        caller: VmId | None,
        *,
        before: VolumeRecord | None,
        source: VolumeId | None = None,
        home: DatastoreName | None = None,
        over_quota: bool = False,
    ) -> Intent:
        """Write down that ``change`` is going to happen, with ``record`` as it stands meanwhile; raises as ``Store.begin``."""
        request, now = self._parts.request(), self._clock.wall()
        intent = Intent(self._parts.operation(request), record.id, change, caller, now, source, before, request=request)
        self._store.begin(intent, record, home=home, over_quota=over_quota)
        if before is None:
            self._parts.doubts.compared(record.id)
        return intent

    def carry_out(
        self, intent: Intent, record: VolumeRecord, deadline: Deadline, answered: Answered[Any] | None = None
    ) -> None:
        """Do what the intent says and close it; ``record`` is the one that ``begin`` stored.

        ``answered`` is the call that waits for it: its answer is kept in the transaction that closes the intent.
        Raises what the hypervisor raised, and then the change is undone and the intent closed, or it stays open for
        ``settle``: a removal that failed midway, a running task (StillWorking), or what could not be read.
        """
        if answered is not None:
            self._answered[intent.id] = answered
        try:
            self._send(intent, record, intent.id, deadline)
        finally:
            self._answered.pop(intent.id, None)

    def abandon(self, intent: Intent, record: VolumeRecord, error: VolumeError) -> None:
        """Close work of which nothing was started, for this ``error``: the record is as it was, or away."""
        self._underway.failed(intent.id, error, record.name)
        self._abandon(intent)

    def clear(self, volume: VolumeId, deadline: Deadline) -> None:
        """Afterwards the volume has no open intent: an older one was settled. Raises Unavailable if it cannot be yet."""
        intent = self._store.open_intent(volume)
        if intent is not None:
            self.settle(intent, deadline)

    def settle(self, intent: Intent, deadline: Deadline) -> None:
        """Bring an open intent to its end by looking at what happened.

        Raises, and leaves it open: StillWorking (its task runs), TruthUnknown (not seen), what an undo or a removal meets.
        """
        while True:
            try:
                return self._settle(intent, deadline)
            except Busy:
                # A change of this disk runs whose task id was lost: it is most likely this one. Its end is looked at anew.
                if deadline.passed:
                    raise
                self._clock.sleep(min(_BUSY_S, deadline.left_s))

    def write_sidecar(self, record: VolumeRecord) -> None:
        """Put the second copy of the record where it belongs (``paths.copy_path``); durable on return.

        MetadataDamaged, and nothing is written, if the one that lies there knows more than this record.
        """
        self._comparing.check(record)
        self._hypervisor.write_sidecar(copy_path(record), sidecar.encode(record))
        self._at(Point.SIDECAR_WRITTEN)

    # --- the change ----------------------------------------------------------------------------------------------

    def _settle(self, intent: Intent, deadline: Deadline) -> None:
        record = self._store.volume(intent.volume)
        if record is None:
            self._store.abandon(intent.id, None)
            self._underway.ended(intent.volume)
            return
        if isinstance(intent.change, GrowDisk):
            self._underway.started(intent, record)
        error = self._ask_task(intent, record, deadline)
        told, (seen, why) = told_by(intent.task, error), self._sighting.look(intent.change, record)
        step = decide(intent.change, told, seen)
        self._log.info("settling", **named(intent, record), told=told, seen=seen, step=step)
        match step:
            case Step.FINISH:
                self._complete(intent, record)
                self._finish(intent, record)
            case Step.UNDO:
                if error is not None and self._underway.failure(intent.id)[0] is None:
                    self._underway.failed(intent.id, error, record.name)
                self._undo(intent, told)
            case Step.GO_ON:
                # An old database may have begun to delete what was taken out of the trash since, or to take a disk off a
                # machine that has it anew: nothing of a volume in doubt is sent once more.
                self._comparing.check(intent.before or record)
                self._go_on(intent, record, deadline)
            case Step.WAIT:
                raise StillWorking(f"{doing(intent, record)} has not ended")
            case Step.ASK:
                cause, remedy = (f"the disk is {seen}", None) if why is None else (why.text, why.remedy)
                raise TruthUnknown(f"whether {doing(intent, record)} was carried out cannot be seen: {cause}", remedy=remedy)
            case _:
                assert_never(step)

    def _go_on(self, intent: Intent, record: VolumeRecord, deadline: Deadline) -> None:
        operation = self._parts.operation(intent.request)
        if not isinstance(intent.change, ChangePolicy) or intent.before is None:
            return self._send(intent, record, operation, deadline)
        # The disk may be under either policy. If none is laid on now, that of before waits for a look or the next attach.
        waits = replace(intent, before=replace(intent.before, policy_pending=True))
        try:
            self._send(waits, record, operation, deadline)
        except VolumeError as error:
            if self._store.open_intent(record.id) is not None:
                raise
            # Who waits for the volume goes on: no volume is kept from its machines for a policy.
            self._log.warning("its policy waits", **named(intent, record), error=str(error))

    def _send(self, intent: Intent, record: VolumeRecord, operation: UUID, deadline: Deadline) -> None:
        try:
            task = self._submit(intent.change, operation, deadline)
        except OutcomeUnknown as error:
            return self._resolve(intent, record, Told.NOTHING, error)
        except VolumeError as error:
            # Nothing was started, so nothing is undone: what lies at the path may be another's. A removal goes back into
            # the trash, for housekeeping: open, it would stop the very Detach that it waits for.
            self.abandon(intent, record, error)
            raise
        self._at(Point.CHANGE_SUBMITTED)
        if task is not None:
            self._store.note_task(intent.id, task)
            self._at(Point.CHANGE_NOTED)
            try:
                self._hypervisor.wait(task, deadline, self._underway.started(intent, record))
            except VolumeError as error:
                return self._resolve(intent, record, told_by(task, error), error)
        return self._finish(intent, record)

    def _submit(self, change: Change, operation: UUID, deadline: Deadline) -> TaskId | None:
        """As ``Hypervisor.submit``, once the disk's earlier change has ended; Busy says that nothing was started."""
        while True:
            try:
                return self._hypervisor.submit(change, operation)
            except Busy:
                if deadline.passed:
                    raise
                self._clock.sleep(min(_BUSY_S, deadline.left_s))

    def _resolve(self, intent: Intent, record: VolumeRecord, told: Told, error: VolumeError) -> None:
        """Return if the change has happened all the same, else raise ``error``, undone where that can be done now."""
        step = decide(intent.change, told, self._sighting.look(intent.change, record)[0])
        self._log.warning("change failed", **named(intent, record), told=told, step=step, error=str(error))
        if step is Step.FINISH:
            return self._finish(intent, record)
        if step is Step.UNDO:
            self._underway.failed(intent.id, error, record.name)
            try:
                self._undo(intent, told)
            except VolumeError as failed:
                # The first error is the one to report; the intent is open, so this is tried again.
                self._log.warning("undo failed", **named(intent, record), error=str(failed))
        raise error

    def _finish(self, intent: Intent, record: VolumeRecord) -> None:
        self._at(Point.CHANGE_DONE)
        self._glance.changed(intent.change)
        done = self._pending.after(intent.change, when_done(intent.change, record))
        answered = self._answered.get(intent.id)
        answer = None if answered is None else self._answer(answered, intent, done or record)
        ended = self._store.finish(intent.id, done, answer, self._deed(intent, record))
        if answered is not None:
            answered.reply.kept = ended and answer is not None
        self._underway.ended(record.id)
        self._at(Point.CHANGE_FINISHED)

    def _deed(self, intent: Intent, record: VolumeRecord) -> AuditRecord | None:
        name = "" if intent.caller is None else self._glance.known_name(intent.caller)
        told = deed(intent, record, name, self._clock.wall())
        return told if self._parts.admit(intent.caller, told) else None

    def _answer(self, answered: Answered[Any], intent: Intent, done: VolumeRecord) -> StoredAnswer | None:
        try:
            return answered.stored(done)
        except VolumeError as error:
            # The change is done and is closed all the same; whoever asked for it looks again.
            self._log.warning("answer not known yet", **named(intent, done), error=str(error))
            return None

    def _complete(self, intent: Intent, record: VolumeRecord) -> None:
        """A disk that has grown may have been left before its machine's device followed: the same again, or the next attach."""
        if isinstance(intent.change, GrowDisk) and intent.change.vm is not None:
            try:
                self._do(intent.change, intent)
            except VolumeError as error:
                self._log.warning("device did not follow", **named(intent, record), error=str(error))

    def _abandon(self, intent: Intent) -> None:
        self._glance.changed(intent.change)
        self._store.abandon(intent.id, intent.before, self._misdeed(intent))
        self._underway.ended(intent.volume)

    def _misdeed(self, intent: Intent) -> AuditRecord | None:
        """Of what an administrator ordered; a machine's call that fails is told where it is refused (``witness``)."""
        record = self._store.volume(intent.volume)
        ordered = None if intent.request is None else self._store.stored_answer(ADMINISTRATOR, key(intent.request))
        if record is None or ordered is None or intent.caller is not None:
            return None
        error = self._underway.failure(intent.id)[0]
        told = deed(intent, record, "", self._clock.wall(), UNDONE if error is None else error.code)
        return told if self._parts.admit(None, told) else None

    def _undo(self, intent: Intent, told: Told) -> None:
        """Afterwards nothing is left of the change, and the record is as it was before, or away.

        The generation goes back too: nobody was told the raised one, as ``list_attached`` tells the one before it.
        """
        if isinstance(intent.change, CreateDisk | CloneDisk):
            if (record := self._store.volume(intent.volume)) is not None:
                # An old database may be about to make what was made since, and has somebody's data.
                self._comparing.check(record)
            self._do(DeleteDisk(intent.change.disk), intent)
        elif isinstance(intent.change, AttachDisk) and told is Told.NOTHING:
            # It may be on its way, with its task id lost: seen on no VM, the disk would come to this one a moment after
            # it was given to another. A detach is done after it, or finds nothing to do.
            self._do(DetachDisk(intent.change.vm, intent.change.disk), intent)
        self._abandon(intent)

    def _do(self, change: DeleteDisk | DetachDisk | GrowDisk, intent: Intent) -> None:
        deadline = Deadline.after(self._clock, _UNDO_S)
        task = self._hypervisor.submit(change, self._parts.operation(intent.request))
        if task is not None:
            self._hypervisor.wait(task, deadline, untold)

    # --- looking -------------------------------------------------------------------------------------------------

    def _ask_task(self, intent: Intent, record: VolumeRecord, deadline: Deadline) -> VolumeError | None:
        if intent.task is not None:
            try:
                self._hypervisor.wait(TaskId(intent.task), deadline, self._underway.started(intent, record))
            except VolumeError as error:
                return error
        return None
