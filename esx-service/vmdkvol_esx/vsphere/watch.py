"""Hears when a machine is switched on or off, loses its host, or is gone: hints to look, on which nothing depends.

One thread, on a container view of all machines with a collector of its own: of two who wait on one collector, each hears half
(docs/decisions/0027). After a lost line, a new login or a restart of the server the view is made anew and somebody looks at
everything: what happened meanwhile was not heard. While it waits the session is in use, so the server does not end it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from vmdkvol.clock import Clock, Deadline, Worker
from vmdkvol.errors import VolumeError
from vmdkvol_esx.ports import Log
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.faults import Failed
from vmdkvol_esx.vsphere.reading import PC
from vmdkvol_esx.vsphere.session import CALL_S, Session

# The server answers after so long if nothing changes. Less than any proxy's idea of an idle connection.
ROUND_S = 20
# After a round that failed; a server that is away, or an account that is locked, is not asked all the time.
PAUSE_S = 5.0
_PATHS = ("runtime.powerState", "runtime.connectionState")


@dataclass(slots=True)
class _View:
    """It goes with its login."""

    service: Service
    collector: Any
    version: str


class Watch:
    """``start`` it once; ``heard`` is called from its thread, and must not wait."""

    def __init__(
        self, session: Session[Service], clock: Clock, log: Log, heard: Callable[[], None], pause_s: float = PAUSE_S
    ) -> None:
        self._session = session
        self._clock = clock
        self._log = log
        self._heard = heard
        self._pause_s = pause_s
        self._changed = clock.condition()
        self._view: _View | None = None
        self._stopping = False
        self._worker: Worker | None = None

    def start(self) -> None:
        """Begin, on a thread of its own, until ``stop``."""
        self._worker = self._clock.start("vsphere-watch", self._run)

    def stop(self, deadline: Deadline) -> bool:
        """End the thread; tell whether it ended before the deadline. What it has on the server goes with the session."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        worker = self._worker
        while worker is not None and worker.is_alive() and not deadline.passed:
            # Again and again: one that comes before the wait has begun ends nothing.
            self._cancel()
            worker.join(min(0.5, deadline.left_s))
        return worker is None or not worker.is_alive()

    def _cancel(self) -> None:
        view = self._view
        if view is None:
            return

        def cancel(service: Service) -> None:
            if service is view.service:
                view.collector.CancelWaitForUpdates()

        try:
            self._session.read("ending the watch", cancel, Deadline.after(self._clock, 1.0))
        except VolumeError as error:
            self._log.info("watch not ended", why=str(error))

    # --- its thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        limit_s = ROUND_S + CALL_S
        while not self._stopping:
            try:
                deadline = Deadline.after(self._clock, limit_s)
                changed = self._session.read("watching machines", self._round, deadline, limit_s=limit_s)
            except VolumeError as error:
                if not self._stopping:
                    self._log.info("machines not watched", why=str(error))
                self._pause()
                continue
            except Exception as error:  # noqa: BLE001 - top of a thread: without it no machine is heard of any more
                self._view = None
                self._log.error("machines not watched", error=str(error), kind=type(error).__name__)
                self._pause()
                continue
            if changed:
                self._heard()

    def _pause(self) -> None:
        with self._changed:
            if not self._stopping:
                self._changed.wait(self._pause_s)

    def _round(self, service: Service) -> bool:
        """Tell whether there is something to look at. Whatever fails, the next view is a new one."""
        view = self._view
        if view is None or view.service is not service:
            self._view = _open(service)
            # Whatever happened before this was not heard.
            return True
        try:
            update = view.collector.WaitForUpdatesEx(view.version, PC.WaitOptions(maxWaitSeconds=ROUND_S))
        except Failed:
            self._view = None
            raise
        if update is not None:
            view.version = update.version
        return update is not None


def _open(service: Service) -> _View:
    """Return a view of all machines, as they are now."""
    collector = service.content.propertyCollector.CreatePropertyCollector()
    root = service.content.rootFolder
    machines = service.content.viewManager.CreateContainerView(root, [vim.VirtualMachine], True)
    inside = PC.TraversalSpec(name="machines", type=vim.view.ContainerView, path="view", skip=False)
    collector.CreateFilter(
        PC.FilterSpec(
            objectSet=[PC.ObjectSpec(obj=machines, skip=True, selectSet=[inside])],
            propSet=[PC.PropertySpec(type=vim.VirtualMachine, pathSet=list(_PATHS))],
        ),
        False,
    )
    update = collector.WaitForUpdatesEx("", PC.WaitOptions(maxWaitSeconds=0))
    # None for a site without a machine; the first wait without a version then says at once what there is.
    return _View(service, collector, "" if update is None else update.version)
