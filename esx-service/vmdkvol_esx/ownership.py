"""Who has a disk: the disk and the device lists in, one of six answers out. Pure.

The lists are the truth and a record is only a hint where to look (D4). Whoever is about to attach or delete asks here
first: attaching a disk that a running VM holds can freeze that VM (D9).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from vmdkvol.volume import DiskUuid, VmId
from vmdkvol_esx.ports import AttachedDisk, DeviceLists


@dataclass(frozen=True, slots=True)
class Free:
    """No VM that answered lists the disk. ``unread`` are those of ours that did not answer and had no part in it as far as
    is known; what is not ours never got a disk from us."""

    unread: frozenset[VmId] = frozenset()


@dataclass(frozen=True, slots=True)
class Here:
    """The caller has it, and nobody else who answered."""

    device: AttachedDisk


@dataclass(frozen=True, slots=True)
class HeldBy:
    """Exactly one other VM of ours has it."""

    vm: VmId
    device: AttachedDisk


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """Exactly one other VM of ours has it, by a list that was read, and that VM is switched off: nobody there uses it."""

    vm: VmId
    device: AttachedDisk


@dataclass(frozen=True, slots=True)
class Foreign:
    """Attached outside of what we do: to a VM that we do not know, to several, or twice. Reported, never changed (T13)."""

    vms: tuple[VmId, ...]


@dataclass(frozen=True, slots=True)
class Unread:
    """Nobody who answered has it, and a VM that may well have it did not answer."""

    vm: VmId


Owner = Free | Here | HeldBy | LeftBehind | Foreign | Unread


def decide(
    disk: DiskUuid,
    lists: DeviceLists,
    known: Collection[VmId],
    last_vm: VmId | None,
    caller: VmId | None,
    off: Collection[VmId] = (),
) -> Owner:
    """Return who has ``disk``.

    ``known`` are the VMs of ours, ``off`` those that are positively switched off, ``last_vm`` is the one that the last
    attach was for. One silent VM must not stop every volume of the site: only ``last_vm`` and the caller count as
    suspects, for the others the disk's own lock is the last guard (corrections 38). A VM of ours that the lists leave
    out is as silent as one that they name as unread.
    """
    found = [(vm, device) for vm, devices in lists.lists.items() for device in devices if device.uuid == disk]
    holders = {vm for vm, _ in found}
    # Twice on one machine: one of them is a copy, and its guest cannot tell them apart.
    if len(found) > 1 or holders - set(known) - {caller}:
        return Foreign(tuple(sorted(holders)))
    if found:
        vm, device = found[0]
        if vm == caller:
            return Here(device)
        return LeftBehind(vm, device) if vm in off else HeldBy(vm, device)
    silent = lists.unread | (frozenset(known) - lists.lists.keys())
    for suspect in (last_vm, caller):
        if suspect is not None and suspect in silent:
            return Unread(suspect)
    return Free(silent & frozenset(known))
