"""Changes that take longer than a call: a thread for each, a task id to wait for it, an end when the service stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from vmdkvol.clock import Clock, Deadline, Worker
from vmdkvol.errors import Busy, Conflict, HypervisorUnreachable, Internal, StillWorking, UnknownTask, VolumeError, VolumeInUse
from vmdkvol_esx.local.extents import Step
from vmdkvol_esx.ports import Change, CloneDisk, CreateDisk, Progress, TaskId

# Results that nobody asked for are kept so long; a later wait is settled by reading.
_KEPT = 1000


@dataclass(slots=True)
class _Task:
    change: Change
    total: int
    # What it may write in a second; 0 is no limit.
    pace: int
    began: float
    worker: Worker | None = None
    percent: int = 0
    done: bool = False
    cancelled: bool = False
    error: VolumeError | None = None


class Tasks:
    """Tasks of this process. After a restart none is known: what they made is seen on the datastore."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = clock.condition()
        self._tasks: dict[TaskId, _Task] = {}
        self._stopping = False

    def start(self, change: Change, operation: UUID, total: int, work: Callable[[Step], None], pace: int = 0) -> TaskId:
        """Begin ``work`` beside and return its id; Busy if a task works on the disk. ``total``: what its steps count to.

        ``pace``: what they may count in a second; 0 is no limit.
        """
        with self._changed:
            if self._stopping:
                raise HypervisorUnreachable("the service stops; nothing was started")
            self._check(change)
            task = _Task(change, max(1, total), pace, self._clock.monotonic())
            # Never an id of an earlier process: operations are made once.
            task_id = TaskId(str(operation))
            self._tasks[task_id] = task
            self._forget_old()
        try:
            task.worker = self._clock.start(f"disk-{change.disk.uuid}", lambda: self._run(task, work))
        except RuntimeError as error:
            with self._changed:
                del self._tasks[task_id]
            raise Busy(f"no thread for {change.disk.path}: {error}") from error
        return task_id

    def running(self, change: Change) -> TaskId | None:
        """Return the task that does just this."""
        with self._changed:
            same = (task_id for task_id, task in self._tasks.items() if not task.done and task.change == change)
            return next(same, None)

    def check(self, change: Change) -> None:
        """Raise Busy if a task works on the disk of ``change``, VolumeInUse if one reads it."""
        with self._changed:
            self._check(change)

    def wait(self, task_id: TaskId, deadline: Deadline, progress: Progress) -> None:
        """See ``Hypervisor.wait``."""
        told = -1
        while True:
            with self._changed:
                task = self._tasks.get(task_id)
                if task is None:
                    raise UnknownTask(f"task {task_id} is not known any more")
                if not task.done and task.percent == told:
                    self._changed.wait(deadline.left_s)
                done, percent = task.done, task.percent
            # Outside of the lock: it writes to the caller's connection.
            if percent != told:
                told = percent
                progress(percent)
            if done:
                if task.error is not None:
                    raise task.error
                return
            if deadline.passed:
                raise StillWorking(f"{type(task.change).__name__} of {task.change.disk.path} has not ended")

    def cancel(self, task_id: TaskId, *, only_ask: bool) -> bool:
        """See ``Hypervisor.cancel``. It ends at its next step, and takes away itself what it had begun."""
        with self._changed:
            task = self._tasks.get(task_id)
            if task is None or task.done or not isinstance(task.change, CreateDisk | CloneDisk):
                return False
            if not only_ask:
                task.cancelled = True
                self._changed.notify_all()
            return True

    def stop(self, deadline: Deadline) -> None:
        """End all tasks at their next step, and wait for that. What they had begun is taken away by themselves."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            workers = [task.worker for task in self._tasks.values() if task.worker is not None]
        for worker in workers:
            worker.join(deadline.left_s)

    def _check(self, change: Change) -> None:
        for task in self._tasks.values():
            if task.done:
                continue
            if task.change.disk.path == change.disk.path:
                raise Busy(f"{type(task.change).__name__} of {change.disk.path} has not ended")
            if isinstance(task.change, CloneDisk) and task.change.source.path == change.disk.path:
                raise VolumeInUse(f"{change.disk.path} is being copied to {task.change.disk.path}", remedy="try again later")

    def _forget_old(self) -> None:
        ended = [task_id for task_id, task in self._tasks.items() if task.done]
        for task_id in ended[: max(0, len(self._tasks) - _KEPT)]:
            del self._tasks[task_id]

    def _run(self, task: _Task, work: Callable[[Step], None]) -> None:
        error: VolumeError | None = None
        try:
            work(partial(self._step, task))
        except VolumeError as failure:
            error = failure
        except Exception as bug:  # noqa: BLE001 - the top of a thread: every waiter gets it, none hangs
            error = Internal(f"{type(task.change).__name__} of {task.change.disk.path}: {bug!r}")
            error.__cause__ = bug
        with self._changed:
            task.error = error
            task.percent = task.percent if error else 100
            task.done = True
            self._changed.notify_all()

    def _step(self, task: _Task, done: int) -> None:
        percent = min(100 * done // task.total, 99)
        with self._changed:
            if percent != task.percent:
                task.percent = percent
                self._changed.notify_all()
            due = Deadline(self._clock, task.began + (done / task.pace if task.pace else 0.0))
            while not self._stopping and not task.cancelled and not due.passed:
                self._changed.wait(due.left_s)
            if task.cancelled:
                raise Conflict(
                    f"the making of {task.change.disk.path} was cancelled by an administrator",
                    remedy="create it again if it is wanted after all",
                    cancelled=True,
                )
            if self._stopping:
                raise HypervisorUnreachable(f"the service stops; nothing of {task.change.disk.path} was made")
