"""What a machine may, by its vmgroup; the hypervisor is asked where its own files lie only if that decides (``rights``)."""

from __future__ import annotations

from collections.abc import Callable

from vmdkvol.errors import InvalidOption, NotPermitted, Unavailable
from vmdkvol.names import VM_DATASTORE, DatastoreName
from vmdkvol.volume import VmgroupId, VmId
from vmdkvol_esx import rights
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.records import Group, VolumeRecord
from vmdkvol_esx.rights import Verb


class Permits:
    """For any thread. Groups are read anew by each method: a right counts from the moment at which it is given or taken."""

    def __init__(self, parts: Parts) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor

    def group(self, vm: VmId) -> Group | None:
        """Return the machine's group; None if it is in none."""
        try:
            return self._store.group_of(vm)
        except NotPermitted:
            return None

    def group_id(self, vm: VmId) -> VmgroupId | None:
        """Return the id of the machine's group; None if it is in none."""
        try:
            return self._store.vmgroup(vm).id
        except NotPermitted:
            return None

    def check(self, vm: VmId, group: Group, verb: Verb, datastore: DatastoreName) -> DatastoreName | None:
        """Raise NotPermitted unless a machine of the group may do this there; return its own datastore if that decided."""
        home = self._home(vm, group, datastore)
        rights.check(group, verb, datastore, home)
        return home

    def check_own(self, vm: VmId, verb: Verb, record: VolumeRecord) -> DatastoreName | None:
        """As ``check``, for a volume of the machine's own group."""
        return self.check(vm, self._store.group_of(vm), verb, record.datastore)

    def may_create(self, vm: VmId, group: Group, datastore: DatastoreName) -> bool:
        """Tell whether ``check`` would let the machine create a volume there."""
        return rights.allows(group, Verb.CREATE, datastore, self._home(vm, group, datastore))

    def home(self, vm: VmId) -> DatastoreName:
        """Return where the machine's own files lie; InvalidOption if that is no datastore of ours."""
        found = self._hypervisor.vm_datastore(vm)
        if found is None:
            raise InvalidOption(
                "this machine's own files, beside which its vmgroup's volumes lie, are on no datastore for volumes",
                remedy="name one: -o datastore=NAME",
            )
        return found

    def seen_by(self, vm: VmId, group: Group) -> Callable[[VolumeRecord], bool]:
        """Return what tells whether the machine is told of a volume of its group.

        Also of one without a right that it has, or may have: Docker forgets what a volume is used by once it is not told.
        """
        known: dict[DatastoreName, bool] = {}

        def sees(record: VolumeRecord) -> bool:
            if record.datastore not in known:
                known[record.datastore] = self._sees(vm, group, record.datastore)
            return known[record.datastore] or record.last_vm == vm

        return sees

    def _sees(self, vm: VmId, group: Group, datastore: DatastoreName) -> bool:
        try:
            home = self._home(vm, group, datastore)
        except Unavailable:
            # A listing is not for the hypervisor to stop, and these are the group's own.
            return True
        return rights.allows(group, Verb.LIST, datastore, home)

    def _home(self, vm: VmId, group: Group, datastore: DatastoreName) -> DatastoreName | None:
        # VM_DATASTORE is the name of no datastore of ours.
        if datastore == VM_DATASTORE or not rights.needs_home(group, datastore):
            return None
        return self._hypervisor.vm_datastore(vm)
