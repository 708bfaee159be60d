"""Many volumes at once: their records in a service's database, their disks and sidecars on a datastore. No service runs.

What stands there afterwards is what the service itself would have written for so many empty volumes, row by row and file
by file, but in one transaction and without a flush: 10,000 take some seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from uuid import UUID

from vmdkvol.clock import SystemClock
from vmdkvol.names import DatastoreName
from vmdkvol.options import CreateOptions
from vmdkvol.volume import DEFAULT_VMGROUP, Content, DiskUuid, State, VolumeId
from vmdkvol_esx import sidecar
from vmdkvol_esx.local import vmdk
from vmdkvol_esx.paths import new_path
from vmdkvol_esx.records import VolumeRecord
from vmdkvol_esx.store import volumes
from vmdkvol_esx.store.opening import open_database
from vmdkvol_esx.store.schema import record_to_row

SIZE_BYTES = 1 << 30
_ROWS = 5000


def name_of(number: int) -> str:
    """Return the name of the volume of this number, from 1."""
    return f"pv{number:06d}"


def records(count: int, *, first: int = 1, datastore: str = "ds1", size_bytes: int = SIZE_BYTES) -> list[VolumeRecord]:
    """Return ``count`` records of ready, blank volumes; the same numbers give the same ids."""
    return [_record(number, DatastoreName(datastore), size_bytes) for number in range(first, first + count)]


def fill_database(database: Path, new: Sequence[VolumeRecord]) -> None:
    """Add the records to the database, which is made if there is none; no service may have it open."""
    opened = open_database(database, SystemClock().wall())
    try:
        for begin in range(0, len(new), _ROWS):
            with opened.writing() as transaction:
                rows = [record_to_row(record, volumes.next_change(transaction)) for record in new[begin : begin + _ROWS]]
                transaction.change_many(volumes.INSERT, rows)
    finally:
        opened.close()


def fill_datastore(directory: Path, new: Iterable[VolumeRecord]) -> None:
    """Add the records' descriptors, extents (sparse, blank) and sidecars to the datastore in ``directory``."""
    made: set[Path] = set()
    for record in new:
        descriptor = directory / record.path
        if descriptor.parent not in made:
            descriptor.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            made.add(descriptor.parent)
        extent = vmdk.extent_name(descriptor.name)
        note = {"volume": str(record.id), "vmgroup": str(record.vmgroup), "name": record.name}
        written = vmdk.write(vmdk.Descriptor(record.size_bytes, extent, record.disk_uuid, thin=True, note=note))
        descriptor.write_bytes(written)
        with open(descriptor.with_name(extent), "xb") as file:
            os.ftruncate(file.fileno(), record.size_bytes)
        descriptor.with_name(f"{descriptor.stem}.vmdkvol.json").write_bytes(sidecar.encode(record))


def fill(database: Path, directory: Path, count: int, *, first: int = 1) -> list[VolumeRecord]:
    """Afterwards ``count`` more volumes named ``name_of(first)`` and so on exist; return their records."""
    new = records(count, first=first)
    fill_datastore(directory, new)
    fill_database(database, new)
    return new


def _record(number: int, datastore: DatastoreName, size_bytes: int) -> VolumeRecord:
    volume = VolumeId(UUID(int=(0x6C61726765 << 88) | (number * 0x9E3779B97F4A7C15 % (1 << 64)) << 24 | number))
    name = name_of(number)
    return VolumeRecord(
        id=volume,
        vmgroup=DEFAULT_VMGROUP,
        name=name,
        datastore=datastore,
        path=new_path(DEFAULT_VMGROUP, name, volume),
        disk_uuid=DiskUuid(UUID(int=(0xD15C << 112) | number)),
        size_bytes=size_bytes,
        state=State.READY,
        content=Content.UNFORMATTED,
        filesystem_uuid=None,
        options=CreateOptions(size_bytes=size_bytes, given=frozenset({"size_bytes"})),
        generation=1,
        created_at=1_700_000_000.0 + number,
        created_by="vsphere",
    )
