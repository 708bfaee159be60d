"""Disks on datastores that somebody else made: found and looked at, never touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import BadRequest, MetadataDamaged, NotFound, TruthUnknown, quoted
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid
from vmdkvol_esx import obstacles
from vmdkvol_esx.foreign_disks import MOST, ForeignDisk
from vmdkvol_esx.paths import FOLDER
from vmdkvol_esx.ports import DiskPath
from vmdkvol_esx.vsphere.descriptors import Identities
from vmdkvol_esx.vsphere.faults import Meaning
from vmdkvol_esx.vsphere.files import File, Files, means
from vmdkvol_esx.vsphere.looking import Looking
from vmdkvol_esx.vsphere.places import READ_S
from vmdkvol_esx.vsphere.sites import Place
from vmdkvol_esx.vsphere.spelling import checked, folder_of

# A listing of a large datastore, by the server.
_LIST_S = 120.0
_DISKS = ("*.vmdk",)
# The backing of a disk that is one file of its bytes; what else there is are deltas, raw devices, disks in pieces.
_FLAT = "FlatVer2BackingInfo"

_Around = tuple[Place, Mapping[str, File] | None]


class Foreign:
    """Safe for any number of threads. Everything is read anew."""

    def __init__(self, looking: Looking, files: Files, identities: Identities, clock: Clock) -> None:
        self._looking = looking
        self._files = files
        self._identities = identities
        self._clock = clock

    def listed(self, datastore: DatastoreName, folder: str, until: Deadline | None = None) -> Sequence[DiskPath]:
        """See ``ForeignDisks.foreign``."""
        if folder and any(part in ("", ".", "..") or not part.isprintable() for part in folder.split("/")):
            raise BadRequest(
                f"{quoted(folder)} is not a folder on a datastore", remedy="write it without a / at its ends, such as a/b"
            )
        deadline = Deadline.after(self._clock, _LIST_S) if until is None else until.at_most(_LIST_S)
        found = self._looking.sure(
            datastore,
            deadline,
            lambda place: self._files.listing(place, folder, deadline, names=_DISKS),
            lambda files: files is not None,
        )
        if found is None:
            raise NotFound(
                f"there is no folder {quoted(folder)} on the datastore",
                remedy="write it as it lies there, with capital and small letters; or leave it out",
            )
        paths = [path for path in sorted(found) if obstacles.is_descriptor(path.rpartition("/")[2])]
        paths = [path for path in paths if path.split("/")[0] != FOLDER]
        if len(paths) > MOST:
            raise BadRequest(f"there are more than {MOST} disks", remedy="name a folder with fewer")
        return [DiskPath(datastore, path) for path in paths]

    def looked_at(self, path: DiskPath, until: Deadline | None = None) -> ForeignDisk | None:
        """See ``ForeignDisks.foreign_disk``."""
        try:
            checked(path.path)
        except MetadataDamaged as error:
            return ForeignDisk(path, obstacle=error.text)
        folder, name = folder_of(path.path), path.path.rpartition("/")[2]
        deadline = Deadline.after(self._clock, READ_S) if until is None else until.at_most(READ_S)

        def ask(place: Place) -> _Around:
            return place, self._files.listing(place, folder, deadline, below=False)

        place, around = self._looking.sure(path.datastore, deadline, ask, lambda seen: path.path in (seen[1] or {}))
        if around is None or path.path not in around:
            return None
        obstacle = obstacles.of_place(path.path) or obstacles.of_neighbours(name, [each.rpartition("/")[2] for each in around])
        if obstacle:
            return ForeignDisk(path, obstacle=obstacle)
        return self._opened(place, path, around[path.path].size_bytes, deadline)

    def _opened(self, place: Place, path: DiskPath, allocated_bytes: int, deadline: Deadline) -> ForeignDisk:
        """Return what the disk says of itself, when the server opens it."""
        uuid: DiskUuid | None = None
        try:
            uuid = self._identities.at(place, path.path, deadline)
            told = self._files.described(place, folder_of(path.path), path.path.rpartition("/")[2], deadline)
        except MetadataDamaged as error:
            return ForeignDisk(path, obstacle=error.text)
        except TruthUnknown as error:
            if not means(error, Meaning.HELD):
                raise
            return ForeignDisk(path, obstacle="somebody uses it: the server cannot open it")
        obstacle = ""
        if uuid is None:
            obstacle = "the server does not say its identity"
        elif told is None or told.size_bytes is None:
            obstacle = "the server does not say how large it is"
        elif told.kind not in (None, _FLAT):
            obstacle = f"it is no flat disk in one file ({told.kind.removesuffix('BackingInfo')})"
        size, thin = (None, None) if told is None else (told.size_bytes, told.thin)
        return ForeignDisk(path, uuid, size, allocated_bytes, thin, obstacle)
