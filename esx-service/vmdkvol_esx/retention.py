"""How long each volume is in the trash, by time that never jumps: a clock set forward empties no trash (F33).

Nor does one that was ahead when the service began: nothing is over in the first minutes, in which a clock is set right.
"""

from __future__ import annotations

from collections.abc import Set

from vmdkvol.clock import Clock
from vmdkvol.volume import VolumeId
from vmdkvol_esx.records import VolumeRecord

# A machine that comes up with a wrong clock has the right one within minutes: chrony steps it at one of its first answers.
_UNSURE_S = 600.0


class Retention:
    """Used by one thread. Of one process: the wall clock counts for what was in the trash when that began."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._started = (clock.wall(), clock.monotonic())
        # Each with the moment that its record says, by which a volume that was taken out and put in again is another one; and
        # since when that counts, by the monotonic clock. None: since the moment that its record says.
        self._since: dict[VolumeId, tuple[float | None, float | None]] = {}

    def over(self, record: VolumeRecord, *, first_scan: bool) -> bool:
        """Tell whether the volume was there for its whole time. What came after the first scan counts from its first sight."""
        # Written by a clock that was ahead of this one, it would keep the disk for as long as that was.
        aged = first_scan and record.trashed_at is not None and record.trashed_at <= self._wall()
        trashed_at, since = self._counted(record, None if aged else self._clock.monotonic())
        if since is not None:
            return self._clock.monotonic() - since >= self._seconds
        assert trashed_at is not None, "only what its record says counts by the wall clock"
        running_s = self._clock.monotonic() - self._started[1]
        return running_s >= min(self._seconds, _UNSURE_S) and self._wall() - trashed_at >= self._seconds

    def begin_anew(self, record: VolumeRecord) -> None:
        """A volume that is seen in the trash for the first time has its whole time from now on."""
        self._counted(record, self._clock.monotonic())

    def forget_others(self, volumes: Set[VolumeId]) -> None:
        """Remember nothing of volumes that are not among these."""
        for gone in self._since.keys() - volumes:
            del self._since[gone]

    def _counted(self, record: VolumeRecord, begun: float | None) -> tuple[float | None, float | None]:
        """Return since when this stay in the trash counts: ``begun``, if it is seen for the first time."""
        known = self._since.get(record.id)
        if known is None or known[0] != record.trashed_at:
            # Whoever took it out has the whole time again, however short it was out and whatever was seen of that.
            known = self._since[record.id] = (record.trashed_at, begun)
        return known

    def _wall(self) -> float:
        """Return what the wall clock said at the start, and the time since; less if it was set back: it was ahead then."""
        wall, monotonic = self._started
        return min(wall + self._clock.monotonic() - monotonic, self._clock.wall())
