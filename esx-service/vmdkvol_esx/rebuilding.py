"""A lost database is made again from the sidecars beside the disks (F40, F41). Files are only read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from vmdkvol.errors import (
    BadRequest,
    DatastoreNotFound,
    MetadataDamaged,
    SnapshotPresent,
    TruthUnknown,
    Unavailable,
    VolumeError,
    WrongDisk,
)
from vmdkvol.volume import Content, State
from vmdkvol_esx import sidecar
from vmdkvol_esx.paths import copy_path, disk_path, disk_ref, is_adopted_copy
from vmdkvol_esx.ports import Disk, DiskPath, DiskRef, Hypervisor, Log, Store
from vmdkvol_esx.records import VolumeRecord

# A sidecar is not rewritten at each attach, so its generation is behind the lost one. After the jump every Detach and
# Mark that is still on its way is an older one.
GENERATION_JUMP = 1 << 20
# Records in one transaction: each transaction waits for the disk.
_BATCH = 500
START_EMPTY = "put it back, or stop the service and run `vmdkvol-esxd rebuild`; to begin empty, move the folders vmdkvol away"


@dataclass(frozen=True, slots=True)
class Found:
    """A place with the record from its sidecar, or the reason why there is none. ``disk`` is None if none can be read there."""

    path: DiskPath
    disk: Disk | None
    record: VolumeRecord | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What came back. ``left_out`` are files that stay where they are without a record, each with its reason."""

    restored: tuple[VolumeRecord, ...]
    left_out: tuple[Found, ...]


def check_new(hypervisor: Hypervisor, database: str) -> None:
    """Raise MetadataDamaged unless every datastore is positively free of our disks, so that a database may begin empty.

    An empty one beside disks would say "no such volume" of all of them, and Docker would forget them (I6).
    """
    for datastore in hypervisor.datastores():
        try:
            traces = hypervisor.traces(datastore.name)
        except VolumeError as error:
            raise MetadataDamaged(
                f"the database {database} is missing, and what is on datastore {datastore.name} cannot be read: {error.text}",
                remedy="make the datastore readable, then restart the service",
            ) from error
        if traces:
            raise MetadataDamaged(
                f"the database {database} is missing, but datastore {datastore.name} has disks of vmdkvol", remedy=START_EMPTY
            )


def rebuild(store: Store, hypervisor: Hypervisor, log: Log, now: float) -> Rebuilt:
    """Put the record of every sidecar into ``store``, which must be empty; killed in the middle, start with a new one.

    What was in the trash stays there, and its time in it begins ``now``: its copy may be behind what was ordered. Of two live
    volumes of one name the higher generation keeps it, the other is left out for a person to decide (corrections 33).
    Unavailable if a datastore cannot be listed or a sidecar not be read: nothing is known then of the names there, so nothing
    is restored; nor is it if one has no folder of ours: it is new, or not mounted.
    """
    if store.page(None, None, 1):
        raise BadRequest("the database has volumes already", remedy="rebuild into a new, empty database")
    for datastore in hypervisor.datastores():
        if datastore.fresh:
            raise TruthUnknown(
                f"datastore {datastore.name} has no folder vmdkvol: it is new, or its file system is not mounted",
                remedy="mount it; if it is new, make that folder in it",
            )
    found = list(collect(hypervisor))
    restored: list[VolumeRecord] = []
    left_out = [each for each in found if each.record is None]
    claims = sorted((each for each in found if each.record is not None), key=_first_claims)
    for begin in range(0, len(claims), _BATCH):
        came, refused = _restore(store, claims[begin : begin + _BATCH], now)
        restored += came
        left_out += refused
    for each in left_out:
        log.error("left out", disk=str(each.path), reason=each.problem)
    log.info("rebuilt", restored=len(restored), left_out=len(left_out))
    return Rebuilt(tuple(restored), tuple(left_out))


def collect(hypervisor: Hypervisor) -> Iterator[Found]:
    """Yield what lies in our folders with what its sidecar says; raise Unavailable for what cannot be listed or read now.

    Also where the disk is damaged or gone: its volume has a name, and is not "no such volume"; and where a machine's move
    took the disk, with its sidecar, out of our folders.
    """
    for datastore in hypervisor.datastores():
        disks = {disk.ref.path: disk for disk in hypervisor.disks(datastore.name)}
        for path in hypervisor.traces(datastore.name):
            yield _found(hypervisor, path, disks.get(path), adopted_disk)
        for path in hypervisor.copies_elsewhere(datastore.name):
            yield _found(hypervisor, path, None, _moved_disk)


def _found(
    hypervisor: Hypervisor, path: DiskPath, disk: Disk | None, look: Callable[[Hypervisor, DiskPath], Disk | None]
) -> Found:
    try:
        disk = disk or look(hypervisor, path)
        return Found(path, disk, read_record(hypervisor, path, disk))
    except Unavailable:
        # Not read is not damaged: a server that went away would leave out everything from here on.
        raise
    except VolumeError as error:
        return Found(path, disk, None, error.text)


