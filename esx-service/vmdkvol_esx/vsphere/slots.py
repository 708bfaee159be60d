"""Where new disks go: the SCSI controllers of a machine in, places out. Pure, and the same for the same machine.

The least filled controller of ours first, since each has a queue of its own; on it the lowest free unit. A new controller
only when there is none or all are full.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vmdkvol_esx.vsphere.machine import Controller

# Of a virtual machine, of all kinds of SCSI controllers together.
BUSES = range(4)
# What every virtual machine bears; the newest ones more, and they say so.
DISKS = 15
# A controller sits on its own bus, and says where; a new one, here.
OWN_UNIT = 7
# Devices that do not exist yet are told apart by negative keys; those of disks begin at -1.
NEW_CONTROLLER = -1001


@dataclass(frozen=True, slots=True)
class Slot:
    """A place on the controller with this key, which is negative for one that is made with it."""

    controller: int
    bus: int
    unit: int


@dataclass(frozen=True, slots=True)
class Places:
    """``slots`` has fewer than were asked for if the machine is full. ``controllers`` are to be made for them."""

    slots: tuple[Slot, ...]
    controllers: tuple[Controller, ...]


def places(controllers: Sequence[Controller], wanted: int, disks: int = DISKS) -> Places:
    """Return places for ``wanted`` disks; ``disks`` is how many a controller bears, its own unit not among them."""
    all_of_them = list(controllers)
    made: list[Controller] = []
    slots: list[Slot] = []
    for _ in range(wanted):
        chosen = _least_filled(all_of_them, disks)
        if chosen is None:
            chosen = _new_one(all_of_them, len(made))
            if chosen is None:
                break
            made.append(chosen)
            all_of_them.append(chosen)
        unit = min(_free(chosen, disks))
        all_of_them[all_of_them.index(chosen)] = replace(chosen, taken=chosen.taken | {unit})
        slots.append(Slot(chosen.key, chosen.bus, unit))
    return Places(tuple(slots), tuple(made))


def room(controllers: Sequence[Controller], disks: int = DISKS) -> int:
    """Return for how many disks ``places`` would find a place."""
    new = min(len(set(BUSES) - {each.bus for each in controllers}), max(0, len(BUSES) - len(controllers)))
    return sum(len(_free(each, disks)) for each in controllers if each.ours) + new * disks


def _free(controller: Controller, disks: int) -> frozenset[int]:
    return frozenset(range(disks + 1)) - controller.taken


def _least_filled(controllers: Sequence[Controller], disks: int) -> Controller | None:
    with_room = [each for each in controllers if each.ours and _free(each, disks)]
    return min(with_room, key=lambda each: (len(each.taken), each.bus), default=None)


def _new_one(controllers: Sequence[Controller], made: int) -> Controller | None:
    free = set(BUSES) - {each.bus for each in controllers}
    if not free or len(controllers) >= len(BUSES):
        return None
    return Controller(NEW_CONTROLLER - made, min(free), frozenset({OWN_UNIT}), ours=True)
