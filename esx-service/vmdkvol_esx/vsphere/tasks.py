"""Waiting for tasks: one direct read first, then one waiter for all of them, on a list view with a collector of its own.

Most tasks of ours end within milliseconds, and a direct read costs one call. For the others one thread asks the server for
changes of all tasks at once. What it hears are hints: a task's end is always read directly, whole, by who waits for it.
Whatever breaks, the view is made anew and says the state of each task again, so what was missed is seen then. The session's
own collector is never used: of two who wait on one collector, each sees half.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyVmomi import vim, vmodl

from vmdkvol.clock import Clock, Deadline, Worker
from vmdkvol.errors import Busy, HypervisorUnreachable, StillWorking, UnknownTask, VolumeError
from vmdkvol_esx.ports import Log, Progress, TaskId
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.ends import End, Seen, end_of, goes_on
from vmdkvol_esx.vsphere.faults import Failed, Kind, Meaning, Where, error_of, shortened
from vmdkvol_esx.vsphere.reading import PC, properties
from vmdkvol_esx.vsphere.session import CALL_S, Session
from vmdkvol_esx.vsphere.stub import fault_trouble
from vmdkvol_esx.vsphere.views import View, cancel, ended, view_of_tasks

# The server answers after so long if nothing changes; a change it says at once.
ROUND_S = 20
_LONG_S = ROUND_S + CALL_S
# After a round that failed: the server may be on its way back.
PAUSE_S = 1.0
# Hints may be lost, and no server promises one for a task that it forgets: then it is read again all the same.
LOOK_S = 20.0
_END = ("info.state", "info.error", "info.result")


def seen(values: dict[str, Any]) -> Seen:
    """Return what the values of a task say, in our words."""
    error = values.get("info.error")
    trouble = None if error is None else fault_trouble(error, Where.TASK)
    return Seen(values.get("info.state"), values.get("info.result"), trouble)


@dataclass(slots=True)
class _Watched:
    """A task that somebody waits for. ``looks`` counts hints that it ended or went: each waits for one read by each waiter."""

    percent: int = 0
    looks: int = 0
    waiting: int = 0


class Waiter:
    """Safe for any number of threads. Its own thread runs while somebody waits."""

    def __init__(self, session: Session[Service], clock: Clock, log: Log, look_s: float = LOOK_S) -> None:
        self._session = session
        self._clock = clock
        self._log = log
        self._look_s = look_s
        self._changed = clock.condition()
        self._watched: dict[TaskId, _Watched] = {}
        self._view: View | None = None
        self._worker: Worker | None = None
        self._closed = False

    def wait(self, task: TaskId, what: str, deadline: Deadline, progress: Progress) -> object:
        """Return the task's result when it has succeeded; raise what it failed with.

        StillWorking at the deadline, the task goes on; UnknownTask if the server does not know it (any more), and
        OutcomeUnknown if its end leaves in doubt what was done: settle by reading. Anyone may wait, again, and after
        a restart. ``what`` is for the error, such as "attaching [ds1] db.vmdk".
        """
        end = self._read(task, what, deadline) or self._watch(task, what, deadline, progress)
        if end.gone:
            raise UnknownTask(f"{shortened(what)}: task {task} is not known any more")
        if end.trouble is not None:
            raise error_of(Kind.CHANGE, end.trouble, what)
        return end.result

    def ended(self, task: TaskId, what: str, deadline: Deadline) -> bool:
        """Tell whether the task has ended, however it did, or is not known any more. ``what`` as for ``wait``."""
        return self._read(task, what, deadline) is not None

    def close(self, deadline: Deadline) -> None:
        """Let everyone who waits go, and the waiter's thread end; what it has on the server goes with the session."""
        with self._changed:
            self._closed = True
            worker = self._worker
            self._changed.notify_all()
        ended(worker, self._cancel, deadline)

    def _cancel(self) -> None:
        """End the wait on the view, which is then made anew if anybody still waits."""
        cancel(self._session, self._view, self._clock, self._log)

    def _read(self, task: TaskId, what: str, deadline: Deadline) -> End | None:
        def read(service: Service) -> Seen | None:
            try:
                found = properties(service, vim.Task, [vim.Task(task, service.stub)], _END)
            except Failed as failed:
                if failed.trouble.meaning is Meaning.GONE:
                    return None
                raise
            return seen(dict(found[task]))

        if deadline.passed:
            # Not "no time was left to ask": whoever waits is told that it goes on.
            raise StillWorking(f"{what}: task {task} has not ended, as far as is known")
        found = self._session.read(f"{what}: reading task {task}", read, deadline)
        return End(gone=True) if found is None else end_of(found)

    def _watch(self, task: TaskId, what: str, deadline: Deadline, progress: Progress) -> End:
        with self._changed:
            # First, since it may raise: nobody would take the task out again. The thread waits for this lock.
            self._ensure_worker()
            watched = self._watched.setdefault(task, _Watched())
            watched.waiting += 1
            view, looked = self._view, watched.looks
        try:
            self._add(view, task, deadline)
            # It may have ended before it was in the view of somebody who came first.
            end = self._read(task, what, deadline)
            while end is None:
                looked = self._next_look(task, what, deadline, progress, looked)
                end = self._read(task, what, deadline)
            return end
        finally:
            with self._changed:
                watched.waiting -= 1
                if not watched.waiting:
                    self._watched.pop(task, None)

    def _next_look(self, task: TaskId, what: str, deadline: Deadline, progress: Progress, looked: int) -> int:
        """Return the number of hints when there are more than ``looked``, or it is time to look anyway; tell ``progress``."""
        told = -1
        until = deadline.at_most(self._look_s)
        watched = self._watched[task]
        while True:
            with self._changed:
                if watched.looks > looked:
                    return watched.looks
                if self._closed:
                    raise HypervisorUnreachable(f"{what}: the service stops; the task goes on")
                if deadline.passed:
                    raise StillWorking(f"{what}: task {task} has not ended")
                if until.passed:
                    return watched.looks
                percent = watched.percent
                if percent == told:
                    self._changed.wait(until.left_s)
                    continue
            told = percent
            # Without the lock: whoever hears it may take time.
            progress(percent)

    def _ensure_worker(self) -> None:
        """Start the waiter's thread unless it runs; the lock is held."""
        if self._worker is None:
            try:
                self._worker = self._clock.start("vsphere-tasks", self._work)
            except RuntimeError as error:
                raise Busy(f"no thread can be started to wait for tasks: {error}") from error

    def _add(self, view: View | None, task: TaskId, deadline: Deadline) -> None:
        """Put the task into the view that is being waited on, so that it is not first seen at the next round."""
        if view is None:
            return

        def add(service: Service) -> None:
            if service is view.service:
                self._list(view, task)

        try:
            self._session.read(f"watching task {task}", add, deadline.at_most(CALL_S))
        except VolumeError as error:
            # The view is of a login that has ended, or the server is away: the next view has every task in it.
            self._log.info("task not added", task=task, why=str(error))
            self._cancel()

    # --- the waiter's thread ---------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._changed:
                if self._closed or not self._watched:
                    self._worker = None
                    return
            try:
                self._session.read("watching tasks", self._round, Deadline.after(self._clock, _LONG_S), limit_s=_LONG_S)
            except Exception as error:  # noqa: BLE001 - top of a thread: nobody starts it again while it counts as running
                self._view = None
                if not self._closed:
                    self._log.info("tasks not watched", why=str(error), kind=type(error).__name__)
                self._pause()

    def _pause(self) -> None:
        with self._changed:
            if not self._closed:
                self._changed.wait(PAUSE_S)

    def _round(self, service: Service) -> None:
        """Bring the view up to date, wait for changes, and hand them out. Whatever fails, the next view is a new one."""
        view, self._view = self._view, None
        if view is None or view.service is not service:
            view = view_of_tasks(service)
        view.lacking.clear()
        while not self._shown(view):
            self._sync(view)
        try:
            update = view.collector.WaitForUpdatesEx(view.version, PC.WaitOptions(maxWaitSeconds=ROUND_S))
            if update is not None:
                view.version = update.version
                self._hand_out(view, update)
        except Failed:
            self._view = None
            raise

    def _shown(self, view: View) -> bool:
        """Let others add to the view, if it has every task that somebody waits for; else it is to be brought up to date."""
        with self._changed:
            self._view = view if (view.tasks | view.lacking) >= self._watched.keys() else None
            return self._view is not None

    def _sync(self, view: View) -> None:
        with self._changed:
            old = view.tasks - self._watched.keys()
            new = self._watched.keys() - view.tasks - view.lacking
            view.tasks -= old
        if old:
            view.listed.ModifyListView(None, [vim.Task(each, view.service.stub) for each in sorted(old)])
        # One by one: some servers refuse all for the sake of one that is gone.
        for each in sorted(new):
            self._list(view, each)

    def _list(self, view: View, task: TaskId) -> None:
        """Put the task into the view; if the server does not know it, whoever waits for it is to look."""
        with self._changed:
            if task in view.tasks:
                return
            view.tasks.add(task)
        try:
            lacks = bool(view.listed.ModifyListView([vim.Task(task, view.service.stub)], None))
        except Failed as failed:
            with self._changed:
                view.tasks.discard(task)
            if failed.trouble.meaning is not Meaning.GONE:
                raise
            lacks = True
        if lacks:
            with self._changed:
                view.tasks.discard(task)
                view.lacking.add(task)
            self._look(task)

    def _look(self, task: TaskId) -> None:
        with self._changed:
            if task in self._watched:
                self._watched[task].looks += 1
            self._changed.notify_all()

    def _hand_out(self, view: View, update: Any) -> None:
        for each in (each for found in update.filterSet for each in found.objectSet):
            for missing in each.missingSet:
                if not isinstance(missing.fault, vmodl.query.InvalidProperty):
                    # The session has ended, say: nothing of this update is to be believed.
                    raise Failed(fault_trouble(missing.fault))
        for lacking in (each for found in update.filterSet for each in found.missingSet):
            self._look(TaskId(lacking.obj._moId))
        for each in (each for found in update.filterSet for each in found.objectSet):
            task = TaskId(each.obj._moId)
            values = {change.name: change.val for change in each.changeSet}
            if each.kind == "leave":
                with self._changed:
                    view.tasks.discard(task)
            self._hint(task, values, left=each.kind == "leave")

    def _hint(self, task: TaskId, values: dict[str, Any], *, left: bool) -> None:
        with self._changed:
            watched = self._watched.get(task)
            if watched is None:
                return
            watched.percent = values.get("info.progress") or watched.percent
            if left or goes_on(values.get("info.state")) is False:
                watched.looks += 1
            self._changed.notify_all()
