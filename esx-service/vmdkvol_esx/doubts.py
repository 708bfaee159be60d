"""Volumes of which the record is known to be older than the truth: nothing of theirs is changed until a person has looked."""

from __future__ import annotations

from collections.abc import Set

from vmdkvol.errors import MetadataDamaged
from vmdkvol.volume import VolumeId
from vmdkvol_esx.ports import DiskPath
from vmdkvol_esx.records import VolumeRecord

_REBUILD = "stop the service and run `vmdkvol-esxd rebuild`"
_UPGRADE = "upgrade the service, then run `vmdkvol-esxd rebuild` if the volume is not as it was"


class Doubts:
    """What ``comparing`` found, and of which volumes. Of one process: the next one compares anew. For any thread."""

    def __init__(self) -> None:
        self._found: dict[VolumeId, tuple[str, str]] = {}
        self._compared: set[VolumeId] = set()
        self._left: dict[VolumeId, tuple[DiskPath, ...]] = {}

    def newer_sidecar(self, record: VolumeRecord, generation: int) -> bool:
        """The sidecar of ``record`` has a higher generation: an old database was put back (F40). Tell whether that is news."""
        return self._is_news(record.id, f"is older than its sidecar ({generation}): an old database was put back", _REBUILD)

    def formatted_since(self, record: VolumeRecord) -> bool:
        """The sidecar of ``record`` says that there is a file system, which is final, and the record does not. As above."""
        why = f"says that its disk is {record.content}, and its sidecar that it has data: an old database was put back"
        return self._is_news(record.id, why, _REBUILD)

    def adopted_anew(self, record: VolumeRecord) -> bool:
        """The disk of ``record`` was released and became another volume's, which may be another vmgroup's. As above."""
        why = "is older than another volume's, as which its disk was adopted anew: an old database was put back"
        return self._is_news(record.id, why, _REBUILD)

    def newer_version(self, record: VolumeRecord) -> bool:
        """A copy was written by a newer version, which may say anything of the volume. As above."""
        why = "cannot be compared with its second copy, which a newer version of the service wrote"
        return self._is_news(record.id, why, _UPGRADE)

    def none(self, volume: VolumeId) -> None:
        """What was found against the volume is no longer so."""
        self._found.pop(volume, None)

    def compared(self, volume: VolumeId) -> None:
        """Its copy was read, or there cannot be one from before: what stands against the record is known."""
        self._compared.add(volume)

    def is_compared(self, volume: VolumeId) -> bool:
        return volume in self._compared

    def has_found(self, volume: VolumeId) -> bool:
        return volume in self._found

    def left_unread(self, volume: VolumeId, place: DiskPath) -> None:
        """Its disk was moved away from ``place``, and the copy there, which may know more, did not go along yet."""
        self._left[volume] = (*(each for each in self.unread_places(volume) if each != place), place)

    def none_left(self, volume: VolumeId, place: DiskPath) -> None:
        """What lay at ``place`` is known."""
        left = tuple(each for each in self._left.pop(volume, ()) if each != place)
        if left:
            self._left[volume] = left

    def unread_places(self, volume: VolumeId) -> tuple[DiskPath, ...]:
        return self._left.get(volume, ())

    def forget_others(self, volumes: Set[VolumeId]) -> None:
        """Remember nothing of volumes that are not among these."""
        # From copies: verbs add to both meanwhile.
        for volume in tuple(self._compared):
            if volume not in volumes:
                self._compared.discard(volume)
        for known in (self._found, self._left):
            for volume in tuple(known):
                if volume not in volumes:
                    known.pop(volume, None)

    def check(self, record: VolumeRecord) -> None:
        """Raise MetadataDamaged if the volume's record is known to be in doubt. Reads nothing: see ``Comparing.check``."""
        found = self._found.get(record.id)
        if found is not None:
            why, remedy = found
            raise MetadataDamaged(f"the record of volume {record.name} (generation {record.generation}) {why}", remedy=remedy)

    def _is_news(self, volume: VolumeId, why: str, remedy: str) -> bool:
        known = self._found.get(volume)
        self._found[volume] = (why, remedy)
        return known != (why, remedy)
