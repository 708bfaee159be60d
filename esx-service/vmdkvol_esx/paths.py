"""Where the disk of a volume lies. Pure: a record in, a path out."""

from __future__ import annotations

import re

from vmdkvol.names import DatastoreName, slug
from vmdkvol.volume import VmgroupId, VolumeId
from vmdkvol_esx.ports import DiskPath, DiskRef
from vmdkvol_esx.records import VolumeRecord

# Not dockvols/: a vDVS that still runs would list our volumes there, and remove them (design D5).
FOLDER = "vmdkvol"
# No vmgroup's id, whose folders lie beside it.
_NEW = re.compile(rf"{FOLDER}/[0-9a-f-]{{36}}/([a-z0-9-]+)-[0-9a-f]{{8}}\.vmdk", re.ASCII)
ADOPTED = f"{FOLDER}/adopted"


def new_path(vmgroup: VmgroupId, name: str, volume: VolumeId) -> str:
    """Return the descriptor's path for a new volume, relative to its datastore.

    The slug only reminds a reader of the name; the volume's id makes the path its own, so two volumes of one name (one
    of them in the trash) never meet, and no slug looks like a side file such as ``x-flat.vmdk`` (T4).
    """
    return f"{FOLDER}/{vmgroup}/{slug(name)}-{volume.hex[:8]}.vmdk"


def name_in(path: str) -> str | None:
    """Return what reminds of a volume's name in a path of ``new_path``; None for any other."""
    found = _NEW.fullmatch(path)
    return found[1] if found else None


def disk_path(record: VolumeRecord) -> DiskPath:
    """Return where the record says that its disk lies."""
    return DiskPath(record.datastore, record.path)


def copy_path(record: VolumeRecord) -> DiskPath:
    """Return the place beside which the second copy of the record lies: that of its disk or, of a disk that somebody else made,
    a place in our own folder, where no disk is. So nothing is ever written into a stranger's folder.
    """
    return adopted_place(record.datastore, record.id) if record.adopted else disk_path(record)


def adopted_place(datastore: DatastoreName, volume: VolumeId) -> DiskPath:
    """Return the place beside which the copy of an adopted volume's record lies."""
    return DiskPath(datastore, f"{ADOPTED}/{volume}.vmdk")


def is_adopted_copy(path: DiskPath) -> bool:
    """Tell whether the place is one beside which copies of adopted volumes' records lie."""
    return path.path.startswith(f"{ADOPTED}/")


def disk_ref(record: VolumeRecord) -> DiskRef:
    """Return the record's disk by identity, with its path."""
    return DiskRef(record.disk_uuid, disk_path(record))
