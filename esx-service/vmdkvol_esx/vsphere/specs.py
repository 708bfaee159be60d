"""A planned reconfigure in the server's words."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from pyVmomi import vim

from vmdkvol_esx.ports import AttachDisk
from vmdkvol_esx.vsphere.batches import EnlargeDisk, Move, Plan
from vmdkvol_esx.vsphere.machine import Controller, Fitted, Machine
from vmdkvol_esx.vsphere.slots import Slot

Device = vim.vm.device
Change = Device.VirtualDeviceSpec


# The id of a storage policy; empty: the datastore's own.
Profile = str


def config_spec(
    machine: Machine, moves: Sequence[Move], plan: Plan, paths: Sequence[str], profiles: Sequence[Profile | None]
) -> Any:
    """Return the spec that does what ``plan`` says of ``moves``; ``paths`` are those of their disks, as the server writes them,
    ``profiles`` the policies that they come under, None: nothing is said of that.

    Detaches first, then what stays and changes, new controllers, and the disks that go on them. It holds for the configuration
    that was read: of a server that gives a version, a later one refuses it.
    """
    changes = [_removed(fitted) for fitted in plan.detach.values()]
    changes += [_edited(moves[at], fitted, profiles[at]) for at, fitted in plan.edit.items()]
    changes += [_controller(each) for each in plan.controllers]
    for number, (at, slot) in enumerate(sorted(plan.attach.items()), start=1):
        move = moves[at]
        if isinstance(move, AttachDisk):
            changes.append(_under(_added(move, slot, -number, paths[at]), profiles[at]))
    spec = vim.vm.ConfigSpec(deviceChange=changes)
    if machine.version:
        spec.changeVersion = machine.version
    return spec


def _removed(fitted: Fitted) -> Any:
    # Without a fileOperation: "destroy" would delete the disk. The device goes back as it was read.
    return Change(operation=Change.Operation.remove, device=fitted.device)


def _edited(move: Move, fitted: Fitted, profile: Profile | None) -> Any:
    # The device as it was read, so that nothing else of it changes; the copy, since others may hold what was read.
    device: Any = copy.copy(fitted.device)
    if isinstance(move, EnlargeDisk):
        device.capacityInKB, device.capacityInBytes = move.size_bytes // 1024, move.size_bytes
    return _under(Change(operation=Change.Operation.edit, device=device), profile)


def _under(change: Any, profile: Profile | None) -> Any:
    if profile is not None:
        # An empty spec would take the disk out of all policies; a datastore's own is one as well.
        change.profile = [vim.vm.DefinedProfileSpec(profileId=profile) if profile else vim.vm.DefaultProfileSpec()]
    return change


def _controller(controller: Controller) -> Any:
    device = Device.ParaVirtualSCSIController(
        key=controller.key, busNumber=controller.bus, sharedBus=Device.VirtualSCSIController.Sharing.noSharing
    )
    return Change(operation=Change.Operation.add, device=device)


def _added(move: AttachDisk, slot: Slot, key: int, path: str) -> Any:
    # Its capacity, its format and its identity are in its own descriptor.
    device = Device.VirtualDisk(
        key=key,
        controllerKey=slot.controller,
        unitNumber=slot.unit,
        backing=Device.VirtualDisk.FlatVer2BackingInfo(fileName=path, diskMode=move.mode),
    )
    allocation = _allocation(move)
    if allocation is not None:
        device.storageIOAllocation = allocation
    return Change(operation=Change.Operation.add, device=device)


def _allocation(move: AttachDisk) -> Any:
    """Return the limit and the share of the disk's host; None if the server's defaults hold."""
    if move.iops_limit is None and move.shares == "normal":
        return None
    allocation = vim.StorageResourceManager.IOAllocationInfo(shares=_shares(move.shares))
    if move.iops_limit is not None:
        allocation.limit = move.iops_limit
    return allocation


def _shares(said: str) -> Any:
    # The number counts with "custom" alone; the other levels have theirs.
    if said.isdigit():
        return vim.SharesInfo(level="custom", shares=int(said))
    return vim.SharesInfo(level=said, shares=0)
