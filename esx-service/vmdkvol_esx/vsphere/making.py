"""Disks are made: blank, or as copies. A label first, then the server's task, then our identity on what it made.

Killed at any point, what is there tells how far it came: a label alone, a disk of another identity with our label, our disk.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from pyVmomi import vim

from vmdkvol.clock import Deadline
from vmdkvol.errors import (
    InvalidOption,
    InvalidSize,
    OutcomeUnknown,
    VolumeError,
    VolumeInUse,
    VolumeLost,
    WrongDisk,
)
from vmdkvol_esx.ports import CloneDisk, CreateDisk, DiskRef, Log, TaskId
from vmdkvol_esx.vsphere.beside import Beside
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.descriptors import Identities
from vmdkvol_esx.vsphere.faults import Meaning
from vmdkvol_esx.vsphere.files import datacenter, means, task_of
from vmdkvol_esx.vsphere.labels import Label
from vmdkvol_esx.vsphere.looking import Looking
from vmdkvol_esx.vsphere.places import Places
from vmdkvol_esx.vsphere.policies import Policies
from vmdkvol_esx.vsphere.receipts import Job, Receipt
from vmdkvol_esx.vsphere.register import Register
from vmdkvol_esx.vsphere.running import check_not_made
from vmdkvol_esx.vsphere.session import Session
from vmdkvol_esx.vsphere.sites import Place
from vmdkvol_esx.vsphere.standing import Standing

# What our options call a format, and what the API does.
FORMATS = {"thin": "thin", "zeroedthick": "preallocated", "eagerzeroedthick": "eagerZeroedThick"}
_ADAPTER = "lsiLogic"
_KIB = 1024


class Making:
    """Creates and clones; each takes its disk in the register until it has ended."""

    def __init__(
        self,
        session: Session[Service],
        places: Places,
        looking: Looking,
        beside: Beside,
        identities: Identities,
        policies: Policies,
        register: Register,
        log: Log,
    ) -> None:
        self._session = session
        self._places = places
        self._looking = looking
        self._beside = beside
        self._identities = identities
        self._policies = policies
        self._register = register
        self._log = log

    def create(self, change: CreateDisk, operation: UUID, deadline: Deadline) -> Receipt | None:
        """As ``Hypervisor.submit``; the register has the disk for this change."""
        if change.size_bytes % _KIB or change.size_bytes <= 0:
            raise InvalidSize(f"{change.disk.path}: a disk of {change.size_bytes} bytes", remedy="vSphere counts in KiB")
        place = self._places.writable(change.disk.path.datastore, deadline, fresh=True)
        label = Label(change.disk.uuid, change.size_bytes, change.diskformat, change.note)
        if self._there_already(change.disk, label, deadline):
            return None
        profile = []
        if change.policy is not None:
            found = self._policies.profile(change.policy, place.ref, place.name, deadline)
            profile = [vim.vm.DefinedProfileSpec(profileId=found)]
        spec = vim.VirtualDiskManager.FileBackedVirtualDiskSpec(
            diskType=FORMATS[change.diskformat],
            adapterType=_ADAPTER,
            capacityKb=change.size_bytes // _KIB,
            profile=profile,
        )

        def start(service: Service) -> TaskId:
            disks, there = service.content.virtualDiskManager, datacenter(service, place)
            return task_of(disks.CreateVirtualDisk_Task(place.path(change.disk.path.path), there, spec))

        return self._begin(Job.CREATE, change, place, label, start, deadline, operation)

    def clone(self, change: CloneDisk, operation: UUID, deadline: Deadline) -> Receipt | None:
        """As ``create``; the source must be there, and on no virtual machine."""
        place = self._places.writable(change.disk.path.datastore, deadline, fresh=True)
        if self._there_already(change.disk, None, deadline):
            return None
        # First: a disk that is open may not say who it is.
        self._looking.check_free(change.source, self._places.place(change.source.path.datastore, deadline))
        source, size = self._looking.measured(change.source, deadline)
        self._check_format(change, source.seen.label, deadline)
        label = Label(change.disk.uuid, size, change.diskformat, change.note)
        wanted = vim.VirtualDiskManager.VirtualDiskSpec(diskType=FORMATS[change.diskformat], adapterType=_ADAPTER)

        def start(service: Service) -> TaskId:
            # A vCenter takes no description of the copy: it has its source's format.
            spec = None if _is_vcenter(service) else wanted
            return task_of(
                service.content.virtualDiskManager.CopyVirtualDisk_Task(
                    source.place.path(source.path),
                    datacenter(service, source.place),
                    place.path(change.disk.path.path),
                    datacenter(service, place),
                    spec,
                    False,
                )
            )

        return self._begin(Job.CLONE, change, place, label, start, deadline, operation)

    def _check_format(self, change: CloneDisk, source: Label | None, deadline: Deadline) -> None:
        """Refuse another format than the source's where the copy would not get it: room that was sold would not be there."""
        # One that was moved has no label, and nothing says its format.
        if source is None or source.diskformat == change.diskformat:
            return
        if self._session.read("reading what kind of server it is", _is_vcenter, deadline):
            raise InvalidOption(
                f"{change.source.path} is {source.diskformat}, and a vCenter copies a disk in its own format",
                remedy=f"leave out diskformat, or write -o diskformat={source.diskformat}",
            )

    def identify(self, ref: DiskRef, deadline: Deadline) -> None:
        """Put our identity on the disk that the task made; one that has it is fine. It is not put on a stranger's disk."""
        look = self._looking.look(ref, deadline)
        if look.standing is Standing.OURS:
            return
        if look.standing is not Standing.CUT:
            raise look.wrong() if look.seen.disk else VolumeLost(f"the disk {ref.path} was made, and is not there any more")
        self._identities.put(look.place, look.path, ref.uuid, deadline)

    def failed(self, receipt: Receipt, error: VolumeError, deadline: Deadline) -> VolumeError:
        """Take back what a task that failed left of a new disk, as far as it is ours; return the error to tell.

        What cannot be taken back now has our label, and goes when the change is undone.
        """
        ref = receipt.disk
        told: VolumeError = error
        # It may be that its policy was replaced by another one of its name.
        self._policies.forget()
        try:
            look = self._looking.look(ref, deadline)
            if means(error, Meaning.EXISTS) and look.standing is Standing.CUT:
                # What was there before our task is not ours, whatever our label says.
                told = WrongDisk(f"{ref.path} was taken by another disk at this moment")
                self._beside.remove_label(look.place, look.path, deadline)
            elif look.standing is Standing.ABSENT and look.seen.label is not None:
                self._beside.remove_label(look.place, look.path, deadline)
        except VolumeError as failure:
            self._log.warning("label not taken back", disk=str(ref.path), error=str(failure))
        if receipt.job is Job.CLONE and means(error, Meaning.HELD):
            return VolumeInUse(f"{error.text}: what was to be copied to {ref.path} is in use")
        return told

    def _there_already(self, ref: DiskRef, wanted: Label | None, deadline: Deadline) -> bool:
        """Tell whether the disk is there, whole; raise what else stands at its path."""
        look = self._looking.look(ref, deadline)
        if look.standing is Standing.ABSENT and look.seen.label is not None:
            # Begun before: made once more, the one that is refused would take the other one's label away.
            check_not_made(self._session, self._register, look, deadline)
        if look.standing in (Standing.ABSENT, Standing.GOING):
            return False
        if look.standing is not Standing.OURS:
            raise look.wrong()
        if wanted is not None:
            size = self._looking.size(look, deadline)
            if size != wanted.size_bytes:
                raise WrongDisk(f"{ref.path} has {size} bytes instead of {wanted.size_bytes}")
        return True

    def _begin(
        self,
        job: Job,
        change: CreateDisk | CloneDisk,
        place: Place,
        label: Label,
        start: Callable[[Service], TaskId],
        deadline: Deadline,
        operation: UUID,
    ) -> Receipt:
        path = change.disk.path.path
        what = f"{'creating' if job is Job.CREATE else 'copying to'} {place.path(path)}"
        try:
            self._beside.put_label(place, path, label, deadline, operation)
            with self._register.sending(change):
                task = self._session.change(what, start, deadline, operation=str(operation))
        except OutcomeUnknown:
            raise
        except VolumeError as error:
            self._take_back(place, path, error, deadline, operation)
            raise
        return self._register.started(change, Receipt(job, task, change.disk))

    def _take_back(self, place: Place, path: str, error: VolumeError, deadline: Deadline, operation: UUID) -> None:
        """Remove the label of a disk that certainly is not made; OutcomeUnknown if that fails: then something is left."""
        self._policies.forget()
        try:
            self._beside.remove_label(place, path, deadline, operation)
        except VolumeError as failure:
            raise OutcomeUnknown(f"{error.text}; its label was not taken back: {failure.text}") from error


def _is_vcenter(service: Service) -> bool:
    return bool(service.content.about.apiType == "VirtualCenter")
