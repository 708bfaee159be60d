"""What the service needs of its record of vmgroups. Every promise is a test in tests/contract/."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from vmdkvol.names import DatastoreName
from vmdkvol.volume import VmgroupId, VmId
from vmdkvol_esx.records import Group, Tenancy, Vmgroup, VolumeRecord


class Tenants(Protocol):
    """Who is in which vmgroup, and what it may. One transaction each."""

    def vmgroup(self, vm: VmId) -> Vmgroup:
        """Return the group of this VM: ``_DEFAULT`` unless it is in another; NotPermitted if there is none for it."""
        ...

    def group_of(self, vm: VmId) -> Group:
        """As ``vmgroup``, with the group's rights, without its members."""
        ...

    def tenancy(self, vm: VmId) -> Tenancy:
        """As ``group_of``, with what the group's volumes take, as of the same moment."""
        ...

    def groups(self) -> Sequence[Group]:
        """Return all groups in the order of their names."""
        ...

    def vmgroup_names(self) -> Mapping[VmgroupId, str]:
        """Return the names of all groups: quick, for a thousand of them too."""
        ...

    def group(self, name: str) -> Group | None: ...
    def group_by_id(self, vmgroup: VmgroupId) -> Group | None: ...

    def put_group(self, group: Group, *, expect: int | None, unmoved_since: int | None = None) -> Group:
        """Store the whole group and return it, its revision one higher; all or nothing.

        ``expect`` None: it is new, of revision 1; NameConflict if there is one of its name or id. Else StaleRequest unless the
        stored revision is that. Conflict if a VM is in another group. ``unmoved_since`` is a change number: Busy if a VM that
        comes or goes got a disk after it, so that whoever looked at the machines before must look again.
        """
        ...

    def delete_group(self, vmgroup: VmgroupId, *, expect: int | None, unmoved_since: int | None = None) -> None:
        """Forget the group and who was in it; not there is fine. StaleRequest unless it has the revision (None: any).

        VmgroupNotEmpty while it has a volume, in any state. ``unmoved_since`` as for ``put_group``: of who is in it.
        """
        ...

    def regroup(self, record: VolumeRecord, *, expect: int, over_quota: bool = False) -> None:
        """Store an existing record, which may be in another group by now: its former group's machines hear that it is gone.

        As ``Store.update``. QuotaExceeded, unless ``over_quota``, if it is beyond a limit of the group that it comes into, of
        the right that ``rights.find`` names for a machine whose own files lie where the volume does.
        """

    def usage(self, vmgroup: VmgroupId) -> Mapping[DatastoreName, int]:
        """Return the bytes of the group's volumes on each datastore, at capacity, the trash included."""
        ...

    def volume_count(self, vmgroup: VmgroupId) -> int:
        """Return how many volumes the group has, in any state."""
        ...
