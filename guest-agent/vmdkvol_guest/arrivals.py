"""The Mount calls under way: what keeps the background from taking away a holder that was noted a moment ago.

A Mount notes its ID before it enters the volume's lane. Whoever drops or closes holders in a lane asks here, under one
lock with the noting, so that an ID of a running call is never dropped by anybody but that call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from vmdkvol.clock import Clock
from vmdkvol.volume import VolumeId
from vmdkvol_guest.holders import abandoned


class Arrivals:
    """Known to this process only: after a restart no call is under way."""

    def __init__(self, clock: Clock) -> None:
        self._changed = clock.condition()
        self._now: Counter[tuple[VolumeId, str]] = Counter()
        # What was mounted since the engine's last Activate; an ID leaves with its Unmount, so this stays small.
        self._since_activate: set[tuple[VolumeId, str]] = set()

    @contextmanager
    def arriving(self, volume: VolumeId, mount_id: str) -> Iterator[None]:
        """While entered, nobody drops this ID behind the caller's back. The same ID may come twice at once."""
        with self._changed:
            self._now[volume, mount_id] += 1
            self._since_activate.add((volume, mount_id))
        try:
            yield
        finally:
            with self._changed:
                self._now[volume, mount_id] -= 1
                if not self._now[volume, mount_id]:
                    del self._now[volume, mount_id]

    def left(self, volume: VolumeId, mount_id: str) -> None:
        """The ID was unmounted, or its Mount failed."""
        with self._changed:
            if (volume, mount_id) not in self._now:
                self._since_activate.discard((volume, mount_id))

    def activated(self) -> None:
        """The engine (re)started: what is noted now and is not mounted again may be of a container that is gone."""
        with self._changed:
            self._since_activate = set(self._now)

    def ids(self, volume: VolumeId) -> frozenset[str]:
        """Return the IDs whose Mount is under way."""
        with self._changed:
            return frozenset(mount_id for known, mount_id in self._now if known == volume)

    def renewed(self, volume: VolumeId) -> frozenset[str]:
        """Return the IDs that were mounted since the last Activate and not unmounted."""
        with self._changed:
            return frozenset(mount_id for known, mount_id in self._since_activate if known == volume)

    def drop(self, volume: VolumeId, ids: Collection[str], drop: Callable[[VolumeId, str], None]) -> frozenset[str]:
        """Call ``drop`` for each of ``ids`` that no running Mount is about; return which those were."""
        with self._changed:
            arriving = frozenset(mount_id for known, mount_id in self._now if known == volume)
            gone = abandoned(frozenset(ids), arriving)
            for mount_id in sorted(gone):
                drop(volume, mount_id)
            return gone

    def unless_arriving(self, volume: VolumeId, work: Callable[[], None], otherwise: Callable[[], None]) -> None:
        """Run ``work`` if no Mount of the volume is under way, else ``otherwise``; none begins meanwhile."""
        with self._changed:
            if any(known == volume for known, _ in self._now):
                otherwise()
            else:
                work()
