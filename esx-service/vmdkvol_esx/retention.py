"""How long each volume is in the trash, by time that never jumps: a clock set forward empties no trash (F33)."""

from __future__ import annotations

from collections.abc import Set

from vmdkvol.clock import Clock
from vmdkvol.volume import VolumeId
from vmdkvol_esx.records import VolumeRecord


class Retention:
    """Used by one thread. Of one process: the wall clock counts for what was in the trash when that began."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._started = (clock.wall(), clock.monotonic())
        # Each with the moment that its record says: a volume that was taken out and put in again has another one.
        self._since: dict[VolumeId, tuple[float | None, float]] = {}

    def over(self, record: VolumeRecord, *, first_scan: bool) -> bool:
        """Tell whether the volume was there for its whole time. What came after the first scan counts from its first sight."""
        now = self._now()
        begun = record.trashed_at if first_scan and record.trashed_at is not None else now
        # Written by a clock that was ahead of this one: it would keep the disk for as long as that was.
        begun = min(begun, now)
        return now - self._counted(record, begun) >= self._seconds

    def begin_anew(self, record: VolumeRecord) -> None:
        """A volume that is seen in the trash for the first time has its whole time from now on."""
        self._counted(record, self._now())

    def forget_others(self, volumes: Set[VolumeId]) -> None:
        """Remember nothing of volumes that are not among these."""
        for gone in self._since.keys() - volumes:
            del self._since[gone]

    def _counted(self, record: VolumeRecord, begun: float) -> float:
        """Return since when this stay in the trash counts: ``begun``, if it is seen for the first time."""
        trashed_at, since = self._since.get(record.id, (None, begun))
        if trashed_at != record.trashed_at:
            # Whoever took it out has the whole time again, however short it was out and whatever was seen of that.
            since = begun
        self._since[record.id] = (record.trashed_at, since)
        return since

    def _now(self) -> float:
        wall, monotonic = self._started
        return wall + self._clock.monotonic() - monotonic
