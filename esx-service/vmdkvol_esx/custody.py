"""Volumes out of the trash, with other options, another name, another vmgroup: changes of a record and of its copy.

What a rebuild would read must never be what empties a volume that was wanted back, or gives its name to another one: for a
volume out of the trash, a new name and a new vmgroup the copy comes first, with the old generation. Killed before the record
follows, housekeeping sees that it differs and puts it back. Other options take nothing with them: there the record comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from vmdkvol.admin_errors import VmgroupNotFound
from vmdkvol.clock import Deadline
from vmdkvol.errors import Busy, InvalidOption, NameConflict, VolumeError, VolumeInUse, VolumeLost, quoted
from vmdkvol.messages import Call, Request
from vmdkvol.names import VolumeRef
from vmdkvol.options import ALIASES, OPTIONS, CreateOptions, check_mount_option
from vmdkvol.orders import Order, Outcome, Plan, Step
from vmdkvol.points import Point
from vmdkvol.volume import Content, State, VmgroupId
from vmdkvol.volume_orders import MoveVolume, RenameVolume, RestoreVolume, SetVolume
from vmdkvol_esx import regrouping, second_copy
from vmdkvol_esx.attaching import foreign
from vmdkvol_esx.choosing import TRASHED_ELSE_LIVE
from vmdkvol_esx.comparing import Comparing
from vmdkvol_esx.handover import Handover
from vmdkvol_esx.journal import Journal
from vmdkvol_esx.listing import check_ready
from vmdkvol_esx.ordering import Ordering, outcome
from vmdkvol_esx.owners import Owners
from vmdkvol_esx.ownership import Foreign, HeldBy, LeftBehind
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.records import VolumeRecord

# What a volume may be given after it was made: all that counts at an attach or a mount, or is only for people.
SETTABLE = ("access", "attach-as", "iops-limit", "label", "mount-options", "shares")
# Longer than any that is allowed, and short enough to look at.
_MAX_TEXT = 16 << 10


class Keep(Protocol):
    """Stores a record without an intent: as ``Store.update``."""

    def __call__(self, record: VolumeRecord, /, *, expect: int) -> None: ...


class Custody:
    """Each is within the volume's lane."""

    def __init__(self, parts: Parts, ordering: Ordering, journal: Journal, owners: Owners, handover: Handover) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._comparing = Comparing(parts)
        self._at = parts.at
        self._log = parts.log
        self._ordering = ordering
        self._journal = journal
        self._owners = owners
        self._handover = handover

    def rows(self) -> Mapping[type[Request[Any]], Callable[[Any, Call], Any]]:
        """Return what each message is answered with."""
        return {RestoreVolume: self.restore, SetVolume: self.set, RenameVolume: self.rename, MoveVolume: self.move}

    # --- out of the trash ----------------------------------------------------------------------------------------

    def restore(self, order: RestoreVolume, call: Call) -> Outcome:
        """See ``RestoreVolume``. One that is out of the trash already under that name is a success."""
        name = None if order.new_name is None else VolumeRef.for_create(order.new_name)
        return self._ordering.run(order, call, partial(self._restore, order, name), TRASHED_ELSE_LIVE)

    def _restore(self, order: RestoreVolume, ref: VolumeRef | None, record: VolumeRecord, _: Deadline) -> Outcome:
        name = record.name if ref is None else ref.text
        if record.state is State.READY and record.name == name:
            return outcome(order, Plan(), record)
        if record.state is not State.TRASHED:
            check_ready(record)
            raise NameConflict(f"volume {record.name} is not in the trash", remedy="rename it if it is to have another name")
        self._comparing.check(record)
        _check_datastore(record, ref)
        self._check_name_free(record, name, f"give {record.id}, in the trash, another one as its new name (--new-name)")
        if self._hypervisor.disk(disk_ref(record)) is None:
            raise VolumeLost(f"the disk of volume {record.name}, {disk_ref(record).path}, was not found", name=record.name)
        plan = Plan((Step("restore-volume", record.name, "in the trash", f"volume {name}"),))
        if order.dry_run:
            return outcome(order, plan, record)
        restored = self._copied_first(record, replace(record, state=State.READY, name=name, trashed_at=None))
        self._at(Point.RESTORE_RECORDED)
        self._log.warning("restored", volume=name, id=str(record.id), was=record.name)
        return self._finished(order, plan, restored)

    # --- other options -------------------------------------------------------------------------------------------

    def set(self, order: SetVolume, call: Call) -> Outcome:
        """See ``SetVolume``. Options that it has already are a success."""
        wanted = _wanted(order)
        return self._ordering.run(order, call, partial(self._set, order, wanted))

    def _set(self, order: SetVolume, wanted: Mapping[str, Any], record: VolumeRecord, _: Deadline) -> Outcome:
        if record.state is not State.DAMAGED:
            check_ready(record)
        self._comparing.check(record)
        # Such as mount options that another file system has: as at its creation.
        options = _changed(record.options, wanted).checked()
        for word in options.mount_options:
            check_mount_option(word, options.fstype)
        steps = tuple(_step(record, options, key) for key in SETTABLE if _differs(record.options, options, key))
        plan = Plan(steps)
        if steps:
            self._check_no_first_mount(record)
        if order.dry_run or not steps:
            return outcome(order, plan, record)
        changed = replace(record, options=options, generation=record.generation + 1)
        self._store.update(changed, expect=record.generation)
        self._at(Point.SET_RECORDED)
        self._log.info("options set", volume=record.name, id=str(record.id), options=",".join(sorted(wanted)))
        return self._finished(order, plan, changed)

    def _check_no_first_mount(self, record: VolumeRecord) -> None:
        """Raise Busy while a machine makes the file system, or checks a clone's: it tells so with the revision it knows."""
        if record.content is Content.FORMATTED and record.filesystem_uuid is not None:
            return
        _, owner = self._owners.found(record)
        if isinstance(owner, HeldBy):
            raise Busy(f"volume {record.name} is being mounted for the first time on {self._handover.name(owner.vm)}")

    # --- another name --------------------------------------------------------------------------------------------

    def rename(self, order: RenameVolume, call: Call) -> Outcome:
        """See ``RenameVolume``. A volume that has the name already is a success."""
        ref = VolumeRef.for_create(order.new_name)
        return self._ordering.run(order, call, partial(self._rename, order, ref))

    def _rename(self, order: RenameVolume, ref: VolumeRef, record: VolumeRecord, _: Deadline) -> Outcome:
        if record.state is not State.DAMAGED:
            check_ready(record)
        if record.name == ref.text:
            return outcome(order, Plan(), record)
        self._comparing.check(record)
        _check_datastore(record, ref)
        self._check_name_free(record, ref.text, "use another name, or rename that one first")
        record = self._on_no_machine(record, "its name")
        plan = Plan((Step("rename-volume", record.name, record.name, ref.text),), regrouping.loses_name(record))
        if order.dry_run:
            return outcome(order, plan, record)
        renamed = self._copied_first(record, replace(record, name=ref.text))
        self._at(Point.RENAME_RECORDED)
        self._log.warning("renamed", volume=ref.text, id=str(record.id), was=record.name)
        return self._finished(order, plan, renamed)

    # --- another vmgroup -----------------------------------------------------------------------------------------

    def move(self, order: MoveVolume, call: Call) -> Outcome:
        """See ``MoveVolume``. A volume that is in that vmgroup already is a success."""
        group = self._ordering.choosing.vmgroup(order.to_vmgroup)
        return self._ordering.run(order, call, partial(self._move, order, group))

    def _move(self, order: MoveVolume, to: VmgroupId, record: VolumeRecord, _: Deadline) -> Outcome:
        if record.state is not State.DAMAGED:
            check_ready(record)
        if record.vmgroup == to:
            return outcome(order, Plan(), record)
        self._comparing.check(record)
        group = self._store.group_by_id(to)
        if group is None:
            raise VmgroupNotFound(f"vmgroup {quoted(order.to_vmgroup)} was removed meanwhile")
        self._check_name_free(replace(record, vmgroup=to), record.name, "rename one of the two first")
        regrouping.check_fits(group, record, None if order.over_quota else self._store.usage(to).get(record.datastore, 0))
        record = self._on_no_machine(record, "its vmgroup")
        step = regrouping.step(record, self._ordering.choosing.names().get(record.vmgroup), group)
        plan = Plan((step,), regrouping.loses_name(record))
        if order.dry_run:
            return outcome(order, plan, record)
        # Its disk's path keeps the id of the vmgroup that it was made for: whose it is, the record says.
        store = partial(self._store.regroup, over_quota=order.over_quota)
        moved = self._copied_first(record, replace(record, vmgroup=to, last_vm=None), store)
        self._at(Point.MOVE_RECORDED)
        self._log.warning("moved", volume=record.name, id=str(record.id), was=str(record.vmgroup), vmgroup=str(to))
        return self._finished(order, plan, moved)

    # --- shared --------------------------------------------------------------------------------------------------

    def _on_no_machine(self, record: VolumeRecord, what: str) -> VolumeRecord:
        """Return the record, with its disk where it lies now: for Docker a mounted volume keeps ``what`` (corrections 29)."""
        record, owner = self._owners.found(record)
        match owner:
            case HeldBy(vm=vm) | LeftBehind(vm=vm):
                name = self._handover.name(vm)
                raise VolumeInUse(
                    f"volume {record.name} is attached to {name}; a volume keeps {what} while a machine has it",
                    remedy="stop the containers that use it; its disk leaves the machine some seconds later",
                    holder=name,
                )
            case Foreign(vms=vms):
                raise foreign(record, vms, self._handover)
            case _:
                return record

    def _check_name_free(self, record: VolumeRecord, name: str, remedy: str) -> None:
        other = self._store.find(record.vmgroup, name)
        if other is not None and other.id != record.id:
            raise NameConflict(f"there is a volume {name} ({other.id}) in that vmgroup", remedy=remedy, name=name)

    def _copied_first(self, before: VolumeRecord, changed: VolumeRecord, store: Keep | None = None) -> VolumeRecord:
        """Let the copy say it, then the record; return that. Raises what stands against either: then nothing has changed."""
        self._journal.write_sidecar(changed)
        recorded = replace(changed, generation=before.generation + 1)
        try:
            (store or self._store.update)(recorded, expect=before.generation)
        except VolumeError:
            self._write_copy(before)
            raise
        return recorded

    def _finished(self, order: Order, plan: Plan, record: VolumeRecord) -> Outcome:
        self._write_copy(record)
        return outcome(order, plan, record)

    def _write_copy(self, record: VolumeRecord) -> None:
        second_copy.written(self._journal, record, self._log)


