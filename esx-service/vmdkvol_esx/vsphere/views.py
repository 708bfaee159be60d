"""What the waiter for tasks and the watch of machines wait on: a view on the server, with a collector of its own.

Of two who wait on one collector, each hears half (docs/decisions/0027).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyVmomi import vim

from vmdkvol.clock import Clock, Deadline, Worker
from vmdkvol.errors import VolumeError
from vmdkvol_esx.ports import Log, TaskId
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.reading import PC
from vmdkvol_esx.vsphere.session import Session

# What changes while a task goes on, and that it ended. Its error and result are read by who waits, in whole.
HINTS = ("info.state", "info.progress")
_STATES = ("runtime.powerState", "runtime.connectionState")
_CANCEL_S = 1.0


@dataclass(slots=True)
class View:
    """It goes with its login. ``tasks``: those that were put into it."""

    service: Service
    collector: Any
    listed: Any
    version: str = ""
    tasks: set[TaskId] = field(default_factory=set)
    # Asked for in this round, and not known to the server.
    lacking: set[TaskId] = field(default_factory=set)


def view_of_tasks(service: Service) -> View:
    """Return a view of no task; for ``session.read``."""
    return _opened(service, service.content.viewManager.CreateListView(None), vim.Task, HINTS)


def view_of_machines(service: Service) -> View:
    """Return a view of all machines, as they are now; for ``session.read``."""
    content = service.content
    machines = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], True)
    return _opened(service, machines, vim.VirtualMachine, _STATES)


def _opened(service: Service, listed: Any, kind: Any, paths: Sequence[str]) -> View:
    collector = service.content.propertyCollector.CreatePropertyCollector()
    inside = PC.TraversalSpec(name="inside", type=type(listed), path="view", skip=False)
    collector.CreateFilter(
        PC.FilterSpec(
            objectSet=[PC.ObjectSpec(obj=listed, skip=True, selectSet=[inside])],
            propSet=[PC.PropertySpec(type=kind, pathSet=list(paths))],
            reportMissingObjectsInResults=kind is vim.Task,
        ),
        False,
    )
    # The first answer begins the watch: what changed beside it is in no later one everywhere. None if nothing is in the view.
    update = collector.WaitForUpdatesEx("", PC.WaitOptions(maxWaitSeconds=0))
    return View(service, collector, listed, "" if update is None else update.version)


def cancel(session: Session[Service], view: View | None, clock: Clock, log: Log) -> None:
    """End the wait on the view, if there is one."""
    if view is None:
        return

    def call(service: Service) -> None:
        if service is view.service:
            view.collector.CancelWaitForUpdates()

    try:
        session.read("ending a wait for changes", call, Deadline.after(clock, _CANCEL_S))
    except VolumeError as error:
        log.info("wait not ended", why=str(error))


def ended(worker: Worker | None, cancel: Callable[[], None], deadline: Deadline) -> bool:
    """Let the thread end that waits on a view, and was told to end; tell whether it has, by the deadline."""
    while worker is not None and worker.is_alive() and not deadline.passed:
        # Again and again: one that comes before the wait has begun ends nothing.
        cancel()
        worker.join(min(0.5, deadline.left_s))
    return worker is None or not worker.is_alive()
