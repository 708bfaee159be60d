"""What the service still does when its database is damaged: disks leave their VMs, and everything else says why not.

A broken database must not stop a detach (vdvs-facts L18), and never means "no such volume" (F58): agents serve their
catalogue meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

from vmdkvol.clock import Deadline
from vmdkvol.errors import MetadataDamaged, OutcomeUnknown, TruthUnknown, UnknownCaller, VolumeError
from vmdkvol.lanes import Lanes
from vmdkvol.messages import Attachments, Call, Detach, Done, Hello, ListAttached, Request, Welcome
from vmdkvol.volume import VmId, VolumeId
from vmdkvol.wire import common_version
from vmdkvol_esx.listing import attachment
from vmdkvol_esx.paths import adopted_place
from vmdkvol_esx.ports import AttachedDisk, DetachDisk, Disk, Hypervisor, Log
from vmdkvol_esx.rebuilding import adopted_disk, collect

REMEDY = "stop the service and run `vmdkvol-esxd rebuild`; the disks are not touched"


class ReadOnlyRequests:
    """Stands in for ``Requests``. ``reason`` is what is wrong with the database, one line; ``remedy`` what to do."""

    def __init__(
        self,
        hypervisor: Hypervisor,
        lanes: Lanes,
        new_id: Callable[[], UUID],
        log: Log,
        reason: str,
        *,
        remedy: str = REMEDY,
        service: str = "vmdkvol-esxd",
    ) -> None:
        self._hypervisor = hypervisor
        self._lanes = lanes
        self._new_id = new_id
        self._log = log
        self._reason = reason
        self._remedy = remedy
        self._service = service

    def answer(self, request: Request[Any], call: Call) -> Any:
        """Return the answer of Hello, Detach and ListAttached; everything else raises MetadataDamaged."""
        if call.caller is None:
            raise UnknownCaller("the channel did not say who calls")
        match request:
            case Hello():
                return Welcome(
                    common_version(request.oldest, request.newest), call.caller, self._name(call.caller), self._service
                )
            case Detach():
                return self._detach(call.caller, request.volume, call.deadline)
            case ListAttached():
                return self._attached(call.caller)
            case _:
                raise self._damaged()

    def stranger(self, request: Request[Any], call: Call, proof: object) -> Any:
        """Raise MetadataDamaged: who has no certificate cannot get one without the records."""
        raise self._damaged()

    def _detach(self, caller: VmId, volume: VolumeId, deadline: Deadline) -> Done:
        """Afterwards the caller has not the disk. No generation is known; the guest proved that nothing uses it (D7)."""
        return self._lanes.run(
            volume,
            ("detach", caller),
            lambda: self._detach_by_note(caller, volume, deadline),
            deadline,
            f"detaching volume {volume}",
        )

    def _detach_by_note(self, caller: VmId, volume: VolumeId, deadline: Deadline) -> Done:
        devices = {device.uuid for device in self._devices(caller)}
        disks = self._disks()
        disks += self._adopted(volume)
        disk = next((disk for disk in disks if disk.ref.uuid in devices and disk.note.get("volume") == str(volume)), None)
        if disk is None:
            unknown = devices - {disk.ref.uuid for disk in disks}
            if unknown:
                # One of them may be it: "done" would be the last word about a disk that stays.
                raise TruthUnknown(f"the disk {min(unknown, key=str)} on this host cannot be read", remedy=self._remedy)
            return Done()
        self._log.warning("detaching without a database", disk=str(disk.ref.path), vm=str(caller))
        try:
            task = self._hypervisor.submit(DetachDisk(caller, disk.ref), self._new_id())
            if task is not None:
                self._hypervisor.wait(task, deadline, lambda percent: None)
        except OutcomeUnknown:
            if any(device.uuid == disk.ref.uuid for device in self._devices(caller)):
                raise
        return Done()

    def _attached(self, caller: VmId) -> Attachments:
        """Return what the caller has, with what the sidecars say of it; all of it, or MetadataDamaged."""
        devices = self._devices(caller)
        if not devices:
            return Attachments(())
        try:
            records = {found.disk.ref.uuid: found.record for found in collect(self._hypervisor) if found.disk is not None}
        except VolumeError as error:
            raise self._damaged() from error
        found = []
        for device in devices:
            record = records.get(device.uuid)
            if record is None:
                raise self._damaged()
            found.append(attachment(record, device))
        return Attachments(tuple(found))

    def _devices(self, caller: VmId) -> tuple[AttachedDisk, ...]:
        devices = self._hypervisor.devices([caller]).of(caller)
        if devices is None:
            raise TruthUnknown(f"the device list of {caller} could not be read")
        return devices

    def _disks(self) -> list[Disk]:
        """Return every disk that can be read now."""
        disks: list[Disk] = []
        for datastore in self._hypervisor.datastores():
            try:
                disks.extend(self._hypervisor.disks(datastore.name))
            except VolumeError as error:
                self._log.warning("datastore not listed", datastore=datastore.name, error=str(error))
        return disks

    def _adopted(self, volume: VolumeId) -> list[Disk]:
        """Return the disk of this volume if somebody else made it: it lies elsewhere, and has no note of ours."""
        found: list[Disk] = []
        for datastore in self._hypervisor.datastores():
            try:
                disk = adopted_disk(self._hypervisor, adopted_place(datastore.name, volume))
            except VolumeError as error:
                self._log.warning("copy of an adopted volume's record not read", id=str(volume), error=str(error))
                continue
            found += [] if disk is None else [replace(disk, note={"volume": str(volume)})]
        return found

    def _name(self, vm: VmId) -> str:
        found = self._hypervisor.vm(vm)
        return str(vm) if found is None else found.name

    def _damaged(self) -> MetadataDamaged:
        return MetadataDamaged(f"the service's database cannot be used: {self._reason}", remedy=self._remedy)
