"""What is seen of a change whose task tells nothing any more: on the datastore, in the device lists, of a disk's policy."""

from __future__ import annotations

from vmdkvol.errors import MetadataDamaged, VolumeError, WrongDisk
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.ports import AttachDisk, Change, ChangePolicy, DetachDisk, DiskRef, GrowDisk
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.settling import Seen
from vmdkvol_esx.storage_policies import Followed


class Sighting:
    """For any thread; changes nothing."""

    def __init__(self, parts: Parts) -> None:
        self._hypervisor = parts.hypervisor
        self._log = parts.log

    def look(self, change: Change, record: VolumeRecord) -> tuple[Seen, VolumeError | None]:
        """Return what is there of the change, and why that cannot be said if it cannot."""
        try:
            if isinstance(change, AttachDisk | DetachDisk):
                return self._look_at_lists(change), None
            if isinstance(change, ChangePolicy):
                return self._look_at_policy(change), None
            wanted = change.size_bytes if isinstance(change, GrowDisk) else record.size_bytes
            return self._look_at_disk(change.disk, wanted), None
        except VolumeError as error:
            self._log.warning("cannot be seen", volume=record.name, error=str(error))
            return Seen.UNKNOWN, error

    def _look_at_disk(self, ref: DiskRef, size_bytes: int) -> Seen:
        try:
            disk = self._hypervisor.disk(ref)
        except WrongDisk:
            return Seen.ELSEWHERE
        except MetadataDamaged:
            return Seen.BROKEN
        if disk is None:
            return Seen.ABSENT
        if disk.ref.uuid != ref.uuid:
            # The answer is about another disk: nothing is known of ours, and nothing is decided.
            return Seen.UNKNOWN
        return Seen.THERE if disk.size_bytes == size_bytes else Seen.BROKEN

    def _look_at_policy(self, change: ChangePolicy) -> Seen:
        found = self._hypervisor.followed([change.disk]).get(change.disk.uuid)
        if found is None:
            return Seen.ABSENT
        # Not seen to be under it is as under another one: laid on once more the policy does no harm, and a volume whose policy
        # nobody tells now is not kept from its machines for that.
        return Seen.THERE if isinstance(found, Followed) and found.is_under(change.policy) else Seen.BROKEN

    def _look_at_lists(self, change: AttachDisk | DetachDisk) -> Seen:
        devices = self._hypervisor.devices(None)
        holders = {vm for vm, disks in devices.lists.items() if any(disk.uuid == change.disk.uuid for disk in disks)}
        if change.vm in holders:
            return Seen.THERE
        if holders:
            return Seen.ELSEWHERE
        if devices.of(change.vm) is not None:
            return Seen.ABSENT
        # Not read, unless there is no such VM any more.
        gone = change.vm not in devices.unread and self._hypervisor.vm(change.vm) is None
        return Seen.ABSENT if gone else Seen.UNKNOWN
