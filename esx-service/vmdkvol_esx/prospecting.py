"""Disks that somebody else made are found, and told with what stands against taking one. Nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vmdkvol import frames
from vmdkvol.adoption_messages import FoundDisk, FoundDisks, ScanDisks
from vmdkvol.clock import Deadline
from vmdkvol.errors import BadRequest, Busy, DatastoreNotFound, TruthUnknown, VolumeError, VolumeInUse, one_line, quoted
from vmdkvol.messages import Call, Request
from vmdkvol.names import DatastoreName
from vmdkvol.wire import answer_size
from vmdkvol_esx.choosing import Choosing
from vmdkvol_esx.foreign_disks import ForeignDisk
from vmdkvol_esx.listing import known_names
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.ports import DeviceLists, DiskPath, DiskRef

MOST_LISTED = 100
_PAGE_BYTES = frames.MAX_FRAME - 1024
# A page ends with what it has when less is left: a disk may take longer than who asked waits.
_LEFT_S = 5.0
# Of one disk: it is told as one that cannot be read now, and the others get their turn.
_DISK_S = 10.0


class Prospecting:
    """For any thread."""

    def __init__(self, parts: Parts, choosing: Choosing) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._choosing = choosing
        self._state = parts.clock.condition()
        self._under_way = False

    def rows(self) -> Mapping[type[Request[Any]], Callable[[Any, Call], Any]]:
        """Return what answers the message."""
        return {ScanDisks: lambda request, call: self.scan(request, call.deadline)}

    def scan(self, request: ScanDisks, deadline: Deadline) -> FoundDisks:
        """See ``ScanDisks``. Busy while another one is under way: administrators have few workers, and one stays for long."""
        with self._state:
            if self._under_way:
                raise Busy("another scan is under way", remedy="wait until it has ended, or name a folder in it")
            self._under_way = True
        try:
            return self._page(request, deadline)
        finally:
            with self._state:
                self._under_way = False

    def _page(self, request: ScanDisks, deadline: Deadline) -> FoundDisks:
        if not 1 <= request.limit <= MOST_LISTED:
            raise BadRequest(
                f"a page has 1 to {MOST_LISTED} disks, not {request.limit}", remedy="ask for fewer, and page by page"
            )
        datastore = self.datastore(request.datastore)
        found = self._hypervisor.foreign(datastore, request.folder, deadline)
        left = [path for path in found if request.after is None or str(path) > request.after]
        lists = self._hypervisor.devices(None)
        shown: list[FoundDisk] = []
        room, last = _PAGE_BYTES, None
        for path in left[: request.limit]:
            if last is not None and deadline.left_s < _LEFT_S:
                break
            told = self._told(path, lists, deadline)
            room -= 0 if told is None else answer_size(told)
            if room < 0 and shown:
                break
            last = path
            if told is not None:
                shown.append(told)
        uncompared = sum(map(len, lists.nameless.values()))
        return FoundDisks(tuple(shown), None if last is None or last == left[-1] else str(last), uncompared)

    def datastore(self, text: str) -> DatastoreName:
        """Return the name of a datastore of ours; DatastoreNotFound."""
        known = sorted(each.name for each in self._hypervisor.datastores())
        if text not in known:
            raise DatastoreNotFound(f"there is no datastore {quoted(text)}", remedy=f"known: {known_names(known)}")
        return DatastoreName(text)

    def user_of(self, disk: DiskRef, lists: DeviceLists) -> str | None:
        """Return who has the disk by these lists, or uses its bytes now; None if nobody is seen to. TruthUnknown if unread."""
        names = {vm.id: vm.name for vm in lists.vms}
        for vm, devices in lists.lists.items():
            if any(device.uuid == disk.uuid or device.path == disk.path for device in devices):
                return names.get(vm, str(vm))
        for vm, places in lists.nameless.items():
            if disk.path in places:
                return names.get(vm, str(vm))
        try:
            self._hypervisor.check_unused(disk)
        except VolumeInUse as error:
            holder = error.fields.get("holder")
            return holder if isinstance(holder, str) else error.text
        if lists.unread:
            silent = min(lists.unread, key=str)
            raise TruthUnknown(f"{names.get(silent, str(silent))} may have {disk.path}, and its device list was not read")
        return None

    # --- one disk ------------------------------------------------------------------------------------------------

    def _told(self, path: DiskPath, lists: DeviceLists, deadline: Deadline) -> FoundDisk | None:
        try:
            disk = self._hypervisor.foreign_disk(path, deadline.at_most(_DISK_S))
            if disk is None:
                # It went away since the listing.
                return None
            return self._judged(disk, lists)
        except VolumeError as error:
            return FoundDisk(str(path), adoptable=False, reason=one_line(f"it cannot be read now: {error.text}"))

    def _used(self, disk: DiskRef, lists: DeviceLists) -> tuple[str | None, str]:
        """Return who has the disk, and what stands against taking it for that, or for nobody knows."""
        try:
            user = self.user_of(disk, lists)
        except TruthUnknown as error:
            return None, error.text
        return user, "" if user is None else f"{user} has it"

    def _judged(self, disk: ForeignDisk, lists: DeviceLists) -> FoundDisk:
        record = None if disk.uuid is None else self._store.with_disk(disk.uuid)
        user, reason, volume = None, disk.obstacle, None
        if record is not None:
            volume = f"{self._choosing.names().get(record.vmgroup, str(record.vmgroup))}/{record.name}"
            here = (record.datastore, record.path) == (disk.path.datastore, disk.path.path)
            copied = f"it has the identity of a volume's disk, [{record.datastore}] {record.path}: a copy?"
            reason = "it is a volume already" if here else copied
        elif disk.uuid is not None and not reason:
            user, reason = self._used(DiskRef(disk.uuid, disk.path), lists)
        return FoundDisk(
            str(disk.path),
            adoptable=not reason,
            reason=one_line(reason),
            uuid=None if disk.uuid is None else str(disk.uuid),
            size_bytes=disk.size_bytes,
            allocated_bytes=disk.allocated_bytes,
            diskformat=None if disk.thin is None else "thin" if disk.thin else "thick",
            volume=volume,
            used_by=None if user is None else one_line(user),
        )
