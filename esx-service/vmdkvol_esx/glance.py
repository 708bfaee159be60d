"""Who has which disk and what disks take, for people to read: remembered for a moment, so that a burst of Gets is one look.

Nothing is decided by what stands here: whoever attaches, detaches, removes or clones reads the device lists anew (D4).
On vSphere each of these reads is a round trip (docs/decisions/0025).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from vmdkvol.errors import VolumeError
from vmdkvol.volume import DiskUuid, Holder, VmId
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.ports import Change, CloneDisk, CreateDisk, DeviceLists, Disk, DiskRef, Vm
from vmdkvol_esx.records import VolumeRecord

# How old what people are shown may be. What this service changes itself is never shown as it was before.
HOLDERS_S = 2.0
SPACE_S = 5.0
NAMES_S = 60.0
# Of more disks than this the space is not remembered; a page of volumes is read in one go anyway.
_MOST = 1000

Holders = Mapping[DiskUuid, Holder]


@dataclass(frozen=True, slots=True)
class _Lists:
    """The holders of all disks in one bulk read. ``mark``: changes with a higher one came after the read had begun.

    ``off`` are the machines that were switched off, ``unread`` those that did not answer.
    """

    holders: Holders
    read_at: float
    mark: int
    off: frozenset[VmId] = frozenset()
    unread: frozenset[VmId] = frozenset()


@dataclass(frozen=True, slots=True)
class _Changed:
    """A disk that this service changed: ``mark`` and time of the change's end, and whether no VM has it for certain."""

    mark: int
    at: float
    free: bool


