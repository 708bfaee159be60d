"""What lies beside a disk: its label, and its sidecar, of which there is the whole old or the whole new one at any time."""

from __future__ import annotations

from uuid import UUID

from vmdkvol.clock import Deadline
from vmdkvol.errors import MetadataDamaged, VolumeError
from vmdkvol_esx.vsphere import framed, labels
from vmdkvol_esx.vsphere.faults import Meaning
from vmdkvol_esx.vsphere.files import Files, means
from vmdkvol_esx.vsphere.folders import Folders
from vmdkvol_esx.vsphere.labels import LABEL, NEW_SIDECAR, SIDECAR, Label, beside
from vmdkvol_esx.vsphere.sites import Place
from vmdkvol_esx.vsphere.spelling import folder_of


class Beside:
    """``path`` is that of the disk, relative to the place's root. Safe for any number of threads."""

    def __init__(self, files: Files, folders: Folders) -> None:
        self._files = files
        self._folders = folders

    def label(self, place: Place, path: str, deadline: Deadline) -> Label | None:
        """Return the disk's label; None if the server knows none; MetadataDamaged if it is not whole."""
        file = self._files.get(place, beside(path, LABEL), deadline)
        return None if file is None else labels.decode(file, f"the label of {place.path(path)}")

    def put_label(self, place: Place, path: str, label: Label, deadline: Deadline, operation: UUID | None = None) -> None:
        """Afterwards the disk has this label, read back; killed in between it may have one that is not whole."""
        self._write(place, beside(path, LABEL), labels.encode(label), deadline, operation)

    def remove_label(self, place: Place, path: str, deadline: Deadline, operation: UUID | None = None) -> None:
        """Afterwards there is no label; none before is fine."""
        self._files.delete(place, beside(path, LABEL), deadline, operation)

    def sidecar(self, place: Place, path: str, deadline: Deadline) -> bytes | None:
        """Return the sidecar's content, whole; None if none was ever written to its end.

        MetadataDamaged if there is one that is not whole, and no newer one: nothing of ours leaves that behind.
        """
        main = self._files.get(place, beside(path, SIDECAR), deadline)
        damage: VolumeError | None = None
        if main is not None:
            try:
                return framed.content_of(main, f"the sidecar of {place.path(path)}")
            except MetadataDamaged as error:
                damage = error
        # Killed while the new one took the place of the old one, or before it was whole.
        new = self._files.get(place, beside(path, NEW_SIDECAR), deadline)
        if new is not None:
            try:
                return framed.content_of(new, f"the new sidecar of {place.path(path)}")
            except MetadataDamaged:
                # Then the old one counts, if there is one.
                pass
        if damage is not None:
            raise damage
        return None

    def write_sidecar(self, place: Place, path: str, content: bytes, deadline: Deadline) -> None:
        """Replace the sidecar: written beside, read back, then moved in its place by the server."""
        self._write(place, beside(path, NEW_SIDECAR), framed.frame(content), deadline, None)
        self._files.move(place, beside(path, NEW_SIDECAR), beside(path, SIDECAR), deadline)

    def clear(self, place: Place, path: str, deadline: Deadline, operation: UUID | None = None) -> None:
        """Take away all that lies beside a disk that is gone; the label last, by which the rest is known to be its."""
        for ending in (NEW_SIDECAR, SIDECAR, LABEL):
            self._files.delete(place, beside(path, ending), deadline, operation)

    def _write(self, place: Place, path: str, file: bytes, deadline: Deadline, operation: UUID | None) -> None:
        folder = folder_of(path)
        self._folders.make(place, folder, deadline, operation)
        try:
            self._files.put(place, path, file, deadline, operation)
        except VolumeError as error:
            if not means(error, Meaning.ABSENT):
                raise
            # Somebody took the folder away since it was made.
            self._folders.forget(place, folder)
            self._folders.make(place, folder, deadline, operation)
            self._files.put(place, path, file, deadline, operation)
