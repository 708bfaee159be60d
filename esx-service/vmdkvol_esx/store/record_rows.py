"""A volume's record from its row, without the strict reader: the row's checksum says that we wrote it."""

from __future__ import annotations

import json
from functools import lru_cache
from uuid import UUID

from vmdkvol.names import DatastoreName
from vmdkvol.options import CreateOptions
from vmdkvol.volume import Content, DiskUuid, State, VmgroupId, VmId, VolumeId
from vmdkvol.wire import load
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.store.statements import Row

# How many different texts of options, and of UUIDs that many rows have, are kept with what they mean.
_REMEMBERED = 1024
_SHORT = 1024


def record_in(row: Row) -> VolumeRecord:
    """Return the record in a row whose checksum is right: the columns have the types that they were given. Raises ValueError.

    Without the strict reader, which takes four times as long: a listing of a large site reads ten thousand of them.
    """
    filesystem, last_vm, copied = row["filesystem_uuid"], row["last_vm"], row["copied_uuids"]
    return VolumeRecord(
        id=VolumeId(UUID(row["id"])),
        vmgroup=VmgroupId(_same_uuid(row["vmgroup"])),
        name=row["name"],
        datastore=DatastoreName(row["datastore"]),
        path=row["path"],
        disk_uuid=DiskUuid(UUID(row["disk_uuid"])),
        size_bytes=row["size_bytes"],
        state=State(row["state"]),
        content=Content(row["content"]),
        filesystem_uuid=None if filesystem is None else UUID(filesystem),
        options=_options(row["options"]),
        generation=row["generation"],
        created_at=row["created_at"],
        created_by=row["created_by"],
        last_vm=None if last_vm is None else VmId(_same_uuid(last_vm)),
        trashed_at=row["trashed_at"],
        copied_uuids=() if copied is None else tuple(UUID(each) for each in json.loads(copied)),
    )


@lru_cache(_REMEMBERED)
def _same_uuid(text: str) -> UUID:
    return UUID(text)


# Most volumes of a site have the same few options: they are read once, and are one object in memory.
@lru_cache(_REMEMBERED)
def _same_options(text: str) -> CreateOptions:
    return load(CreateOptions, json.loads(text))


def _options(text: str) -> CreateOptions:
    # A guest's long ones must not fill the memory.
    return _same_options(text) if len(text) <= _SHORT else load(CreateOptions, json.loads(text))
