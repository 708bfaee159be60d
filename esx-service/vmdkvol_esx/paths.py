"""Where the disk of a volume lies. Pure: a record in, a path out."""

from __future__ import annotations

from vmdkvol.names import slug
from vmdkvol.volume import VmgroupId, VolumeId
from vmdkvol_esx.ports import DiskPath, DiskRef
from vmdkvol_esx.records import VolumeRecord

# Not dockvols/: a vDVS that still runs would list our volumes there, and remove them (design D5).
FOLDER = "vmdkvol"


def new_path(vmgroup: VmgroupId, name: str, volume: VolumeId) -> str:
    """Return the descriptor's path for a new volume, relative to its datastore.

    The slug only reminds a reader of the name; the volume's id makes the path its own, so two volumes of one name (one
    of them in the trash) never meet, and no slug looks like a side file such as ``x-flat.vmdk`` (T4).
    """
    return f"{FOLDER}/{vmgroup}/{slug(name)}-{volume.hex[:8]}.vmdk"


def disk_path(record: VolumeRecord) -> DiskPath:
    """Return where the record says that its disk lies."""
    return DiskPath(record.datastore, record.path)


def disk_ref(record: VolumeRecord) -> DiskRef:
    """Return the record's disk by identity, with its path."""
    return DiskRef(record.disk_uuid, disk_path(record))
