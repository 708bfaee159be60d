"""All volumes as an administrator sees them: whose they are, who uses them, what stands against them.

Facts of the hypervisor are those of a moment ago (``glance``), read in bulk: a listing of a large site asks it nothing for
a volume by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import translate
from operator import attrgetter
from typing import Any

from vmdkvol import frames
from vmdkvol.errors import BadRequest, VolumeError, one_line
from vmdkvol.messages import Call, Request
from vmdkvol.volume import Content, Holder, State, VmgroupId
from vmdkvol.volume_orders import InspectVolume, ListAllVolumes, VolumeDetail, VolumeRow, VolumeRows
from vmdkvol_esx.choosing import LIVE_ELSE_GONE, Choosing
from vmdkvol_esx.glance import Glance, Holders
from vmdkvol_esx.lags import in_words
from vmdkvol_esx.listing import check_ready
from vmdkvol_esx.parts import Parts
from vmdkvol_esx.pending_policies import PendingPolicies
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.underway import Underway

MOST_LISTED = 1000
# So many records are looked at for one page: a filter that few volumes fit must not keep the service busy with one answer.
_SCANNED = 2000
# So many are read in one transaction, and no fewer where little is missing: a filter may let few through.
_AT_ONCE, _AT_LEAST = 128, 16
_MAX_PATTERN = 200
_GONE = frozenset({State.TRASHED, State.REMOVING})
_PAGE_BYTES = frames.MAX_LISTING - 2048
# What a row takes beyond its texts, and a character that JSON does not write as it is.
ROW_BYTES = 560
_ESCAPED = 12
_texts = attrgetter("name", "vmgroup", "datastore", "path", "policy", "vm", "last_vm", "created_by")

Fits = Callable[[VolumeRecord], bool]


class Overview:
    """Answers ListAllVolumes and InspectVolume, on any thread."""

    def __init__(self, parts: Parts, choosing: Choosing, underway: Underway, glance: Glance) -> None:
        self._store = parts.store
        self._log = parts.log
        self._doubts = parts.doubts
        self._lags = parts.lags
        self._choosing = choosing
        self._underway = underway
        self._glance = glance
        self._pending = PendingPolicies(parts)

    def rows(self) -> dict[type[Request[Any]], Callable[[Any, Call], Any]]:
        """Return what each message is answered with."""
        return {
            ListAllVolumes: lambda request, _: self.page(request),
            InspectVolume: lambda request, _: self.inspect(request),
        }

    def page(self, request: ListAllVolumes) -> VolumeRows:
        """See ``ListAllVolumes``. Without the hypervisor the records are told, with a warning."""
        if not 1 <= request.limit <= MOST_LISTED:
            raise BadRequest(f"a page has 1 to {MOST_LISTED} volumes", remedy="ask for fewer, and page by page")
        group = None if request.vmgroup is None else self._choosing.vmgroup(request.vmgroup)
        fits, names, shown = _filter(request), self._choosing.names(), list[VolumeRow]()
        left, after, scanned = _PAGE_BYTES, request.after, 0
        warnings: tuple[str, ...] = ()
        while scanned < _SCANNED:
            # One more than is wanted: whether another one follows.
            most = min(_AT_ONCE, max(request.limit - len(shown) + 1, _AT_LEAST))
            scanned += most
            records = self._store.page(group, after, most)
            holders, warnings = self._holders(records)
            wanted = [record for record in records if fits(record) and _is_on(request.vm, holders.get(record.disk_uuid))]
            few = request.after is None and len(records) < most
            space = self._glance.space(wanted) if few else self._glance.space_of_many(wanted)
            for record in wanted:
                row = self._row(record, holders, space.get(record.disk_uuid), names, unread=bool(warnings))
                left -= size(row)
                if shown and (left < 0 or len(shown) == request.limit):
                    return VolumeRows(tuple(shown), shown[-1].id, warnings)
                shown.append(row)
            if len(records) < most:
                return VolumeRows(tuple(shown), None, warnings)
            after = records[-1].id
        return VolumeRows(tuple(shown), after, warnings)

    def inspect(self, request: InspectVolume) -> VolumeDetail:
        """See ``InspectVolume``. A policy that waits for an attach is looked for, so that it waits no more if it is laid on."""
        record = self._choosing.volume(request.volume, request.vmgroup, LIVE_ELSE_GONE)
        return self.detail(self._pending.looked_at(record))

    def detail(self, record: VolumeRecord) -> VolumeDetail:
        """Return all that is known of the volume."""
        holders, warnings = self._holders([record])
        space, names = self._glance.space([record]), self._choosing.names()
        row = self._row(record, holders, space.get(record.disk_uuid), names, unread=bool(warnings))
        holder, work = holders.get(record.disk_uuid), self._underway.of(record.id)
        return VolumeDetail(
            row=row,
            options=record.options,
            disk_uuid=str(record.disk_uuid),
            filesystem_uuid=None if record.filesystem_uuid is None else str(record.filesystem_uuid),
            vmgroup_id=str(record.vmgroup),
            vm=None if holder is None else holder.vm,
            address=None if holder is None else str(holder.address),
            work_since=None if work is None else work.since,
            left_s=None if work is None else work.left_s,
            trouble=(*self._trouble(record, row), *warnings),
            adopted=record.adopted or None,
            policy_pending=record.policy_pending,
        )

    # --- inside --------------------------------------------------------------------------------------------------

    def _holders(self, records: Sequence[VolumeRecord]) -> tuple[Holders, tuple[str, ...]]:
        """Return who has the disks, or nothing and why that is not known: an unreachable vCenter hides no record."""
        if not records:
            return {}, ()
        try:
            return self._glance.holders(records), ()
        except VolumeError as error:
            self._log.warning("holders not read", error=str(error))
            return {}, (one_line(f"who has the disks is not known: {error.text}"),)

    def _row(
        self,
        record: VolumeRecord,
        holders: Holders,
        allocated: int | None,
        names: Mapping[VmgroupId, str],
        *,
        unread: bool,
    ) -> VolumeRow:
        options, work = record.options, self._underway.of(record.id)
        holder, last = holders.get(record.disk_uuid), record.last_vm
        silent = last is not None and self._glance.is_silent(last)
        return VolumeRow(
            id=record.id,
            name=record.name,
            vmgroup=names.get(record.vmgroup) or str(record.vmgroup),
            datastore=record.datastore,
            path=record.path,
            size_bytes=record.size_bytes,
            allocated_bytes=allocated,
            policy=options.policy,
            diskformat=options.diskformat,
            fstype=options.fstype,
            access=options.access,
            attach_as=options.attach_as,
            state=record.state,
            content=record.content,
            must_check=must_check(record),
            vm=None if holder is None else holder.vm_name,
            running=None if holder is None else not self._glance.is_off(holder.vm),
            unsure=holder is None and (unread or silent),
            last_vm=None if last is None else self._glance.known_name(last),
            doing=None if work is None else work.doing,
            percent=None if work is None else work.percent,
            created_at=record.created_at,
            created_by=record.created_by,
            trashed_at=record.trashed_at,
            revision=record.generation,
        )

    def _trouble(self, record: VolumeRecord, row: VolumeRow) -> tuple[str, ...]:
        found = []
        try:
            if record.state is not State.TRASHED:
                check_ready(record)
            self._doubts.check(record)
        except VolumeError as error:
            found.append(str(error))
        if row.must_check:
            found.append("its file system is checked in full at the next mount")
        if record.policy_pending:
            found.append(_pending(row))
        if row.unsure and row.last_vm is not None:
            found.append(one_line(f"it may be on {row.last_vm}, which does not answer"))
        lag = self._lags.of(record)
        if lag is not None and row.last_vm is not None:
            found.append(in_words(lag, row.last_vm))
        return tuple(found)


def _pending(row: VolumeRow) -> str:
    name = "its datastore's own policy" if row.policy is None else f"policy {row.policy}"
    if row.vm is None:
        return one_line(f"{name} is laid on when a machine gets the disk")
    command = f"unset {row.name}" if row.policy is None else f"apply {row.policy} {row.name}"
    return one_line(f"{name} is not seen to be laid on, and {row.vm} has the disk; `vmdkvol policy {command}`")


def must_check(record: VolumeRecord) -> bool:
    """Tell whether the next mount checks the whole file system and gives it a UUID of its own: a clone's, or one that was
    taken from a machine by force."""
    return record.content is Content.FORMATTED and record.filesystem_uuid is None


def size(row: VolumeRow) -> int:
    """Return the bytes that the row takes in a frame, or more."""
    # All in one: each of ten thousand rows is looked at.
    text = "".join(filter(None, _texts(row)))
    plain = text.isascii() and text.isprintable()
    return ROW_BYTES + (len(text) + text.count('"') + text.count("\\") if plain else _ESCAPED * len(text))


def _filter(request: ListAllVolumes) -> Fits:
    if len(request.name or "") > _MAX_PATTERN:
        raise BadRequest(f"the pattern for names has more than {_MAX_PATTERN} characters", remedy="give a shorter one")
    # Its groups never take back what they took, so no pattern is slow (``fnmatch`` since Python 3.9).
    pattern = None if request.name is None else re.compile(translate(request.name))
    hidden = frozenset() if request.trash or request.state is not None else _GONE

    def fits(record: VolumeRecord) -> bool:
        return (
            record.state not in hidden
            and request.state in (None, record.state)
            and request.datastore in (None, record.datastore)
            and (pattern is None or pattern.match(record.name) is not None)
        )

    return fits


def _is_on(vm: str | None, holder: Holder | None) -> bool:
    return vm is None or (holder is not None and vm in (holder.vm_name, str(holder.vm)))
