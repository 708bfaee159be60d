"""Sessions as the tests make them: on a simulator or on a small server, with a trust, a password and a log of their own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from pyVmomi import vim

from tests.vsphere.lines import Lines
from vmdkvol.clock import Clock, Deadline, SystemClock
from vmdkvol.logs import Secret
from vmdkvol_esx.vsphere.connecting import Connector, Service
from vmdkvol_esx.vsphere.endpoint import Endpoint, Trust
from vmdkvol_esx.vsphere.session import Session

CLOCK = SystemClock()
# Longer than anything takes on a busy machine; a test that comes to this end has failed.
PATIENCE_S = 60.0


class Stage:
    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.log = Lines()

    def session(
        self,
        port: int,
        trust: Trust,
        *,
        password: str | Callable[[], Secret] = "wrong",
        user: str = "vmdkvol@vsphere.local",
        host: str = "localhost",
        clock: Clock = CLOCK,
    ) -> Session[Service]:
        """Return a session that was not used yet."""
        read = partial(Secret, password) if isinstance(password, str) else password
        made = Session(Connector(Endpoint(host, user, port), trust, read), clock, self.log)
        self._stack.callback(lambda: made.close(Deadline.after(CLOCK, 5.0)))
        return made


def soon(seconds: float = PATIENCE_S) -> Deadline:
    return Deadline.after(CLOCK, seconds)


def now(service: Service) -> Any:
    """The smallest call that needs a session."""
    return vim.ServiceInstance("ServiceInstance", service.stub).CurrentTime()
