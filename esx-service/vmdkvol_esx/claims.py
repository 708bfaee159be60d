"""Whose an adopted disk is, by the copies in our own folder: it may have been released, and adopted anew as another volume."""

from __future__ import annotations

from vmdkvol.errors import MetadataDamaged
from vmdkvol_esx import sidecar
from vmdkvol_esx.paths import copy_path, is_adopted_copy
from vmdkvol_esx.ports import Hypervisor
from vmdkvol_esx.records import VolumeRecord


def adopted_since(hypervisor: Hypervisor, record: VolumeRecord) -> VolumeRecord | None:
    """Return what a copy on the record's datastore says of a volume that its disk became later; None if none says so.

    Raises as ``Hypervisor.traces`` and ``read_sidecar``: then that is not known.
    """
    for place in hypervisor.traces(record.datastore):
        if not is_adopted_copy(place) or place == copy_path(record):
            continue
        content = hypervisor.read_sidecar(place)
        try:
            other = None if content is None else sidecar.decode(content)
        except MetadataDamaged:
            continue
        if other is not None and other.disk_uuid == record.disk_uuid and other.created_at > record.created_at:
            return other
    return None
