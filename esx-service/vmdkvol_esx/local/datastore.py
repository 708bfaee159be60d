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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

from vmdkvol.errors import (
    MetadataDamaged,
    SnapshotPresent,
    TruthUnknown,
    VolumeError,
    VolumeLost,
    WrongDisk,
)
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.local import disk_files, files, marker, vmdk
from vmdkvol_esx.local.disk_files import Extent
from vmdkvol_esx.ports import Datastore, Disk, DiskPath, DiskRef

_SIDECAR_LIMIT = 1 << 20
# What a disk, or the rest of one, is known by; a disk that is being made is none yet.
_TRACES = ("-flat.vmdk", disk_files.SIDECAR, ".vmdk.deleting", ".vmdk")


@dataclass(frozen=True, slots=True)
class LocalDatastore:
    """A directory that is one datastore; with ``id`` only as long as ``marker`` finds that there."""

    name: DatastoreName
    directory: str
    id: UUID | None = None


class DatastoreFiles:
    """The disks in one directory. Errors name the disk; nothing outside of the directory is ever opened."""

    def __init__(self, store: LocalDatastore) -> None:
        self._store = store
        self.name = store.name

    def state(self) -> Datastore:
        """Return how full it is. A directory that is not there has no room and takes nothing; its disks are unknown."""
        name = self._store.name
        try:
            with files.translated(f"datastore {name}"), self.folder(()) as folder:
                room = os.fstatvfs(folder)
                fresh = marker.fresh(folder)
        except TruthUnknown as error:
            return Datastore(name, 0, 0, writable=False, problem=error.text)
        writable = not room.f_flag & os.ST_RDONLY
        return Datastore(name, room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize, writable, fresh=fresh)

    def disk(self, ref: DiskRef) -> Disk | None:
        """See ``Hypervisor.disk``."""
        with self._opened(ref.path) as (folder, names):
            deleting = disk_files.read_descriptor(folder, names.deleting, ref.path)
            if deleting is not None:
                disk_files.check_identity(deleting, ref)
                raise MetadataDamaged(f"{ref.path}: its deletion has begun")
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
        found: list[Disk | None] = []
        with files.translated(f"datastore {self._store.name}"):
            for parts, paths in self._groups((".vmdk",)):
                with self.folder(parts) as folder:
                    found += [_listed(folder, path) for path in paths]
        return [disk for disk in found if disk is not None]

    def traces(self) -> list[DiskPath]:
        """See ``Hypervisor.traces``."""
        with files.translated(f"datastore {self._store.name}"):
            return [path for _, paths in self._groups(_TRACES) for path in paths]

    def allocated(self, refs: Sequence[DiskRef]) -> dict[DiskUuid, int]:
        """See ``Hypervisor.allocated``."""
        found: dict[DiskUuid, int] = {}
        folders: dict[tuple[str, ...], list[tuple[DiskRef, disk_files.Names]]] = {}
        for ref in refs:
            parts, names = disk_files.names_of(ref.path)
            folders.setdefault(parts, []).append((ref, names))
        for parts, disks in folders.items():
            with suppress(VolumeError, OSError), self.folder(parts) as folder:
                spaces = ((ref.uuid, self._space(folder, names, ref)) for ref, names in disks)
                found |= {uuid: space for uuid, space in spaces if space is not None}
        return found

    def _space(self, folder: int, names: disk_files.Names, ref: DiskRef) -> int | None:
        try:
            # The extent of a disk that we made; of any other its descriptor tells the name.
            return os.stat(names.extent, dir_fd=folder, follow_symlinks=False).st_blocks * 512
        except FileNotFoundError:
            pass
        except OSError:
            return None
        try:
            disk = self.disk(ref)
        except VolumeError:
            return None
        return None if disk is None else disk.allocated_bytes

    def create(self, ref: DiskRef, size_bytes: int, thin: bool, note: Mapping[str, str], fill: Callable[[int], None]) -> None:
        """Make the disk, all of it or nothing; ``fill`` gives the empty extent its size and bytes.

        The same disk there already is success. WrongDisk if another one is.
        """
        parts, names = disk_files.names_of(ref.path)
        with files.translated(str(ref.path)), self.folder(parts, make=True) as folder:
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

    def resized(self, ref: DiskRef, size_bytes: int) -> None:
        """Let the descriptor say another size: whole old or whole new. The extent is for the caller."""
        self._rewrite(ref, lambda data, name: vmdk.resized(data, name, size_bytes))

    def noted(self, ref: DiskRef, key: str, value: str | None) -> None:
        """Let the descriptor's note say this of ``key``, None: nothing: whole old or whole new."""
        self._rewrite(ref, lambda data, name: vmdk.noted(data, name, key, value))

    def _rewrite(self, ref: DiskRef, change: Callable[[bytes, str], bytes]) -> None:
        with self._opened(ref.path) as (folder, names):
            data = None if folder is None else files.read_whole(folder, names.descriptor, vmdk.MAX_BYTES)
            if folder is None or data is None:
                raise VolumeLost(f"there is no disk at {ref.path}")
            disk_files.check_identity(vmdk.read(data, str(ref.path)), ref)
            # What one that was killed here left.
            files.remove_temporary(folder, names.descriptor)
            # Also of a disk that somebody else made, who shall be able to read it afterwards.
            whose = os.stat(names.descriptor, dir_fd=folder, follow_symlinks=False)
            files.replace(folder, names.descriptor, change(data, str(ref.path)), whose)

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

    def write_sidecar(self, path: DiskPath, content: bytes | None) -> None:
        if content is None:
            return self._forget_sidecar(path)
        parts, names = disk_files.names_of(path)
        with files.translated(f"sidecar of {path}"), self.folder(parts, make=True) as folder:
            files.replace(folder, names.sidecar, content)
        return None

    def _forget_sidecar(self, path: DiskPath) -> None:
        with self._opened(path) as (folder, names):
            if folder is None or any(files.exists(folder, name) for name in (names.descriptor, names.deleting)):
                return
            files.remove(folder, names.sidecar)
            files.remove_temporary(folder, names.sidecar)
            files.settle(folder, names.descriptor)

    @contextmanager
    def _opened(self, path: DiskPath) -> Iterator[tuple[int | None, disk_files.Names]]:
        """Yield the open directory of a disk (None if there is none) and the names in it."""
        parts, names = disk_files.names_of(path)
        with files.translated(str(path)):
            try:
                folder = self._open(parts)
            except FileNotFoundError:
                yield None, names
                return
            try:
                yield folder, names
            finally:
                os.close(folder)

    def _groups(self, endings: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[DiskPath]]]:
        """Yield each of our directories with, once each, the descriptor's path for what in it has one of these endings."""
        for group in ("", *self._entries((marker.TOP,))):
            parts = (marker.TOP, group) if group else (marker.TOP,)
            stems = {_stem(name, endings): None for name in self._entries(parts)}
            paths = [DiskPath(self._store.name, "/".join((*parts, f"{stem}.vmdk"))) for stem in stems if stem]
            if paths:
                yield parts, paths

    def _entries(self, parts: tuple[str, ...]) -> list[str]:
        try:
            with self.folder(parts) as folder:
                return sorted(os.listdir(folder))
        except FileNotFoundError:
            return []
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                return []
            raise

    @contextmanager
    def folder(self, parts: tuple[str, ...], *, make: bool = False) -> Iterator[int]:
        """Yield an open directory of it; raises as ``files.open_folder``."""
        descriptor = self._open(parts, make=make)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _open(self, parts: tuple[str, ...], *, make: bool = False) -> int:
        directory, expected = self._store.directory, self._store.id
        return files.open_folder(directory, parts, check=lambda root: marker.check(root, expected, directory), make=make)


def _listed(folder: int, path: DiskPath) -> Disk | None:
    try:
        with files.translated(str(path)):
            descriptor = disk_files.present(folder, disk_files.names_of(path)[1], path)
            return None if descriptor is None or descriptor.uuid is None else disk_files.shown(folder, path, descriptor)
    except (MetadataDamaged, SnapshotPresent):
        return None


def _stem(name: str, endings: tuple[str, ...]) -> str | None:
    """Return the name of a disk without ``.vmdk``, of which ``name`` is a file with one of ``endings``."""
    ending = next((ending for ending in _TRACES if name.endswith(ending)), None)
    return name.removesuffix(ending) if ending in endings and ending is not None else None
