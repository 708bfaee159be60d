"""What nobody asks for: open work is settled, lost disks are noticed, sidecars written, the trash emptied.

All of it looks at everything each time and depends on no event. Files are deleted for volumes in our own trash only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import replace
from functools import partial
from typing import Any

from vmdkvol.clock import Deadline
from vmdkvol.errors import MetadataDamaged, NotFound, Unavailable, VolumeError, WrongDisk
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid, State, VolumeId
from vmdkvol_esx.comparing import Comparing
from vmdkvol_esx.journal import SETTLE, Journal
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.pending_policies import PendingPolicies
from vmdkvol_esx.ports import Disk
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.removing import Removing
from vmdkvol_esx.retention import Retention
from vmdkvol_esx.rounds import Rounds
from vmdkvol_esx.strays import Seen, Strays
from vmdkvol_esx.whereabouts import Whereabouts

# Open work holds up other work, and at start the first answer, for no longer than this; it goes on in its lane.
_SETTLE_S = 10.0
# So long a task that was found running is followed. What then still runs is found again by the next scan.
_FOLLOW_S = 900.0
_PAGE = 500
# Of the sidecars that were found right, so many are read again in a scan: all of a small site's, a share of a large one's.
_SIDECARS = 500
# A disk is lost when two full scans in a row did not find it (house 4): nothing is decided at the first sight.
_SCANS = 2


class Housekeeping:
    """``settle_all`` once before the first request, then ``start`` for the rest of the process's life."""

    def __init__(
        self,
        parts: Parts,
        journal: Journal,
        removing: Removing,
        whereabouts: Whereabouts,
        *,
        retention_s: float,
        every_s: float,
    ) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._lanes = parts.lanes
        self._clock = parts.clock
        self._journal = journal
        self._removing = removing
        self._whereabouts = whereabouts
        self._log = parts.log
        self._doubts = parts.doubts
        self._comparing = Comparing(parts)
        self._retention = Retention(parts.clock, retention_s)
        self._scans, self.scanned_at = 0, parts.clock.monotonic()
        self._absent: dict[VolumeId, int] = {}
        self.strays = Strays(parts)
        self._pending = PendingPolicies(parts)
        # The records whose sidecars were found right, by their hash, and how many scans it takes to read all of those again.
        self._right: dict[VolumeId, int] = {}
        self._shares = 1
        self._rounds = Rounds(parts.clock, parts.log, self.scan, self._look_around, every_s=every_s)

    def start(self) -> None:
        """Scan now and then every ``every_s``, on a thread of its own, until ``stop``."""
        self._rounds.start()

    def hint(self) -> None:
        """Look soon where disks are: a machine was perhaps switched off."""
        self._rounds.hint()

    def stop(self, deadline: Deadline) -> bool:
        """End the thread after the scan that runs; tell whether it ended before the deadline. Again is fine."""
        return self._rounds.stop(deadline)

    def settle_all(self) -> None:
        """Settle every open intent that can be settled soon; the others guard their volumes, and running tasks are followed.

        What is being worked on in its lane is left to that.
        """
        soon = Deadline.after(self._clock, _SETTLE_S)
        for volume in [intent.volume for intent in self._store.open_intents()]:
            if not self._lanes.busy(volume):
                self._guarded("settle", volume, partial(self._settle, volume, soon))

    def _settle(self, volume: VolumeId, soon: Deadline) -> None:
        def clear() -> None:
            self._journal.clear(volume, Deadline.after(self._clock, _FOLLOW_S))

        self._lanes.run(volume, SETTLE, clear, soon, f"settling the work on volume {volume}")

    def scan(self) -> None:
        """Compare records and datastores once, and put right what may be put right without a person."""
        self.settle_all()
        self._look_around()
        seen = self._disks()
        known: set[DiskUuid] = set()
        volumes: set[VolumeId] = set()
        pending: list[VolumeRecord] = []
        for record in self._records():
            known.add(record.disk_uuid)
            volumes.add(record.id)
            if record.policy_pending and record.state is State.READY:
                pending.append(record)
            if record.datastore in seen and not self._lanes.busy(record.id):
                self._in_lane_if_needed(record, seen)
        self.strays.look(seen, known)
        self._forget_others(volumes)
        self._pending.followed(pending)
        self._shares = max(1, -(-len(known) // _SIDECARS))
        self._scans, self.scanned_at = self._scans + 1, self._clock.monotonic()

    def _look_around(self) -> None:
        try:
            self._whereabouts.look()
        except VolumeError as error:
            self._log.warning("machines not read", error=str(error))

    def _forget_others(self, volumes: Set[VolumeId]) -> None:
        self._retention.forget_others(volumes)
        self._doubts.forget_others(volumes)
        memories: tuple[dict[VolumeId, Any], ...] = (self._absent, self._right)
        for memory in memories:
            for gone in memory.keys() - volumes:
                del memory[gone]

    # --- one volume ----------------------------------------------------------------------------------------------

    def _in_lane_if_needed(self, record: VolumeRecord, seen: Seen) -> None:
        there = record.disk_uuid in seen[record.datastore]
        match record.state:
            case State.READY | State.DAMAGED if there:
                self._absent.pop(record.id, None)
                self._check_sidecar(record)
            case State.READY:
                self._count_absent(record)
            case State.LOST if there or self._whereabouts.there(record):
                self._in_lane(record.id, "found", lambda: self._change_state(record.id, State.LOST, State.READY))
            case State.TRASHED:
                self._look_at_trashed(record, there=there)
            case _:
                return

    def _count_absent(self, record: VolumeRecord) -> None:
        """A disk that the listing left out is asked for by itself: damaged is not lost, unread is nothing at all."""
        try:
            found = self._hypervisor.disk(disk_ref(record))
        except Unavailable as error:
            # Such as an adopted one that a machine has, which does not say who it is meanwhile. Its copy lies elsewhere.
            self._absent.pop(record.id, None)
            self._log.warning("disk not looked at", volume=record.name, id=str(record.id), error=str(error))
            if not record.adopted:
                return
            self._check_sidecar(record)
            return
        except VolumeError as error:
            self._absent.pop(record.id, None)
            self._log.error("disk cannot be used", volume=record.name, id=str(record.id), error=str(error))
            return
        if found is not None:
            # It was moved out of our folders; its sidecar lies beside it there.
            self._absent.pop(record.id, None)
            self._check_sidecar(record)
            return
        self._absent[record.id] = self._absent.get(record.id, 0) + 1
        if self._absent[record.id] >= _SCANS:
            self._in_lane(record.id, "lost", lambda: self._lose(record))

    def _lose(self, record: VolumeRecord) -> None:
        if self._hypervisor.disk(disk_ref(record)) is None:
            self._change_state(record.id, State.READY, State.LOST)

    def _change_state(self, volume: VolumeId, old: State, new: State) -> None:
        record = self._store.volume(volume)
        if record is None or record.state is not old:
            return
        self._store.update(replace(record, state=new), expect=record.generation)
        self._absent.pop(volume, None)
        log = self._log.error if new is State.LOST else self._log.warning
        log(f"volume {new}", volume=record.name, id=str(volume), disk=str(disk_ref(record).path))

    def _look_at_trashed(self, record: VolumeRecord, *, there: bool) -> None:
        """The copy before all else: one that is newer than the record keeps the disk, and so does one that was not read."""
        try:
            lies = there or bool(record.adopted) or self._lies_outside(record)
        except Unavailable as error:
            self._log.warning("trash not looked at", volume=record.name, id=str(record.id), error=str(error))
            return
        if lies and not self._check_sidecar(record):
            return
        if self._retention.over(record, first_scan=self._scans == 0):
            self._guarded("emptying", record.id, lambda: self._removing.empty(record.id, self._deadline()))

    def _lies_outside(self, record: VolumeRecord) -> bool:
        """Tell whether its disk lies where the record says, though no list has it: out of our folders, or damaged."""
        try:
            return self._hypervisor.disk(disk_ref(record)) is not None
        except MetadataDamaged:
            return True
        except (WrongDisk, NotFound):
            return False

    # --- sidecars ------------------------------------------------------------------------------------------------

    def _check_sidecar(self, record: VolumeRecord) -> bool:
        """See that the copy says what the record says, or raise a doubt; False: that cannot be said now."""
        looked_at = hash(record)
        if self._right.get(record.id) == looked_at and record.id.int % self._shares != self._scans % self._shares:
            return True
        self._right.pop(record.id, None)
        try:
            stands = self._sidecar_stands(record)
        except VolumeError as error:
            self._log.warning("sidecar not read", volume=record.name, error=str(error))
            return not isinstance(error, Unavailable)
        if stands:
            self._right[record.id] = looked_at
        if not stands:
            self._in_lane(record.id, "sidecar", lambda: self._write_sidecar(record.id))
        return True

    def _sidecar_stands(self, record: VolumeRecord) -> bool:
        compared = self._comparing.compare(record)
        copy = compared.copy
        if copy is not None and record.state is State.TRASHED and copy.state is not State.TRASHED:
            # The service died while it was taken out of the trash: whoever ordered that has its whole time to do so again.
            self._retention.begin_anew(record)
        return compared.stands

    def _write_sidecar(self, volume: VolumeId) -> None:
        record = self._store.volume(volume)
        if self._store.open_intent(volume) is not None:
            # The record stands as it does meanwhile. If the work is undone its generation goes back, and a sidecar with the
            # raised one would say for ever that an old database was put back.
            return
        if record is not None and record.state in (State.READY, State.DAMAGED, State.TRASHED):
            self._journal.write_sidecar(record)
            self._log.info("sidecar written", volume=record.name, id=str(volume))

    # --- everything ----------------------------------------------------------------------------------------------

    def _disks(self) -> Seen:
        """Return the disks of every datastore that can be listed; of the others nothing is concluded."""
        seen: dict[DatastoreName, Mapping[DiskUuid, Disk]] = {}
        for datastore in self._hypervisor.datastores():
            try:
                seen[datastore.name] = self._whereabouts.listed(self._hypervisor.disks(datastore.name))
            except VolumeError as error:
                self._log.warning("datastore not listed", datastore=datastore.name, error=str(error))
        return seen

    def _records(self) -> Iterator[VolumeRecord]:
        after: VolumeId | None = None
        while page := self._store.page(None, after, _PAGE):
            yield from page
            after = page[-1].id

    # --- running -------------------------------------------------------------------------------------------------

    def _in_lane(self, volume: VolumeId, what: str, work: Callable[[], None]) -> None:
        self._guarded(
            what,
            volume,
            lambda: self._lanes.run(volume, ("housekeeping", what), work, self._deadline(), f"housekeeping of {volume}"),
        )

    def _guarded(self, what: str, volume: VolumeId, work: Callable[[], None]) -> None:
        """One volume's trouble is logged, and tried again at the next scan; the others go on."""
        try:
            work()
        except VolumeError as error:
            self._log.warning("housekeeping goes on later", what=what, id=str(volume), error=str(error))

    def _deadline(self) -> Deadline:
        return Deadline.after(self._clock, _SETTLE_S)
