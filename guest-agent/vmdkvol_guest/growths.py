"""What is known of file systems and the disks under them: which span theirs, and which did not follow when theirs grew.

Of this process only: another one looks at each mounted volume once, and knows it again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vmdkvol.volume import Attachment, Content, Lag, VolumeId

# A growth that failed is tried again after so long, then after twice as long: what stands in its way is for people.
_FIRST_PAUSE_S = 10.0
_LONGEST_PAUSE_S = 3600.0


@dataclass(frozen=True, slots=True)
class Short:
    """A file system of ``size_bytes`` (None: not read) on a disk of ``disk_bytes``, and why it is no larger."""

    disk_bytes: int
    size_bytes: int | None
    reason: str
    pause_s: float
    again_at: float


class Growths:
    """For any thread; what is said of one volume comes from its lane. ``now`` is monotonic seconds."""

    def __init__(self) -> None:
        # How large the disk was whose file system was seen to span it, as far as its kind can.
        self._spanned: dict[VolumeId, int] = {}
        self._short: dict[VolumeId, Short] = {}

    def due(self, noted: Attachment, told: Attachment | None, now: float) -> bool:
        """Tell whether the mounted file system is to be looked at: its disk is larger than it was known to span.

        ``noted`` is the disk as it was when it was mounted or last looked at, ``told`` as the service says now.
        """
        if noted.content is not Content.FORMATTED:
            return False
        size_bytes = noted.size_bytes if told is None else max(noted.size_bytes, told.size_bytes)
        if self._spanned.get(noted.volume, 0) >= size_bytes:
            return False
        short = self._short.get(noted.volume)
        return short is None or short.disk_bytes < size_bytes or now >= short.again_at

    def spanned(self, volume: VolumeId, disk_bytes: int) -> None:
        """The file system spans a disk of this size."""
        self._spanned[volume] = disk_bytes
        self._short.pop(volume, None)

    def left(self, volume: VolumeId, disk_bytes: int, size_bytes: int | None, reason: str, now: float) -> bool:
        """The file system did not follow its disk; tell whether that is news. It is due again after a pause, longer each time.

        With ``now`` infinite it never is: a later try would find the same.
        """
        before = self._short.get(volume)
        again = before is not None and before.disk_bytes == disk_bytes and before.reason == reason
        pause_s = min(before.pause_s * 2, _LONGEST_PAUSE_S) if again and before is not None else _FIRST_PAUSE_S
        self._short[volume] = Short(disk_bytes, size_bytes, reason, pause_s, now + pause_s)
        return not again

    def at_once(self, volume: VolumeId) -> None:
        """Somebody wants it to follow now: what has failed before is tried again."""
        self._spanned.pop(volume, None)
        short = self._short.get(volume)
        if short is not None:
            self._short[volume] = replace(short, again_at=0.0)

    def forget(self, volume: VolumeId) -> None:
        """The volume is not here any more."""
        self._spanned.pop(volume, None)
        self._short.pop(volume, None)

    def lags(self) -> tuple[Lag, ...]:
        """Return every file system that did not follow its disk, as the service is told of it."""
        known = tuple(self._short.items())
        return tuple(Lag(volume, short.disk_bytes, short.size_bytes, short.reason) for volume, short in known)

    def short(self, volume: VolumeId) -> Short | None:
        """Return what is to be told of a file system that did not follow its disk."""
        return self._short.get(volume)
