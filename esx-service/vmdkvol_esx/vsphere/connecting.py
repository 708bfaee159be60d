"""One login: which version is spoken, a stub for it, the account's password, the content that every call begins with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from pyVmomi import VmomiSupport, vim

from vmdkvol.clock import Deadline
from vmdkvol.logs import Secret
from vmdkvol_esx.vsphere import versions
from vmdkvol_esx.vsphere.connections import Connection, Flight, PinnedContext, flying
from vmdkvol_esx.vsphere.endpoint import Endpoint, Trust
from vmdkvol_esx.vsphere.faults import Failed, Kind
from vmdkvol_esx.vsphere.stub import Stub, Timed, trouble_of, untimed

# Idle connections that are kept; more are opened when more threads call.
POOL = 16


@dataclass(frozen=True, slots=True)
class Service:
    """What a call uses: it belongs to one login, and nothing that was got through it outlives that."""

    content: Any
    stub: Stub
    version: str


class Connector:
    """Logs in. Reads the password each time, and keeps nothing of it."""

    def __init__(self, endpoint: Endpoint, trust: Trust, password: Callable[[], Secret], timed: Timed = untimed) -> None:
        """``timed`` hears of each call of a login. BadRequest if a certificate of ``trust`` cannot be read."""
        self._endpoint = endpoint
        self._context = PinnedContext.of(trust)
        self._password = password
        self._timed = timed

    def __str__(self) -> str:
        return str(self._endpoint)

    def log_in(self, deadline: Deadline) -> Service:
        """Return a session; Failed, with ``asked`` if the password was sent; BadRequest if there is none to send.

        HypervisorUnreachable if no version of the API is spoken by both sides.
        """
        # First: without it there is nothing to ask a server for.
        password = self._password()
        version = self._version(deadline)
        with flying(Flight(deadline, Kind.READ)):
            stub = Stub(self._endpoint, self._context, version, POOL, timed=self._timed)
            content = vim.ServiceInstance("ServiceInstance", stub).RetrieveContent()
        with flying(Flight(deadline, Kind.CHANGE, private=True)):
            content.sessionManager.Login(self._endpoint.user, password.reveal(), None)
        return Service(content, stub, version)

    def log_out(self, service: Service, deadline: Deadline) -> None:
        """End the session on the server; Failed if that cannot be said. The connections are closed either way."""
        try:
            with flying(Flight(deadline, Kind.CHANGE)):
                service.content.sessionManager.Logout()
        finally:
            service.stub.DropConnections()

    def _version(self, deadline: Deadline) -> str:
        known = [(name, VmomiSupport.versionIdMap[name]) for name in VmomiSupport.GetServiceVersions("vim25")]
        with flying(Flight(deadline, Kind.READ)) as own:
            connection = Connection(self._endpoint.host, self._endpoint.port, self._context)
            try:
                offers = versions.offered(_page(connection))
            except (OSError, HTTPException, ValueError) as error:
                raise Failed(trouble_of(error, own)) from error
            finally:
                connection.close()
        return versions.choose(known, offers, str(self._endpoint))


def _page(connection: Connection) -> bytes:
    connection.request("GET", "/sdk/vimServiceVersions.xml")
    answer = connection.getresponse()
    page: bytes = answer.read(versions.MAX_BYTES + 1)
    if answer.status != 200:
        raise ValueError(f"HTTP {answer.status} for the list of versions: is it the vSphere API?")
    return page
