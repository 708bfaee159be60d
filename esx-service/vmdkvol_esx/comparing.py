"""A record compared with its second copy: that an old database was put back is known before anything is changed (F40).

A scan compares all of them. Until it has come to a volume, whatever is about to change that volume compares it first: one read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from vmdkvol.clock import Deadline
from vmdkvol.errors import DatastoreNotFound, MetadataDamaged, VolumeError
from vmdkvol.volume import Content
from vmdkvol_esx import claims, sidecar
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.paths import copy_path
from vmdkvol_esx.ports import DiskPath
from vmdkvol_esx.records import VolumeRecord

# Whoever attaches a disk waits while it is searched who has it by now. A scan has all the time that this takes.
SEARCH_S = 30.0


@dataclass(frozen=True, slots=True)
class Compared:
    """``stands``: the copy is to be left as it is. ``copy`` is what it says, unless it is in doubt or of something else.

    ``knows_more``: it is a copy of this record, and the record is older.
    """

    stands: bool
    copy: VolumeRecord | None = None
    knows_more: bool = False


class Comparing:
    """For any thread. What it finds is remembered in ``Parts.doubts``."""

    def __init__(self, parts: Parts) -> None:
        self._store = parts.store
        self._clock = parts.clock
        self._hypervisor = parts.hypervisor
        self._doubts = parts.doubts
        self._log = parts.log

    def check(self, record: VolumeRecord) -> None:
        """Raise MetadataDamaged if the volume's record is in doubt. One that nobody has compared yet is compared now.

        Within the volume's lane. Raises as ``Hypervisor.read_sidecar`` if its copy cannot be read, and as
        ``claims.adopted_since``: what cannot be said is no permission.
        """
        for left in self._doubts.unread_places(record.id):
            self.carry(record, left)
        self._doubts.check(record)
        if not self._doubts.is_compared(record.id):
            self._compare(record, lambda: record, self._soon())
            self._doubts.compared(record.id)
            self._doubts.check(record)

    def keep_ahead(self, record: VolumeRecord) -> None:
        """Let a copy that knows more than ``record`` do so also when the record has been raised by one, as by a detach.

        With as much in its number as the record it would pass for a change that was cut off, and be written over. Within the
        volume's lane. Raises nothing: a disk that a machine gives back does not wait for what cannot be read or written.
        """
        try:
            self.check(record)
        except MetadataDamaged:
            self._raise_copy(record)
        except VolumeError as error:
            self._log.warning("not compared before a detach", volume=record.name, id=str(record.id), error=str(error))

    def _raise_copy(self, record: VolumeRecord) -> None:
        place = copy_path(record)
        try:
            content = self._hypervisor.read_sidecar(place)
            copy = None if content is None else sidecar.decode(content)
            if copy is not None and copy.id == record.id and copy.generation == record.generation + 1:
                self._hypervisor.write_sidecar(place, sidecar.encode(replace(copy, generation=copy.generation + 1)))
        except VolumeError as error:
            self._log.warning("copy not kept ahead", volume=record.name, id=str(record.id), error=str(error))

    def compare(self, record: VolumeRecord) -> Compared:
        """Read the copy, and raise a doubt or take it back. Raises as ``Hypervisor.read_sidecar`` and
        ``claims.adopted_since``. What must be looked at in the volume's lane is left to ``check``, and does not stand.
        """
        if self._doubts.unread_places(record.id):
            return Compared(False)
        # An attach and a Mark since the record was read are no old database.
        found = self._compare(record, lambda: self._store.volume(record.id), None)
        self._doubts.compared(record.id)
        return found

    def carry(self, moved: VolumeRecord, left: DiskPath) -> Compared:
        """Compare the record of a disk that was moved with the copies at both places; return what the one at ``left`` says.

        MetadataDamaged if either knows more. That one then lies beside the disk, where the next process finds it too: what
        knows more is never left where nobody compares it. If both do, each stays where it is. Within the volume's lane.

        Raises as ``Hypervisor.read_sidecar`` and ``write_sidecar``. Then nobody changes the volume in this process before that
        was done, unless it was compared before the move, and not in doubt.
        """
        try:
            found = self._carry(moved, left)
        except VolumeError:
            if self._doubts.has_found(moved.id) or not self._doubts.is_compared(moved.id):
                self._doubts.left_unread(moved.id, left)
            raise
        self._doubts.none_left(moved.id, left)
        self._doubts.compared(moved.id)
        self._doubts.check(moved)
        return found

    def _carry(self, moved: VolumeRecord, left: DiskPath) -> Compared:
        content, beside = self._read_left(left), self._hypervisor.read_sidecar(copy_path(moved))
        here = Compared(False) if beside is None else self._said(moved, beside, lambda: moved)
        if here.knows_more:
            return here
        if content is None:
            return Compared(beside is None and self._adopted_anew(moved, self._soon()))
        found = self._said(moved, content, lambda: moved)
        if found.knows_more and not here.stands:
            self._hypervisor.write_sidecar(copy_path(moved), _placed(content, moved))
            self._hypervisor.write_sidecar(left, None)
        return found

    def _read_left(self, left: DiskPath) -> bytes | None:
        try:
            return self._hypervisor.read_sidecar(left)
        except DatastoreNotFound:
            # Emptied by moving its disks, and taken away: what was there is gone for good.
            return None

    def _soon(self) -> Deadline:
        return Deadline.after(self._clock, SEARCH_S)

    def _compare(self, record: VolumeRecord, now: Callable[[], VolumeRecord | None], deadline: Deadline | None) -> Compared:
        content = self._hypervisor.read_sidecar(copy_path(record))
        if content is None:
            return Compared(self._adopted_anew(record, deadline))
        return self._said(record, content, now)

    def _said(self, record: VolumeRecord, content: bytes, now: Callable[[], VolumeRecord | None]) -> Compared:
        try:
            copy = sidecar.decode(content)
        except MetadataDamaged as error:
            self._log.warning("sidecar damaged", volume=record.name, id=str(record.id), error=str(error))
            if not sidecar.is_newer(error):
                return Compared(False)
            # It is whole: what it says beyond our record is not ours to drop, and nobody here knows what that is.
            self._doubts.newer_version(record)
            return Compared(True, knows_more=True)
        return self._of_copy(record, copy, now)

    def _of_copy(self, record: VolumeRecord, copy: VolumeRecord, now: Callable[[], VolumeRecord | None]) -> Compared:
        if copy.id != record.id:
            # Moved by hand. A stray one whose volume is not known may be the last word on it: that is for a person.
            self._log.error("sidecar of another volume", volume=record.name, id=str(record.id), other=str(copy.id))
            return Compared(self._store.volume(copy.id) is None)
        if _knows_more(copy, record):
            self._doubt(now(), copy)
            return Compared(True, knows_more=True)
        self._doubts.none(record.id)
        return Compared(_says_the_same(copy, record), copy)

    def _doubt(self, now: VolumeRecord | None, copy: VolumeRecord) -> None:
        """The database is older than the disk, as when a backup was put back: fail closed, for a person."""
        if now is None or not _knows_more(copy, now):
            return
        newer = copy.generation > now.generation
        if self._doubts.newer_sidecar(now, copy.generation) if newer else self._doubts.formatted_since(now):
            self._log.error("sidecar is newer than the record", volume=now.name, id=str(now.id))

    def _adopted_anew(self, record: VolumeRecord, deadline: Deadline | None) -> bool:
        """Tell whether its disk became another volume's since, which the database that was put back does not know."""
        if not record.adopted:
            return False
        other = claims.adopted_since(self._hypervisor, record, deadline)
        # A copy of this record would stand beside that of its successor from then on, and a rebuild choose between them.
        if other is not None and self._doubts.adopted_anew(record):
            self._log.error("adopted anew as another volume", volume=record.name, id=str(record.id), other=str(other.id))
        return other is not None


def _placed(content: bytes, moved: VolumeRecord) -> bytes:
    """Return the copy with the place of ``moved``; as it is, if a newer version wrote it."""
    try:
        copy = sidecar.decode(content)
    except MetadataDamaged:
        return content
    return sidecar.encode(replace(copy, datastore=moved.datastore, path=moved.path))


def _knows_more(copy: VolumeRecord, record: VolumeRecord) -> bool:
    """Tell whether the record is older than its copy.

    That a disk is formatted raises no generation, and is final: by a record of the minute before, what a container wrote since
    would be taken for an unfinished mkfs, and blanked (I1).
    """
    formatted = copy.content is Content.FORMATTED and record.content is not Content.FORMATTED
    return copy.generation > record.generation or formatted


def _says_the_same(copy: VolumeRecord, record: VolumeRecord) -> bool:
    if (copy.generation + 1, copy.last_vm) == (record.generation, record.last_vm):
        # What an order wrote before its record followed, and not again afterwards (``custody``): beside an old database that
        # has not heard of the order it would not pass for newer.
        return False
    # An attach changes these two and does not rewrite the copy.
    return replace(copy, generation=record.generation, last_vm=record.last_vm) == record
