"""Disks on datastores, as ``Hypervisor`` promises them: made, copied, enlarged, deleted, looked at, with their sidecars."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import assert_never
from uuid import UUID

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import MetadataDamaged, OutcomeUnknown, StillWorking, Unavailable, UnknownTask, VolumeError
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.foreign_disks import ForeignDisk
from vmdkvol_esx.ports import (
    AttachDisk,
    ChangePolicy,
    CloneDisk,
    CreateDisk,
    Datastore,
    DeleteDisk,
    DetachDisk,
    Disk,
    DiskPath,
    DiskRef,
    GrowDisk,
    Log,
    Progress,
)
from vmdkvol_esx.vsphere.beside import Beside
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.descriptors import Identities
from vmdkvol_esx.vsphere.faults import Meaning
from vmdkvol_esx.vsphere.files import Files, means
from vmdkvol_esx.vsphere.folders import Folders
from vmdkvol_esx.vsphere.foreign import Foreign
from vmdkvol_esx.vsphere.growing import Enlarge, Growing
from vmdkvol_esx.vsphere.looking import HolderOf, Looking, SizeOf
from vmdkvol_esx.vsphere.making import Making
from vmdkvol_esx.vsphere.places import READ_S, Places
from vmdkvol_esx.vsphere.policies import Policies
from vmdkvol_esx.vsphere.receipts import Job, Receipt
from vmdkvol_esx.vsphere.register import Register
from vmdkvol_esx.vsphere.session import Session
from vmdkvol_esx.vsphere.shelves import Shelves
from vmdkvol_esx.vsphere.sites import Place
from vmdkvol_esx.vsphere.spelling import checked
from vmdkvol_esx.vsphere.standing import Standing
from vmdkvol_esx.vsphere.tasks import Waiter
from vmdkvol_esx.vsphere.unmaking import Unmaking

# All calls of a submit. None of them waits for the work itself.
SUBMIT_S = 60.0
# What follows a task: an identity, or the files beside a disk. It has its own time: the task has had the caller's.
FOLLOW_S = 60.0

OnDisk = CreateDisk | CloneDisk | DeleteDisk | GrowDisk
# Waits for a task until the deadline, with the progress told, as ``Waiter.wait``.
Wait = Callable[[Receipt, Deadline, Progress], object]


class Disks:
    """Safe for any number of threads. It remembers work under way; everything else is read."""

    def __init__(
        self,
        session: Session[Service],
        waiter: Waiter,
        places: Places,
        clock: Clock,
        log: Log,
        policies: Policies,
        holder_of: HolderOf,
        identities: Identities,
        size_of: SizeOf,
    ) -> None:
        """``holder_of`` returns the name of a virtual machine that has the disk, read now, or None; it may raise."""
        self._waiter = waiter
        self._places = places
        self._clock = clock
        self._identities = identities
        files = Files(session, waiter)
        self._beside = Beside(files, Folders(session, clock))
        self._looking = Looking(places, self._identities, self._beside, files, holder_of, size_of)
        self._shelves = Shelves(self._looking, files, self._beside, self._identities, clock)
        self._foreign = Foreign(self._looking, files, self._identities, clock)
        self._register = Register(clock, self._ended)
        self._making = Making(session, places, self._looking, self._beside, self._identities, policies, self._register, log)
        self._growing = Growing(session, places, self._looking, self._beside, self._register, log)
        self._unmaking = Unmaking(session, self._looking, self._beside, files, self._register, log)

    # --- changes -------------------------------------------------------------------------------------------------

    def submit(self, change: OnDisk, operation: UUID, enlarge: Enlarge | None = None) -> Receipt | None:
        """As ``Hypervisor.submit``; ``finish`` the receipt, now or after a restart.

        ``enlarge`` is the reconfigure that a disk needs which grows in a machine.
        """
        running = self._register.begin(change)
        if running is not None:
            return running
        try:
            deadline = Deadline.after(self._clock, SUBMIT_S)
            if enlarge is not None and isinstance(change, GrowDisk):
                return self._growing.attached(change, enlarge, deadline)
            started = self._start(change, operation, deadline)
            if not isinstance(change, DeleteDisk):
                self._shelves.used(change.disk.path.datastore)
            return started
        finally:
            self._register.release(change.disk.path)

    def finish(self, receipt: Receipt, deadline: Deadline, progress: Progress, wait: Wait | None = None) -> None:
        """As ``Hypervisor.wait``: afterwards what follows the task is done too. Again, and by anyone, is fine.

        ``wait`` is for the task of a machine.
        """
        try:
            (wait or self._wait)(receipt, deadline, progress)
        except (OutcomeUnknown, UnknownTask):
            self._register.end(receipt.disk.path)
            raise
        except StillWorking:
            raise
        except Unavailable as error:
            # The task goes on, or nothing is known of it now; or it failed with what is worth another try.
            if receipt.vm is not None or not self._surely_ended(receipt):
                raise
            self._failed(receipt, error)
        except VolumeError as error:
            self._failed(receipt, error)
        else:
            self._succeeded(receipt)
        progress(100)

    def check_idle(self, change: AttachDisk | DetachDisk | ChangePolicy) -> None:
        """Raise Busy if the disk is being worked on here, VolumeInUse if it is being copied."""
        self._register.check(change)

    # --- what is there -------------------------------------------------------------------------------------------

    def disk(self, ref: DiskRef) -> Disk | None:
        """See ``Hypervisor.disk``. MetadataDamaged too while something is left of a disk whose deletion has begun.

        So a removal goes on with it, and a create that was being undone is not taken for finished.
        """
        deadline = Deadline.after(self._clock, READ_S)
        look = self._looking.look(ref, deadline)
        if look.standing in (Standing.ABSENT, Standing.TAKEN):
            return None
        label = look.seen.label
        note = label.note if label is not None and label.uuid == ref.uuid else {}
        if look.standing is not Standing.OURS:
            raise look.wrong()
        growing = label is not None and label.uuid == ref.uuid and label.growing is not None
        size = self._growing.size(look, deadline) if growing else self._looking.size(look, deadline)
        if size is None:
            raise MetadataDamaged(f"{ref.path} has no label, and the server does not say its size")
        file = self._looking.file(look, deadline)
        return Disk(ref, size, 0 if file is None else file.size_bytes, note)

    def check(self, disk: DiskRef, deadline: Deadline, operation: str) -> None:
        """Return if this very disk lies at its path, by one call; VolumeLost, WrongDisk or MetadataDamaged if not.

        VolumeInUse, with its holder, if the server cannot open it to be asked; TruthUnknown if nobody is seen to have it.
        """
        checked(disk.path.path)
        place = self._places.place(disk.path.datastore, deadline)
        try:
            if self._identities.at(place, disk.path.path, deadline, operation) == disk.uuid:
                return
        except VolumeError as error:
            if means(error, Meaning.HELD):
                self._looking.check_free(disk, place)
            if not (isinstance(error, MetadataDamaged) or means(error, Meaning.NO_DATASTORE)):
                raise
        self._looking.look(disk, deadline).check_ours()

    def spelled(self, path: DiskPath, deadline: Deadline) -> str:
        """Return the path as the server has it now; raises as ``Places.place``."""
        return self._places.place(path.datastore, deadline).path(checked(path.path))

    def disks(self, datastore: DatastoreName) -> Sequence[Disk]:
        return self._shelves.disks(datastore)

    def traces(self, datastore: DatastoreName) -> Sequence[DiskPath]:
        return self._shelves.traces(datastore)

    def copies_elsewhere(self, datastore: DatastoreName) -> Sequence[DiskPath]:
        return self._shelves.copies_elsewhere(datastore)

    def foreign(self, datastore: DatastoreName, folder: str, deadline: Deadline | None = None) -> Sequence[DiskPath]:
        return self._foreign.listed(datastore, folder, deadline)

    def foreign_disk(self, path: DiskPath, deadline: Deadline | None = None) -> ForeignDisk | None:
        return self._foreign.looked_at(path, deadline)

    def allocated(self, disks: Collection[DiskRef]) -> Mapping[DiskUuid, int]:
        return self._shelves.allocated(disks)

    def datastores(self) -> Sequence[Datastore]:
        """See ``Hypervisor.datastores``."""
        return [self._state(state) for state in self._places.states()]

    def check_unused(self, ref: DiskRef) -> None:
        """See ``Hypervisor.check_unused``."""
        self._register.check(DeleteDisk(ref))
        self._looking.check_free(ref, self._places.place(ref.path.datastore))

    # --- sidecars ------------------------------------------------------------------------------------------------

    def read_sidecar(self, disk: DiskPath) -> bytes | None:
        deadline = Deadline.after(self._clock, READ_S)
        checked(disk.path)

        def ask(place: Place) -> bytes | None:
            return self._beside.sidecar(place, disk.path, deadline)

        return self._looking.sure(disk.datastore, deadline, ask, lambda content: content is not None)

    def write_sidecar(self, disk: DiskPath, content: bytes | None) -> None:
        deadline = Deadline.after(self._clock, SUBMIT_S)
        checked(disk.path)
        place = self._places.writable(disk.datastore, deadline, fresh=True)
        if content is None:
            if self._identities.at(place, disk.path, deadline) is None:
                self._beside.clear(place, disk.path, deadline)
            return
        # Of an adopted disk the copy is the first thing in our folder.
        self._shelves.used(disk.datastore)
        self._beside.write_sidecar(place, disk.path, content, deadline)

    # --- inside --------------------------------------------------------------------------------------------------

    def _start(self, change: OnDisk, operation: UUID, deadline: Deadline) -> Receipt | None:
        match change:
            case CreateDisk():
                return self._making.create(change, operation, deadline)
            case CloneDisk():
                return self._making.clone(change, operation, deadline)
            case DeleteDisk():
                place = self._places.writable(change.disk.path.datastore, deadline, fresh=True)
                # First: a disk that is open may not say who it is.
                self._looking.check_free(change.disk, place)
                return self._unmaking.delete(change, operation, deadline)
            case GrowDisk():
                return self._growing.alone(change, operation, deadline)
            case _:
                assert_never(change)

    def _succeeded(self, receipt: Receipt) -> None:
        deadline = Deadline.after(self._clock, FOLLOW_S)
        try:
            if receipt.job is Job.DELETE:
                self._unmaking.gone(receipt, deadline)
            elif receipt.job is Job.GROW:
                self._growing.grown(receipt, deadline)
            else:
                self._making.identify(receipt.disk, deadline)
        finally:
            self._register.end(receipt.disk.path)

    def _failed(self, receipt: Receipt, error: VolumeError) -> None:
        """Raise what the task failed with; return if a deletion found nothing to delete."""
        deadline = Deadline.after(self._clock, FOLLOW_S)
        try:
            if receipt.job is Job.GROW:
                self._growing.failed(receipt, deadline)
                raise error
            if receipt.job is not Job.DELETE:
                raise self._making.failed(receipt, error, deadline) from error
            if not means(error, Meaning.ABSENT):
                raise self._unmaking.failed(receipt, error, deadline) from error
            self._unmaking.gone(receipt, deadline)
        finally:
            self._register.end(receipt.disk.path)

    def _wait(self, receipt: Receipt, deadline: Deadline, progress: Progress) -> object:
        return self._waiter.wait(receipt.task, f"{receipt.job.value} of {receipt.disk.path}", deadline, progress)

    def _ended(self, receipt: Receipt) -> bool:
        return self._waiter.ended(
            receipt.task, f"{receipt.job.value} of {receipt.disk.path}", Deadline.after(self._clock, READ_S)
        )

    def _surely_ended(self, receipt: Receipt) -> bool:
        try:
            return self._ended(receipt)
        except VolumeError:
            return False

    def _state(self, state: Datastore) -> Datastore:
        return state if state.problem is not None else replace(state, fresh=self._shelves.fresh(state.name))
