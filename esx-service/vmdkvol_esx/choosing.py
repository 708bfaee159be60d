"""Which volume, vmgroup or machine an administrator means: an id, or a name that only one has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from uuid import UUID

from vmdkvol.admin_errors import VmgroupNotFound
from vmdkvol.errors import Conflict, VolumeNotFound, quoted
from vmdkvol.volume import State, VmgroupId, VolumeId
from vmdkvol_esx.ports import Store
from vmdkvol_esx.records import VolumeRecord

_PAGE = 500
_LIVE_ONES, _TRASH_TOO = "see `vmdkvol volume ls` for names and ids", "see `vmdkvol volume ls --trash` for names and ids"
# In how many vmgroups another spelling of a name is looked for; a site of a thousand has to say whose it is.
_LOOKED_AT = 50
# So that they fit into an error's line.
_SHOWN = 2


class Rank(Enum):
    """Which of two of one name is meant: the live one, the other one, or neither until it is said which."""

    LIVE = auto()
    OTHER = auto()
    EQUAL = auto()


@dataclass(frozen=True, slots=True)
class Named:
    """Which volumes a name finds beside a live one: those in these states."""

    states: frozenset[State] = frozenset()
    rank: Rank = Rank.LIVE


LIVE = Named()
LIVE_ELSE_TRASHED = Named(frozenset({State.TRASHED}))
LIVE_ELSE_GONE = Named(frozenset({State.TRASHED, State.REMOVING}))
# A name that was given again must not hide the volume that is wanted back.
TRASHED_ELSE_LIVE = Named(frozenset({State.TRASHED}), Rank.OTHER)
# What is deleted for good is never guessed.
TO_DESTROY = Named(frozenset({State.TRASHED, State.DAMAGED, State.LOST}), Rank.EQUAL)


class Choosing:
    """For any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._named: tuple[int, Mapping[VmgroupId, str]] | None = None

    def names(self) -> Mapping[VmgroupId, str]:
        """Return the names of all vmgroups as they are now."""
        # Whatever is written raises the number, a vmgroup too; the pages of a listing ask again and again.
        change, named = self._store.change_number(), self._named
        if named is None or named[0] != change:
            named = self._named = change, self._store.vmgroup_names()
        return named[1]

    def vmgroup(self, text: str) -> VmgroupId:
        """Return the vmgroup of exactly this name or id; VmgroupNotFound."""
        found = [group for group, name in self.names().items() if text in (name, str(group))]
        if not found:
            raise VmgroupNotFound(f"there is no vmgroup {quoted(text)}")
        return found[0]

    def volume(self, text: str, vmgroup: str | None, named: Named = LIVE) -> VolumeRecord:
        """Return the volume of this id, or the only one of this exact name, of ``vmgroup`` if that is given.

        VolumeNotFound, or Conflict with what tells them apart.
        """
        group = None if vmgroup is None else self.vmgroup(vmgroup)
        record = self._by_id(text)
        if record is not None and group in (None, record.vmgroup):
            return record
        # A name that was taken is printable; half a surrogate pair is nothing that a database could look for.
        groups = [] if not text.isprintable() else list(self.names()) if group is None else [group]
        found = self._named_so(text, group, groups, named)
        if not found:
            whose = "" if vmgroup is None else f" in vmgroup {quoted(vmgroup, 40)}"
            other = self._spelled_otherwise(text, groups)
            remedy = _TRASH_TOO if State.TRASHED in named.states else _LIVE_ONES
            if other is not None:
                remedy = f"the one on {other.datastore} is named {quoted(other.name)}"
            raise VolumeNotFound(f"there is no volume {quoted(text)}{whose}", remedy=remedy, name=text)
        if len(found) > 1:
            raise self._ambiguous(text, found)
        return found[0]

    def records(self, vmgroup: VmgroupId | None = None) -> Iterator[VolumeRecord]:
        """Yield every volume in the order of ids."""
        after: VolumeId | None = None
        while page := self._store.page(vmgroup, after, _PAGE):
            yield from page
            after = page[-1].id

    def _named_so(
        self, text: str, group: VmgroupId | None, groups: Sequence[VmgroupId], named: Named
    ) -> Sequence[VolumeRecord]:
        live = [record for each in groups if (record := self._store.find(each, text)) is not None]
        if not named.states or not groups or (live and named.rank is Rank.LIVE):
            return live
        others = [record for record in self.records(group) if record.name == text and record.state in named.states]
        if named.rank is Rank.EQUAL:
            return [*live, *(record for record in others if record not in live)]
        return others or live

    def _spelled_otherwise(self, text: str, groups: Sequence[VmgroupId]) -> VolumeRecord | None:
        """Return the volume that vDVS would have meant: the ``db`` on ds1 for ``db@ds1``, ``db@ds2`` for ``db``."""
        base, at, datastore = text.rpartition("@")
        for group in groups[:_LOOKED_AT]:
            spelled = [base] if at else [f"{text}@{each}" for each in self._store.usage(group)]
            for record in (self._store.find(group, each) for each in spelled):
                if record is not None and (not at or record.datastore == datastore):
                    return record
        return None

    def _ambiguous(self, text: str, found: Sequence[VolumeRecord]) -> Conflict:
        names = self.names()
        told = [f"{record.id} of {quoted(names.get(record.vmgroup, '?'), 20)}{_since(record)}" for record in found[:_SHOWN]]
        more = "" if len(found) <= _SHOWN else f" and {len(found) - _SHOWN} more"
        whose = "" if len({record.vmgroup for record in found}) == 1 else ", or whose it is with --vmgroup"
        return Conflict(
            f"{len(found)} volumes have the name {quoted(text, 30)}: {', '.join(told)}{more}", remedy=f"give the id{whose}"
        )

    def _by_id(self, text: str) -> VolumeRecord | None:
        try:
            found = UUID(text)
        except ValueError:
            return None
        return self._store.volume(VolumeId(found)) if str(found) == text.lower() else None


def _since(record: VolumeRecord) -> str:
    if record.trashed_at is None:
        return ""
    return f", trashed {datetime.fromtimestamp(record.trashed_at, UTC):%Y-%m-%d %H:%M} UTC"
