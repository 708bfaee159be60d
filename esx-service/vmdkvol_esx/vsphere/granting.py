"""Roles and who has them, made by an administrator's account from the table in ``role``. Each step may be made again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import BadRequest, VolumeError
from vmdkvol.volume import VmId
from vmdkvol_esx.vsphere import reading
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.role import Place, Role
from vmdkvol_esx.vsphere.session import Session

STEP_S = 30.0


@dataclass(frozen=True, slots=True)
class Known:
    """A role that the server has."""

    id: int
    privileges: frozenset[str]


@dataclass(frozen=True, slots=True)
class Binding:
    """On which object the account gets which role. ``ref`` is None for the root folder."""

    role: Role
    kind: str
    ref: str | None
    what: str


def bindings(
    roles: Sequence[Role], datastores: Mapping[str, tuple[str, bool]], machines: Mapping[str, str]
) -> Iterator[Binding]:
    """Yield who gets what where. ``datastores``: by name, id and whether it is an object store; ``machines``: ids by name."""
    by_place = {(role.place, role.objects): role for role in roles}
    yield Binding(by_place[Place.ROOT, False], "Folder", None, "the root folder and all below it")
    for name, (ref, objects) in datastores.items():
        # A single host has no role for object stores.
        role = by_place.get((Place.DATASTORE, objects), by_place[Place.DATASTORE, False])
        yield Binding(role, "Datastore", ref, f"datastore {name}")
    for name, ref in machines.items():
        yield Binding(by_place[Place.MACHINE, False], "VirtualMachine", ref, f"machine {name}")


class Granting:
    """Makes roles and permissions over the session of an administrator."""

    def __init__(self, session: Session[Service], clock: Clock) -> None:
        self._session = session
        self._clock = clock

    def vcenter(self) -> bool:
        """Tell whether the server is a vCenter."""

        def ask(service: Service) -> bool:
            return bool(service.content.about.apiType == "VirtualCenter")

        return self._session.read("logging in", ask, self._deadline())

    def known(self) -> Mapping[str, Known]:
        """Return the roles that the server has, by name."""

        def ask(service: Service) -> Sequence[Any]:
            manager = service.content.authorizationManager
            values = reading.properties(service, vim.AuthorizationManager, [manager], ["roleList"])
            roles: Sequence[Any] = values[manager._moId].get("roleList") or ()
            return roles

        found = self._session.read("reading the roles", ask, self._deadline())
        return {each.name: Known(each.roleId, frozenset(each.privilege or ())) for each in found}

    def machine(self, vm: VmId) -> str | None:
        """Return the server's id of the machine with this instance UUID."""

        def ask(service: Service) -> str | None:
            found = service.content.searchIndex.FindByUuid(uuid=str(vm), vmSearch=True, instanceUuid=True)
            return None if found is None else str(found._moId)

        return self._session.read(f"looking for machine {vm}", ask, self._deadline())

    def make(self, role: Role, known: Known | None) -> str:
        """Make the role, or give it the table's privileges; return what was done. A role that is right is left alone."""
        wanted = list(role.privileges)
        if known is None:
            self._session.change(
                f"making role {role.name}",
                lambda service: service.content.authorizationManager.AddRole(name=role.name, privIds=wanted),
                self._deadline(),
            )
            return "made"
        if known.privileges == frozenset(wanted):
            return "is right"
        self._session.change(
            f"changing role {role.name}",
            lambda service: service.content.authorizationManager.UpdateRole(roleId=known.id, newName=role.name, privIds=wanted),
            self._deadline(),
        )
        return "changed"

    def bind(self, binding: Binding, role: Known, principal: str) -> None:
        """Give ``principal`` the role there, in the place of one that it had there; nobody else's is touched.

        BadRequest if the server knows no such account.
        """

        def give(service: Service) -> None:
            root = binding.ref is None
            entity = service.content.rootFolder if root else getattr(vim, binding.kind)(binding.ref, service.stub)
            permission = vim.AuthorizationManager.Permission(principal=principal, group=False, roleId=role.id, propagate=root)
            service.content.authorizationManager.SetEntityPermissions(entity=entity, permission=[permission])

        try:
            self._session.change(f"giving {principal} {binding.role.name} on {binding.what}", give, self._deadline())
        except VolumeError as error:
            if "UserNotFound" in error.text:
                raise BadRequest(
                    f"the server knows no account {principal!r}",
                    remedy="make it first; if it is there, spell it as vSphere does: --principal 'VSPHERE.LOCAL\\vmdkvol'",
                ) from error
            raise

    def _deadline(self) -> Deadline:
        return Deadline.after(self._clock, STEP_S)
