"""Questions of `doctor` to the API: each one read, that changes nothing. What the answers mean is judged elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from pyVmomi import vim

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import VolumeError
from vmdkvol.volume import VmId
from vmdkvol_esx.vsphere import reading
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.devices import scsi_controllers
from vmdkvol_esx.vsphere.examined import Granted, Host, Server
from vmdkvol_esx.vsphere.faults import Failed, Meaning, Trouble
from vmdkvol_esx.vsphere.session import Session

T = TypeVar("T")

# Each question's own limit.
ASK_S = 30.0
# Servers and proxies that lack the call, do not know a privilege that is asked for, or do not let this account ask.
_UNASKED = frozenset({Meaning.NO_SUCH_CALL, Meaning.BAD_REQUEST, Meaning.FORBIDDEN})
_MACHINE = (
    "name",
    "runtime.connectionState",
    "runtime.host",
    "config.hardware.device",
    "config.flags.diskUuidEnabled",
    "config.extraConfig",
)


class Examiner:
    """Asks over one session, from one thread; not after ``end``."""

    def __init__(self, session: Session[Service], clock: Clock, end: Deadline) -> None:
        self._session = session
        self._clock = clock
        self._end = end

    def server(self) -> Server:
        """Log in, and return what the server says it is."""

        def ask(service: Service) -> Server:
            about = service.content.about
            before = self._clock.wall()
            theirs = vim.ServiceInstance("ServiceInstance", service.stub).CurrentTime().timestamp()
            after = self._clock.wall()
            return Server(
                about.fullName or about.name or "unknown",
                about.apiVersion or "",
                vcenter=about.apiType == "VirtualCenter",
                ahead_s=theirs - (before + after) / 2,
                within_s=abs(after - before) / 2,
            )

        return self._read("logging in and reading the time", ask)

    def granted(self, kind: str, ref: str | None, privileges: Sequence[str]) -> Granted:
        """Return which of the privileges the account has on an object: ``kind`` is Datastore, VirtualMachine, or root."""

        def ask(service: Service) -> Granted:
            content = service.content
            found = reading.properties(service, vim.SessionManager, [content.sessionManager], ["currentSession"])
            own = found[content.sessionManager._moId].get("currentSession")
            if own is None:
                raise Failed(Trouble(Meaning.NOT_UNDERSTOOD, "the server does not say which session this is"))
            entity = content.rootFolder if ref is None else getattr(vim, kind)(ref, service.stub)
            answer = content.authorizationManager.HasPrivilegeOnEntities(
                entity=[entity], sessionId=own.key, privId=list(privileges)
            )
            return Granted({each.privId: bool(each.isGranted) for one in answer for each in one.privAvailability})

        try:
            return self._read(f"asking for the privileges on {kind}", ask)
        except VolumeError as error:
            if error.fields.get("meaning") in {meaning.name for meaning in _UNASKED}:
                return Granted(unasked=error.text)
            raise

    def host(self, vm: VmId) -> Host:
        """Return the machine with this instance UUID."""
        return self._read(f"looking for machine {vm}", _one(vm))

    def _read(self, what: str, ask: Callable[[Service], T]) -> T:
        return self._session.read(what, ask, self._end.at_most(ASK_S), limit_s=ASK_S)


def _one(vm: VmId) -> Callable[[Service], Host]:
    def ask(service: Service) -> Host:
        search = service.content.searchIndex
        # Lower case: others find nothing.
        found = search.FindByUuid(uuid=str(vm), vmSearch=True, instanceUuid=True)
        if found is None:
            # A guest of a newer machine is shown its BIOS UUID with the first three groups turned round.
            turned = UUID(bytes_le=vm.bytes)
            return Host(None, meant=_by_bios(service, str(vm)) or _by_bios(service, str(turned)))
        values = reading.properties(service, vim.VirtualMachine, [found], _MACHINE)[found._moId]
        return _host(found._moId, values, _reaches(service, values.get("runtime.host")))

    return ask


def _by_bios(service: Service, uuid: str) -> str:
    found = service.content.searchIndex.FindByUuid(uuid=uuid, vmSearch=True, instanceUuid=False)
    if found is None:
        return ""
    values = reading.properties(service, vim.VirtualMachine, [found], ["config.instanceUuid"])[found._moId]
    return values.get("config.instanceUuid") or ""


def _reaches(service: Service, host: Any) -> frozenset[str] | None:
    if host is None:
        return None
    found = reading.properties(service, vim.HostSystem, [host], ["datastore"])[host._moId]
    return frozenset(each._moId for each in found["datastore"]) if "datastore" in found else None


def _host(ref: str, values: reading.Values, reaches: frozenset[str] | None) -> Host:
    devices = values.get("config.hardware.device") or ()
    return Host(
        ref,
        name=values.get("name") or "",
        connected=str(values.get("runtime.connectionState")) == "connected",
        controllers=sum(each.ours for each in scsi_controllers(devices)),
        enable_uuid=_enable_uuid(values),
        reaches=reaches,
    )


def _enable_uuid(values: reading.Values) -> bool | None:
    """Return whether guests see the disks' identities. By the flag, or where that is not set by the setting behind it."""
    flag = values.get("config.flags.diskUuidEnabled")
    if flag:
        return True
    # Some servers keep a key several times: the last one holds.
    said = [each.value for each in values.get("config.extraConfig") or () if each.key.lower() == "disk.enableuuid"]
    if said:
        return str(said[-1]).strip().lower() in ("true", "1", "yes")
    return None if flag is None and "config.extraConfig" not in values else False
