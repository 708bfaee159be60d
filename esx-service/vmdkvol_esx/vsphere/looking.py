"""One look at a disk by its path: where it is now, who it is, what its label says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from vmdkvol.clock import Deadline
from vmdkvol.errors import MetadataDamaged, TruthUnknown, VolumeError, VolumeInUse, VolumeLost, WrongDisk
from vmdkvol.names import DatastoreName
from vmdkvol_esx.ports import DiskPath, DiskRef
from vmdkvol_esx.vsphere.beside import Beside
from vmdkvol_esx.vsphere.descriptors import Identities
from vmdkvol_esx.vsphere.faults import Meaning
from vmdkvol_esx.vsphere.files import File, Files, means
from vmdkvol_esx.vsphere.places import Places
from vmdkvol_esx.vsphere.sites import Place
from vmdkvol_esx.vsphere.spelling import checked, folder_of, plain_name
from vmdkvol_esx.vsphere.standing import Seen, Standing, standing

T = TypeVar("T")

# A datastore may get another name while it is looked at; nobody does that again and again.
_TRIES = 3
# Returns the name of a virtual machine that has the disk, None if none has it.
HolderOf = Callable[[DiskRef], str | None]
# Returns how large the device list of a machine that has the disk says it is, in bytes; None if none says it.
SizeOf = Callable[[DiskRef], int | None]


@dataclass(frozen=True, slots=True)
class Look:
    """How a disk stands at a place that was, at the end of the look, the one that its path names."""

    ref: DiskRef
    place: Place
    seen: Seen
    standing: Standing

    @property
    def path(self) -> str:
        return self.ref.path.path

    def check_ours(self) -> None:
        """Raise unless the disk is there, whole; VolumeLost if nothing of it is."""
        if self.standing in (Standing.ABSENT, Standing.GOING, Standing.TAKEN):
            raise VolumeLost(f"there is no disk at {self.ref.path}")
        if self.standing is not Standing.OURS:
            raise self.wrong()

    def wrong(self) -> VolumeError:
        """Return the error that says what stands there instead of the disk."""
        told = f"{self.ref.path}: {self.standing.value}"
        if self.standing in (Standing.OTHER, Standing.TAKEN):
            return WrongDisk(f"{told}, not {self.ref.uuid}", found=str(self.seen.uuid))
        return MetadataDamaged(told)


class Looking:
    """Safe for any number of threads. Everything is read anew."""

    def __init__(
        self,
        places: Places,
        identities: Identities,
        beside: Beside,
        files: Files,
        holder_of: HolderOf,
        size_of: SizeOf,
    ) -> None:
        self._places = places
        self._identities = identities
        self._beside = beside
        self._files = files
        self._holder_of = holder_of
        self._size_of = size_of

    def look(self, ref: DiskRef, deadline: Deadline) -> Look:
        """Return how the disk stands; TruthUnknown if that cannot be said."""

        def seen(place: Place) -> Look:
            found = self._seen(ref, place, deadline)
            return Look(ref, place, found, standing(ref.uuid, found))

        checked(ref.path.path)
        return self.sure(ref.path.datastore, deadline, seen, lambda look: look.standing is Standing.OURS)

    def sure(self, name: DatastoreName, deadline: Deadline, ask: Callable[[Place], T], there: Callable[[T], bool]) -> T:
        """Return what ``ask`` finds on the datastore; where it is not ``there``, only if the datastore was the right one.

        Its name and state are read after the question: a datastore that was renamed meanwhile, or that no host reaches any
        more, is not one without files, and what lies under its old name is on another one.
        """
        place = self._places.place(name, deadline)
        for _ in range(_TRIES):
            try:
                found = ask(place)
                if there(found):
                    return found
            except VolumeError as error:
                if not means(error, Meaning.NO_DATASTORE):
                    raise
            else:
                now = self._places.place(name, deadline, fresh=True)
                if (now.ref, now.name, now.dc_path) == (place.ref, place.name, place.dc_path):
                    return found
                place = now
                continue
            place = self._places.place(name, deadline, fresh=True)
        raise TruthUnknown(f"datastore {name!r} gets other names while it is looked at")

    def measured(self, ref: DiskRef, deadline: Deadline) -> tuple[Look, int]:
        """Return how a disk stands that is there, and its size; TruthUnknown if nobody says that. As ``Look.check_ours``."""
        look = self.look(ref, deadline)
        look.check_ours()
        size = self.size(look, deadline)
        if size is None:
            raise TruthUnknown(f"the size of {ref.path} cannot be read")
        return look, size

    def holder(self, ref: DiskRef, place: Place) -> str | None:
        """Return who has the disk, if somebody has; ``place`` is where its path leads."""
        name = DatastoreName(plain_name(place.name))
        return self._holder_of(replace(ref, path=DiskPath(name, ref.path.path)))

    def check_free(self, ref: DiskRef, place: Place) -> None:
        """Raise VolumeInUse if a virtual machine has the disk, attached or in its list alone."""
        holder = self.holder(ref, place)
        if holder is not None:
            raise VolumeInUse(f"{ref.path} is attached to {holder}", holder=holder)

    def size(self, look: Look, deadline: Deadline) -> int | None:
        """Return the size in bytes of a disk that is there, None if nobody says it.

        One without its label is opened; one whose label says that it was to grow, unless a device list tells it.
        """
        label = look.seen.label
        if label is not None and label.uuid == look.ref.uuid and label.growing is None:
            return label.size_bytes
        if label is not None and label.growing is not None and (listed := self._size_of(look.ref)) is not None:
            return listed
        folder, name = folder_of(look.path), look.path.rpartition("/")[2]
        return self._files.size(look.place, folder, name, deadline)

    def file(self, look: Look, deadline: Deadline) -> File | None:
        """Return the disk's own line of a listing."""
        found = self._files.listing(
            look.place, folder_of(look.path), deadline, below=False, names=[look.path.rpartition("/")[2]]
        )
        return None if found is None else found.get(look.path)

    def _seen(self, ref: DiskRef, place: Place, deadline: Deadline) -> Seen:
        found = Seen(disk=True)
        try:
            uuid = self._identities.at(place, ref.path.path, deadline)
            found = Seen(disk=uuid is not None, uuid=uuid)
        except MetadataDamaged:
            # Something is there, and says nothing of itself.
            pass
        try:
            return replace(found, label=self._beside.label(place, ref.path.path, deadline))
        except MetadataDamaged:
            # Not whole: it says nothing.
            return found