def _check_datastore(record: VolumeRecord, ref: VolumeRef | None) -> None:
    """Raise NameConflict for ``db@ds2`` as the name of a volume that lies elsewhere: that would be the name of another one."""
    if ref is not None and ref.datastore not in (None, record.datastore):
        raise NameConflict(
            f"volume {record.name} lies on {record.datastore}, the name {quoted(ref.text, 110)} says {ref.datastore}",
            remedy=f"use {ref.base}, or {ref.base}@{record.datastore}",
        )


def _wanted(order: SetVolume) -> Mapping[str, Any]:
    """Return fields of the options with their new values; InvalidOption for what cannot be set, or is set twice."""
    wanted: dict[str, Any] = {}
    for key, text in order.options:
        name = _settable(key, wanted)
        if len(text) > _MAX_TEXT:
            raise InvalidOption(f"the text of option {name} has {len(text)} characters", remedy="give a shorter one")
        wanted[name] = OPTIONS[name].read(name, text)
    for key in order.unset:
        name = _settable(key, wanted)
        wanted[name] = OPTIONS[name].fallback
    return wanted


def _settable(key: str, wanted: Mapping[str, Any]) -> str:
    name = ALIASES.get(key, key)
    if name == "policy":
        raise InvalidOption("the policy of a volume is not set like this", remedy="use `vmdkvol policy apply NAME VOLUME`")
    if name not in SETTABLE:
        known = f"what can be set: {', '.join(SETTABLE)}"
        raise InvalidOption(f"option {quoted(key)} of a volume cannot be set", remedy=known)
    if name in wanted:
        raise InvalidOption(f"option {name} is given twice", remedy="give it once")
    return name


def _changed(options: CreateOptions, wanted: Mapping[str, Any]) -> CreateOptions:
    values = {OPTIONS[key].field: value for key, value in wanted.items()}
    given = {OPTIONS[key].field for key, value in wanted.items() if value != OPTIONS[key].fallback}
    return replace(options, **values, given=options.given - values.keys() | given)


def _differs(was: CreateOptions, now: CreateOptions, key: str) -> bool:
    field = OPTIONS[key].field
    return bool(getattr(was, field) != getattr(now, field))


def _step(record: VolumeRecord, options: CreateOptions, key: str) -> Step:
    option = OPTIONS[key]
    was, now = getattr(record.options, option.field), getattr(options, option.field)
    when = "" if key == "label" else ", from the next attach on"
    return Step("set-volume", f"{record.name} {key}", option.show(was), f"{option.show(now)}{when}")
