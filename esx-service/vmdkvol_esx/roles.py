"""`vmdkvol-esxd create-role`: an administrator gives the service's account what it needs, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import BadRequest, NotFound
from vmdkvol.logs import Secret
from vmdkvol.volume import VmId
from vmdkvol_esx import reaching
from vmdkvol_esx.ports import Log
from vmdkvol_esx.settings import ServiceSettings, VsphereSetting
from vmdkvol_esx.store.looking import look
from vmdkvol_esx.vsphere.connecting import Connector
from vmdkvol_esx.vsphere.granting import Binding, Granting, Known, bindings
from vmdkvol_esx.vsphere.places import Places
from vmdkvol_esx.vsphere.role import roles
from vmdkvol_esx.vsphere.session import Session

END_S = 5.0


class RoleMaker:
    """Works with an administrator's account, over the endpoint and the trust of the settings."""

    def __init__(self, settings: ServiceSettings, user: str, password: Callable[[], Secret], clock: Clock, log: Log) -> None:
        """BadRequest if the settings name no endpoint, or its certificates cannot be read."""
        if settings.vsphere is None:
            raise BadRequest("the settings name no vSphere endpoint", remedy="add a table [vsphere]")
        self._settings = settings
        self._setting: VsphereSetting = settings.vsphere
        self._clock = clock
        endpoint = replace(reaching.endpoint(self._setting), user=user)
        self._session = Session(Connector(endpoint, reaching.trust(self._setting), password), clock, log)
        self._granting = Granting(self._session, clock)

    def run(self, principal: str, *, dry_run: bool) -> Iterator[str]:
        """Make the roles and give them to ``principal``; yield a line for each step, as it is done.

        What is not there (a datastore, a machine of the settings) is refused before anything is changed. Killed in the
        middle, or with the outcome of a step unknown: run again.
        """
        try:
            yield from self._run(principal, dry_run)
        finally:
            self._session.close(Deadline.after(self._clock, END_S))

    def _run(self, principal: str, dry_run: bool) -> Iterator[str]:
        wanted = roles(vcenter=self._granting.vcenter())
        bound = list(bindings(wanted, self._datastores(), self._machines()))
        used = {binding.role.name for binding in bound}
        known = self._granting.known()
        for role in wanted:
            if role.name in used:
                done = "would be made or set" if dry_run else self._granting.make(role, known.get(role.name))
                yield f"role {role.name}: {done}; {', '.join(role.privileges)}"
        made = {} if dry_run else self._granting.known()
        for binding in bound:
            if not dry_run:
                self._bind(binding, made, principal)
            yield f"{'would be given' if dry_run else 'given'} to {principal}: {binding.role.name} on {binding.what}"

    def _bind(self, binding: Binding, made: Mapping[str, Known], principal: str) -> None:
        known = made.get(binding.role.name)
        if known is None:
            raise NotFound(f"role {binding.role.name} is not there any more", remedy="run it again")
        self._granting.bind(binding, known, principal)

    def _datastores(self) -> dict[str, tuple[str, bool]]:
        places = Places(self._session, self._setting.datastores, {}, self._clock)
        found = {}
        for name in self._setting.datastores:
            place = places.place(name)
            found[str(name)] = (place.ref, place.object_store)
        return found

    def _machines(self) -> dict[str, str]:
        found = {}
        for host in self._settings.hosts:
            ref = self._granting.machine(host.id)
            if ref is None:
                raise NotFound(
                    f"host {host.name}: no virtual machine has the instance UUID {host.id}",
                    remedy="`vmdkvol-esxd doctor` says more; the instance UUID is vc.uuid in the machine's configuration",
                )
            found[host.name] = ref
        for vm, name in self._enrolled().items():
            ref = self._granting.machine(vm)
            # One that is gone needs nothing.
            if ref is not None and ref not in found.values():
                found[name if name not in found else f"{name} ({vm})"] = ref
        return found

    def _enrolled(self) -> Mapping[VmId, str]:
        """Return who is enrolled with the service. Raises what reading the database raises: half of them is not all."""
        looked = look(Path(self._settings.database), lambda: False)
        return {} if looked is None else looked.enrolled
