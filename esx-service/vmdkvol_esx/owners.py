"""Who has a disk, read now; and a disk that a switched-off VM still has leaves it, since nobody there can give it back."""

from __future__ import annotations

from dataclasses import replace

from vmdkvol.clock import Deadline
from vmdkvol.errors import SnapshotPresent, TruthUnknown, VolumeInUse
from vmdkvol.volume import VmId
from vmdkvol_esx import ownership
from vmdkvol_esx.comparing import Comparing
from vmdkvol_esx.following import Following
from vmdkvol_esx.glance import Glance
from vmdkvol_esx.journal import Journal
from vmdkvol_esx.ownership import Foreign, Free, HeldBy, Here, LeftBehind, Owner, Unread
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.ports import DetachDisk
from vmdkvol_esx.records import VolumeRecord

# Who has it, where everybody who may have it was read.
Read = Free | Here | HeldBy | LeftBehind | Foreign


class Owners:
    """Reads all device lists at once, decided by ``ownership``. Each call is within the volume's lane."""

    def __init__(self, parts: Parts, journal: Journal, glance: Glance, following: Following) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._journal = journal
        self._glance = glance
        self._following = following
        self._comparing = Comparing(parts)
        self._log = parts.log

    def of(self, record: VolumeRecord, caller: VmId | None, speaking: VmId | None = None) -> Owner:
        """Return who has the disk. ``speaking``: that VM asks just now, so it is not switched off, whatever a list says."""
        mark = self._glance.begin()
        lists = self._hypervisor.devices(None)
        self._glance.saw(mark, lists.vms, lists)
        off = {vm.id for vm in lists.vms if not vm.running} - {caller, speaking}
        return ownership.decide(record.disk_uuid, lists, {vm.id for vm in lists.vms}, record.last_vm, caller, off)

    def freed(
        self, record: VolumeRecord, caller: VmId | None, deadline: Deadline, *, speaking: VmId | None = None
    ) -> tuple[VolumeRecord, Read]:
        """Return the record, where its disk lies now, and who has it, after it was taken from a VM that is off (F16).

        The proof is the hypervisor's: it lists the disk there, says that the VM is off, and refuses the detach if that
        is not true any more when it is carried out. On anything less, such as a suspended VM or one that cannot be
        read, the disk stays. Raises TruthUnknown while a VM that may well have it is not read, SnapshotPresent, and what
        the hypervisor raised.
        """
        record, owner = self.found(record, caller, speaking=speaking)
        if not isinstance(owner, LeftBehind):
            return record, owner
        if owner.device.snapshot is not None:
            raise SnapshotPresent(
                f"snapshot {owner.device.snapshot!r} of a machine that is switched off contains volume {record.name}",
                snapshot=owner.device.snapshot,
            )
        self._comparing.keep_ahead(record)
        raised = replace(record, generation=record.generation + 1)
        change = DetachDisk(owner.vm, disk_ref(record), only_off=True)
        intent = self._journal.begin(change, raised, speaking or caller, before=record)
        try:
            self._journal.carry_out(intent, raised, deadline)
        except VolumeInUse as error:
            # It was switched on meanwhile: from now on it is asked for the disk as every running one.
            self._log.info("not taken from a machine that was off", volume=record.name, error=str(error))
            return record, HeldBy(owner.vm, owner.device)
        self._log.warning("taken from a machine that is switched off", volume=record.name, vm=str(owner.vm))
        left = self._store.volume(record.id) or replace(raised, last_vm=None)
        return left, self._read(left, caller, speaking)

    def found(
        self, record: VolumeRecord, caller: VmId | None = None, *, speaking: VmId | None = None
    ) -> tuple[VolumeRecord, Read]:
        """Return the record, where its disk lies now, and who has it. Raises TruthUnknown as ``freed``.

        Raises as ``Comparing.check`` if the disk was moved and what lies there, or lay where it was, is against the record.
        """
        owner = self._read(record, caller, speaking)
        if not isinstance(owner, Here | HeldBy | LeftBehind):
            return record, owner
        now = self._following.followed(record, owner.device)
        if now != record:
            # Whoever asks compared it where it does not lie.
            self._comparing.check(now)
        return now, owner

    def _read(self, record: VolumeRecord, caller: VmId | None, speaking: VmId | None) -> Read:
        owner = self.of(record, caller, speaking)
        if isinstance(owner, Unread):
            name = self._glance.name(owner.vm)
            raise TruthUnknown(
                f"volume {record.name} may be on {name}, whose device list was not read",
                remedy="try again; if it stays so, look why that machine or its host is out of reach",
            )
        return owner
