"""One VM gives a disk back because another VM, a removal or a clone wants it.

The one who wants it asks with a notice, *outside* of the volume's lane, and looks again when an attachment has changed:
waiting inside the lane would wait for a Detach that waits for the lane (corrections 12).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import VolumeInUse
from vmdkvol.notices import Notice, Wanted
from vmdkvol.volume import VmId, VolumeId
from vmdkvol_esx.records import VolumeRecord

T = TypeVar("T")
# False says that no agent of that VM is connected; None, that this is not known.
Notify = Callable[[VmId, Notice], bool | None]

# The second of two hosts hears the owner's name within 10 s (F30); giving back what only lingers takes less.
PATIENCE_S = 8.0
# A notice may be lost and a VM may lose the disk without our doing: look again and ask again.
_LOOK_AGAIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Held:
    """What a step found instead of its goal: ``vm`` has the disk of ``record``."""

    record: VolumeRecord
    vm: VmId


@dataclass(slots=True, eq=False)
class _Waiter:
    """Somebody who waits for a disk, and the VMs that said meanwhile that they keep it."""

    volume: VolumeId
    kept: set[VmId] = field(default_factory=set)


class Handover:
    """Asks for disks and tells those who wait that an attachment has changed. ``name`` gives a VM's for a text."""

    def __init__(self, name: Callable[[VmId], str], clock: Clock, notify: Notify) -> None:
        self.name = name
        self._notify = notify
        self._changed = clock.condition()
        # Of those volumes only that somebody waits for.
        self._changes: dict[VolumeId, int] = {}
        self._waiters: set[_Waiter] = set()

    def tell(self, vm: VmId, notice: Notice) -> None:
        """Send a notice to the agents of a VM; it may be lost."""
        self._notify(vm, notice)

    def changed(self, volume: VolumeId) -> None:
        """Wake whoever waits for the volume's disk: it was attached, detached or removed."""
        with self._changed:
            if volume in self._changes:
                self._changes[volume] += 1
                self._changed.notify_all()

    def kept(self, vm: VmId, volume: VolumeId) -> None:
        """Refuse at once whoever waits for the volume's disk now, if it is this VM that has it."""
        with self._changed:
            waiters = [waiter for waiter in self._waiters if waiter.volume == volume]
            for waiter in waiters:
                waiter.kept.add(vm)
        if waiters:
            self.changed(volume)

    def until_free(self, volume: VolumeId, step: Callable[[], T | Held], deadline: Deadline) -> T:
        """Return what ``step`` returns as soon as it is not ``Held``; the holder is asked to give the disk back meanwhile.

        ``step`` enters and leaves the volume's lane by itself. Raises VolumeInUse naming the holder when it says that it
        uses the disk, or a look 8 s after it was asked first, or after ``deadline``, still finds it there.
        """
        # From the first question on: the step before it may have waited for other work, for longer than that.
        patience: Deadline | None = None
        heard: bool | None = None
        with self._waiting(volume) as waiter:
            while True:
                # Before the step: a change that comes while it runs must not be missed.
                seen, last = self._count(volume), patience is not None and patience.passed
                found = step()
                if not isinstance(found, Held):
                    return found
                if found.vm in waiter.kept:
                    raise self._in_use(found, heard=True, kept=True)
                if last:
                    raise self._in_use(found, heard)
                heard = self._notify(found.vm, Wanted(volume))
                patience = patience or deadline.at_most(PATIENCE_S)
                self._wait(volume, seen, patience.at_most(_LOOK_AGAIN_S))

    @contextmanager
    def _waiting(self, volume: VolumeId) -> Iterator[_Waiter]:
        waiter = _Waiter(volume)
        with self._changed:
            self._waiters.add(waiter)
            self._changes.setdefault(volume, 0)
        try:
            yield waiter
        finally:
            with self._changed:
                self._waiters.discard(waiter)
                if not any(other.volume == volume for other in self._waiters):
                    del self._changes[volume]

    def _count(self, volume: VolumeId) -> int:
        with self._changed:
            return self._changes.get(volume, 0)

    def _wait(self, volume: VolumeId, seen: int, until: Deadline) -> None:
        with self._changed:
            while self._changes.get(volume, 0) == seen and not until.passed:
                self._changed.wait(until.left_s)

    def _in_use(self, held: Held, heard: bool | None, *, kept: bool = False) -> VolumeInUse:
        """Return the error that tells mounted from unused-but-silent as far as that is known (corrections 13)."""
        name = self.name(held.vm)
        fields = {"volume": str(held.record.id), "holder": name}
        if heard is False:
            return VolumeInUse(
                f"volume {held.record.name} is attached to {name}, whose agent does not answer: perhaps it is unused there",
                remedy=f"start the agent on {name}; if the volume is mounted there, stop the containers that use it",
                why="silent",
                **fields,
            )
        if kept:
            return VolumeInUse(
                f"volume {held.record.name} is mounted on {name}, which was asked for it and did not give it back",
                why="mounted",
                **fields,
            )
        return VolumeInUse(
            f"volume {held.record.name} is on {name}, which was asked for it and has not answered: it is mounted there, or "
            f"{name} stands still",
            remedy="stop the containers that use it there; if that machine is stuck, an administrator can take it from there",
            why="unknown",
            **fields,
        )
