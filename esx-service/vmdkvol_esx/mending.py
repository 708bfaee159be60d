"""Orphans are looked for and mended by an administrator's order: nothing that is read here is believed a moment later.

Each order looks anew at the one place that it names, which must be one where our disks lie or lay.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, assert_never
from uuid import UUID

from vmdkvol import frames
from vmdkvol.admin_errors import ProofNeeded
from vmdkvol.errors import (
    Conflict,
    MetadataDamaged,
    NameConflict,
    NotFound,
    TruthUnknown,
    VolumeError,
    WrongDisk,
    one_line,
    quoted,
)
from vmdkvol.messages import Call, Request
from vmdkvol.names import DatastoreName
from vmdkvol.orders import Outcome, Plan, Step
from vmdkvol.orphan_messages import ListOrphans, Mending, MendOrphan, Orphan, Orphans
from vmdkvol.points import Point
from vmdkvol.volume import LIVE_STATES, DiskUuid, State, VolumeId
from vmdkvol.wire import answer_size
from vmdkvol_esx import orphans, sidecar
from vmdkvol_esx.choosing import Choosing
from vmdkvol_esx.discarding import Discarding
from vmdkvol_esx.glance import by_disk
from vmdkvol_esx.orphans import Known, Place
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.paths import copy_path, disk_ref
from vmdkvol_esx.ports import Disk, DiskPath, DiskRef
from vmdkvol_esx.rebuilding import adopted_disk, as_found, read_record
from vmdkvol_esx.records import VolumeRecord

_PAGE_BYTES = frames.MAX_FRAME - 4096
_MOST_UNREAD = 50
_HAS_A_DISK = frozenset({State.READY, State.DAMAGED})


class MendingOrphans:
    """For any thread."""

    def __init__(self, parts: Parts, choosing: Choosing, discarding: Discarding) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._lanes = parts.lanes
        self._clock = parts.clock
        self._new_id = parts.new_id
        self._at = parts.at
        self._log = parts.log
        self._choosing = choosing
        self._discarding = discarding

    def rows(self) -> Mapping[type[Request[Any]], Callable[[Any, Call], Any]]:
        """Return what each message is answered with."""
        return {ListOrphans: lambda *_: self.look(), MendOrphan: self.mend}

    # --- looking -------------------------------------------------------------------------------------------------

    def look(self) -> Orphans:
        """See ``ListOrphans``."""
        unread: list[str] = []
        known = self._known(unread)
        found: list[Orphan] = list(orphans.of_records(known))
        listed: dict[DiskUuid, DiskPath] = {}
        looked: set[DatastoreName] = set()
        datastores = self._hypervisor.datastores()
        found += orphans.of_gone_datastores(known, {each.name for each in datastores})
        for datastore in datastores:
            try:
                disks = {disk.ref.path: disk for disk in self._hypervisor.disks(datastore.name)}
                paths = self._hypervisor.traces(datastore.name)
            except VolumeError as error:
                unread.append(one_line(f"datastore {datastore.name}: {error.text}"))
                continue
            listed.update({disk.ref.uuid: path for path, disk in disks.items()})
            looked.add(datastore.name)
            found += self._of(paths, disks, known, unread)
        found += self._gone(looked, listed, known, unread)
        found = orphans.by_kind([*found, *orphans.of_attached(known, listed)])
        return _fitting(found, unread)

    def _of(
        self, paths: Sequence[DiskPath], disks: Mapping[DiskPath, Disk], known: Known, unread: list[str]
    ) -> Iterator[Orphan]:
        for path in paths:
            disk, named = disks.get(path), known.at(path)
            if disk is not None and named is not None and named.disk_uuid == disk.ref.uuid:
                continue
            try:
                orphan = orphans.at_place(self._place(path, disk), known)
            except VolumeError as error:
                unread.append(one_line(error.text if str(path) in error.text else f"{path}: {error.text}"))
                continue
            if orphan is not None:
                yield orphan

    def _gone(
        self, looked: Collection[DatastoreName], listed: Collection[DiskUuid], known: Known, unread: list[str]
    ) -> Iterator[Orphan]:
        """Yield what no scan has decided yet: volumes whose disk is positively absent at this moment."""
        for record in known.by_disk.values():
            uuid = record.disk_uuid
            if record.state not in _HAS_A_DISK or record.datastore not in looked or uuid in listed or uuid in known.holders:
                continue
            try:
                absent = self._hypervisor.disk(disk_ref(record)) is None
            except (MetadataDamaged, WrongDisk):
                # What lies there is told by its place.
                continue
            except VolumeError as error:
                unread.append(one_line(f"volume {record.name}: {error.text}"))
                continue
            # Since the listing it was perhaps removed, or moved by its machine's move, or is on its way.
            if absent and self._store.open_intent(record.id) is None and self._store.volume(record.id) == record:
                yield orphans.not_found(record)

    def _place(self, path: DiskPath, disk: Disk | None) -> Place:
        """Return what lies there; ``disk`` is what a listing just showed. Raises Unavailable for what cannot be said."""
        damage = "" if disk is not None else self._damage(path)
        record, unreadable = None, "it has no second copy of one"
        try:
            disk = disk or adopted_disk(self._hypervisor, path)
            content = self._hypervisor.read_sidecar(path)
            if content is not None:
                record = sidecar.decode(content) if disk is None else read_record(self._hypervisor, path, disk)
        except MetadataDamaged as error:
            unreadable = error.text
        return Place(path, disk, damage, record, unreadable, record is not None and self._is_later(record))

    def _is_later(self, record: VolumeRecord) -> bool:
        """As ``claims.adopted_since`` of the volume that our records say has this one's adopted disk."""
        other = self._store.with_disk(record.disk_uuid) if record.adopted else None
        return other is not None and other.id != record.id and self._hypervisor.read_sidecar(copy_path(other)) is None

    def _damage(self, path: DiskPath) -> str:
        """Return what is wrong with what is no disk in a listing; empty: nothing lies there.

        One whose bytes are not all there may tell its identity all the same, and what is wrong only to who asks by that.
        """
        # No disk has this one: what cannot be read at all says so to anybody, and any other who it is.
        identity = DiskUuid(self._new_id())
        for _ in range(2):
            try:
                if self._hypervisor.disk(DiskRef(identity, path)) is None:
                    return ""
            except MetadataDamaged as error:
                return f"{error.text} [{error.code}]"
            except WrongDisk as error:
                identity = DiskUuid(UUID(str(error.fields["found"])))
                continue
            # It is whole: it has come since the listing, or was made whole.
            break
        raise TruthUnknown(f"what lies at {path} came or changed at this moment", remedy="try again")

    def _known(self, unread: list[str]) -> Known:
        records = list(self._choosing.records())
        holders: dict[DiskUuid, str] = {}
        try:
            lists = self._hypervisor.devices(None)
            names = {vm.id: vm.name for vm in lists.vms}
            holders = {disk: holder.vm_name for disk, holder in by_disk(lists, names).items()}
            unread += [one_line(f"machine {names.get(vm, str(vm))}: it does not answer") for vm in lists.unread]
        except VolumeError as error:
            unread.append(one_line(f"machines: {error.text}"))
        places = {(place.datastore, place.path): record for record in records for place in (copy_path(record),)}
        return Known({record.disk_uuid: record for record in records}, places, self._choosing.names(), holders)

    # --- mending -------------------------------------------------------------------------------------------------

    def mend(self, order: MendOrphan, call: Call) -> Outcome:
        """See ``MendOrphan``."""
        if order.action is Mending.FORGET:
            return self._discarding.forget(order, call)
        path = orphans.parse_place(order.where)
        if path is None:
            raise NotFound(f"{quoted(order.where)} is no place of a disk", remedy="see `vmdkvol orphans ls` for the places")
        doing = f"mending {path}"
        return self._lanes.run(("orphan", path), order, partial(self._mend, order, path), call.deadline, doing)

    def _mend(self, order: MendOrphan, path: DiskPath) -> Outcome:
        known_stores = {each.name for each in self._hypervisor.datastores()}
        if path.datastore not in known_stores or path not in self._hypervisor.traces(path.datastore):
            raise NotFound(f"nothing of vmdkvol lies at {quoted(str(path))}", remedy="see `vmdkvol orphans ls` for the places")
        unread: list[str] = []
        listed = {disk.ref.path: disk for disk in self._hypervisor.disks(path.datastore)}
        known = self._known(unread)
        place = self._place(path, listed.get(path))
        orphan = orphans.at_place(place, known)
        if orphan is None or order.action not in orphan.actions:
            stands = "is no orphan" if orphan is None else f"is not mended by {order.action}: {orphan.detail}"
            raise Conflict(f"what lies at {quoted(str(path))} {stands}", remedy="see `vmdkvol orphans ls`")
        if unread and order.action is not Mending.ADOPT:
            raise TruthUnknown(f"who has the disk is not known: {unread[0]}", remedy="try again when everything answers")
        match order.action:
            case Mending.ADOPT:
                return self._adopt(order, place)
            case Mending.TRASH:
                return self._trash(order, place, known)
            case Mending.REMOVE_SIDECAR:
                return self._remove_sidecar(order, place)
            case Mending.FORGET:
                raise AssertionError("it is of a record, and done there")
            case _:
                assert_never(order.action)

    def _adopt(self, order: MendOrphan, place: Place) -> Outcome:
        record = as_found(place.path, _record_of(place), self._clock.wall())
        state = f"volume {record.name}" if record.state is State.READY else f"volume {record.name}, {record.state}"
        plan = Plan((Step("adopt-disk", str(place.path), None, state),))
        namesake = self._store.find(record.vmgroup, record.name) if record.state in LIVE_STATES else None
        if namesake is not None:
            raise NameConflict(
                f"there is a volume {record.name} ({namesake.id}) in its vmgroup",
                remedy="rename that one first",
                name=record.name,
            )
        if order.dry_run:
            return Outcome(plan, done=False, subject=str(record.id))
        self._store.restore(record)
        self._log.warning("adopted", volume=record.name, id=str(record.id), disk=str(place.path), by=order.by.name)
        return Outcome(plan, done=True, subject=str(record.id), revision=record.generation)

    def _trash(self, order: MendOrphan, place: Place, known: Known) -> Outcome:
        """The copy first: killed before the record is there, the same order finds the disk as it was, and does it all again."""
        if place.disk is None:
            raise Conflict(f"no disk lies at {place.path}", remedy="see the list of orphans again: somebody may have mended it")
        now = self._clock.wall()
        made = orphans.trashed(place, place.disk, VolumeId(self._new_id()), now, known.vmgroups)
        record = replace(as_found(place.path, made, now), state=State.TRASHED, trashed_at=now)
        plan = Plan(
            (Step("trash-disk", str(place.path), None, f"volume {record.name} in the trash"),),
            loses=f"the disk [{place.path.datastore}] {place.path.path}, when the trash is emptied",
        )
        if order.dry_run:
            return Outcome(plan, done=False, subject=str(record.id))
        _check_word(order)
        self._hypervisor.write_sidecar(place.path, sidecar.encode(record))
        self._at(Point.MEND_COPIED)
        self._store.restore(record)
        self._log.warning("orphan trashed", volume=record.name, id=str(record.id), disk=str(place.path), by=order.by.name)
        return Outcome(plan, done=True, subject=str(record.id), revision=record.generation)

    def _remove_sidecar(self, order: MendOrphan, place: Place) -> Outcome:
        told = "a copy that cannot be read" if place.record is None else f"the copy of the record of {place.record.name}"
        plan = Plan((Step("remove-sidecar", str(place.path), told, None),), loses=f"{told}, at {place.path}")
        if order.dry_run:
            return Outcome(plan, done=False)
        _check_word(order)
        # It does nothing while a disk lies there.
        self._hypervisor.write_sidecar(place.path, None)
        self._log.warning("stray sidecar removed", disk=str(place.path), by=order.by.name)
        return Outcome(plan, done=True)


def _record_of(place: Place) -> VolumeRecord:
    if place.record is None:
        raise Conflict(
            f"{place.path} has no second copy of a record", remedy="see the list of orphans for what can be done with it"
        )
    return place.record


def _check_word(order: MendOrphan) -> None:
    if order.i_know != order.where:
        raise ProofNeeded(
            f"{quoted(order.where, 120)}: {order.action} cannot be taken back",
            remedy="repeat the place as what you know, if that is what you want",
        )


def _fitting(found: list[Orphan], unread: list[str]) -> Orphans:
    told = tuple(unread[:_MOST_UNREAD])
    left, shown = _PAGE_BYTES - answer_size(Orphans((), told)), list[Orphan]()
    for each in found:
        left -= answer_size(each)
        if left < 0:
            break
        shown.append(each)
    return Orphans(tuple(shown), told, len(found) - len(shown))
