"""Disks, second copies and records that have lost each other: what was read in, what is wrong out. Pure.

Nothing is mended by itself: each finding names what a person may order, the safest first.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from vmdkvol.errors import one_line
from vmdkvol.names import DatastoreName
from vmdkvol.options import CreateOptions
from vmdkvol.orphan_messages import Mending, Orphan, OrphanKind
from vmdkvol.volume import DEFAULT_VMGROUP, Content, DiskUuid, State, VmgroupId, VolumeId
from vmdkvol_esx.ports import Disk, DiskPath
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.told_commands import command

_PLACE = re.compile(r"\[([^\[\]]+)\] (.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """What lies at one place of our folders. ``disk`` None: none that can be read; ``damage`` says why, "" that there is none.

    ``record`` is what the second copy beside it says; None: there is none, or ``unreadable`` says what is wrong with it.
    ``later``: its disk is another volume's by our records, which has no copy: it was adopted anew after that one.
    """

    path: DiskPath
    disk: Disk | None
    damage: str = ""
    record: VolumeRecord | None = None
    unreadable: str = ""
    later: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """The records, by disk and by place, the names of the vmgroups, and which machine has which disk."""

    by_disk: Mapping[DiskUuid, VolumeRecord]
    by_place: Mapping[tuple[DatastoreName, str], VolumeRecord]
    vmgroups: Mapping[VmgroupId, str]
    holders: Mapping[DiskUuid, str] = field(default_factory=dict)

    def at(self, path: DiskPath) -> VolumeRecord | None:
        return self.by_place.get((path.datastore, path.path))


def parse_place(text: str) -> DiskPath | None:
    """Return the place in ``[datastore] path``; None if it is none."""
    found = _PLACE.fullmatch(text)
    return None if found is None else DiskPath(DatastoreName(found[1]), found[2])


def at_place(place: Place, known: Known) -> Orphan | None:
    """Return what is wrong with what lies at a place; None if nothing is."""
    named = known.at(place.path)
    if place.record is not None and place.record.adopted:
        return _of_adopted(place, place.record, known)
    if place.disk is not None:
        return _of_disk(place, place.disk, known)
    if place.damage:
        name = None if named is None else named.name
        return Orphan(OrphanKind.DAMAGED_DISK, str(place.path), one_line(place.damage), volume=name)
    if named is not None:
        # The record's disk is not there: it is told as a lost volume, and its copy goes with it.
        return None
    told = place.unreadable if place.record is None else f"the copy of the record of volume {place.record.name}"
    detail = f"no disk lies here and no record names the place: {told}"
    return _orphan(OrphanKind.SIDECAR, place, detail, Mending.REMOVE_SIDECAR)


def of_records(known: Known) -> Iterator[Orphan]:
    """Yield what is wrong with records: lost volumes, and volumes whose vmgroup nobody has named."""
    strangers: dict[VmgroupId, list[VolumeRecord]] = {}
    for record in known.by_disk.values():
        if record.state is State.LOST:
            detail = f"its disk was not found at [{record.datastore}] {record.path}"
            yield Orphan(
                OrphanKind.LOST,
                str(record.id),
                one_line(detail),
                volume=record.name,
                size_bytes=record.size_bytes,
                actions=(Mending.FORGET,),
                command=_command(str(record.id), Mending.FORGET),
            )
        if is_nameless(record.vmgroup, known.vmgroups.get(record.vmgroup)):
            strangers.setdefault(record.vmgroup, []).append(record)
    for group, records in strangers.items():
        yield _of_nameless(group, records, known.vmgroups.get(group))


def not_found(record: VolumeRecord) -> Orphan:
    """Return what is told of a volume whose disk is not there at this moment: it is lost when the scans say so."""
    detail, told = f"its disk is not at [{record.datastore}] {record.path} now", ""
    if record.state is State.DAMAGED:
        detail += ", and it is damaged: put its files back, or let go of it"
        told = command("volume", "rm", "--permanently", "--dry-run", str(record.id))
    else:
        detail += "; the next scans decide whether it is lost: look again"
    return Orphan(
        OrphanKind.LOST, str(record.id), one_line(detail), volume=record.name, size_bytes=record.size_bytes, command=told
    )


def of_gone(record: VolumeRecord, holder: str | None) -> Orphan:
    """Return what is told of a volume on a datastore that the service has not any more: nothing there can be looked at."""
    detail = f"the service has no datastore {record.datastore} any more: name it in the settings again"
    if holder is not None:
        detail += f"; {holder} has the disk"
    else:
        detail += ", or forget the volume"
    actions = () if holder is not None else (Mending.FORGET,)
    told = _command(str(record.id), Mending.FORGET) if actions else ""
    return Orphan(OrphanKind.LOST, str(record.id), one_line(detail), record.name, record.size_bytes, actions, told)


def of_gone_datastores(known: Known, datastores: Collection[DatastoreName]) -> Iterator[Orphan]:
    """Yield the volumes on datastores that the service does not have any more; those that are lost are told as that."""
    for record in known.by_disk.values():
        if record.datastore not in datastores and record.state is not State.LOST:
            yield of_gone(record, known.holders.get(record.disk_uuid))


def is_nameless(group: VmgroupId, name: str | None) -> bool:
    """Tell whether a vmgroup was lost with a database: a rebuild gives one that it does not know its id as a name."""
    return name in (None, str(group))


def _of_nameless(group: VmgroupId, records: Sequence[VolumeRecord], name: str | None) -> Orphan:
    count = "1 volume is" if len(records) == 1 else f"{len(records)} volumes are"
    detail = f"{count} in a vmgroup that was lost with a database: give it a name and its default datastore, then its machines"
    places = Counter(record.datastore for record in records)
    place = min(places, key=lambda each: (-places[each], each))
    # Any name will do for a beginning; with the datastore it gets the right to use its volumes there.
    update = ("vmgroup", "update", str(group), "--new-name", f"found-{str(group)[:8]}", "--default-datastore", place)
    told = "" if name is None else command(*update, "--dry-run")
    return Orphan(OrphanKind.VMGROUP, str(group), detail, volume=records[0].name, command=told)


def of_attached(known: Known, listed: Mapping[DiskUuid, DiskPath]) -> Iterator[Orphan]:
    """Yield disks that a machine has, and that neither a record nor a listing of our folders knows."""
    for disk, vm in known.holders.items():
        if disk not in known.by_disk and disk not in listed:
            detail = one_line(f"{vm} has the disk {disk}, which no record names")
            yield Orphan(OrphanKind.ATTACHED, str(disk), detail)


def trashed(place: Place, disk: Disk, volume: VolumeId, now: float, groups: Mapping[VmgroupId, str]) -> VolumeRecord:
    """Return the record with which a disk goes into the trash: that of its second copy, or one that says no more than is known.

    Of a disk without one it is not known what lies on it: it is checked in full, should somebody restore it.
    """
    if place.record is not None:
        return place.record
    return VolumeRecord(
        id=volume,
        vmgroup=_group_of(place.path, groups),
        name=f"orphan-{disk.ref.uuid.hex[-8:]}",
        datastore=place.path.datastore,
        path=place.path.path,
        disk_uuid=disk.ref.uuid,
        size_bytes=disk.size_bytes,
        state=State.TRASHED,
        content=Content.FORMATTED,
        filesystem_uuid=None,
        options=CreateOptions(size_bytes=disk.size_bytes),
        generation=1,
        created_at=now,
        created_by="adopted",
    )


def _of_adopted(place: Place, record: VolumeRecord, known: Known) -> Orphan | None:
    """Return what is wrong with the copy of the record of an adopted volume, which lies apart from its disk."""
    other = known.by_disk.get(record.disk_uuid)
    if other is not None and other.id == record.id:
        return None
    lies = f"the adopted disk [{record.datastore}] {record.path}"
    if other is not None and place.later:
        # All that is left of the later volume, for a rebuild.
        detail = f"{lies} was adopted anew as this one, after volume {other.name}: an old database was put back; rebuild it"
        return _orphan(OrphanKind.SIDECAR, place, detail)
    if other is not None:
        return _orphan(OrphanKind.SIDECAR, place, f"{lies} is volume {other.name} by now", Mending.REMOVE_SIDECAR)
    if place.disk is None:
        return _orphan(OrphanKind.SIDECAR, place, f"no record names it, and {lies} is not there", Mending.REMOVE_SIDECAR)
    return _orphan(OrphanKind.DISK, place, f"no record names {lies}", Mending.ADOPT, Mending.REMOVE_SIDECAR)


def _of_disk(place: Place, disk: Disk, known: Known) -> Orphan | None:
    record = known.by_disk.get(disk.ref.uuid)
    if record is not None:
        if (record.datastore, record.path) == (place.path.datastore, place.path.path):
            return None
        detail = f"it has the identity of volume {record.name}, whose record says [{record.datastore}] {record.path}: a copy?"
        return Orphan(OrphanKind.DISK, str(place.path), one_line(detail), volume=record.name, size_bytes=disk.size_bytes)
    if disk.ref.uuid in known.holders:
        detail = f"no record names it, and {known.holders[disk.ref.uuid]} has it"
        return _orphan(OrphanKind.DISK, place, detail, *([Mending.ADOPT] if place.record is not None else []))
    if place.record is None:
        detail = f"no record names it: {place.unreadable or 'it has no second copy of one'}"
        return _orphan(OrphanKind.DISK, place, detail, Mending.TRASH)
    return _orphan(OrphanKind.DISK, place, "no record names it; its second copy is whole", Mending.ADOPT, Mending.TRASH)


def _orphan(kind: OrphanKind, place: Place, detail: str, *actions: Mending) -> Orphan:
    return Orphan(
        kind,
        str(place.path),
        one_line(detail),
        volume=None if place.record is None else place.record.name,
        size_bytes=None if place.disk is None else place.disk.size_bytes,
        actions=actions,
        command=_command(str(place.path), actions[0]) if actions else "",
    )


def _command(where: str, action: Mending) -> str:
    return command("orphans", "mend", where, action, "--dry-run")


def _group_of(path: DiskPath, groups: Mapping[VmgroupId, str]) -> VmgroupId:
    """Return the vmgroup whose folder the disk lies in, if there is such a one."""
    for part in path.path.split("/"):
        try:
            found = VmgroupId(UUID(part))
        except ValueError:
            continue
        if found in groups:
            return found
    return DEFAULT_VMGROUP


def by_kind(found: Sequence[Orphan]) -> list[Orphan]:
    """Return them by kind and place."""
    kinds = list(OrphanKind)
    return sorted(found, key=lambda each: (kinds.index(each.kind), each.where))
