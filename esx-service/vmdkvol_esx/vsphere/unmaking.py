"""Disks are deleted, with all that lies beside them. It only goes forward: the label says that it has begun, and goes last."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from vmdkvol.clock import Deadline
from vmdkvol.errors import Busy, OutcomeUnknown, VolumeError, VolumeInUse
from vmdkvol_esx.ports import DeleteDisk, Log, TaskId
from vmdkvol_esx.vsphere.beside import Beside
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.faults import Meaning
from vmdkvol_esx.vsphere.files import Files, datacenter, means, task_of
from vmdkvol_esx.vsphere.labels import FLAT, Label, beside
from vmdkvol_esx.vsphere.looking import Look, Looking
from vmdkvol_esx.vsphere.receipts import Job, Receipt
from vmdkvol_esx.vsphere.register import Register
from vmdkvol_esx.vsphere.running import check_not_made
from vmdkvol_esx.vsphere.session import Session
from vmdkvol_esx.vsphere.standing import Standing

# Of a disk without a label whose size nobody says; the label is for its deletion alone.
_NO_SIZE = 512


class Unmaking:
    """Deletes; each takes its disk in the register until it has ended."""

    def __init__(
        self, session: Session[Service], looking: Looking, beside: Beside, files: Files, register: Register, log: Log
    ) -> None:
        self._session = session
        self._looking = looking
        self._beside = beside
        self._files = files
        self._register = register
        self._log = log

    def delete(self, change: DeleteDisk, operation: UUID, deadline: Deadline) -> Receipt | None:
        """As ``Hypervisor.submit``, of a disk that nobody has and that the register has for this change.

        None: nothing of it was there, or is left.
        """
        look = self._looking.look(change.disk, deadline)
        if look.standing in (Standing.OTHER, Standing.DAMAGED, Standing.TAKEN):
            raise look.wrong()
        if look.standing in (Standing.ABSENT, Standing.GOING):
            self._clear_rest(look, deadline, operation)
            return None
        label = look.seen.label
        if label is None or label.uuid != change.disk.uuid:
            label = Label(change.disk.uuid, self._looking.size(look, deadline) or _NO_SIZE, "thin", {})
        self._beside.put_label(look.place, look.path, replace(label, deleting=True), deadline, operation)

        def start(service: Service) -> TaskId:
            disks = service.content.virtualDiskManager
            return task_of(disks.DeleteVirtualDisk_Task(look.place.path(look.path), datacenter(service, look.place)))

        try:
            task = self._session.change(f"deleting {look.place.path(look.path)}", start, deadline, operation=str(operation))
        except OutcomeUnknown:
            # Perhaps it goes on; whatever comes of it, the label says what it was for.
            raise
        except VolumeError as error:
            raise self._kept(look, label, error, deadline) from error
        return self._register.started(change, Receipt(Job.DELETE, task, change.disk))

    def gone(self, receipt: Receipt, deadline: Deadline) -> None:
        """Take away what lies beside a disk that its task deleted; Busy if something lies there all the same."""
        look = self._looking.look(receipt.disk, deadline)
        if look.seen.disk:
            raise Busy(f"{receipt.disk.path}: {look.standing.value} after its deletion")
        self._beside.clear(look.place, look.path, deadline)

    def failed(self, receipt: Receipt, error: VolumeError, deadline: Deadline) -> VolumeError:
        """Return the error to tell for a deletion that its task did not carry out; the disk is a usual one again."""
        try:
            look = self._looking.look(receipt.disk, deadline)
        except VolumeError:
            return error
        if look.standing is not Standing.LEAVING or look.seen.label is None:
            return error
        return self._kept(look, look.seen.label, error, deadline)

    def _kept(self, look: Look, label: Label, error: VolumeError, deadline: Deadline) -> VolumeError:
        try:
            self._beside.put_label(look.place, look.path, replace(label, deleting=False), deadline)
            holder = self._looking.holder(look.ref, look.place) if means(error, Meaning.HELD) else None
        except VolumeError as failure:
            self._log.warning("label not put back", disk=str(look.ref.path), error=str(failure))
            return error
        if holder is None:
            return error
        return VolumeInUse(f"{look.ref.path} is attached to {holder}", holder=holder)

    def _clear_rest(self, look: Look, deadline: Deadline, operation: UUID) -> None:
        """Take away what is left beside a disk that is not there."""
        label = look.seen.label
        if label is not None and not label.deleting:
            # A create of it may be on its way with its task unknown: its disk would come when nothing of it is known here.
            check_not_made(self._session, self._register, look, deadline)
            if self._looking.look(look.ref, deadline).standing is not look.standing:
                # It ended between the look and the question.
                raise Busy(f"the disk {look.ref.path} came at this moment")
        if label is not None:
            # An extent without its descriptor: the server was stopped in the middle.
            self._files.delete(look.place, beside(look.path, FLAT), deadline, operation)
        self._beside.clear(look.place, look.path, deadline, operation)
