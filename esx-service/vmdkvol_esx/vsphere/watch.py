"""Hears when a machine is switched on or off, loses its host, or is gone: hints to look, on which nothing depends.

One thread, on a container view of all machines. After a lost line, a new login or a restart of the server the view is made
anew and somebody looks at everything: what happened meanwhile was not heard. While it waits the session is in use, so the
server does not end it.
"""

from __future__ import annotations

from collections.abc import Callable

from vmdkvol.clock import Clock, Deadline, Worker
from vmdkvol.errors import VolumeError
from vmdkvol_esx.ports import Log
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.faults import Failed
from vmdkvol_esx.vsphere.reading import PC
from vmdkvol_esx.vsphere.session import CALL_S, Session
from vmdkvol_esx.vsphere.views import View, cancel, ended, view_of_machines

# The server answers after so long if nothing changes. Less than any proxy's idea of an idle connection.
ROUND_S = 20
# After a round that failed; a server that is away, or an account that is locked, is not asked all the time.
PAUSE_S = 5.0


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
        self._view: View | None = None
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
        return ended(self._worker, lambda: cancel(self._session, self._view, self._clock, self._log), deadline)

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
            self._view = view_of_machines(service)
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
