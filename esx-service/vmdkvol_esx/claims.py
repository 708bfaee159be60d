"""Whose an adopted disk is, by the copies in our own folders: it may have been released, and adopted anew as another volume."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from vmdkvol.errors import MetadataDamaged, Unavailable
from vmdkvol.names import DatastoreName
from vmdkvol_esx import sidecar
from vmdkvol_esx.paths import copy_path, is_adopted_copy
from vmdkvol_esx.ports import DiskPath, Hypervisor
from vmdkvol_esx.records import VolumeRecord


def adopted_since(hypervisor: Hypervisor, record: VolumeRecord) -> VolumeRecord | None:
    """Return what a copy says of another volume that has the record's disk; None if none says so. Raises as ``claims``.

    Asked of a volume that has no copy any more. A release takes the copy away first, and while another one's lies there the
    disk is adopted by nobody: so that other one came later. No clock is asked, which may have been set back since.
    """
    found = claims(hypervisor, record.datastore, lambda place: place == copy_path(record))
    return next((other for _, other in found if other.disk_uuid == record.disk_uuid), None)


def claims(
    hypervisor: Hypervisor, home: DatastoreName, passed_over: Callable[[DiskPath], bool]
) -> Iterator[tuple[DiskPath, VolumeRecord]]:
    """Yield what the copies of adopted volumes' records say, with their places, those on ``home`` first.

    They may lie on every datastore, since a copy goes where a machine's move takes its disk. Of ``home`` it raises as
    ``Hypervisor.traces`` and ``read_sidecar``: then that is not known. Another datastore that cannot be read is left out:
    one that is gone for good must not stand in the way of every adopted disk. MetadataDamaged for a copy that
    a newer version wrote (``sidecar.is_newer``): it may be anything's. A damaged one says nothing, and is not waited for.
    """
    yield from _on(hypervisor, home, passed_over)
    for datastore in hypervisor.datastores():
        if datastore.name != home:
            yield from _if_readable(hypervisor, datastore.name, passed_over)


def _if_readable(
    hypervisor: Hypervisor, datastore: DatastoreName, passed_over: Callable[[DiskPath], bool]
) -> Sequence[tuple[DiskPath, VolumeRecord]]:
    try:
        return list(_on(hypervisor, datastore, passed_over))
    except Unavailable:
        return ()


def _on(
    hypervisor: Hypervisor, datastore: DatastoreName, passed_over: Callable[[DiskPath], bool]
) -> Iterator[tuple[DiskPath, VolumeRecord]]:
    for place in hypervisor.traces(datastore):
        if not is_adopted_copy(place) or passed_over(place):
            continue
        content = hypervisor.read_sidecar(place)
        try:
            record = None if content is None else sidecar.decode(content)
        except MetadataDamaged as error:
            if sidecar.is_newer(error):
                raise
            continue
        if record is not None:
            yield place, record
