"""A server's list of a machine's devices, in our words: its SCSI controllers, its disks, its context id."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pyVmomi import vim

from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid, ScsiAddress
from vmdkvol_esx.paths import FOLDER
from vmdkvol_esx.ports import DiskPath
from vmdkvol_esx.vsphere.machine import Controller, Fitted
from vmdkvol_esx.vsphere.slots import OWN_UNIT
from vmdkvol_esx.vsphere.spelling import plain_name
from vmdkvol_esx.vsphere.uuids import read_uuid

Device = vim.vm.device
# A server that makes a circle of a disk's chain is not followed for ever; a chain has 32 links at most.
_MAX_CHAIN = 300


def scsi_controllers(devices: Sequence[Any]) -> tuple[Controller, ...]:
    """Return the machine's SCSI controllers. Ours are PVSCSI without a shared bus, which clusters of guests use."""
    found = []
    for each in devices:
        if isinstance(each, Device.VirtualSCSIController):
            own = each.scsiCtlrUnitNumber
            units = {device.unitNumber for device in devices if device.controllerKey == each.key} - {None}
            ours = isinstance(each, Device.ParaVirtualSCSIController) and each.sharedBus in (None, "noSharing")
            taken = frozenset(units | {OWN_UNIT if own is None else own})
            found.append(Controller(each.key, each.busNumber, taken, ours))
    return tuple(found)


def fitted_disks(devices: Sequence[Any], identify: Callable[[DiskPath], DiskUuid | None]) -> tuple[Fitted, ...]:
    """Return the disks that have an identity, and those in our folder whose identity cannot be read.

    ``identify`` is asked for those in our folder that come without: not every server tells it in the list.
    """
    buses = {each.key: each.busNumber for each in devices if isinstance(each, Device.VirtualController)}
    found = []
    for each in devices:
        if not isinstance(each, Device.VirtualDisk):
            continue
        root, delta = _root(each.backing)
        path = getattr(root, "fileName", None) or ""
        told = read_uuid(getattr(root, "uuid", None))
        ours = our_path(path)
        uuid = identify(ours) if told is None and ours is not None else told
        if uuid is not None or ours is not None:
            address = ScsiAddress(buses.get(each.controllerKey, 0), each.unitNumber or 0)
            place = getattr(getattr(root, "datastore", None), "_moId", "")
            found.append(Fitted(each.key, address, str(ours or path), uuid, delta, told is not None, each, place, _size(each)))
    return tuple(found)


def nameless_disks(devices: Sequence[Any]) -> tuple[tuple[str, str], ...]:
    """Return where the other disks lie: outside of our folder, and without an identity. See ``Machine.nameless``."""
    roots = [_root(each.backing)[0] for each in devices if isinstance(each, Device.VirtualDisk)]
    paths = [(root, getattr(root, "fileName", None) or "") for root in roots if read_uuid(getattr(root, "uuid", None)) is None]
    return tuple(
        (getattr(getattr(root, "datastore", None), "_moId", ""), path) for root, path in paths if our_path(path) is None
    )


def our_path(text: str) -> DiskPath | None:
    """Return the path if it lies in our folder on its datastore, whose name may have brackets of its own."""
    name, inside, rest = text.partition(f"] {FOLDER}/")
    if not inside or not name.startswith("["):
        return None
    return DiskPath(DatastoreName(plain_name(name[1:])), f"{FOLDER}/{rest}")


def context_id(devices: Sequence[Any]) -> int | None:
    """Return the machine's VMCI context id, as a number of 32 bits: the API may print it as negative."""
    for each in devices:
        if isinstance(each, Device.VirtualVMCIDevice) and each.id is not None:
            return int(each.id) % 2**32
    return None


def snapshot_name(current: Any, trees: Sequence[Any]) -> str | None:
    """Return the name of the snapshot that the machine runs on; None if that is not known."""
    left = list(trees or ())
    while current is not None and left:
        tree = left.pop()
        if tree.snapshot._moId == current._moId:
            return str(tree.name)
        left.extend(tree.childSnapshotList or ())
    return None


def _size(disk: Any) -> int:
    return int(disk.capacityInBytes or 0) or int(disk.capacityInKB or 0) << 10


def _root(backing: Any) -> tuple[Any, bool]:
    """Return the last of a backing's chain, and whether there is a chain."""
    root, links = backing, 0
    while getattr(root, "parent", None) is not None and links < _MAX_CHAIN:
        root, links = root.parent, links + 1
    return root, links > 0
