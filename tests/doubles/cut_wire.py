"""A line to a service through a proxy that cuts, on this machine or inside TLS as to another one."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.doubles.channel_ends import VM_1, Site, until
from tests.doubles.cutting_proxy import CuttingProxy
from tests.doubles.far_channel import FarSite
from vmdkvol import unix_socket
from vmdkvol.channel import UnixAddress
from vmdkvol.line import Line
from vmdkvol.messages import Call, Done, ListVolumes, Request, VolumePage
from vmdkvol.volume import VmId


class Ledger:
    """Carries each call out once and gives a repeat the stored answer, as the service's ``requests`` does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[tuple[VmId | None, UUID], Any] = {}
        self.carried_out = 0

    def __call__(self, request: Request[Any], call: Call) -> Any:
        with self._lock:
            if (call.caller, call.id) not in self._answers:
                self.carried_out += 1
                answer = VolumePage((), None, request.limit) if isinstance(request, ListVolumes) else Done()
                self._answers[call.caller, call.id] = answer
            return self._answers[call.caller, call.id]


class Wire:
    """``near`` and ``far`` make one."""

    def __init__(self, site: Site | FarSite, ledger: Ledger, proxy: CuttingProxy, line: Line) -> None:
        self.ledger = ledger
        self.proxy = proxy
        self.line = line
        self.site = site
        assert until(lambda: self.line.up)

    @classmethod
    def near(cls, directory: Path) -> Wire:
        """Return one on a Unix socket."""
        ledger, path = Ledger(), directory / "proxy.sock"
        site = Site(directory, ledger)
        return cls(site, ledger, CuttingProxy(path, site.address(VM_1).path), site.line(address=UnixAddress(path)))

    @classmethod
    def far(cls, directory: Path) -> Wire:
        """Return one inside TLS."""
        ledger, path = Ledger(), directory / "proxy.sock"
        site = FarSite(directory, ledger)
        line = site.line(connect=lambda _, timeout_s: unix_socket.connect(path, timeout_s))
        return cls(site, ledger, CuttingProxy(path, site.far.path), line)

    def renew(self) -> None:
        """Break the connection, so that what is planned begins."""
        before = self.proxy.connections
        self.proxy.break_off()
        assert until(lambda: self.proxy.connections > before)

    def close(self) -> None:
        self.site.close()
        self.proxy.close()
