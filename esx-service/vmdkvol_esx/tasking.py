"""Work under way as an administrator sees it. It is the journal's: whatever restarts, an open intent is there until its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from vmdkvol.admin_errors import NotCancellable, TaskNotFound
from vmdkvol.errors import BadRequest
from vmdkvol.messages import Call, Request
from vmdkvol.orders import Outcome
from vmdkvol.task_messages import CancelTask, GetTask, ListTasks, TaskInfo, Tasks, TaskState
from vmdkvol_esx.glance import Glance
from vmdkvol_esx.ledger import Ended, Ledger
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.ports import CloneDisk, CreateDisk
from vmdkvol_esx.records import Intent
from vmdkvol_esx.underway import Underway, doing

MOST_LISTED = 200


class Tasking:
    """Answers ListTasks, GetTask and CancelTask, on any thread."""

    def __init__(self, parts: Parts, ledger: Ledger, underway: Underway, glance: Glance) -> None:
        self._store = parts.store
        self._ledger = ledger
        self._underway = underway
        self._glance = glance

    def rows(self) -> Mapping[type[Request[Any]], Callable[[Any, Call], Any]]:
        """Return what each message is answered with."""
        return {
            ListTasks: lambda request, _: self.list(request),
            GetTask: lambda request, _: self.get(request),
            CancelTask: lambda request, _: self.cancel(request),
        }

    def list(self, request: ListTasks) -> Tasks:
        """See ``ListTasks``."""
        if not 1 <= request.limit <= MOST_LISTED:
            raise BadRequest(f"a list has 1 to {MOST_LISTED} pieces of work of each kind")
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

    def cancel(self, request: CancelTask) -> Outcome:
        """Raise why the work goes on to its end: no hypervisor that this service works with can take back half a change.

        The reason is told with what undoes it afterwards.
        """
        task = self.get(GetTask(task=request.task))
        if task.state is not TaskState.RUNNING:
            raise NotCancellable(f"the work {task.id} on volume {task.volume_name} has ended", remedy="undo it by an order")
        found = self._ledger.work(request.task)
        made = isinstance(found, Intent) and isinstance(found.change, CreateDisk | CloneDisk)
        raise NotCancellable(
            f"the {task.doing} of volume {task.volume_name} cannot be stopped: it ends as a whole or not at all",
            remedy="wait for its end, then remove the volume" if made else "wait for its end",
            percent=task.percent,
        )

    # --- inside --------------------------------------------------------------------------------------------------

    def _open(self, intent: Intent) -> TaskInfo:
        work = self._underway.of(intent.volume)
        told = self._info(intent, TaskState.RUNNING)
        return told if work is None else replace(told, percent=work.percent, left_s=work.left_s)

    def _ended(self, ended: Ended) -> TaskInfo:
        state = TaskState.DONE if ended.done else TaskState.UNDONE
        return replace(self._info(ended.intent, state), ended_at=ended.at)

    def _info(self, intent: Intent, state: TaskState) -> TaskInfo:
        record = self._store.volume(intent.volume) or intent.before
        return TaskInfo(
            id=intent.id,
            volume=intent.volume,
            volume_name=None if record is None else record.name,
            doing=doing(intent.change),
            state=state,
            since=intent.opened_at,
            by=None if intent.caller is None else self._glance.name(intent.caller),
        )
