"""Which datastore a new volume lies on: the one that was named, its vmgroup's default, or the only one."""

from __future__ import annotations

from collections.abc import Iterable

from vmdkvol.errors import DatastoreNotFound, InvalidOption, NotPermitted, TruthUnknown
from vmdkvol.names import VM_DATASTORE, DatastoreName
from vmdkvol.volume import VmId
from vmdkvol_esx.listing import known_names
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.permits import Permits
from vmdkvol_esx.ports import Datastore
from vmdkvol_esx.records import Group
from vmdkvol_esx.rights import Verb


class Placing:
    """For any thread."""

    def __init__(self, parts: Parts, permits: Permits) -> None:
        self._hypervisor = parts.hypervisor
        self._permits = permits

    def place(self, caller: VmId, group: Group, wanted: DatastoreName | None) -> tuple[Datastore, DatastoreName | None]:
        """Return the datastore for a new volume of the caller, and the caller's own one if that decided about its right.

        Raises NotPermitted without a right to create there, and what else stands against the datastore.
        """
        known = {datastore.name: datastore for datastore in self._hypervisor.datastores()}
        name = wanted or self._default(caller, group)
        if name is None and len(known) == 1:
            (name,) = known
        if name is None:
            raise InvalidOption(
                "there are several datastores and no default",
                remedy=f"write -o datastore=NAME with one of: {self._usable(caller, group, known)}",
            )
        if name not in known:
            raise DatastoreNotFound(
                f"there is no datastore {name!r}", remedy=f"known: {self._usable(caller, group, known)}", datastore=name
            )
        home = self._permits.check(caller, group, Verb.CREATE, name)
        check_in_order(known[name])
        return known[name], home

    def _default(self, caller: VmId, group: Group) -> DatastoreName | None:
        default = group.vmgroup.default_datastore
        return self._permits.home(caller) if default == VM_DATASTORE else default

    def _usable(self, caller: VmId, group: Group, known: Iterable[DatastoreName]) -> str:
        return known_names(sorted(name for name in known if self._permits.may_create(caller, group, name)))


def check_in_order(datastore: Datastore) -> None:
    """Raise TruthUnknown or NotPermitted for a datastore on which nothing can be made now."""
    if datastore.problem is not None:
        remedy = "an administrator must look; use another datastore meanwhile"
        raise TruthUnknown(
            f"datastore {datastore.name} cannot be used: {datastore.problem}", remedy=remedy, datastore=datastore.name
        )
    if not datastore.writable:
        raise NotPermitted(f"datastore {datastore.name} is read-only", remedy="use another datastore", datastore=datastore.name)
