"""What a new volume's record says, and the change that makes its disk. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from vmdkvol.errors import InvalidOption, NoSpace
from vmdkvol.names import VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.sizes import compared
from vmdkvol.volume import Content, State, VmgroupId, VolumeId, new_disk_uuid
from vmdkvol_esx.copying import FIRST_GENERATION, clone_content, clone_options
from vmdkvol_esx.paths import disk_ref, new_path
from vmdkvol_esx.ports import Change, CloneDisk, CreateDisk, Datastore
from vmdkvol_esx.records import VolumeRecord


@dataclass(frozen=True, slots=True)
class New:
    """What makes a new volume this one: its ids, when and by whom it is made."""

    volume: VolumeId
    disk: UUID
    at: float
    by: str


def draft(
    new: New, vmgroup: VmgroupId, ref: VolumeRef, asked: CreateOptions, datastore: Datastore, source: VolumeRecord | None
) -> tuple[VolumeRecord, Change]:
    """Return the new record and the change that makes its disk; ``source`` is what it is a clone of.

    Raises NoSpace if a thick one cannot fit, InvalidOption for what does not go with the source.
    """
    options = asked if source is None else clone_options(asked, source)
    size = options.size_bytes
    if size is None:
        raise InvalidOption(f"volume {ref} has no size")
    if options.diskformat != "thin" and size > datastore.free_bytes:
        needed, free = compared(size, datastore.free_bytes)
        raise NoSpace(
            f"datastore {datastore.name} has {free} free, a disk of {needed} with diskformat={options.diskformat} needs more",
            datastore=datastore.name,
        )
    content, filesystem_uuid, copied = (Content.UNFORMATTED, None, ()) if source is None else clone_content(source)
    record = VolumeRecord(
        id=new.volume,
        vmgroup=vmgroup,
        name=ref.text,
        datastore=datastore.name,
        path=new_path(vmgroup, ref.text, new.volume),
        disk_uuid=new_disk_uuid(new.disk),
        size_bytes=size,
        state=State.PREPARING,
        content=content,
        filesystem_uuid=filesystem_uuid,
        options=options,
        generation=FIRST_GENERATION,
        created_at=new.at,
        created_by=new.by,
        copied_uuids=copied,
    )
    note = {"volume": str(new.volume), "vmgroup": str(vmgroup), "name": ref.text}
    if source is None:
        return record, CreateDisk(disk_ref(record), size, options.diskformat, note, options.policy)
    return record, CloneDisk(disk_ref(source), disk_ref(record), options.diskformat, note)
