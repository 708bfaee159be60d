"""What administrators ask about datastores and order for them: how full they are, and which take no new volumes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from vmdkvol import frames
from vmdkvol.errors import BadRequest, DatastoreNotFound, VolumeError, quoted
from vmdkvol.messages import Call, Request
from vmdkvol.names import DatastoreName
from vmdkvol.orders import Outcome, Plan, Step
from vmdkvol.site_messages import (
    CordonDatastore,
    DatastoreRow,
    DatastoreRows,
    GetDatastore,
    ListDatastores,
    UncordonDatastore,
)
from vmdkvol.wire import answer_size
from vmdkvol_esx import filling
from vmdkvol_esx.cordons import Cordon, Placed
from vmdkvol_esx.glance import Glance
from vmdkvol_esx.group_texts import description_of
from vmdkvol_esx.listing import known_names
from vmdkvol_esx.parts import Parts

MOST_LISTED = 200
_PAGE_BYTES = frames.MAX_FRAME - 1024


class Datastores:
    """For any thread."""

    def __init__(self, parts: Parts, glance: Glance) -> None:
        self._store = parts.store
        self._hypervisor = parts.hypervisor
        self._clock = parts.clock
        self._log = parts.log
        self._glance = glance

    def rows(self) -> Mapping[type[Request[Any]], Callable[[Any, Call], Any]]:
        """Return what answers each message."""
        return {
            ListDatastores: lambda request, _: self.page(request),
            GetDatastore: lambda request, _: self.get(request),
            CordonDatastore: lambda order, _: self.cordon(order),
            UncordonDatastore: lambda order, _: self.uncordon(order),
        }

    def page(self, request: ListDatastores) -> DatastoreRows:
        """See ``ListDatastores``. Without the hypervisor those are told that are on record, without their sizes."""
        if not 1 <= request.limit <= MOST_LISTED:
            raise BadRequest(
                f"a page has 1 to {MOST_LISTED} datastores, not {request.limit}", remedy="ask for fewer, and page by page"
            )
        rows = [each for name, each in sorted(self._all().items()) if request.after is None or name > request.after]
        shown, left = rows[: request.limit], _PAGE_BYTES
        for number, each in enumerate(shown):
            left -= answer_size(each)
            if left < 0 and number:
                shown = shown[:number]
                break
        return DatastoreRows(tuple(shown), shown[-1].name if len(shown) < len(rows) else None)

    def get(self, request: GetDatastore) -> DatastoreRow:
        """See ``GetDatastore``."""
        name, known = DatastoreName(request.name), self._all()
        if name not in known:
            # Absent only if the hypervisor says so; or it came a moment ago.
            self._check_known(name)
            known = self._all()
        return known[name]

    def cordon(self, order: CordonDatastore) -> Outcome:
        """See ``CordonDatastore``."""
        reason, name = description_of(order.reason, "reason"), DatastoreName(order.name)
        cordoned = self._cordons().get(name)
        if cordoned is None:
            self._check_known(name)
        elif cordoned.reason == reason:
            return Outcome(Plan(), not order.dry_run, name)
        before = None if cordoned is None else _said(cordoned.reason)
        if not order.dry_run:
            self._store.cordon(Cordon(name, order.by.name, self._clock.wall(), reason))
            self._log.info("datastore cordoned", datastore=name, by=order.by.name, reason=reason)
        return Outcome(Plan((Step("cordon-datastore", name, before, _said(reason)),)), not order.dry_run, name)

    def uncordon(self, order: UncordonDatastore) -> Outcome:
        """See ``UncordonDatastore``. Also of one that the hypervisor does not show any more."""
        name = DatastoreName(order.name)
        cordoned = self._cordons().get(name)
        if cordoned is None:
            self._check_known(name)
            return Outcome(Plan(), not order.dry_run, name)
        if not order.dry_run:
            self._store.uncordon(name)
            self._log.info("datastore uncordoned", datastore=name, by=order.by.name)
        return Outcome(Plan((Step("uncordon-datastore", name, _said(cordoned.reason), None),)), not order.dry_run, name)

    # --- inside --------------------------------------------------------------------------------------------------

    def _cordons(self) -> dict[DatastoreName, Cordon]:
        return {each.datastore: each for each in self._store.cordons()}

    def _all(self) -> Mapping[DatastoreName, DatastoreRow]:
        seen, cordons, absent = {}, self._cordons(), "the hypervisor does not show it"
        try:
            seen = {each.name: each for each in self._hypervisor.datastores()}
        except VolumeError as error:
            self._log.warning("datastores not listed", error=str(error))
            absent = "the hypervisor does not answer"
        placed: dict[DatastoreName, list[Placed]] = defaultdict(list)
        for each in self._store.placed():
            placed[each.disk.path.datastore].append(each)
        taken = self._glance.taken([each.disk for disks in placed.values() for each in disks])
        names = {*seen, *cordons, *placed}
        return {
            name: filling.row(name, seen.get(name), placed.get(name, ()), taken, cordons.get(name), absent) for name in names
        }

    def _check_known(self, name: DatastoreName) -> None:
        """Raise DatastoreNotFound for a name that is none; what cannot be read now is no proof of that."""
        known = [each.name for each in self._hypervisor.datastores()]
        if name not in known:
            raise _not_found(name, known)


def _not_found(name: str, known: list[DatastoreName]) -> DatastoreNotFound:
    return DatastoreNotFound(
        f"there is no datastore {quoted(name)}", remedy=f"known: {known_names(sorted(known))}", datastore=name
    )


def _said(reason: str) -> str:
    return f"cordoned: {reason}" if reason else "cordoned"
