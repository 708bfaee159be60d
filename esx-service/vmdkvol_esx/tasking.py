"""Work under way as an administrator sees it. It is the journal's: whatever restarts, an open intent is there until its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from vmdkvol.admin_errors import NotCancellable, TaskNotFound
from vmdkvol.clock import Deadline
from vmdkvol.errors import BadRequest, StillWorking
from vmdkvol.messages import Call, Request
from vmdkvol.orders import Outcome, Plan, Step
from vmdkvol.task_messages import CancelTask, Failure, GetTask, ListTasks, TaskInfo, Tasks, TaskState
from vmdkvol_esx import begun
from vmdkvol_esx.begun import ADMINISTRATOR
from vmdkvol_esx.glance import Glance
from vmdkvol_esx.ledger import Ended, Ledger
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.paths import name_in
from vmdkvol_esx.ports import CloneDisk, CreateDisk, TaskId
from vmdkvol_esx.records import Intent
from vmdkvol_esx.underway import Underway, doing

MOST_LISTED = 200
# How often it is looked whether cancelled work has ended.
_LOOK_S = 0.1


class Tasking:
    """Answers ListTasks, GetTask and CancelTask, on any thread."""

    def __init__(self, parts: Parts, ledger: Ledger, underway: Underway, glance: Glance) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._clock = parts.clock
        self._log = parts.log
        self._ledger = ledger
        self._underway = underway
        self._glance = glance

    def rows(self) -> Mapping[type[Request[Any]], Callable[[Any, Call], Any]]:
        """Return what each message is answered with."""
        return {
            ListTasks: lambda request, _: self.list(request),
            GetTask: lambda request, _: self.get(request),
            CancelTask: self.cancel,
        }

    def list(self, request: ListTasks) -> Tasks:
        """See ``ListTasks``."""
        if not 1 <= request.limit <= MOST_LISTED:
            raise BadRequest(f"a list has 1 to {MOST_LISTED} pieces of work of each kind", remedy="ask for fewer")
        found = [each for each in self._store.open_intents() if request.volume in (None, each.volume)]
        newest = sorted(found, key=lambda intent: -intent.opened_at)[: request.limit]
        ended = self._ledger.ended(request.volume, request.limit) if request.ended else ()
        return Tasks((*map(self._open, newest), *map(self._ended, ended)))

    def get(self, request: GetTask) -> TaskInfo:
        """See ``GetTask``."""
        found = self._ledger.work(request.task)
        if found is None:
            raise TaskNotFound(f"there is no work with the id {request.task}")
        return self._open(found) if isinstance(found, Intent) else self._ended(found)

    def cancel(self, request: CancelTask, call: Call) -> Outcome:
        """See ``CancelTask``. What was undone already is a success.

        Only the making of a volume: nobody uses it yet, and it is undone as one that failed. Whatever else is under way ends as
        a whole or not at all.
        """
        found, task = self._ledger.work(request.task), self.get(GetTask(task=request.task))
        subject = str(task.id)
        if task.state is TaskState.UNDONE:
            return Outcome(Plan(), not request.dry_run, subject)
        if task.state is TaskState.DONE or not isinstance(found, Intent):
            raise NotCancellable(f"the work {task.id} on volume {task.volume_name} has ended", remedy="undo it by an order")
        making = isinstance(found.change, CreateDisk | CloneDisk)
        if not making or found.task is None or not self._hypervisor.cancel(TaskId(found.task), only_ask=request.dry_run):
            raise NotCancellable(
                f"the {task.doing} of volume {task.volume_name} cannot be stopped: it ends as a whole or not at all",
                remedy="wait for its end, then remove the volume" if making else "wait for its end",
                percent=task.percent,
            )
        plan = Plan((Step("cancel-task", task.volume_name or str(task.volume), f"{task.doing} under way", "not made"),))
        if request.dry_run:
            return Outcome(plan, False, subject)
        self._log.warning("cancelled", volume=task.volume_name, task=subject, by=request.by.name)
        return Outcome(plan, self._until_undone(request, call.deadline), subject)

    def _until_undone(self, request: CancelTask, deadline: Deadline) -> bool:
        """Wait for the end; NotCancellable if it came before the order, StillWorking if it does not come in time."""
        while (task := self.get(GetTask(task=request.task))).state is TaskState.RUNNING:
            if deadline.passed:
                raise StillWorking(f"the {task.doing} of volume {task.volume_name} was cancelled and has not ended yet")
            self._clock.sleep(min(_LOOK_S, deadline.left_s))
        if task.state is TaskState.DONE:
            raise NotCancellable(f"volume {task.volume_name} was made before it could be stopped", remedy="remove it")
        return True

    # --- inside --------------------------------------------------------------------------------------------------

    def _open(self, intent: Intent) -> TaskInfo:
        work = self._underway.of(intent.volume)
        told = self._info(intent, TaskState.RUNNING)
        return told if work is None else replace(told, percent=work.percent, left_s=work.left_s)

    def _ended(self, ended: Ended) -> TaskInfo:
        state = TaskState.DONE if ended.done else TaskState.UNDONE
        error, name = (None, None) if ended.done else self._underway.failure(ended.intent.id)
        failure = None if error is None else Failure(error.code, error.text, error.remedy)
        told = self._info(ended.intent, state)
        # Of one that was not made there is no record: then what its file was to be called, by which people know it again.
        name = told.volume_name or name or name_in(ended.intent.change.disk.path.path)
        return replace(told, volume_name=name, ended_at=ended.at, failure=failure)

    def _info(self, intent: Intent, state: TaskState) -> TaskInfo:
        record = self._store.volume(intent.volume) or intent.before
        return TaskInfo(
            id=intent.id,
            volume=intent.volume,
            volume_name=None if record is None else record.name,
            doing=doing(intent.change),
            state=state,
            since=intent.opened_at,
            by=self._ordered_by(intent) if intent.caller is None else self._glance.name(intent.caller),
        )

    def _ordered_by(self, intent: Intent) -> str | None:
        stored = None if intent.request is None else self._store.stored_answer(ADMINISTRATOR, begun.key(intent.request))
        return None if stored is None else begun.who(stored)
