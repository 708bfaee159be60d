"""Whether a disk may become so large, and what is done for it: what was found and a size in, a plan or an error out. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vmdkvol.errors import InvalidSize, MetadataDamaged, NoSpace, NotPermitted, TruthUnknown, VolumeError
from vmdkvol.names import DatastoreName
from vmdkvol.orders import Plan, Step
from vmdkvol.sizes import MAX_SIZE, SECTOR, compared, format_size
from vmdkvol.volume import Content, VmId
from vmdkvol_esx.ports import Datastore, GrowDisk
from vmdkvol_esx.records import Intent, VolumeRecord

_AGAIN = "give the order again when `vmdkvol datastore ls` shows it without trouble; nothing was changed"


@dataclass(frozen=True, slots=True)
class Holding:
    """The machine that has the disk, which may be switched off."""

    vm: VmId
    name: str
    running: bool


@dataclass(frozen=True, slots=True)
class Found:
    """A volume as it stands: its record, how large its disk is, and who has it."""

    record: VolumeRecord
    size_bytes: int
    holding: Holding | None = None

    def holds(self, size_bytes: int) -> bool:
        """Tell whether disk and record have this size."""
        return self.size_bytes == self.record.size_bytes == size_bytes


def check_size(size_bytes: int) -> None:
    """Raise InvalidSize for what is no disk's size at all."""
    if not 0 < size_bytes <= MAX_SIZE or size_bytes % SECTOR:
        raise InvalidSize(f"{size_bytes} bytes is not a disk's size", remedy="give whole sectors of 512 bytes, at most 62tb")


def check(found: Found, size_bytes: int, datastores: Sequence[Datastore]) -> None:
    """Raise why the volume does not get this size: InvalidSize for a smaller one, NoSpace for one that has no room."""
    name, has, recorded = found.record.name, found.size_bytes, found.record.size_bytes
    if has < recorded:
        raise MetadataDamaged(
            f"the disk of volume {name} has {format_size(has)}, its record says {format_size(recorded)}",
            remedy="find out which of the two is right before it is mounted again; nothing was changed",
        )
    if size_bytes < has:
        raise InvalidSize(
            f"volume {name} has {format_size(has)}, and no volume is made smaller",
            remedy=f"give {format_size(has)} or more; for a smaller one copy the data to a new volume",
        )
    if size_bytes > has:
        _check_room(found, size_bytes, _usable(found.record.datastore, datastores))


def plan(found: Found, size_bytes: int) -> Plan:
    """Return what is done for the volume to have this size; nothing for the size that it has."""
    if found.holds(size_bytes):
        return Plan()
    name = found.record.name
    steps = [Step("GrowDisk", name, format_size(found.record.size_bytes), format_size(size_bytes))]
    if found.record.content is Content.FORMATTED:
        steps.append(Step("GrowFilesystem", name, None, _when(found)))
    return Plan(tuple(steps))


def step_of(size_bytes: int, intent: Intent) -> Step | None:
    """Return what this open work does, if it is a growth to this size."""
    if intent.before is None or not isinstance(intent.change, GrowDisk) or intent.change.size_bytes != size_bytes:
        return None
    return Step("GrowDisk", intent.before.name, format_size(intent.before.size_bytes), format_size(size_bytes))


def _usable(name: DatastoreName, datastores: Sequence[Datastore]) -> Datastore:
    datastore = next((each for each in datastores if each.name == name), None)
    problem = "it is not there" if datastore is None else datastore.problem
    if datastore is None or problem is not None:
        raise TruthUnknown(f"datastore {name} cannot be used: {problem}", remedy=_AGAIN, datastore=name)
    if not datastore.writable:
        raise NotPermitted(f"datastore {name} is read-only", remedy="make it writable for the service", datastore=name)
    return datastore


def _check_room(found: Found, size_bytes: int, datastore: Datastore) -> None:
    if found.record.options.diskformat == "thin":
        # It takes room as it is written; one that its whole datastore could not hold can never be filled.
        if size_bytes > datastore.capacity_bytes:
            needed, whole = compared(size_bytes, datastore.capacity_bytes)
            raise _no_room(found, f"{needed} of {whole} in all", datastore)
    elif size_bytes - found.size_bytes > datastore.free_bytes:
        more, free = compared(size_bytes - found.size_bytes, datastore.free_bytes)
        raise _no_room(found, f"{more} more, {free} are free", datastore)


def _no_room(found: Found, needs: str, datastore: Datastore) -> VolumeError:
    return NoSpace(f"volume {found.record.name} would need {needs} on datastore {datastore.name}", datastore=datastore.name)


def _when(found: Found) -> str:
    """Return when the file system follows its disk."""
    if found.record.options.access == "read-only":
        return "stays as it is: the volume's access is read-only"
    if found.holding is None or not found.holding.running:
        return "at the next mount"
    return f"at once on {found.holding.name}, if it is mounted there"
