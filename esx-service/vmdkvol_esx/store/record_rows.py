"""A volume's record from its row, without the strict reader: the row's checksum says that we wrote it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

from vmdkvol.names import DatastoreName
from vmdkvol.options import CreateOptions
from vmdkvol.volume import Content, DiskUuid, State, VmgroupId, VmId, VolumeId
from vmdkvol.wire import load
from vmdkvol_esx.records import VolumeRecord

# How many different texts of options, and of UUIDs that many rows have, are kept with what they mean.
_REMEMBERED = 1024
_SHORT = 1024


def record_in(values: Sequence[Any]) -> VolumeRecord:
    """Return the record in a row whose checksum is right, by its columns in the order of the record's fields: they have the
    types that they were given. Raises ValueError.

    Without the strict reader, which takes four times as long: a listing of a large site reads ten thousand of them.
    """
    volume, vmgroup, name, datastore, path, disk, size_bytes, state, content, filesystem, options, *more = values
    generation, created_at, created_by, last_vm, trashed_at, copied, adopted, pending = more
    return VolumeRecord(
        id=VolumeId(UUID(volume)),
        vmgroup=VmgroupId(_same_uuid(vmgroup)),
        name=name,
        datastore=DatastoreName(datastore),
        path=path,
        disk_uuid=DiskUuid(UUID(disk)),
        size_bytes=size_bytes,
        state=State(state),
        content=Content(content),
        filesystem_uuid=None if filesystem is None else UUID(filesystem),
        options=_options(options),
        generation=generation,
        created_at=created_at,
        created_by=created_by,
        last_vm=None if last_vm is None else VmId(_same_uuid(last_vm)),
        trashed_at=trashed_at,
        copied_uuids=() if copied is None else tuple(UUID(each) for each in json.loads(copied)),
        adopted=adopted or "",
        policy_pending=bool(pending),
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
