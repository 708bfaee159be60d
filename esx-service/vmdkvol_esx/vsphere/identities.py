"""What an attach must know of its disk: that the one at the path is the one that is meant, and how the path is written."""

from __future__ import annotations

from typing import Protocol

from vmdkvol.clock import Deadline
from vmdkvol.errors import MetadataDamaged, WrongDisk
from vmdkvol_esx.ports import DiskPath, DiskRef
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.inventory import Identify
from vmdkvol_esx.vsphere.session import Session


class Knows(Protocol):
    """What the disks' side knows of one."""

    def check(self, disk: DiskRef, deadline: Deadline, operation: str) -> None:
        """Raise unless this disk lies at its path: VolumeLost, WrongDisk, MetadataDamaged, TruthUnknown."""

    def spelled(self, path: DiskPath, deadline: Deadline) -> str:
        """Return the path as the server writes it now; raises what stands against its datastore."""
        ...


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