class Glance:
    """Reads the hypervisor no more than once for each kind of fact and call. Any thread may ask."""

    def __init__(self, parts: Parts) -> None:
        self._hypervisor = parts.hypervisor
        self._clock = parts.clock
        self._log = parts.log
        self._state = parts.clock.condition()
        self._mark = 0
        self._lists: _Lists | None = None
        self._changed: dict[DiskUuid, _Changed] = {}
        self._names: dict[VmId, str] = {}
        self._named_at: float | None = None
        self._space: dict[DiskUuid, tuple[int, float]] = {}
        self._scanned: dict[DiskUuid, int] = {}

    # --- what others saw or did -----------------------------------------------------------------------------------

    def begin(self) -> int:
        """Return what ``saw`` needs to tell what changed since. Before reading."""
        with self._state:
            return self._mark

    def saw(self, mark: int, vms: Sequence[Vm], lists: DeviceLists) -> None:
        """Somebody who had to read all device lists did so just now."""
        self._take_names(vms)
        self._keep(mark, lists)

    def changed(self, change: Change) -> None:
        """The change has ended, or was taken back: what was read before says nothing about its disk any more."""
        with self._state:
            self._mark += 1
            free = isinstance(change, CreateDisk | CloneDisk)
            self._changed[change.disk.uuid] = _Changed(self._mark, self._clock.monotonic(), free)
            self._space.pop(change.disk.uuid, None)
            self._scanned.pop(change.disk.uuid, None)
            if isinstance(change, CreateDisk):
                # An empty thin disk takes next to nothing yet, the others all of their size.
                taken = 0 if change.diskformat == "thin" else change.size_bytes
                self._space[change.disk.uuid] = (taken, self._clock.monotonic())

    # --- looking --------------------------------------------------------------------------------------------------

    def holders(self, records: Sequence[VolumeRecord]) -> Holders:
        """Return who has these volumes' disks; VMs that did not answer hold nothing that is known."""
        disks = [record.disk_uuid for record in records]
        with self._state:
            lists = self._lists
            # Few disks were changed since the last look, mostly none, and a listing has ten thousand.
            changed = [disk for disk in disks if disk in self._changed] if self._changed else []
            known = all(map(self._is_known, changed)) and (len(changed) == len(disks) or self._is_fresh())
            free = frozenset(disk for disk in changed if self._is_free(disk))
        if not known:
            mark = self.begin()
            lists, free = self._keep(mark, self._hypervisor.devices(None)), frozenset()
        found = lists.holders if lists is not None else {}
        return {disk: found[disk] for disk in disks if disk in found and disk not in free} if found else {}

    def is_off(self, vm: VmId) -> bool:
        """Tell whether the last look saw the machine switched off."""
        with self._state:
            return self._lists is not None and vm in self._lists.off

    def is_silent(self, vm: VmId) -> bool:
        """Tell whether the machine did not answer at the last look: what it has is not known."""
        with self._state:
            return self._lists is not None and vm in self._lists.unread

    def scanned(self, disks: Collection[Disk]) -> None:
        """Housekeeping has listed these disks of a datastore just now."""
        with self._state:
            self._scanned.update({disk.ref.uuid: disk.allocated_bytes for disk in disks})

    def space_of_many(self, records: Sequence[VolumeRecord]) -> Mapping[DiskUuid, int]:
        """As ``space``, as of the last scan: a listing of all volumes asks about those only that came since."""
        with self._state:
            scanned = {record.disk_uuid: self._scanned.get(record.disk_uuid) for record in records}
        known = {disk: taken for disk, taken in scanned.items() if taken is not None}
        if len(known) == len(scanned):
            return known
        return {**known, **self.taken([disk_ref(record) for record in records if record.disk_uuid not in known])}

    def taken(self, disks: Sequence[DiskRef]) -> Mapping[DiskUuid, int]:
        """As ``space_of_many``, for disks."""
        with self._state:
            known = {disk.uuid: self._scanned[disk.uuid] for disk in disks if disk.uuid in self._scanned}
        missing = [disk for disk in disks if disk.uuid not in known]
        if not missing:
            return known
        read = self._space_of(missing)
        with self._state:
            self._scanned.update(read)
        return {**known, **read}

    def space(self, records: Sequence[VolumeRecord]) -> Mapping[DiskUuid, int]:
        """Return the bytes that these volumes' disks take; those that cannot be read lack."""
        return self._space_of([disk_ref(record) for record in records])

    def _space_of(self, disks: Sequence[DiskRef]) -> Mapping[DiskUuid, int]:
        oldest = self._clock.monotonic() - SPACE_S
        with self._state:
            known = {disk.uuid: self._space.get(disk.uuid) for disk in disks}
        fresh = {disk: each[0] for disk, each in known.items() if each is not None and each[1] > oldest}
        missing = [disk for disk in disks if disk.uuid not in fresh]
        if not missing:
            return fresh
        try:
            read = self._hypervisor.allocated(missing)
        except VolumeError as error:
            # One unreadable disk must not take the whole list away (F27).
            self._log.warning("space not read", error=str(error))
            return fresh
        self._keep_space(read)
        return {**fresh, **read}

    def name(self, vm: VmId) -> str:
        """Return the VM's name for a text; its id if the name cannot be read."""
        with self._state:
            known = self._names.get(vm) if self._are_named() else None
        if known is not None:
            return known
        try:
            found = self._hypervisor.vm(vm)
        except VolumeError:
            return str(vm)
        return str(vm) if found is None or found.id != vm else found.name

    def known_name(self, vm: VmId) -> str:
        """Return the VM's name as it was read last, without asking; its id if it never was."""
        with self._state:
            return self._names.get(vm) or str(vm)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _is_known(self, disk: DiskUuid) -> bool:
        changed = self._changed.get(disk)
        if changed is not None and (self._lists is None or changed.mark > self._lists.mark):
            return changed.free and changed.at > self._clock.monotonic() - HOLDERS_S
        return self._is_fresh()

    def _is_fresh(self) -> bool:
        return self._lists is not None and self._lists.read_at > self._clock.monotonic() - HOLDERS_S

    def _is_free(self, disk: DiskUuid) -> bool:
        changed = self._changed.get(disk)
        return changed is not None and changed.free and (self._lists is None or changed.mark > self._lists.mark)

    def _keep(self, mark: int, lists: DeviceLists) -> _Lists:
        read_at = self._clock.monotonic()
        names = self._names_of(lists.lists.keys())
        off = frozenset(vm.id for vm in lists.vms if not vm.running)
        kept = _Lists(by_disk(lists, names), read_at, mark, off, lists.unread)
        with self._state:
            if self._lists is None or self._lists.mark <= mark:
                self._lists = kept
                self._changed = {disk: each for disk, each in self._changed.items() if each.mark > mark}
        return kept

    def _keep_space(self, read: Mapping[DiskUuid, int]) -> None:
        now = self._clock.monotonic()
        with self._state:
            if len(self._space) + len(read) > _MOST:
                self._space.clear()
            if len(read) <= _MOST:
                self._space.update({disk: (taken, now) for disk, taken in read.items()})

    def _are_named(self) -> bool:
        return self._named_at is not None and self._named_at > self._clock.monotonic() - NAMES_S

    def _names_of(self, vms: Collection[VmId]) -> Mapping[VmId, str]:
        with self._state:
            if self._are_named() and all(vm in self._names for vm in vms):
                return self._names
        return self._take_names(self._hypervisor.vms())

    def _take_names(self, vms: Sequence[Vm]) -> Mapping[VmId, str]:
        names = {vm.id: vm.name for vm in vms}
        with self._state:
            self._names, self._named_at = names, self._clock.monotonic()
        return names


def by_disk(lists: DeviceLists, names: Mapping[VmId, str]) -> Holders:
    """Return the holder of each disk in the device lists."""
    return {
        device.uuid: Holder(vm, names.get(vm, str(vm)), device.address)
        for vm, devices in lists.lists.items()
        for device in devices
    }
