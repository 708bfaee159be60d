"""Disks become larger: alone by the server's task, in a machine by a reconfigure of that.

The label says first that it was begun, and to what size, then how large the disk is. In between the server is asked: the device
list of the machine that has the disk, or the disk itself. Whoever is told an answer that lasts notes it in the label.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from vmdkvol.clock import Deadline
from vmdkvol.errors import (
    Busy,
    InvalidSize,
    MetadataDamaged,
    OutcomeUnknown,
    TruthUnknown,
    VolumeError,
    VolumeInUse,
)
from vmdkvol_esx.ports import DiskRef, GrowDisk, Log, TaskId
from vmdkvol_esx.vsphere.batches import EnlargeDisk
from vmdkvol_esx.vsphere.beside import Beside
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.files import datacenter, task_of
from vmdkvol_esx.vsphere.labels import Label
from vmdkvol_esx.vsphere.looking import Look, Looking
from vmdkvol_esx.vsphere.places import Places
from vmdkvol_esx.vsphere.receipts import Job, Receipt
from vmdkvol_esx.vsphere.register import Register
from vmdkvol_esx.vsphere.running import RECONFIGURE, begun_elsewhere
from vmdkvol_esx.vsphere.session import Session
from vmdkvol_esx.vsphere.sites import Place

_KIB = 1024
# How the server names what may make a disk larger, within a longer name.
_ENLARGING = ("extendvirtualdisk", RECONFIGURE)
# Starts the reconfigure of the machine that has the disk; None says that it is so large already.
Enlarge = Callable[[EnlargeDisk], Receipt | None]


class Growing:
    """Each growth takes its disk in the register until it has ended."""

    def __init__(
        self, session: Session[Service], places: Places, looking: Looking, beside: Beside, register: Register, log: Log
    ) -> None:
        self._session = session
        self._places = places
        self._looking = looking
        self._beside = beside
        self._register = register
        self._log = log

    def alone(self, change: GrowDisk, operation: UUID, deadline: Deadline) -> Receipt | None:
        """As ``Hypervisor.submit``, of a disk that nobody has; the register has it for this change."""
        place = self._writable(change, deadline)
        # First: a disk that is open may not say who it is.
        self._looking.check_free(change.disk, place)
        look, has = self._looking.measured(change.disk, deadline)
        label = _ours(look.seen.label, change.disk)
        if has == change.size_bytes:
            self._note(look.place, look.path, label, has, deadline)
            return None
        _check_larger(change, has)

        def start(service: Service) -> TaskId:
            disks, there = service.content.virtualDiskManager, datacenter(service, look.place)
            return task_of(disks.ExtendVirtualDisk_Task(look.place.path(look.path), there, change.size_bytes // _KIB, False))

        def task() -> Receipt:
            what = f"enlarging {look.place.path(look.path)}"
            begun = self._session.change(what, start, deadline, operation=str(operation))
            return Receipt(Job.GROW, begun, change.disk, size_bytes=change.size_bytes)

        return self._begin(change, look.place, label, task, deadline)

    def attached(self, change: GrowDisk, enlarge: Enlarge, deadline: Deadline) -> Receipt | None:
        """As ``alone``, of a disk that a machine has: only that one's list says who it is, and mostly how large."""
        assert change.vm is not None
        place = self._writable(change, deadline)
        label = self._label(place, change.disk, deadline)
        was = None if label is None or label.growing is not None else label.size_bytes
        if was is not None:
            _check_larger(change, was)
        move = EnlargeDisk(change.vm, change.disk, change.size_bytes, was)
        return self._begin(change, place, label, lambda: enlarge(move), deadline)

    def grown(self, receipt: Receipt, deadline: Deadline) -> None:
        """Let the label of a disk that has grown say so; it says nothing of a growth that another one followed."""
        place = self._places.place(receipt.disk.path.datastore, deadline)
        label = self._label(place, receipt.disk, deadline)
        if label is not None and label.growing == receipt.size_bytes:
            self._note(place, receipt.disk.path.path, label, receipt.size_bytes, deadline)

    def failed(self, receipt: Receipt, deadline: Deadline) -> None:
        """Let the label of a disk whose growth has failed say what the server says: that growth has ended, and is no doubt.

        What cannot be asked or written now is left to whoever looks next.
        """
        try:
            look = self._looking.look(receipt.disk, deadline)
            label = _ours(look.seen.label, receipt.disk)
            told = self._looking.size(look, deadline)
            if label is not None and label.growing == receipt.size_bytes and told is not None:
                self._note(look.place, look.path, label, told, deadline)
        except VolumeError as error:
            self._log.info("size not noted", disk=str(receipt.disk.path), error=str(error))

    def size(self, look: Look, deadline: Deadline) -> int:
        """Return the size of a disk of which it is not known whether it has grown; TruthUnknown as long as that may come."""
        label = look.seen.label
        told = self._looking.size(look, deadline)
        if label is None or told is None:
            raise TruthUnknown(f"{look.ref.path} was to grow, and the server does not say how large it is")
        if told != label.growing:
            self._check_not_enlarged(look, deadline)
            told = self._looking.size(look, deadline) or told
        self._settle(look, label, told, deadline)
        return told

    # --- inside --------------------------------------------------------------------------------------------------

    def _writable(self, change: GrowDisk, deadline: Deadline) -> Place:
        if change.size_bytes % _KIB or change.size_bytes <= 0:
            raise InvalidSize(f"{change.disk.path}: a disk of {change.size_bytes} bytes", remedy="vSphere counts in KiB")
        return self._places.writable(change.disk.path.datastore, deadline, fresh=True)

    def _label(self, place: Place, disk: DiskRef, deadline: Deadline) -> Label | None:
        try:
            return _ours(self._beside.label(place, disk.path.path, deadline), disk)
        except MetadataDamaged:
            return None

    def _begin(
        self, change: GrowDisk, place: Place, label: Label | None, start: Callable[[], Receipt | None], deadline: Deadline
    ) -> Receipt | None:
        path = change.disk.path.path
        begun = None if label is None else replace(label, growing=change.size_bytes)
        if begun is not None:
            self._beside.put_label(place, path, begun, deadline)
        try:
            with self._register.sending(change):
                receipt = start()
        except OutcomeUnknown:
            raise
        except VolumeError as error:
            if label is not None:
                self._take_back(place, path, label, error, deadline)
            raise
        if receipt is not None:
            return self._register.started(change, receipt)
        self._note(place, path, begun, change.size_bytes, deadline)
        return None

    def _take_back(self, place: Place, path: str, label: Label, error: VolumeError, deadline: Deadline) -> None:
        """Let the label say what it said; if that fails the server is asked, until somebody notes what it says."""
        try:
            self._beside.put_label(place, path, label, deadline)
        except VolumeError as failure:
            self._log.warning("label not put back", disk=place.path(path), error=str(failure), after=str(error))

    def _note(self, place: Place, path: str, label: Label | None, size_bytes: int, deadline: Deadline) -> None:
        """Let the label say this size, if it is ours: of a disk without one the server is asked each time."""
        if label is not None and (label.size_bytes, label.growing) != (size_bytes, None):
            self._beside.put_label(place, path, replace(label, size_bytes=size_bytes, growing=None), deadline)

    def _check_not_enlarged(self, look: Look, deadline: Deadline) -> None:
        """Raise TruthUnknown while a growth of the disk may be on its way that nobody here knows."""
        told = f"{look.ref.path} may be on its way to another size"
        if self._register.in_doubt(look.ref.path):
            raise TruthUnknown(told)
        what = f"looking for what enlarges {look.place.path(look.path)}"
        task = begun_elsewhere(self._session, self._register, _ENLARGING, what, deadline)
        if task is not None:
            raise TruthUnknown(f"{told}: task {task.id} runs")

    def _settle(self, look: Look, label: Label, told: int, deadline: Deadline) -> None:
        """Note what was read, unless the disk is being worked on. A reader who cannot write goes without."""
        change = GrowDisk(look.ref, told)
        try:
            if self._register.begin(change) is not None:
                return
        except (Busy, VolumeInUse):
            return
        try:
            if self._beside.label(look.place, look.path, deadline) == label:
                self._note(look.place, look.path, label, told, deadline)
        except VolumeError as error:
            self._log.info("size not noted", disk=str(look.ref.path), error=str(error))
        finally:
            self._register.release(look.ref.path)


def _ours(label: Label | None, disk: DiskRef) -> Label | None:
    return label if label is not None and label.uuid == disk.uuid else None


def _check_larger(change: GrowDisk, has: int) -> None:
    if change.size_bytes < has:
        raise InvalidSize(f"{change.disk.path} has {has} bytes and is not made smaller")
