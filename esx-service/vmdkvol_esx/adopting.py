"""A disk that somebody else made becomes a volume by an administrator's order: a record of it, and nothing else.

The disk stays where it lies, and nothing is written into it or beside it. What is on it is never formatted: it counts as
somebody's from the first moment on, and the first mount checks it in full.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from vmdkvol.admin_errors import NotAdoptable
from vmdkvol.adoption_messages import AdoptDisk
from vmdkvol.errors import (
    BadRequest,
    InvalidOption,
    MetadataDamaged,
    NameConflict,
    NotFound,
    VolumeInUse,
    VolumeLost,
    quoted,
)
from vmdkvol.messages import Call, Request
from vmdkvol.names import VolumeRef
from vmdkvol.options import OPTIONS, CreateOptions, check_mount_option
from vmdkvol.orders import ROOT, Outcome, Plan, Step
from vmdkvol.points import Point
from vmdkvol.sizes import format_size
from vmdkvol.volume import Content, DiskUuid, State, VmgroupId, VolumeId
from vmdkvol_esx import rights, second_copy
from vmdkvol_esx.choosing import Choosing
from vmdkvol_esx.claims import claims
from vmdkvol_esx.copying import FIRST_GENERATION
from vmdkvol_esx.cordons import takes_none
from vmdkvol_esx.foreign_disks import ForeignDisk
from vmdkvol_esx.journal import Journal
from vmdkvol_esx.listing import check_ready
from vmdkvol_esx.orphans import parse_place
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.paths import disk_path
from vmdkvol_esx.placing import check_in_order
from vmdkvol_esx.ports import DiskPath, DiskRef
from vmdkvol_esx.prospecting import Prospecting
from vmdkvol_esx.records import VolumeRecord

# What the disk itself does not say: how it is attached and mounted, and what is for people.
OPTIONS_TAKEN = ("access", "attach-as", "fstype", "iops-limit", "label", "layout", "mount-options", "shares")
_MAX_TEXT = 16 << 10


class Adopting:
    """For any thread."""

    def __init__(self, parts: Parts, choosing: Choosing, prospecting: Prospecting, journal: Journal) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._lanes = parts.lanes
        self._clock = parts.clock
        self._new_id = parts.new_id
        self._at = parts.at
        self._log = parts.log
        self._doubts = parts.doubts
        self._choosing = choosing
        self._prospecting = prospecting
        self._journal = journal

    def rows(self) -> Mapping[type[Request[Any]], Callable[[Any, Call], Any]]:
        """Return what answers the message."""
        return {AdoptDisk: self.adopt}

    def adopt(self, order: AdoptDisk, call: Call) -> Outcome:
        """See ``AdoptDisk``."""
        vmgroup, ref, path = self._choosing.vmgroup(order.vmgroup), VolumeRef.for_create(order.name), _place(order.disk)
        if ref.datastore not in (None, path.datastore):
            raise NameConflict(
                f"the disk lies on {path.datastore}, the name {quoted(ref.text, 110)} says {ref.datastore}",
                remedy=f"use {ref.base}, or {ref.base}@{path.datastore}",
            )
        work = partial(self._adopt, order, vmgroup, ref, path)
        # The lane of a machine's own create of this name: the two never meet.
        return self._lanes.run((vmgroup, ref.text), replace(order, by=ROOT), work, call.deadline, f"adopting {path}")

    # --- in the name's lane --------------------------------------------------------------------------------------

    def _adopt(self, order: AdoptDisk, vmgroup: VmgroupId, ref: VolumeRef, path: DiskPath) -> Outcome:
        existing = self._store.find(vmgroup, ref.text)
        if existing is not None:
            return self._again(order, existing, path)
        disk, uuid, size_bytes = self._free(path)
        record = VolumeRecord(
            id=VolumeId(self._new_id()),
            vmgroup=vmgroup,
            name=ref.text,
            datastore=path.datastore,
            path=path.path,
            disk_uuid=uuid,
            size_bytes=size_bytes,
            state=State.READY,
            # Somebody's from the first moment on: nothing ever makes a file system on it (I1).
            content=Content.FORMATTED,
            filesystem_uuid=None,
            options=_options(order, size_bytes, thin=disk.thin),
            generation=FIRST_GENERATION,
            created_at=self._clock.wall(),
            created_by=order.by.name,
            adopted=str(path),
        )
        if not order.over_quota:
            self._check_room(record)
        beyond = ", whatever its limits are" if order.over_quota else ""
        after = f"volume {record.name} of vmgroup {self._whose(record)}, {format_size(size_bytes)}{beyond}"
        plan = Plan((Step("adopt-disk", str(path), "a disk of nobody's", after),))
        if order.dry_run:
            return Outcome(plan, done=False)
        self._store.enlist(record, over_quota=order.over_quota)
        self._doubts.compared(record.id)
        self._at(Point.ADOPT_RECORDED)
        self._log.warning("adopted", volume=record.name, id=str(record.id), disk=str(path), by=order.by.name)
        second_copy.written(self._journal, record, self._log)
        return Outcome(plan, done=True, subject=str(record.id), revision=record.generation)

    def _whose(self, record: VolumeRecord) -> str:
        return self._choosing.names().get(record.vmgroup, str(record.vmgroup))

    def _again(self, order: AdoptDisk, existing: VolumeRecord, path: DiskPath) -> Outcome:
        """The same disk as the same volume is a success, as long as it is one."""
        check_ready(existing)
        same = disk_path(existing) == path and bool(existing.adopted)
        wanted = _options(order, existing.size_bytes, thin=existing.options.diskformat == "thin")
        if not same or wanted.differences(existing.options, existing.size_bytes):
            raise NameConflict(f"there is a volume {existing.name} in vmgroup {self._whose(existing)}", name=existing.name)
        return Outcome(Plan(), not order.dry_run, str(existing.id), existing.generation)

    def _free(self, path: DiskPath) -> tuple[ForeignDisk, DiskUuid, int]:
        """Return the disk at this place with its identity and size; raise what stands against taking it."""
        self._prospecting.datastore(path.datastore)
        for store in self._hypervisor.datastores():
            if store.name == path.datastore:
                # Its record's second copy lies there.
                check_in_order(store)
        if any(each.datastore == path.datastore for each in self._store.cordons()):
            raise takes_none(path.datastore)
        disk = self._hypervisor.foreign_disk(path)
        if disk is None:
            raise NotFound(f"no disk lies at {quoted(str(path))}", remedy="see `vmdkvol volume scan` for the disks")
        if disk.obstacle or disk.uuid is None or disk.size_bytes is None:
            raise NotAdoptable(f"{quoted(str(path))}: {disk.obstacle or 'it does not say what it is'}")
        record = self._store.with_disk(disk.uuid)
        if record is not None:
            stands = "is the disk of" if disk_path(record) == path else "has the identity of the disk of"
            raise NotAdoptable(f"{quoted(str(path))} {stands} volume {record.name} ({record.state})")
        user = self._prospecting.user_of(DiskRef(disk.uuid, path), self._hypervisor.devices(None))
        if user is not None:
            raise VolumeInUse(f"{quoted(str(path))} is in use: {user} has it", remedy="take it off there first", holder=user)
        self._check_not_claimed(path, disk.uuid)
        return disk, disk.uuid, disk.size_bytes

    def _check_not_claimed(self, path: DiskPath, uuid: DiskUuid) -> None:
        """Raise NotAdoptable if another service, or a database that was lost or is an old one, has a record of this disk."""
        try:
            for place, claim in claims(self._hypervisor, path.datastore, self._knows):
                if claim.disk_uuid == uuid or disk_path(claim) == path:
                    raise NotAdoptable(
                        f"{quoted(str(path))}: a record at {place} says that it is volume {claim.name} of another service",
                        remedy="see `vmdkvol orphans ls`",
                    )
        except MetadataDamaged as error:
            raise NotAdoptable(f"{quoted(str(path))}: it may be a volume already: {error.text}", remedy=error.remedy) from error

    def _knows(self, place: DiskPath) -> bool:
        """Tell whether the copy at this place is of a volume of ours."""
        stem = place.path.rpartition("/")[2].removesuffix(".vmdk")
        return any(str(record.id) == stem for record in self._choosing.records() if record.adopted)

    def _check_room(self, record: VolumeRecord) -> None:
        """As the store decides it again in the transaction that reserves it."""
        group = self._store.group_by_id(record.vmgroup)
        if group is None:
            raise VolumeLost(f"vmgroup {record.vmgroup} was removed meanwhile")
        used, size = self._store.usage(record.vmgroup).get(record.datastore, 0), record.size_bytes
        right = rights.find(group.rights, record.datastore, None)
        rights.check_limits(group.vmgroup, right, record.datastore, size, size, used, 0)


def _place(text: str) -> DiskPath:
    """Return the place that is meant; BadRequest for one that is none, or leads out of its datastore."""
    path = parse_place(text)
    parts = [] if path is None else path.path.split("/")
    if path is None or not text.isprintable() or any(part in ("", ".", "..") for part in parts):
        raise BadRequest(f"{quoted(text)} is no place of a disk", remedy="write it as [datastore] folder/disk.vmdk")
    if not path.path.endswith(".vmdk"):
        raise BadRequest(f"{quoted(text)} is no VMDK", remedy="name its descriptor, which ends in .vmdk")
    return path


def _options(order: AdoptDisk, size_bytes: int, *, thin: bool | None) -> CreateOptions:
    """Return the volume's options; InvalidOption for what cannot be said of a disk that is there, or is given twice."""
    given: dict[str, Any] = {}
    for key, text in order.options:
        if key not in OPTIONS_TAKEN:
            raise InvalidOption(
                f"option {quoted(key)} cannot be given to a disk that is there", remedy=f"known: {', '.join(OPTIONS_TAKEN)}"
            )
        option = OPTIONS[key]
        if option.field in given:
            raise InvalidOption(f"option {key} is given twice", remedy="give it once")
        if len(text) > _MAX_TEXT:
            raise InvalidOption(f"the text of option {key} has {len(text)} characters", remedy="give a shorter one")
        given[option.field] = option.read(key, text)
    # What made it put its files at the root of its file system.
    values = {"layout": "root", **given}
    diskformat = "thin" if thin else "zeroedthick"
    options = CreateOptions(size_bytes=size_bytes, diskformat=diskformat, given=frozenset(values), **values)
    for word in options.mount_options:
        check_mount_option(word, options.fstype)
    return options.checked()
