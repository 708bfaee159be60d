"""Stands for the disks' side where machines alone are looked at: no label, no datastore's other names."""

from __future__ import annotations

from vmdkvol.clock import Deadline
from vmdkvol.errors import MetadataDamaged, VolumeError, WrongDisk
from vmdkvol_esx.ports import DiskPath, DiskRef
from vmdkvol_esx.vsphere.batches import Move
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.inventory import Identify
from vmdkvol_esx.vsphere.session import Session


def nowhere(_: str, __: str) -> DiskPath | None:
    """Nobody knows where a file lies that a device list names."""
    return None


class NoPolicies:
    """Stands for ``Profiles`` where no disk comes under a storage policy."""

    def of(self, _: Move, __: Deadline) -> str | None:
        return None

    def came(self, _: Move) -> None:
        pass

    def dropped(self, _: Move, __: VolumeError, *, shared: bool) -> bool:
        return False


class ByPath:
    """Knows a disk by what the server says of the file at its path, and writes the path as we do."""

    def __init__(self, session: Session[Service], identify: Identify) -> None:
        self._session = session
        self._identify = identify

    def check(self, disk: DiskRef, deadline: Deadline, operation: str) -> None:
        what = f"reading the identity of {disk.path}"
        found = self._session.read(what, lambda service: self._identify(service, disk.path), deadline, operation=operation)
        if found is None:
            raise MetadataDamaged(f"{disk.path} has no identity that can be read")
        if found != disk.uuid:
            raise WrongDisk(f"{disk.path} is disk {found}, not {disk.uuid}")

    def spelled(self, path: DiskPath, _: Deadline) -> str:
        return str(path)
