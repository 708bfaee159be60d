"""What lies on a volume's disk is recorded, as the machine that has it says. In the volume's lane."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from vmdkvol.clock import Deadline
from vmdkvol.errors import BadRequest, StaleRequest, VolumeNotFound
from vmdkvol.messages import Done, Mark
from vmdkvol.volume import Content, State, VmId, VolumeId, content_may_become
from vmdkvol_esx.comparing import Comparing
from vmdkvol_esx.journal import Journal
from vmdkvol_esx.listing import check_ready
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.permits import Permits
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.reply import Reply

WORK_S = 600.0


class Marking:
    """Mark."""

    def __init__(self, parts: Parts, journal: Journal, permits: Permits) -> None:
        self._store = parts.store
        self._lanes = parts.lanes
        self._clock = parts.clock
        self._journal = journal
        self._permits = permits
        self._comparing = Comparing(parts)
        self._log = parts.log

    def mark(self, caller: VmId, request: Mark, deadline: Deadline, _: Reply) -> Done:
        """Afterwards record and sidecar say what lies on the disk. Raises StaleRequest for what cannot follow.

        Whoever has the disk needs no right for it: a file system that is there must not be made a second time.
        """
        if self._lanes.busy(request.volume):
            self._markable(caller, request.volume)
        return self._lanes.run(
            request.volume,
            ("mark", caller, request),
            lambda: self._mark(caller, request),
            deadline,
            f"recording what is on volume {request.volume}",
        )

    def _mark(self, caller: VmId, request: Mark) -> Done:
        self._markable(caller, request.volume)
        self._journal.clear(request.volume, Deadline.after(self._clock, WORK_S))
        record = self._markable(caller, request.volume)
        if record.state not in (State.READY, State.DAMAGED):
            check_ready(record)
        self._comparing.check(record)
        check_generation(record, request.generation)
        if record.last_vm != caller:
            raise StaleRequest(f"volume {record.name} was not attached to this machine last")
        marked = _marked(record, request)
        if marked != record:
            self._store.update(marked, expect=record.generation)
            self._log.info("marked", volume=record.name, content=marked.content, state=marked.state, damage=request.damage)
        # Also when nothing changed: the same request may have died between the record and its copy.
        self._journal.write_sidecar(marked)
        return Done()

    def _markable(self, caller: VmId, volume: VolumeId) -> VolumeRecord:
        """Return a volume of the caller's group, or one that was attached to the caller last."""
        own, record = self._permits.group_id(caller), self._store.volume(volume)
        if record is None or (record.vmgroup != own and record.last_vm != caller):
            raise absent(volume)
        return record


def absent(volume: VolumeId) -> VolumeNotFound:
    """Return the error for an id that nothing of the caller's has: there is none, or it is another vmgroup's (I7)."""
    return VolumeNotFound(f"there is no volume with the id {volume}", volume=str(volume))


def check_generation(record: VolumeRecord, generation: int) -> None:
    """Raise StaleRequest unless the request is for the volume as it is."""
    # A higher one is of a database that was lost: after a rebuild the guest asks again what it has.
    if generation != record.generation:
        raise StaleRequest(
            f"volume {record.name} has generation {record.generation}, the request is for {generation}",
            generation=record.generation,
        )


def _marked(record: VolumeRecord, request: Mark) -> VolumeRecord:
    """Return the record after ``request``; raise StaleRequest if what lies on the disk cannot become that."""
    uuid = None if request.content is Content.UNFORMATTED else request.filesystem_uuid
    if (request.content, uuid) != (record.content, record.filesystem_uuid):
        _check_follows(record, request.content, uuid)
    state = record.state if request.damage is None else State.DAMAGED
    # From here on the disk has its own file system, and no other one.
    copied = record.copied_uuids if uuid is None else ()
    return replace(record, content=request.content, filesystem_uuid=uuid, copied_uuids=copied, state=state)


def _check_follows(record: VolumeRecord, content: Content, uuid: UUID | None) -> None:
    if uuid is None and content is not Content.UNFORMATTED:
        raise BadRequest(
            f"volume {record.name} cannot be {content} without a file system's UUID",
            remedy="if agent and service differ in version, upgrade the older one; else please report it",
        )
    # The UUID that `formatting` announced is the one that `formatted` must have: another file system is not ours.
    foreign_uuid = content is Content.FORMATTED and record.filesystem_uuid not in (None, uuid)
    if foreign_uuid or not content_may_become(record.content, content):
        raise StaleRequest(
            f"volume {record.name} is {record.content} ({record.filesystem_uuid}), it cannot become {content} ({uuid})"
        )
