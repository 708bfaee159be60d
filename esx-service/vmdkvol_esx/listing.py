"""What there is: one volume by its name, pages of volumes, the disks on the caller's VM. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vmdkvol import frames
from vmdkvol.errors import Busy, CheckFailed, TruthUnknown, VolumeLost, VolumeNotFound
from vmdkvol.messages import Attachments, GetVolume, ListAttached, ListVolumes, VolumePage
from vmdkvol.names import VolumeRef
from vmdkvol.volume import DEFAULT_VMGROUP, Attachment, Doing, State, VmgroupId, VmId, VolumeId, VolumeInfo
from vmdkvol.wire import answer_size
from vmdkvol_esx.glance import Glance
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.permits import Permits
from vmdkvol_esx.ports import AttachedDisk
from vmdkvol_esx.records import Vmgroup, VolumeRecord
from vmdkvol_esx.underway import Underway

# What a page may have at most, whatever is asked for; it is also cut by bytes, and usually that comes first.
MAX_PAGE = 500
_PAGE_BYTES = frames.MAX_FRAME - 1024
# More removed ids than this would leave no room for the largest volume: the caller lists everything anew.
_MAX_REMOVED = 250
_GONE = frozenset({State.TRASHED, State.REMOVING})
_HIDDEN = _GONE | {State.PREPARING}


class Listing:
    """Answers Get, List and ListAttached; also the one place that turns a name into a record, or a record into an answer."""

    def __init__(self, parts: Parts, underway: Underway, glance: Glance, permits: Permits) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._log = parts.log
        self._underway = underway
        self._glance = glance
        self._permits = permits

    def get(self, caller: VmId, request: GetVolume) -> VolumeInfo:
        """Return the volume of exactly this name, preparing ones too (corrections 11); VolumeNotFound if there is none.

        So it is for a machine without a vmgroup, and of a volume that the group has no right to: for anything else Docker
        would wait for a better answer, also at the names of other drivers' volumes, of which every driver is asked.
        """
        group = self._permits.group(caller)
        if group is None:
            raise VolumeNotFound(
                f"there is no volume {request.ref}",
                remedy="this machine is in no vmgroup: ask an administrator to put it into one",
                name=request.ref.text,
            )
        record = self.named(group.vmgroup.id, request.ref)
        if not self._permits.seen_by(caller, group)(record):
            raise VolumeNotFound(
                f"there is no volume {request.ref} that this machine may use",
                remedy=f"ask an administrator: vmgroup {group.vmgroup.name} has no right on datastore {record.datastore}",
                name=request.ref.text,
            )
        return self._infos([record], group.vmgroup.name)[0]

    def named(self, vmgroup: VmgroupId, ref: VolumeRef) -> VolumeRecord:
        """Return the live volume of exactly this name; VolumeNotFound gives the right spelling if there is one."""
        record = self._store.find(vmgroup, ref.text)
        if record is None:
            other = self._spelled_otherwise(vmgroup, ref)
            if other is None:
                raise VolumeNotFound(f"there is no volume {ref}", name=ref.text)
            raise VolumeNotFound(
                f"there is no volume {ref}", remedy=f"the one on {other.datastore} is named {other.name}", name=ref.text
            )
        return record

    def describe(self, record: VolumeRecord) -> VolumeInfo:
        """Return what is to be told of one volume; its holder and its use of space as of a moment ago (``glance``)."""
        return self._infos([record], self._store.vmgroup_names().get(record.vmgroup, ""))[0]

    def page(self, caller: VmId, request: ListVolumes) -> VolumePage:
        """Return the next page of what the caller's vmgroup has and may use, as many volumes as go into one frame.

        With ``since``: only what changed after that number. If it is too old, or the group or its rights are newer, everything
        is listed and ``complete``. Nothing is listed to a machine in no group.
        """
        # Read before the records: what changes meanwhile is listed twice rather than never.
        change = self._store.change_number()
        group = self._permits.group(caller)
        if group is None:
            return VolumePage((), None, change)
        vmgroup, sees = group.vmgroup.id, self._permits.seen_by(caller, group)
        gone, since = self._removed(group.vmgroup, request)
        limit = max(1, min(request.limit, MAX_PAGE))
        records = self._store.page(vmgroup, request.after, limit, since)
        hidden = _GONE if request.preparing else _HIDDEN
        infos = iter(self._infos([each for each in records if each.state not in hidden and sees(each)], group.vmgroup.name))
        left = _PAGE_BYTES - answer_size(VolumePage((), None, change, gone))
        shown: list[VolumeInfo] = []
        last: VolumeId | None = None
        for record in records:
            if since is not None and (record.state in _GONE or not sees(record)):
                gone = (*gone, record.id)
                left -= answer_size(record.id)
            elif record.state not in hidden and sees(record):
                info = next(infos)
                left -= answer_size(info)
                if left < 0 and last is not None:
                    return VolumePage(tuple(shown), last, change, gone, complete=since is None)
                shown.append(info)
            last = record.id
        more = last if len(records) == limit else None
        return VolumePage(tuple(shown), more, change, gone, complete=since is None)

    def attached(self, caller: VmId, request: ListAttached) -> Attachments:
        """Return every disk of ours that the hypervisor says is on the caller; TruthUnknown if its list is not read."""
        devices = self._hypervisor.devices([caller]).of(caller)
        if devices is None:
            raise TruthUnknown(f"the device list of {caller} could not be read")
        found = []
        for device in devices:
            record = self._store.with_disk(device.uuid)
            if record is None:
                # Somebody attached it by hand, or the record is lost: reported, never detached by ourselves (T13, F41).
                self._log.warning("disk without a record", vm=str(caller), disk=str(device.uuid), address=str(device.address))
                continue
            found.append(attachment(self._as_told(record), device))
        return Attachments(tuple(found))

    def _as_told(self, record: VolumeRecord) -> VolumeRecord:
        """Return the record of the last finished work: the generation of open work is told to nobody before its end."""
        intent = self._store.open_intent(record.id)
        return record if intent is None or intent.before is None else intent.before

    def until_grown(self, record: VolumeRecord) -> VolumeRecord:
        """Return the record with the size that the volume has: that of one that grows has the one that it is to have."""
        work = self._underway.of(record.id)
        if work is None or work.doing is not Doing.GROW:
            return record
        return replace(record, size_bytes=self._as_told(record).size_bytes)

    def _removed(self, vmgroup: Vmgroup, request: ListVolumes) -> tuple[tuple[VolumeId, ...], int | None]:
        """Return the ids to name as removed on this page, and the ``since`` that can be kept."""
        if request.since is None or request.since < vmgroup.changed:
            return (), None
        removed = self._store.removed_since(vmgroup.id, request.since)
        if removed is None or len(removed) > _MAX_REMOVED:
            return (), None
        return (tuple(removed) if request.after is None else ()), request.since

    def _spelled_otherwise(self, vmgroup: VmgroupId, ref: VolumeRef) -> VolumeRecord | None:
        """Return the volume that ``ref`` may mean: ``db`` on ds1 for ``db@ds1``, ``db@ds1`` for ``db`` (corrections 29)."""
        if ref.datastore is not None:
            other = self._store.find(vmgroup, ref.base)
            return other if other is not None and other.datastore == ref.datastore else None
        # From the records: an engine asks every driver about names that are not its own, and the hypervisor has no part in it.
        return self._store.elsewhere(vmgroup, ref.text)

    def _infos(self, records: Sequence[VolumeRecord], vmgroup: str) -> list[VolumeInfo]:
        """Return what is told of volumes of the vmgroup of this name."""
        if not records:
            # The feeding of an agent that misses nothing asks the hypervisor nothing.
            return []
        holders, space = self._glance.holders(records), self._glance.space(records)
        return [
            VolumeInfo(
                id=record.id,
                name=record.name,
                datastore=record.datastore,
                vmgroup=record.vmgroup,
                size_bytes=self.until_grown(record).size_bytes,
                allocated_bytes=space.get(record.disk_uuid, 0),
                state=record.state,
                content=record.content,
                options=record.options,
                created_at=record.created_at,
                created_by=record.created_by,
                attached_to=holders.get(record.disk_uuid),
                work=self._underway.of(record.id),
                vmgroup_name="" if record.vmgroup == DEFAULT_VMGROUP else vmgroup,
            )
            for record in records
        ]


def attachment(record: VolumeRecord, device: AttachedDisk) -> Attachment:
    """Return what a guest is told of a disk that it has."""
    return Attachment(
        volume=record.id,
        disk_uuid=record.disk_uuid,
        size_bytes=record.size_bytes,
        address=device.address,
        generation=record.generation,
        content=record.content,
        filesystem_uuid=record.filesystem_uuid,
        options=record.options,
        copied_uuids=record.copied_uuids,
        keep_uuid=bool(record.adopted),
    )


def check_ready(record: VolumeRecord) -> None:
    """Raise what stands against using the volume, unless it is ready."""
    match record.state:
        case State.READY:
            return
        case State.PREPARING:
            raise Busy(f"volume {record.name} is being made")
        case State.TRASHED | State.REMOVING:
            raise VolumeNotFound(f"volume {record.name} was removed", name=record.name)
        case State.LOST:
            raise VolumeLost(
                f"the disk of volume {record.name}, {disk_ref(record).path}, was not found",
                remedy="put its files back, or ask an administrator: `vmdkvol orphans ls` has the command that forgets it",
                name=record.name,
            )
        case State.DAMAGED:
            raise CheckFailed(f"volume {record.name} is damaged: its file system's check failed", name=record.name)


def known_names(names: Sequence[str]) -> str:
    """Return names for a text, a few of many."""
    shown = ", ".join(names[:10])
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown or "none"
