"""Volumes of which the record is known to be older than the truth: nothing of theirs is changed until a person has looked."""

from __future__ import annotations

from vmdkvol.errors import MetadataDamaged
from vmdkvol.volume import VolumeId
from vmdkvol_esx.records import VolumeRecord


class Doubts:
    """Housekeeping raises and takes back doubts, the verbs ``check``. Of one process: the first scan finds them again."""

    def __init__(self) -> None:
        self._newer: dict[VolumeId, str] = {}

    def newer_sidecar(self, record: VolumeRecord, generation: int) -> bool:
        """The sidecar of ``record`` has a higher generation: an old database was put back (F40). Tell whether that is news."""
        return self._is_news(record, f"its sidecar ({generation})")

    def adopted_anew(self, record: VolumeRecord) -> bool:
        """The disk of ``record`` was released and became another volume's, which may be another vmgroup's. As above."""
        return self._is_news(record, "another volume's, as which its disk was adopted anew")

    def none(self, volume: VolumeId) -> None:
        """What was found against the volume is no longer so."""
        self._newer.pop(volume, None)

    def check(self, record: VolumeRecord) -> None:
        """Raise MetadataDamaged if the volume's record is in doubt."""
        newer = self._newer.get(record.id)
        if newer is not None:
            raise MetadataDamaged(
                f"the record of volume {record.name} (generation {record.generation}) is older than {newer}: "
                "an old database was put back",
                remedy="stop the service and run `vmdkvol-esxd rebuild`",
            )

    def _is_news(self, record: VolumeRecord, newer: str) -> bool:
        known = self._newer.get(record.id)
        self._newer[record.id] = newer
        return known != newer
