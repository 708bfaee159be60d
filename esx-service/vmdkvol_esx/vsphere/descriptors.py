"""Which disk lies at a path: the UUID in its descriptor, asked for and set by the path."""

from __future__ import annotations

from uuid import UUID

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import MetadataDamaged, OutcomeUnknown, TruthUnknown, VolumeError
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.ports import DiskPath
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.faults import Failed, Meaning
from vmdkvol_esx.vsphere.files import datacenter, means
from vmdkvol_esx.vsphere.places import READ_S, Places
from vmdkvol_esx.vsphere.session import Session
from vmdkvol_esx.vsphere.sites import Place
from vmdkvol_esx.vsphere.uuids import read_uuid, spaced


class Identities:
    """Safe for any number of threads."""

    def __init__(self, session: Session[Service], places: Places, clock: Clock) -> None:
        self._session = session
        self._places = places
        self._clock = clock

    def identify(self, service: Service, path: DiskPath) -> DiskUuid | None:
        """Return the identity of the disk at a path as a device list has it; None if it says none. For ``session.read``."""
        place = self._places.named(path.datastore, Deadline.after(self._clock, READ_S))
        return None if place is None else read_uuid(_query(service, place, path.path))

    def at(self, place: Place, path: str, deadline: Deadline, operation: str = "") -> DiskUuid | None:
        """Return the identity of the disk at ``path``; None if the server knows no such file.

        MetadataDamaged if what lies there cannot be read as a disk; TruthUnknown if it cannot be said, as of one in use.
        """

        def read(service: Service) -> str | None:
            try:
                return _query(service, place, path)
            except Failed as failed:
                if failed.trouble.meaning is Meaning.ABSENT:
                    return None
                raise

        what = f"reading the identity of {place.path(path)}"
        try:
            told = self._session.read(what, read, deadline, operation=operation)
        except VolumeError as error:
            if means(error, Meaning.HELD):
                raise TruthUnknown(error.text, meaning=Meaning.HELD.name) from error
            raise
        if told is None:
            return None
        found = read_uuid(told)
        if found is None:
            raise MetadataDamaged(f"{place.path(path)} has an identity that is none: {told[:60]!r}")
        return found

    def put(self, place: Place, path: str, uuid: DiskUuid, deadline: Deadline, operation: UUID | None = None) -> None:
        """Afterwards the disk at ``path`` has this identity, read back. OutcomeUnknown if that is not known."""

        def change(service: Service) -> None:
            disks = service.content.virtualDiskManager
            disks.SetVirtualDiskUuid(place.path(path), datacenter(service, place), spaced(uuid))

        what = f"writing the identity of {place.path(path)}"
        doubt: VolumeError | None = None
        try:
            self._session.change(what, change, deadline, operation="" if operation is None else str(operation))
        except OutcomeUnknown as error:
            doubt = error
        found = self.at(place, path, deadline)
        if found != uuid:
            raise doubt or MetadataDamaged(f"{what}: the server says that it is {found} afterwards, not {uuid}")


def _query(service: Service, place: Place, path: str) -> str:
    disks = service.content.virtualDiskManager
    return str(disks.QueryVirtualDiskUuid(place.path(path), datacenter(service, place)))
