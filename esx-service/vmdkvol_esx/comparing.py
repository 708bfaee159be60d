"""A record compared with its second copy: that an old database was put back is known before anything is changed (F40).

A scan compares all of them. Until it has come to a volume, whatever is about to change that volume compares it first: one read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from vmdkvol.errors import MetadataDamaged
from vmdkvol_esx import claims, sidecar
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.paths import copy_path
from vmdkvol_esx.records import VolumeRecord


@dataclass(frozen=True, slots=True)
class Compared:
    """``stands``: the copy is to be left as it is. ``copy`` is what it says, unless it is in doubt or of something else."""

    stands: bool
    copy: VolumeRecord | None = None


class Comparing:
    """For any thread. What it finds is remembered in ``Parts.doubts``."""

    def __init__(self, parts: Parts) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._doubts = parts.doubts
        self._log = parts.log

    def check(self, record: VolumeRecord) -> None:
        """Raise MetadataDamaged if the volume's record is in doubt. One that nobody has compared yet is compared now.

        Within the volume's lane. Raises as ``Hypervisor.read_sidecar`` if its copy cannot be read: what cannot be said is no
        permission.
        """
        self._doubts.check(record)
        if not self._doubts.is_compared(record.id):
            self._compare(record, lambda: record)
            self._doubts.compared(record.id)
            self._doubts.check(record)

    def compare(self, record: VolumeRecord) -> Compared:
        """Read the copy, and raise a doubt or take it back. Raises as ``Hypervisor.read_sidecar`` and ``claims.claims``."""
        # An attach and a Mark since the record was read are no old database.
        found = self._compare(record, lambda: self._store.volume(record.id))
        self._doubts.compared(record.id)
        return found

    def _compare(self, record: VolumeRecord, now: Callable[[], VolumeRecord | None]) -> Compared:
        content = self._hypervisor.read_sidecar(copy_path(record))
        try:
            if content is None:
                return Compared(bool(record.adopted) and self._adopted_anew(record))
            copy = sidecar.decode(content)
        except MetadataDamaged as error:
            self._log.warning("sidecar damaged", volume=record.name, id=str(record.id), error=str(error))
            if not sidecar.is_newer(error):
                return Compared(False)
            # It is whole: what it says beyond our record is not ours to drop, and nobody here knows what that is.
            self._doubts.newer_version(record)
            return Compared(True)
        return self._of_copy(record, copy, now)

    def _of_copy(self, record: VolumeRecord, copy: VolumeRecord, now: Callable[[], VolumeRecord | None]) -> Compared:
        if copy.id != record.id:
            # Moved by hand. A stray one whose volume is not known may be the last word on it: that is for a person.
            self._log.error("sidecar of another volume", volume=record.name, id=str(record.id), other=str(copy.id))
            return Compared(self._store.volume(copy.id) is None)
        if copy.generation > record.generation:
            self._doubt(now(), copy.generation)
            return Compared(True)
        self._doubts.none(record.id)
        return Compared(_says_the_same(copy, record), copy)

    def _doubt(self, now: VolumeRecord | None, generation: int) -> None:
        """The database is older than the disk, as when a backup was put back: fail closed, for a person."""
        if now is not None and now.generation < generation and self._doubts.newer_sidecar(now, generation):
            self._log.error("sidecar is newer than the record", volume=now.name, id=str(now.id))

    def _adopted_anew(self, record: VolumeRecord) -> bool:
        """Tell whether its disk became another volume's since, which the database that was put back does not know."""
        other = claims.adopted_since(self._hypervisor, record)
        # A copy of this record would stand beside that of its successor from then on, and a rebuild choose between them.
        if other is not None and self._doubts.adopted_anew(record):
            self._log.error("adopted anew as another volume", volume=record.name, id=str(record.id), other=str(other.id))
        return other is not None


def _says_the_same(copy: VolumeRecord, record: VolumeRecord) -> bool:
    # An attach changes these two and does not rewrite the copy.
    return replace(copy, generation=record.generation, last_vm=record.last_vm) == record
