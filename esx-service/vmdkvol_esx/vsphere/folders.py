"""Folders for our disks: made when they are needed, and remembered; on vSAN and vVols the top one is an object of its own."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from pyVmomi import vim

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import VolumeError
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.faults import Meaning
from vmdkvol_esx.vsphere.files import datacenter, means
from vmdkvol_esx.vsphere.session import Session
from vmdkvol_esx.vsphere.sites import Place


class Folders:
    """Safe for any number of threads: making a folder that is there is fine."""

    def __init__(self, session: Session[Service], clock: Clock) -> None:
        self._session = session
        self._changed = clock.condition()
        self._made: set[tuple[UUID, str]] = set()

    def make(self, place: Place, folder: str, deadline: Deadline, operation: UUID | None = None) -> None:
        """Afterwards there is the folder, relative to the place's root, and each one above it."""
        key = (place.id, folder)
        with self._changed:
            if not folder or key in self._made:
                return
        told = "" if operation is None else str(operation)
        top, _, rest = folder.partition("/")
        if place.object_store:
            self._change(f"making folder {top} on {place.name}", _object(place, top), deadline, told)
        if rest or not place.object_store:
            self._change(f"making folder {place.path(folder)}", _folder(place, folder), deadline, told)
        with self._changed:
            self._made.add(key)

    def forget(self, place: Place, folder: str) -> None:
        """Make it anew the next time: somebody took it away."""
        with self._changed:
            self._made.discard((place.id, folder))

    def _change(self, what: str, call: Callable[[Service], None], deadline: Deadline, told: str) -> None:
        try:
            self._session.change(what, call, deadline, operation=told)
        except VolumeError as error:
            if not means(error, Meaning.EXISTS):
                raise


def _folder(place: Place, folder: str) -> Callable[[Service], None]:
    def call(service: Service) -> None:
        service.content.fileManager.MakeDirectory(place.path(folder), datacenter(service, place), True)

    return call


def _object(place: Place, name: str) -> Callable[[Service], None]:
    def call(service: Service) -> None:
        # Under the datastore's own default policy: what lies in it has its own.
        service.content.datastoreNamespaceManager.CreateDirectory(vim.Datastore(place.ref, service.stub), name, None)

    return call
