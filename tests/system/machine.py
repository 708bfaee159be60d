"""A virtual machine as its hypervisor knows it: identity, disks, whether it runs. All of it lies in one folder.

    machine.json   who it is and which disks it has, as a .vmx file has them: they stay when it is switched off
    power          locked by QEMU for as long as that lives, whoever started it and whatever became of that one
    change.lock    locked by who changes the machine
    vim            a monitor of the running QEMU: a change connects, does one thing and leaves, so that nothing is left of a
                   service that is killed

Test and service are different processes and use it side by side.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.system.qmp import Qmp, Refused
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid, ScsiAddress, VmId
from vmdkvol_esx.ports import DiskPath

CONTROLLERS = range(4)
# Unit 7 is the controller's own (vSphere's limits: 4 controllers with 15 disks each).
UNITS = tuple(unit for unit in range(16) if unit != 7)
SLOTS = tuple(ScsiAddress(bus, unit) for bus in CONTROLLERS for unit in UNITS)
# QEMU tells within 40 ms that a device is gone; a loaded machine needs seconds.
GONE_S = 60.0


@dataclass(frozen=True, slots=True)
class Plugged:
    """A disk on a machine. ``file`` is the VMDK on this computer; ``path`` is None for one that no datastore has."""

    uuid: DiskUuid
    address: ScsiAddress
    file: str
    path: DiskPath | None = None
    read_only: bool = False

    @property
    def device(self) -> str:
        """QEMU's name of the device, which has all that a list of devices must tell."""
        return f"disk-{self.address.bus}-{self.address.unit}-{self.uuid.hex}"

    @property
    def node(self) -> str:
        """QEMU's name of the file under it; it has 31 characters at most."""
        return f"vmdk-{self.address.bus}-{self.address.unit}"


class Machine:
    """The machine of a folder; ``make`` makes a new one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        stored = self._stored()
        self.id = VmId(UUID(stored["id"]))
        self.name: str = stored["name"]
        # The machine's number on vsock.
        self.context_id: int = stored["context_id"]

    @classmethod
    def make(cls, folder: Path, name: str, id: VmId, context_id: int) -> Machine:
        folder.mkdir(parents=True)
        for lock in ("power", "change.lock"):
            (folder / lock).touch()
        _write(folder / "machine.json", {"id": str(id), "name": name, "context_id": context_id, "disks": []})
        return cls(folder)

    @property
    def running(self) -> bool:
        """True as long as its QEMU lives, also a frozen one; False is proven by the kernel."""
        power = os.open(self.folder / "power", os.O_RDONLY)
        try:
            fcntl.flock(power, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(power)
        return False

    def disks(self) -> tuple[Plugged, ...]:
        """Return the disks that it has: of a running machine what QEMU says, else what it would start with."""
        with self.changing():
            return self.disks_now()

    def disks_now(self) -> tuple[Plugged, ...]:
        """As ``disks``, for who is changing it."""
        listed = tuple(_disk(each) for each in self._stored()["disks"])
        if not self.running:
            return listed
        with self._monitor() as qmp:
            devices = {found["name"] for found in qmp.do("qom-list", {"path": "/machine/peripheral"})}
        return tuple(disk for disk in listed if disk.device in devices)

    def plug(self, disk: Plugged) -> None:
        """Afterwards it has the disk. Refused, and it has it not, if QEMU takes it not: such as a file that another one has."""
        with self.changing():
            self.plug_now(disk)

    def plug_now(self, disk: Plugged) -> None:
        """As ``plug``, for who is changing it."""
        before = self._stored()["disks"]
        # Listed first: a disk that QEMU has is listed at every moment, whoever is killed.
        self._list([*(each for each in before if _disk(each).address != disk.address), asdict(disk)])
        if not self.running:
            return
        try:
            with self._monitor() as qmp:
                put_in(qmp, disk)
        except BaseException:
            self._list(before)
            raise

    def unplug(self, disk: Plugged) -> None:
        """Afterwards it has not the disk: the device is gone and the file closed."""
        with self.changing():
            self.unplug_now(disk)

    def unplug_now(self, disk: Plugged) -> None:
        """As ``unplug``, for who is changing it."""
        if self.running:
            with self._monitor() as qmp:
                take_out(qmp, disk)
        self._list([each for each in self._stored()["disks"] if _disk(each) != disk])

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Nobody else changes it meanwhile."""
        lock = os.open(self.folder / "change.lock", os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    @contextmanager
    def _monitor(self) -> Iterator[Qmp]:
        qmp = Qmp(self.folder / "vim")
        try:
            yield qmp
        finally:
            qmp.close()

    def _stored(self) -> dict[str, Any]:
        stored: dict[str, Any] = json.loads((self.folder / "machine.json").read_text(encoding="utf-8"))
        return stored

    def _list(self, disks: list[Mapping[str, Any]]) -> None:
        _write(self.folder / "machine.json", {**self._stored(), "disks": disks})


def put_in(qmp: Qmp, disk: Plugged) -> None:
    """Give a running QEMU the disk, with the identity that VMware's disk would show: all 32 digits as its serial number.

    Its world wide name has the first half only, since QEMU's has 8 bytes.
    """
    file = {"driver": "file", "filename": disk.file, "locking": "on"}
    qmp.do("blockdev-add", {"driver": "vmdk", "node-name": disk.node, "read-only": disk.read_only, "file": file})
    identity = {
        "wwn": disk.uuid.int >> 64,
        "serial": disk.uuid.hex,
        "vendor": "VMware",
        "product": "Virtual disk",
        "ver": "2.0",
    }
    place = {"bus": f"scsi{disk.address.bus}.0", "scsi-id": disk.address.unit, "lun": 0}
    try:
        qmp.do("device_add", {"driver": "scsi-hd", "id": disk.device, "drive": disk.node, **place, **identity})
    except Refused:
        qmp.do("blockdev-del", {"node-name": disk.node})
        raise


def take_out(qmp: Qmp, disk: Plugged) -> None:
    """Take the disk from a running QEMU, whatever the guest does with it; what a killed one left half done is finished."""
    devices = {found["name"] for found in qmp.do("qom-list", {"path": "/machine/peripheral"})}
    if disk.device in devices:
        since = qmp.told()
        qmp.do("device_del", {"id": disk.device})
        qmp.wait("DEVICE_DELETED", since, GONE_S, device=disk.device)
    nodes = {node["node-name"] for node in qmp.do("query-named-block-nodes", {"flat": True})}
    if disk.node in nodes:
        qmp.do("blockdev-del", {"node-name": disk.node})


def free_slot(taken: tuple[Plugged, ...]) -> ScsiAddress | None:
    """Return the first place that no disk has; None if all 60 are taken."""
    used = {disk.address for disk in taken}
    return next((slot for slot in SLOTS if slot not in used), None)


def machines(folder: Path) -> list[Machine]:
    """Return the machines that have their folders in ``folder``."""
    return [Machine(path.parent) for path in sorted(folder.glob("*/machine.json"))]


def _disk(stored: Mapping[str, Any]) -> Plugged:
    path = stored["path"]
    return Plugged(
        DiskUuid(UUID(stored["uuid"])),
        ScsiAddress(**stored["address"]),
        stored["file"],
        None if path is None else DiskPath(DatastoreName(path["datastore"]), path["path"]),
        stored["read_only"],
    )


def _write(path: Path, content: Mapping[str, Any]) -> None:
    new = path.with_name(f"{path.name}.new")
    new.write_text(json.dumps(content, default=str), encoding="utf-8")
    new.replace(path)
