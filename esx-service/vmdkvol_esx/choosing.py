"""Which volume, vmgroup or machine an administrator means: an id, or a name that only one has."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from uuid import UUID

from vmdkvol.admin_errors import VmgroupNotFound
from vmdkvol.errors import Conflict, VolumeNotFound, quoted
from vmdkvol.volume import State, VmgroupId, VolumeId
from vmdkvol_esx.ports import Store
from vmdkvol_esx.records import VolumeRecord

_PAGE = 500
_SHOWN = 3


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

    def volume(self, text: str, vmgroup: str | None, gone: Collection[State] = ()) -> VolumeRecord:
        """Return the volume of this id, or the only one of this exact name, of ``vmgroup`` if that is given.

        By name a live one is found, else one whose state is in ``gone``. VolumeNotFound, or Conflict with the ids.
        """
        group = None if vmgroup is None else self.vmgroup(vmgroup)
        record = self._by_id(text)
        if record is not None and group in (None, record.vmgroup):
            return record
        # A name that was taken is printable; half a surrogate pair is nothing that a database could look for.
        groups = [] if not text.isprintable() else list(self.names()) if group is None else [group]
        found = [record for each in groups if (record := self._store.find(each, text)) is not None]
        if not found and gone and groups:
            found = [record for record in self.records(group) if record.name == text and record.state in gone]
        if not found:
            whose = "" if vmgroup is None else f" in vmgroup {quoted(vmgroup, 40)}"
            raise VolumeNotFound(
                f"there is no volume {quoted(text)}{whose}", remedy="see `vmdkvol volume ls` for names and ids", name=text
            )
        if len(found) > 1:
            ids = " and ".join(str(record.id) for record in found[:_SHOWN])
            raise Conflict(f"{len(found)} volumes have the name {quoted(text, 40)}: {ids}", remedy="give the id instead")
        return found[0]

    def records(self, vmgroup: VmgroupId | None = None) -> Iterator[VolumeRecord]:
        """Yield every volume in the order of ids."""
        after: VolumeId | None = None
        while page := self._store.page(vmgroup, after, _PAGE):
            yield from page
            after = page[-1].id

    def _by_id(self, text: str) -> VolumeRecord | None:
        try:
            found = UUID(text)
        except ValueError:
            return None
        return self._store.volume(VolumeId(found)) if str(found) == text.lower() else None
