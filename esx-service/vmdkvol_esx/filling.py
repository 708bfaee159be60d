"""How full a datastore is and may become, and what an administrator is warned of. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from vmdkvol.names import DatastoreName
from vmdkvol.site_messages import CordonInfo, DatastoreRow
from vmdkvol.sizes import short_size
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.cordons import Cordon, Placed
from vmdkvol_esx.ports import Datastore
from vmdkvol_esx.records import Group

# Of the capacity: beyond it a datastore of thin disks is near the moment at which machines stop at a write.
FULL = 0.85
# Of a quota: beyond it the next volume is perhaps refused.
NEARLY = 0.90


def row(
    name: DatastoreName,
    datastore: Datastore | None,
    placed: Iterable[Placed],
    taken: Mapping[DiskUuid, int],
    cordon: Cordon | None,
    absent: str,
) -> DatastoreRow:
    """Return what is known of a datastore; ``datastore`` None: the hypervisor does not show it, and ``absent`` says why.

    ``taken`` is what disks take, as far as it was read: with one missing, the sum is not known.
    """
    disks = list(placed)
    provisioned = sum(each.size_bytes for each in disks)
    used = sum(taken[each.disk.uuid] for each in disks) if all(each.disk.uuid in taken for each in disks) else None
    told = None if cordon is None else CordonInfo(cordon.by, cordon.at, cordon.reason)
    if datastore is None:
        return DatastoreRow(name, None, None, provisioned, used, None, len(disks), False, absent, told, (absent,))
    return DatastoreRow(
        name,
        datastore.capacity_bytes,
        datastore.free_bytes,
        provisioned,
        used,
        round(provisioned / datastore.capacity_bytes, 3) if datastore.capacity_bytes > 0 else None,
        len(disks),
        datastore.writable,
        datastore.problem,
        told,
        _warnings(datastore, provisioned, used),
    )


def _warnings(datastore: Datastore, provisioned: int, used: int | None) -> tuple[str, ...]:
    if datastore.problem is not None:
        # What it says of its space is worth nothing then.
        return (datastore.problem,)
    found = []
    if not datastore.writable:
        found.append("read-only")
    free, full = datastore.free_bytes, fullness(datastore)
    if full is not None:
        found.append(full)
    may_grow = None if used is None else max(0, provisioned - used)
    if may_grow is not None and may_grow > free:
        found.append(f"over-committed: its volumes may take {short_size(may_grow)} more, and {short_size(free)} is free")
    return tuple(found)


def fullness(datastore: Datastore) -> str | None:
    """Return how full the datastore is if that is too full."""
    capacity, free = datastore.capacity_bytes, datastore.free_bytes
    if capacity <= 0 or capacity - free < FULL * capacity:
        return None
    return f"{(capacity - free) * 100 // capacity} % full: {short_size(free)} of {short_size(capacity)} free"


def nearly_used(group: Group, usage: Mapping[DatastoreName, int]) -> Iterator[str]:
    """Yield a line for each datastore on which the vmgroup has nearly all that it may have, or more."""
    for right in group.rights:
        used, most = usage.get(right.datastore, 0), right.total_bytes
        if most is not None and used and used >= NEARLY * most:
            yield f"vmgroup {group.vmgroup.name} has {short_size(used)} of its {short_size(most)} on {right.datastore}"
