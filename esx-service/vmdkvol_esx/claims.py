"""Whose an adopted disk is, by the copies in our own folders: it may have been released, and adopted anew as another volume."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from vmdkvol.clock import Deadline
from vmdkvol.errors import MetadataDamaged, TruthUnknown, Unavailable
from vmdkvol.names import DatastoreName
from vmdkvol_esx import sidecar
from vmdkvol_esx.paths import copy_path, is_adopted_copy
from vmdkvol_esx.ports import DiskPath, Hypervisor
from vmdkvol_esx.records import VolumeRecord


def adopted_since(hypervisor: Hypervisor, record: VolumeRecord, deadline: Deadline | None) -> VolumeRecord | None:
    """Return what a copy says of another volume that has the record's disk; None if none says so.

    Asked of a volume that has no copy any more. A release takes the copy away first, and while another one's lies there the
    disk is adopted by nobody: so that other one came later. No clock is asked, which may have been set back since.

    Raises as ``claims``. TruthUnknown if not everything was looked at by ``deadline``. MetadataDamaged, which names the copy,
    if a newer version wrote one: it may be of this disk.
    """
    try:
        found = claims(hypervisor, record.datastore, lambda place: place == copy_path(record), deadline)
        # Its own may still lie where its disk was before a move.
        other = next((other for _, other in found if other.disk_uuid == record.disk_uuid and other.id != record.id), None)
    except MetadataDamaged as error:
        raise MetadataDamaged(
            f"volume {record.name} has no copy of its record, and its disk may have become another volume's: {error.text}",
            remedy=error.remedy,
        ) from error
    if other is None and _late(deadline):
        raise TruthUnknown(
            f"whether the disk of volume {record.name} became another volume's is not known: the copies of adopted volumes "
            "could not all be looked at in time",
            remedy="try again; the service's next scan writes this volume's own copy, and then nobody looks at the others",
        )
    return other


def claims(
    hypervisor: Hypervisor,
    home: DatastoreName,
    passed_over: Callable[[DiskPath], bool],
    deadline: Deadline | None = None,
) -> Iterator[tuple[DiskPath, VolumeRecord]]:
    """Yield what the copies of adopted volumes' records say, with their places, those on ``home`` first.

    They may lie on every datastore, since a copy goes where a machine's move takes its disk. Of ``home`` it raises as
    ``Hypervisor.traces`` and ``read_sidecar``: then that is not known. Another datastore that cannot be read is left out:
    one that is gone for good must not stand in the way of every adopted disk. MetadataDamaged, with the place, for a copy that
    a newer version wrote (``sidecar.is_newer``): it may be anything's. A damaged one says nothing, and is not waited for.
    Nothing more is read after ``deadline``: whoever gave one sees whether it has passed.
    """
    yield from _on(hypervisor, home, passed_over, deadline)
    for datastore in hypervisor.datastores():
        if datastore.name != home and not _late(deadline):
            yield from _if_readable(hypervisor, datastore.name, passed_over, deadline)


def _if_readable(
    hypervisor: Hypervisor, datastore: DatastoreName, passed_over: Callable[[DiskPath], bool], deadline: Deadline | None
) -> Sequence[tuple[DiskPath, VolumeRecord]]:
    try:
        return list(_on(hypervisor, datastore, passed_over, deadline))
    except Unavailable:
        return ()


def _on(
    hypervisor: Hypervisor, datastore: DatastoreName, passed_over: Callable[[DiskPath], bool], deadline: Deadline | None
) -> Iterator[tuple[DiskPath, VolumeRecord]]:
    for place in hypervisor.traces(datastore):
        if _late(deadline):
            return
        if not is_adopted_copy(place) or passed_over(place):
            continue
        content = hypervisor.read_sidecar(place)
        try:
            record = None if content is None else sidecar.decode(content)
        except MetadataDamaged as error:
            if sidecar.is_newer(error):
                raise MetadataDamaged(
                    f"a newer version of the service wrote the copy at {place}", remedy="upgrade the service"
                ) from error
            continue
        if record is not None:
            yield place, record


def _late(deadline: Deadline | None) -> bool:
    return deadline is not None and deadline.passed
