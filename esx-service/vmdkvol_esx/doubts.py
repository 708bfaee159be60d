"""Volumes of which the record is known to be older than the truth: nothing of theirs is changed until a person has looked."""

from __future__ import annotations

from vmdkvol.errors import MetadataDamaged
from vmdkvol.volume import VolumeId
from vmdkvol_esx.records import VolumeRecord


class Doubts:
    """Housekeeping raises and takes back doubts, the verbs ``check``. Of one process: the first scan finds them again."""

    def __init__(self) -> None:
        self._generations: dict[VolumeId, int] = {}

    def newer_sidecar(self, record: VolumeRecord, generation: int) -> bool:
        """The sidecar of ``record`` has a higher generation: an old database was put back (F40). Tell whether that is news."""
        known = self._generations.get(record.id)
        self._generations[record.id] = generation
        return known != generation

    def none(self, volume: VolumeId) -> None:
        """What was found against the volume is no longer so."""
        self._generations.pop(volume, None)

    def check(self, record: VolumeRecord) -> None:
        """Raise MetadataDamaged if the volume's record is in doubt."""
        generation = self._generations.get(record.id)
        if generation is not None:
            raise MetadataDamaged(
                f"the record of volume {record.name} (generation {record.generation}) is older than its sidecar "
                f"({generation}): an old database was put back",
                remedy="stop the service and run `vmdkvol-esxd rebuild`",
            )