def adopted_disk(hypervisor: Hypervisor, path: DiskPath) -> Disk | None:
    """Return the disk, wherever it lies, of the adopted volume whose copy is at this place; None for any other place.

    None too if it is damaged, has a snapshot, or if another one lies there: the volume has a name all the same, and what is
    not its disk is refused at an attach. One that a machine has may not tell who it is; then the machine's device list does.
    """
    content = hypervisor.read_sidecar(path) if is_adopted_copy(path) else None
    if content is None:
        return None
    record = sidecar.decode(content)
    return _apart(hypervisor, disk_ref(record), record)


def _moved_disk(hypervisor: Hypervisor, path: DiskPath) -> Disk | None:
    """Return the disk that a copy outside of our folders lies beside; None as ``adopted_disk``."""
    content = hypervisor.read_sidecar(path)
    if content is None:
        return None
    record = sidecar.decode(content)
    return _apart(hypervisor, DiskRef(record.disk_uuid, path), record)


def _apart(hypervisor: Hypervisor, ref: DiskRef, record: VolumeRecord) -> Disk | None:
    try:
        return hypervisor.disk(ref)
    except (DatastoreNotFound, MetadataDamaged, SnapshotPresent, WrongDisk):
        return None
    except TruthUnknown:
        lists = hypervisor.devices(None).lists.values()
        if not any(device.uuid == ref.uuid for devices in lists for device in devices):
            raise
        return Disk(ref, record.size_bytes, 0, {})


def read_record(hypervisor: Hypervisor, path: DiskPath, disk: Disk | None) -> VolumeRecord:
    """Return what the sidecar of what lies there says; MetadataDamaged if there is none, or it is of something else."""
    content = hypervisor.read_sidecar(path)
    if content is None:
        raise MetadataDamaged("there is no sidecar" if disk else "the disk cannot be read, and there is no sidecar")
    record = sidecar.decode(content)
    if disk is None:
        if copy_path(record) != path:
            raise MetadataDamaged(f"there is no disk that can be read, and its sidecar is of {disk_path(record)}")
    elif record.disk_uuid != disk.ref.uuid:
        raise MetadataDamaged(f"the sidecar is of the disk {record.disk_uuid}")
    elif record.size_bytes < disk.size_bytes:
        # It has grown, and its sidecar was not written any more.
        return replace(record, size_bytes=disk.size_bytes)
    elif record.size_bytes != disk.size_bytes:
        raise MetadataDamaged(f"the disk has {disk.size_bytes} bytes, its sidecar says {record.size_bytes}")
    return record


def _first_claims(found: Found) -> tuple[bool, bool, int, bool, str]:
    """Return the order of claims: with a disk, live, the higher generation, then who lies where its sidecar says."""
    record = _record(found)
    moved = copy_path(record) != found.path
    return found.disk is None, record.state is State.TRASHED, -record.generation, moved, str(found.path)


def _restore(store: Store, batch: Sequence[Found], now: float) -> tuple[list[VolumeRecord], list[Found]]:
    """Insert the records in their order; return those that came back, and what the store has something against."""
    try:
        records = [as_found(each.path, _record(each), now) for each in batch]
        store.restore(*records)
        return records, []
    except VolumeError as error:
        # The store took none of them. One by one it says which it does not take.
        if len(batch) == 1:
            return [], [replace(batch[0], problem=str(error))]
    came, refused = [], []
    for each in batch:
        one, left = _restore(store, [each], now)
        came += one
        refused += left
    return came, refused


def as_found(path: DiskPath, record: VolumeRecord, now: float) -> VolumeRecord:
    """Return the record to insert, with the place where the disk was found; that of an adopted one is known by its record.

    In the trash it is since ``now``.
    """
    # `removing` and `lost` are not in a sidecar, and a crash is settled before it: what is there is there.
    state = State.TRASHED if record.state in (State.TRASHED, State.REMOVING) else record.state
    if state in (State.PREPARING, State.LOST):
        state = State.READY
    place = disk_path(record) if record.adopted else path
    if record.content is Content.FORMATTING and record.filesystem_uuid is not None:
        # Its last word may not have been written, and a container have the file system since: by the copy alone nothing is
        # ever blanked (I1). It is checked in full, as what was taken by force.
        record = replace(record, content=Content.FORMATTED, filesystem_uuid=None, copied_uuids=(record.filesystem_uuid,))
    return replace(
        record,
        datastore=place.datastore,
        path=place.path,
        state=state,
        trashed_at=now if state is State.TRASHED else None,
        generation=record.generation + GENERATION_JUMP,
        last_vm=None,
    )


def _record(found: Found) -> VolumeRecord:
    if found.record is None:
        raise MetadataDamaged(found.problem)
    return found.record
