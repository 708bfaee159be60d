"""What the waiter for tasks has on the server: a list view of tasks, with a collector and a filter of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pyVmomi import vim

from vmdkvol_esx.ports import TaskId
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.reading import PC

# What changes while a task goes on, and that it ended. Its error and result are read by who waits, in whole.
HINTS = ("info.state", "info.progress")


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


def open_view(service: Service) -> View:
    """Return a view of no task; for ``session.read``."""
    collector = service.content.propertyCollector.CreatePropertyCollector()
    listed = service.content.viewManager.CreateListView(None)
    inside = PC.TraversalSpec(name="tasks", type=vim.view.ListView, path="view", skip=False)
    collector.CreateFilter(
        PC.FilterSpec(
            objectSet=[PC.ObjectSpec(obj=listed, skip=True, selectSet=[inside])],
            propSet=[PC.PropertySpec(type=vim.Task, pathSet=list(HINTS))],
            reportMissingObjectsInResults=True,
        ),
        False,
    )
    view = View(service, collector, listed)
    # The first answer begins the watch: what changed beside it is in no later one everywhere. So it is of an empty view.
    update = collector.WaitForUpdatesEx("", PC.WaitOptions(maxWaitSeconds=0))
    if update is not None:
        view.version = update.version
    return view
