"""A directory as a datastore: which disks are in it, made and taken away whole.

    X.vmdk            the descriptor: it is there exactly as long as the disk exists
    X-flat.vmdk       the extent, or whatever name the descriptor gives
    X.vmdkvol.json    the sidecar
    X.vmdk.creating   the descriptor of a disk that is being made; its extent is X-flat.vmdk.creating until it is whole
    X.vmdk.deleting   the descriptor of a disk whose deletion has begun and will be finished

The order in which these come and go is in ``disk_files``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from vmdkvol.errors import MetadataDamaged, SnapshotPresent, TruthUnknown, VolumeLost, WrongDisk
from vmdkvol.names import DatastoreName
from vmdkvol_esx.local import disk_files, files, vmdk
from vmdkvol_esx.local.disk_files import Extent
from vmdkvol_esx.ports import Datastore, Disk, DiskPath, DiskRef

# Our folder on every datastore (design D5).
TOP = "vmdkvol"
_SIDECAR_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class LocalDatastore:
    """A directory that is one datastore."""

    name: DatastoreName
    directory: str


class DatastoreFiles:
    """The disks in one directory. Errors name the disk; nothing outside of the directory is ever opened."""

    def __init__(self, store: LocalDatastore) -> None:
        self._store = store

    def state(self) -> Datastore:
        """Return how full it is. A directory that is not there has no room and takes nothing; its disks are unknown."""
        try:
            with files.translated(f"datastore {self._store.name}"), files.folder(self._store.directory, ()) as folder:
                room = os.fstatvfs(folder)
        except TruthUnknown:
            return Datastore(self._store.name, 0, 0, writable=False)
        writable = not room.f_flag & os.ST_RDONLY
        return Datastore(self._store.name, room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize, writable)

    def disk(self, ref: DiskRef) -> Disk | None:
        """See ``Hypervisor.disk``. A disk whose deletion has begun is still there until that has ended."""
        with self._opened(ref.path) as (folder, names):
            deleting = disk_files.read_descriptor(folder, names.deleting, ref.path)
            if deleting is not None:
                disk_files.check_identity(deleting, ref)
                return Disk(ref, deleting.size_bytes, 0, deleting.note)
            descriptor = disk_files.present(folder, names, ref.path)
            if descriptor is None:
                return None
            disk_files.check_identity(descriptor, ref)
            return disk_files.shown(folder, ref.path, descriptor)

    def whole(self, ref: DiskRef) -> bool:
        """Tell whether the disk is there: made to the end, its deletion not begun."""
        with self._opened(ref.path) as (folder, names):
            descriptor = disk_files.present(folder, names, ref.path)
            if descriptor is None:
                return False
            disk_files.check_identity(descriptor, ref)
            disk_files.shown(folder, ref.path, descriptor)
            return True

    def disks(self) -> list[Disk]:
        """Return every readable disk in our folder; a broken one is left out, ``disk`` tells why."""
        with files.translated(f"datastore {self._store.name}"):
            found = [self._listed(path) for path in self._descriptors()]
        return [disk for disk in found if disk is not None]

    def _listed(self, path: DiskPath) -> Disk | None:
        try:
            with self._opened(path) as (folder, names):
                descriptor = disk_files.present(folder, names, path)
                return None if descriptor is None or descriptor.uuid is None else disk_files.shown(folder, path, descriptor)
        except (MetadataDamaged, SnapshotPresent):
            return None

    def create(self, ref: DiskRef, size_bytes: int, thin: bool, note: Mapping[str, str], fill: Callable[[int], None]) -> None:
        """Make the disk, all of it or nothing; ``fill`` gives the empty extent its size and bytes.

        The same disk there already is success. WrongDisk if another one is.
        """
        parts, names = disk_files.names_of(ref.path)
        with files.translated(str(ref.path)), files.folder(self._store.directory, parts, make=True) as folder:
            deleting = disk_files.read_descriptor(folder, names.deleting, ref.path)
            if deleting is not None:
                disk_files.check_identity(deleting, ref)
                disk_files.finish_deletion(folder, names, deleting)
            present = disk_files.present(folder, names, ref.path)
            if present is not None:
                disk_files.check_identity(present, ref)
                disk_files.shown(folder, ref.path, present)
                if present.size_bytes != size_bytes:
                    raise WrongDisk(f"{ref.path} has {present.size_bytes} bytes instead of {size_bytes}")
                return
            disk_files.clear_creation(folder, names, ref)
            descriptor = vmdk.Descriptor(size_bytes, names.extent, ref.uuid, thin, note)
            disk_files.build(folder, names, descriptor, fill)

    def delete(self, ref: DiskRef, lock: Callable[[Extent], None]) -> None:
        """Take away all files of the disk; absent before is success. ``lock`` raises while anybody uses the extent."""
        with self._opened(ref.path) as (folder, names):
            if folder is None:
                return
            descriptor = disk_files.read_descriptor(folder, names.deleting, ref.path) or disk_files.present(
                folder, names, ref.path
            )
            if descriptor is None:
                disk_files.clear_creation(folder, names, ref)
                files.remove(folder, names.sidecar)
                files.remove_temporary(folder, names.sidecar)
                files.settle(folder, names.descriptor)
                return
            disk_files.check_identity(descriptor, ref)
            with disk_files.locked(folder, descriptor, ref.path, lock):
                if files.exists(folder, names.descriptor):
                    files.rename(folder, names.descriptor, names.deleting)
                disk_files.finish_deletion(folder, names, descriptor)

    @contextmanager
    def extent(self, ref: DiskRef, *, writable: bool) -> Iterator[Extent]:
        """Yield the disk's open extent, verified; VolumeLost if there is no such disk."""
        with self._opened(ref.path) as (folder, names):
            descriptor = disk_files.present(folder, names, ref.path)
            if folder is None or descriptor is None:
                raise VolumeLost(f"there is no disk at {ref.path}")
            disk_files.check_identity(descriptor, ref)
            with disk_files.open_extent(folder, descriptor, ref.path, writable=writable) as extent:
                vmdk.check_extent(descriptor, os.fstat(extent.file).st_size, str(ref.path))
                yield extent

    def read_sidecar(self, path: DiskPath) -> bytes | None:
        """See ``Hypervisor.read_sidecar``; MetadataDamaged if it is far too long to be one."""
        with self._opened(path) as (folder, names):
            content = None if folder is None else files.read_whole(folder, names.sidecar, _SIDECAR_LIMIT)
            if content is not None and len(content) > _SIDECAR_LIMIT:
                raise MetadataDamaged(f"the sidecar of {path} has more than {_SIDECAR_LIMIT} bytes")
            return content

    def write_sidecar(self, path: DiskPath, content: bytes) -> None:
        parts, names = disk_files.names_of(path)
        with files.translated(f"sidecar of {path}"), files.folder(self._store.directory, parts, make=True) as folder:
            files.replace(folder, names.sidecar, content)

    @contextmanager
    def _opened(self, path: DiskPath) -> Iterator[tuple[int | None, disk_files.Names]]:
        """Yield the open directory of a disk (None if there is none) and the names in it."""
        parts, names = disk_files.names_of(path)
        with files.translated(str(path)):
            try:
                folder = files.open_folder(self._store.directory, parts)
            except FileNotFoundError:
                yield None, names
                return
            try:
                yield folder, names
            finally:
                os.close(folder)

    def _descriptors(self) -> Iterator[DiskPath]:
        """Yield the path of everything in our folder that is named like a descriptor."""
        for group in ("", *self._entries((TOP,))):
            parts = (TOP, group) if group else (TOP,)
            for name in self._entries(parts):
                if name.endswith(".vmdk") and not name.endswith("-flat.vmdk"):
                    yield DiskPath(self._store.name, "/".join((*parts, name)))

    def _entries(self, parts: tuple[str, ...]) -> list[str]:
        try:
            with files.folder(self._store.directory, parts) as folder:
                return sorted(os.listdir(folder))
        except FileNotFoundError:
            return []
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                return []
            raise
