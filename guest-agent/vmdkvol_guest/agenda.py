"""Which volumes are to be looked at, and when: the reconciler's calendar. Knows nothing of what is done with them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from vmdkvol.clock import Clock
from vmdkvol.volume import VolumeId
from vmdkvol_guest.plan import pause_after


@dataclass(frozen=True, slots=True)
class Due:
    """What to look at now: everything, or these volumes."""

    everything: bool
    volumes: tuple[VolumeId, ...]


class Agenda:
    """``period_s`` times ``jitter()``, a factor around 1, lies between two looks at everything; the first is due at once."""

    def __init__(self, clock: Clock, period_s: float, jitter: Callable[[], float]) -> None:
        self._clock = clock
        self._period_s = period_s
        self._jitter = jitter
        self._changed = clock.condition()
        self._stopped = False
        self._everything = True
        self._volumes: set[VolumeId] = set()
        self._next = 0.0
        self._alarms: dict[VolumeId, float] = {}
        self._pauses: dict[VolumeId, float] = {}
        self._wanted: set[VolumeId] = set()

    def wait(self) -> Due | None:
        """Return what is due, as soon as something is; None after ``stop``."""
        with self._changed:
            while not self._stopped and not self._everything and not self._volumes and self._left() > 0.0:
                self._changed.wait(self._left())
            return None if self._stopped else self._take()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def wake(self, volume: VolumeId | None) -> None:
        """Make this volume due, or for None everything."""
        with self._changed:
            if volume is None:
                self._everything = True
            else:
                self._volumes.add(volume)
            self._changed.notify_all()

    def everything_in(self, seconds: float) -> None:
        """Make everything due after ``seconds`` times ``jitter()``, or before."""
        with self._changed:
            self._next = min(self._next, self._clock.monotonic() + seconds * self._jitter())
            self._changed.notify_all()

    def want(self, volume: VolumeId) -> None:
        """Somebody waits for the disk. Everything becomes due, as the volume may be attached without our knowing."""
        with self._changed:
            self._wanted.add(volume)
            self._end_pause(volume)
        self.wake(None)

    def wanted(self) -> frozenset[VolumeId]:
        with self._changed:
            return frozenset(self._wanted)

    def not_here(self, volumes: Collection[VolumeId]) -> None:
        """These are wanted of somebody else."""
        with self._changed:
            self._wanted.difference_update(volumes)

    def look_again(self, volume: VolumeId, at: float) -> None:
        """Make the volume due at this moment."""
        with self._changed:
            self._alarms[volume] = at
            self._changed.notify_all()

    def rest(self, volume: VolumeId) -> bool:
        """Leave the volume alone for a while, longer each time; tell whether this is the first time."""
        with self._changed:
            before = self._pauses.get(volume)
            self._pauses[volume] = pause_after(before)
            self._alarms[volume] = self._clock.monotonic() + self._pauses[volume]
            self._changed.notify_all()
            return before is None

    def resting(self, volume: VolumeId) -> bool:
        """Tell whether the last try failed and the pause after it is not over."""
        with self._changed:
            return volume in self._pauses and volume in self._alarms

    def end_pause(self, volume: VolumeId) -> None:
        """A step succeeded: the next failure is a first one again."""
        with self._changed:
            self._end_pause(volume)

    def settled(self, volume: VolumeId) -> None:
        """Nothing of the volume waits any more: it is in use, or gone from here."""
        with self._changed:
            self._end_pause(volume)
            self._wanted.discard(volume)

    def _end_pause(self, volume: VolumeId) -> None:
        self._alarms.pop(volume, None)
        self._pauses.pop(volume, None)

    def _left(self) -> float:
        return min([self._next, *self._alarms.values()]) - self._clock.monotonic()

    def _take(self) -> Due:
        now = self._clock.monotonic()
        rung = {volume for volume, at in self._alarms.items() if at <= now}
        for volume in rung:
            del self._alarms[volume]
        due = Due(self._everything or now >= self._next, tuple(sorted(self._volumes | rung, key=str)))
        self._everything, self._volumes = False, set()
        if due.everything:
            self._next = now + self._period_s * self._jitter()
        return due
