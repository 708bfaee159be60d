"""What lies in our folder of a datastore: all disks, all traces of disks, the room that they take."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import HypervisorUnreachable, MetadataDamaged, VolumeError
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.paths import FOLDER
from vmdkvol_esx.ports import Disk, DiskPath, DiskRef
from vmdkvol_esx.vsphere.anew import Anew
from vmdkvol_esx.vsphere.beside import Beside
from vmdkvol_esx.vsphere.descriptors import Identities
from vmdkvol_esx.vsphere.faults import Meaning
from vmdkvol_esx.vsphere.files import File, Files, means, patterns
from vmdkvol_esx.vsphere.labels import DESCRIPTOR, LABEL, NEW_SIDECAR, SIDECAR, Label, disk_of
from vmdkvol_esx.vsphere.looking import Looking
from vmdkvol_esx.vsphere.places import KEPT_S, READ_S
from vmdkvol_esx.vsphere.sites import Place
from vmdkvol_esx.vsphere.spelling import folder_of

# A listing of a large datastore, without what its files say.
LIST_S = 120.0
# A search of all that lies on it. Only a rebuild waits for that.
SEARCH_S = 900.0
# What is read of one disk: its label and its identity, the first time, and on a busy server.
DISK_S = 0.5
# The child of a disk that a virtual machine's snapshot made beside it: it has the identity of its parent.
_CHILD = re.compile(r"-[0-9]{6}\.vmdk\Z")
_SIDECARS = (f"*{SIDECAR}", f"*{NEW_SIDECAR}")

# The files of each disk by their endings, by the descriptor's path.
Groups = Mapping[str, Mapping[str, File]]


class Shelves:
    """Safe for any number of threads.

    A label and an identity that were read are kept as long as the listing shows their file unchanged; the identity of a disk
    that is written to as long as its label says the same, and it is asked for again in its turn (``anew``). Nothing that is
    kept decides on a deletion or an attach: those look at the disk itself.
    """

    def __init__(self, looking: Looking, files: Files, beside: Beside, identities: Identities, clock: Clock) -> None:
        self._looking = looking
        self._files = files
        self._beside = beside
        self._identities = identities
        self._clock = clock
        self._lock = clock.condition()
        self._labels: dict[DiskPath, tuple[File, Label | None]] = {}
        self._uuids: dict[DiskPath, tuple[File, DiskUuid | None]] = {}
        self._anew = Anew()
        self._used: set[DatastoreName] = set()
        # Since when: each create asks for the state of every datastore.
        self._unused: dict[DatastoreName, float] = {}

    def disks(self, datastore: DatastoreName) -> Sequence[Disk]:
        """See ``Hypervisor.disks``; HypervisorUnreachable if the server goes away in the middle."""
        place, groups = self._groups(datastore, Deadline.after(self._clock, LIST_S))
        self._forget_others(datastore, groups)
        kept = self._not_asked(datastore, groups)
        found = []
        # In the time of all: a rebuild has nothing that was kept from an earlier listing.
        deadline = Deadline.after(self._clock, LIST_S + DISK_S * len(groups))
        for path, files in groups.items():
            if DESCRIPTOR in files and not _CHILD.search(path):
                disk = self._disk(place, DiskPath(datastore, path), files, kept, deadline)
                if disk is not None:
                    found.append(disk)
        return found

    def traces(self, datastore: DatastoreName) -> Sequence[DiskPath]:
        """See ``Hypervisor.traces``."""
        _, groups = self._groups(datastore, Deadline.after(self._clock, LIST_S))
        return [DiskPath(datastore, path) for path in groups]

    def copies_elsewhere(self, datastore: DatastoreName) -> Sequence[DiskPath]:
        """See ``MovedDisks.copies_elsewhere``: one search of the server's for the names of sidecars."""
        deadline = Deadline.after(self._clock, SEARCH_S)
        files = self._looking.sure(
            datastore,
            deadline,
            lambda place: self._files.listing(place, "", deadline, names=_SIDECARS),
            lambda found: found is not None,
        )
        belong = {belongs[0] for path in files or () if (belongs := disk_of(path)) is not None}
        return [DiskPath(datastore, path) for path in sorted(belong) if path.split("/")[0] != FOLDER]

    def fresh(self, datastore: DatastoreName) -> bool:
        """Tell whether our folder never was there, as far as can be seen; asked until it is, now and then."""
        with self._lock:
            if datastore in self._used:
                return False
            if self._unused.get(datastore, float("-inf")) > self._clock.monotonic() - KEPT_S:
                return True
        deadline = Deadline.after(self._clock, READ_S)
        found = self._looking.sure(
            datastore,
            deadline,
            lambda place: self._files.listing(place, FOLDER, deadline, below=False),
            lambda files: files is not None,
        )
        if found is not None:
            self.used(datastore)
            return False
        with self._lock:
            self._unused[datastore] = self._clock.monotonic()
        return True

    def used(self, datastore: DatastoreName) -> None:
        """There is something of ours from now on."""
        with self._lock:
            self._used.add(datastore)

    def allocated(self, disks: Collection[DiskRef]) -> Mapping[DiskUuid, int]:
        """See ``Hypervisor.allocated``: one search for each folder."""
        deadline = Deadline.after(self._clock, READ_S)
        folders: dict[tuple[DatastoreName, str], list[DiskRef]] = defaultdict(list)
        for ref in disks:
            folders[ref.path.datastore, folder_of(ref.path.path)].append(ref)
        found: dict[DiskUuid, int] = {}
        for (datastore, folder), refs in folders.items():
            names = patterns([ref.path.path.rpartition("/")[2] for ref in refs])
            files = self._listed(datastore, folder, names, deadline)
            found |= {ref.uuid: files[ref.path.path].size_bytes for ref in refs if ref.path.path in files}
        return found

    def _listed(self, datastore: DatastoreName, folder: str, names: Sequence[str], deadline: Deadline) -> Mapping[str, File]:
        try:
            return self._looking.sure(
                datastore,
                deadline,
                lambda place: self._files.listing(place, folder, deadline, below=False, names=names) or {},
                bool,
            )
        except VolumeError:
            # For people: what cannot be read lacks.
            return {}

    def _groups(self, datastore: DatastoreName, deadline: Deadline) -> tuple[Place, Groups]:
        def ask(place: Place) -> tuple[Place, Mapping[str, File] | None]:
            return place, self._files.listing(place, FOLDER, deadline)

        place, files = self._looking.sure(datastore, deadline, ask, lambda found: bool(found[1]))
        groups: dict[str, dict[str, File]] = defaultdict(dict)
        for path in sorted(files or {}):
            belongs = disk_of(path)
            if belongs is not None:
                groups[belongs[0]][belongs[1]] = (files or {})[path]
        return place, dict(sorted(groups.items()))

    def _forget_others(self, datastore: DatastoreName, groups: Groups) -> None:
        with self._lock:
            memories: tuple[dict[DiskPath, Any], ...] = (self._labels, self._uuids)
            for memory in memories:
                for gone in [path for path in memory if path.datastore == datastore and path.path not in groups]:
                    del memory[gone]
                    self._anew.forget(gone)

    def _not_asked(self, datastore: DatastoreName, groups: Groups) -> Mapping[DiskPath, DiskUuid]:
        """Return the identities that stand although the listing shows the disk changed: its label says them still."""
        standing: dict[DiskPath, DiskUuid] = {}
        with self._lock:
            for path, (file, uuid) in self._uuids.items():
                files = groups.get(path.path, {}) if path.datastore == datastore else {}
                labelled, label = self._labels.get(path, (None, None))
                unchanged = label is not None and label.uuid == uuid and labelled == files.get(LABEL)
                if unchanged and uuid is not None and files.get(DESCRIPTOR) not in (None, file):
                    standing[path] = uuid
            asked = self._anew.chosen(standing)
        return {path: uuid for path, uuid in standing.items() if path not in asked}

    def _disk(
        self,
        place: Place,
        path: DiskPath,
        files: Mapping[str, File],
        kept: Mapping[DiskPath, DiskUuid],
        deadline: Deadline,
    ) -> Disk | None:
        """Return the disk; None if it is none that can be read, or none of ours yet, or none any more."""
        label = self._label(place, path, files[LABEL], deadline) if LABEL in files else None
        uuid = kept.get(path) or self._uuid(place, path, files[DESCRIPTOR], label, deadline)
        if uuid is None or (label is not None and (label.uuid != uuid or label.deleting)):
            return None
        size = label.size_bytes if label is not None else None
        if label is None or label.growing is not None:
            # A disk that was to grow has at least what its label says.
            size = self._size(place, path, deadline) or size
        if size is None:
            return None
        return Disk(DiskRef(uuid, path), size, files[DESCRIPTOR].size_bytes, label.note if label is not None else {})

    def _label(self, place: Place, path: DiskPath, file: File, deadline: Deadline) -> Label | None:
        with self._lock:
            known = self._labels.get(path)
        if known is not None and known[0] == file:
            return known[1]
        try:
            label = self._beside.label(place, path.path, deadline)
        except MetadataDamaged:
            label = None
        with self._lock:
            self._labels[path] = file, label
        return label

    def _uuid(self, place: Place, path: DiskPath, file: File, label: Label | None, deadline: Deadline) -> DiskUuid | None:
        with self._lock:
            known = self._uuids.get(path)
        if known is not None and known[0] == file:
            return known[1]
        try:
            uuid = self._identities.at(place, path.path, deadline)
        except HypervisorUnreachable:
            raise
        except MetadataDamaged:
            uuid = None
        except VolumeError as error:
            if means(error, Meaning.NO_DATASTORE):
                raise
            if label is None:
                return None
            # A disk in use may not be opened to be asked; its label says what it was when it was made.
            uuid = label.uuid
        with self._lock:
            self._uuids[path] = file, uuid
        return uuid

    def _size(self, place: Place, path: DiskPath, deadline: Deadline) -> int | None:
        try:
            return self._files.size(place, folder_of(path.path), path.path.rpartition("/")[2], deadline)
        except HypervisorUnreachable:
            raise
        except VolumeError:
            return None
