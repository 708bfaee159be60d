"""`vmdkvol-esxd doctor`: asks for everything that the service needs, one thing after the other, and changes nothing.

Each question has its own deadline, all of them together have one; what is not reached in it is said to be unseen.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import VolumeError
from vmdkvol.findings import FAIL, OK, WARN, Finding, of_access, of_error
from vmdkvol.names import DatastoreName
from vmdkvol.volume import VmId
from vmdkvol_esx import api_certificate, checkup, reaching
from vmdkvol_esx.local.datastore import DatastoreFiles, LocalDatastore
from vmdkvol_esx.ports import Log
from vmdkvol_esx.settings import ServiceSettings, VsphereSetting
from vmdkvol_esx.store.looking import Looked, look
from vmdkvol_esx.vsphere import handshake
from vmdkvol_esx.vsphere.connecting import Connector, Service
from vmdkvol_esx.vsphere.endpoint import Endpoint, Trust
from vmdkvol_esx.vsphere.examined import Server
from vmdkvol_esx.vsphere.examining import Examiner
from vmdkvol_esx.vsphere.places import Places
from vmdkvol_esx.vsphere.policies import Policies
from vmdkvol_esx.vsphere.role import TOO_MUCH, Need, Place, needs
from vmdkvol_esx.vsphere.session import Session

# Of everything; a site of a hundred hosts takes a few seconds.
ALL_S = 120.0
GREET_S = 15.0
ASK_S = 30.0
END_S = 5.0


@dataclass(slots=True)
class Doctor:
    """``say`` hears what is being asked; ``environment`` is where systemd says its directory of credentials."""

    settings: ServiceSettings
    clock: Clock
    log: Log
    environment: Mapping[str, str]
    say: Callable[[str], None] = lambda text: None
    greet_s: float = GREET_S
    all_s: float = ALL_S
    _end: Deadline = field(init=False)

    def __post_init__(self) -> None:
        self._end = Deadline.after(self.clock, self.all_s)

    def examine(self) -> Iterator[Finding]:
        """Yield every finding. What hangs on something that is wrong is not asked for, and its line says so."""
        setting = self.settings.vsphere
        if setting is None:
            yield from self._directories()
        else:
            yield from self._vsphere(setting)
        yield from self._asked("database", self._database)
        web = self.settings.web
        if web is not None and web.listen is not None and web.certificate_file is not None:
            certificate, key = web.certificate_file, web.key_file or web.certificate_file
            yield from self._asked(api_certificate.CHECK, lambda: self._api(certificate, key))

    # --- vSphere -------------------------------------------------------------------------------------------------

    def _vsphere(self, setting: VsphereSetting) -> Iterator[Finding]:
        endpoint = reaching.endpoint(setting)
        try:
            trust = reaching.trust(setting)
            reaching.password(setting, self.environment)()
        except VolumeError as error:
            yield self._of_settings(setting, error)
            yield _unseen("vSphere", "the settings must be right first")
            return
        failed = False
        for finding in self._greeted(endpoint, trust):
            failed = failed or finding.status == FAIL
            yield finding
        if failed:
            yield _unseen("vSphere", "the endpoint must be reached first")
            return
        session = Session(Connector(endpoint, trust, reaching.password(setting, self.environment)), self.clock, self.log)
        try:
            yield from self._inside(setting, session)
        finally:
            session.close(Deadline.after(self.clock, END_S))

    def _of_settings(self, setting: VsphereSetting, error: VolumeError) -> Finding:
        if setting.credential is None or self.environment.get("CREDENTIALS_DIRECTORY"):
            return of_error("settings", error)
        # Somebody's own shell has none of the unit's credentials.
        way = "systemd-run --pipe --wait -p LoadCredential=NAME:FILE vmdkvol-esxd doctor"
        return Finding(FAIL, "settings", error.text, f"with the unit's name and file, run it as: {way}")

    def _greeted(self, endpoint: Endpoint, trust: Trust) -> Iterator[Finding]:
        self.say(f"connecting to {endpoint}")
        try:
            handshake.reach(endpoint, self._within(self.greet_s))
        except VolumeError as error:
            yield of_error("endpoint", error)
            return
        yield Finding(OK, "endpoint", f"{endpoint} takes connections")
        try:
            seen = handshake.presented(endpoint, trust, self._within(self.greet_s))
        except VolumeError as error:
            shown = handshake.shown_unchecked(endpoint, self._within(self.greet_s))
            found = f"{error.text}; presented is SHA-256 {shown}" if shown else error.text
            yield Finding(FAIL, "certificate", found, error.remedy)
            return
        yield checkup.certificate(seen, self.clock.wall())
        yield checkup.pin(trust)

    def _inside(self, setting: VsphereSetting, session: Session[Service]) -> Iterator[Finding]:
        examiner = Examiner(session, self.clock, self._end)
        self.say(f"logging in as {setting.user}")
        try:
            server = examiner.server()
        except VolumeError as error:
            yield of_error("login", error)
            yield _unseen("vSphere", "the login must work first")
            return
        yield Finding(OK, "login", f"as {setting.user}")
        yield checkup.server(server)
        yield checkup.clock(server)
        yield from self._asked("privileges on the root folder", lambda: self._root(examiner, server))
        places = Places(session, setting.datastores, self._known(), self.clock)
        yield from self._asked("datastores", lambda: self._datastores(setting, places, examiner, server))
        yield from self._asked("policies", lambda: self._policies(session, server))
        yield from self._asked("hosts", lambda: self._hosts(places, examiner, server))

    def _root(self, examiner: Examiner, server: Server) -> Iterator[Finding]:
        yield self._privileges(examiner, "the root folder", ("Folder", None), needs(Place.ROOT, vcenter=server.vcenter))
        yield checkup.too_much(examiner.granted("Folder", None, TOO_MUCH))

    def _datastores(self, setting: VsphereSetting, places: Places, examiner: Examiner, server: Server) -> Iterator[Finding]:
        found = {str(state.name): state for state in places.states()}
        yield from checkup.by_name(setting.datastores, found)
        for name in setting.datastores:
            if name not in found or found[name].problem is not None:
                yield _unseen(f"privileges on datastore {name}", "the datastore must be there first")
                continue
            place = places.place(name)
            needed = needs(Place.DATASTORE, vcenter=server.vcenter, objects=place.object_store)
            yield self._privileges(examiner, f"datastore {name}", ("Datastore", place.ref), needed)

    def _policies(self, session: Session[Service], server: Server) -> Iterator[Finding]:
        yield checkup.policies(server, Policies(session, self.clock).known(self._within(ASK_S)))

    def _hosts(self, places: Places, examiner: Examiner, server: Server) -> Iterator[Finding]:
        usable = [state.name for state in places.states() if state.problem is None]
        stores = {str(name): places.place(name).ref for name in usable}
        machines = self._machines()
        if not machines:
            fix = "add a table [[hosts]] for each Docker host, or set listen and enrol them"
            yield Finding(WARN, "hosts", "none in the settings, and none is enrolled: nobody may ask", fix)
        # Nothing that can be asked for, and nothing that may be forgotten.
        yield checkup.destroying()
        for vm, name in machines.items():
            seen = examiner.host(vm)
            yield checkup.host(name, str(vm), seen, stores)
            if seen.ref is not None:
                needed = needs(Place.MACHINE, vcenter=server.vcenter)
                yield self._privileges(examiner, f"host {name}", ("VirtualMachine", seen.ref), needed)

    def _machines(self) -> Mapping[VmId, str]:
        """Return the hosts of the settings, and those that are enrolled; what is wrong with the database has its own line."""
        try:
            looked = self._look()
        except (VolumeError, OSError):
            looked = None
        return {**({} if looked is None else looked.enrolled), **{host.id: host.name for host in self.settings.hosts}}

    def _privileges(self, examiner: Examiner, where: str, entity: tuple[str, str | None], needed: Sequence[Need]) -> Finding:
        return checkup.privileges(where, needed, examiner.granted(*entity, [need.privilege for need in needed]))

    # --- this machine ----------------------------------------------------------------------------------------------

    def _directories(self) -> Iterator[Finding]:
        for each in self.settings.datastores:
            yield checkup.datastore(DatastoreFiles(LocalDatastore(each.name, each.path)).state())

    def _database(self) -> Iterator[Finding]:
        path = Path(self.settings.database)
        looked = self._look()
        # The nearest directory that is there already: the service makes the rest.
        there = next(parent for parent in path.parents if parent.is_dir())
        room = os.statvfs(there)
        size, volumes = (None, 0) if looked is None else (looked.size_bytes, looked.volumes)
        yield checkup.database(str(path), size, volumes, room.f_bavail * room.f_frsize)

    def _api(self, certificate: str, key: str) -> Iterator[Finding]:
        # The library costs 0.1 s, and most have no API.
        from vmdkvol_esx.pem import kept

        try:
            seen = kept(Path(certificate), Path(key))
        except VolumeError as error:
            # Without it the API does not serve.
            yield Finding(FAIL, api_certificate.CHECK, error.text, "put it there as PEM, or name another file under [web]")
            return
        yield api_certificate.judge(certificate, key, seen, self.clock.wall())

    def _look(self) -> Looked | None:
        deadline = self._within(ASK_S)
        return look(Path(self.settings.database), lambda: deadline.passed)

    def _known(self) -> Mapping[DatastoreName, UUID]:
        """Return by what the service knows its datastores again; what is wrong with the database has its own line."""
        try:
            looked = self._look()
        except (VolumeError, OSError):
            return {}
        return {} if looked is None else looked.datastores

    # --- asking ----------------------------------------------------------------------------------------------------

    def _asked(self, check: str, ask: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
        """Yield what ``ask`` finds; what it cannot find out is a finding, and the next question is asked all the same."""
        if self._end.passed:
            yield _unseen(check, f"{self.all_s:g} s were over")
            return
        self.say(check)
        try:
            yield from ask()
        except VolumeError as error:
            yield of_error(check, error)
        except OSError as error:
            yield of_access(check, error)

    def _within(self, seconds: float) -> Deadline:
        return self._end.at_most(seconds)


def _unseen(check: str, why: str) -> Finding:
    return Finding(WARN, check, f"not looked at: {why}", "put that right, and run it again")
