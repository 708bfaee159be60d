"""A directory as a datastore: which files make a disk, in which order they come and go.

    X.vmdk            the descriptor: it is there exactly as long as the disk exists
    X-flat.vmdk       the extent, or whatever name the descriptor gives
    X.vmdkvol.json    the sidecar
    X.vmdk.creating   the descriptor of a disk that is being made; its extent is X-flat.vmdk.creating until it is whole
    X.vmdk.deleting   the descriptor of a disk whose deletion has begun and will be finished

Killed after any line, the next CreateDisk or DeleteDisk of the same disk goes on or cleans up; both markers carry the
disk's identity, so that nothing of another disk is ever taken away.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from vmdkvol.errors import MetadataDamaged, SnapshotPresent, TruthUnknown, VolumeLost, WrongDisk
from vmdkvol.names import DatastoreName
from vmdkvol_esx.local import files, vmdk
from vmdkvol_esx.ports import Datastore, Disk, DiskPath, DiskRef

# Our folder on every datastore (design D5).
TOP = "vmdkvol"
_SIDECAR_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class LocalDatastore:
    """A directory that is one datastore."""

    name: DatastoreName
    directory: str


@dataclass(frozen=True, slots=True)
class Extent:
    """The open extent of a verified disk. Whoever has it may lock it, and bind or copy what it covers."""

    file: int
    descriptor: vmdk.Descriptor
    path: DiskPath


@dataclass(frozen=True, slots=True)
class _Names:
    descriptor: str
    extent: str
    sidecar: str

    @property
    def creating(self) -> str:
        return f"{self.descriptor}.creating"

    @property
    def extent_creating(self) -> str:
        return f"{self.extent}.creating"

    @property
    def deleting(self) -> str:
        return f"{self.descriptor}.deleting"


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
            deleting = _read(folder, names.deleting, ref.path)
            if deleting is not None:
                _check_identity(deleting, ref)
                return Disk(ref, deleting.size_bytes, 0, deleting.note)
            descriptor = _descriptor(folder, names, ref.path)
            if descriptor is None:
                return None
            _check_identity(descriptor, ref)
            return _disk(folder, ref.path, descriptor)

    def whole(self, ref: DiskRef) -> bool:
        """Tell whether the disk is there: made to the end, its deletion not begun."""
        with self._opened(ref.path) as (folder, names):
            descriptor = _descriptor(folder, names, ref.path)
            if descriptor is not None:
                _check_identity(descriptor, ref)
            return descriptor is not None

    def disks(self) -> list[Disk]:
        """Return every readable disk in our folder; a broken one is left out, ``disk`` tells why."""
        with files.translated(f"datastore {self._store.name}"):
            found = [self._listed(path) for path in self._descriptors()]
        return [disk for disk in found if disk is not None]

    def _listed(self, path: DiskPath) -> Disk | None:
        try:
            with self._opened(path) as (folder, names):
                descriptor = _descriptor(folder, names, path)
                return None if descriptor is None or descriptor.uuid is None else _disk(folder, path, descriptor)
        except (MetadataDamaged, SnapshotPresent):
            return None

    def create(self, ref: DiskRef, size_bytes: int, thin: bool, note: Mapping[str, str], fill: Callable[[int], None]) -> None:
        """Make the disk, all of it or nothing; ``fill`` gives the empty extent its size and bytes.

        The same disk there already is success. WrongDisk if another one is.
        """
        parts, names = _names(ref.path)
        with files.translated(str(ref.path)), files.folder(self._store.directory, parts, make=True) as folder:
            deleting = _read(folder, names.deleting, ref.path)
            if deleting is not None:
                _check_identity(deleting, ref)
                _finish_deletion(folder, names, deleting)
            present = _descriptor(folder, names, ref.path)
            if present is not None:
                _check_identity(present, ref)
                if present.size_bytes != size_bytes:
                    raise WrongDisk(f"{ref.path} has {present.size_bytes} bytes instead of {size_bytes}")
                return
            _clear_creation(folder, names, ref)
            descriptor = vmdk.Descriptor(size_bytes, names.extent, ref.uuid, thin, note)
            _build(folder, names, descriptor, fill)

    def delete(self, ref: DiskRef, lock: Callable[[Extent], None]) -> None:
        """Take away all files of the disk; absent before is success. ``lock`` raises while anybody uses the extent."""
        with self._opened(ref.path) as (folder, names):
            if folder is None:
                return
            descriptor = _read(folder, names.deleting, ref.path) or _descriptor(folder, names, ref.path)
            if descriptor is None:
                _clear_creation(folder, names, ref)
                files.remove(folder, names.sidecar)
                files.remove_temporary(folder, names.sidecar)
                files.settle(folder, names.descriptor)
                return
            _check_identity(descriptor, ref)
            with _locked(folder, descriptor, ref.path, lock):
                if files.exists(folder, names.descriptor):
                    files.rename(folder, names.descriptor, names.deleting)
                _finish_deletion(folder, names, descriptor)

    @contextmanager
    def extent(self, ref: DiskRef, *, writable: bool) -> Iterator[Extent]:
        """Yield the disk's open extent, verified; VolumeLost if there is no such disk."""
        with self._opened(ref.path) as (folder, names):
            descriptor = _descriptor(folder, names, ref.path)
            if folder is None or descriptor is None:
                raise VolumeLost(f"there is no disk at {ref.path}")
            _check_identity(descriptor, ref)
            with _open_extent(folder, descriptor, ref.path, writable=writable) as extent:
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
        parts, names = _names(path)
        with files.translated(f"sidecar of {path}"), files.folder(self._store.directory, parts, make=True) as folder:
            files.replace(folder, names.sidecar, content)

    @contextmanager
    def _opened(self, path: DiskPath) -> Iterator[tuple[int | None, _Names]]:
        """Yield the open directory of a disk (None if there is none) and the names in it."""
        parts, names = _names(path)
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


def _names(path: DiskPath) -> tuple[tuple[str, ...], _Names]:
    """Return the directory of a disk, and the names of its files."""
    *parts, name = files.relative_parts(path.path)
    stem = name.removesuffix(".vmdk")
    if stem == name or not stem or '"' in name or not name.isprintable():
        raise MetadataDamaged(f"{path.path!r} is not the path of a descriptor")
    return tuple(parts), _Names(name, vmdk.extent_name(name), f"{stem}.vmdkvol.json")


def _check_identity(descriptor: vmdk.Descriptor, ref: DiskRef) -> None:
    if descriptor.uuid is None:
        raise MetadataDamaged(f"{ref.path} has no ddb.uuid: which disk it is cannot be said")
    if descriptor.uuid != ref.uuid:
        raise WrongDisk(f"{ref.path} is disk {descriptor.uuid}, not {ref.uuid}")


def _read(folder: int | None, name: str, path: DiskPath) -> vmdk.Descriptor | None:
    data = None if folder is None else files.read_whole(folder, name, vmdk.MAX_BYTES)
    return None if data is None else vmdk.read(data, str(path))


def _descriptor(folder: int | None, names: _Names, path: DiskPath) -> vmdk.Descriptor | None:
    """Return the disk's descriptor, None if the disk is positively absent.

    An extent without a descriptor is not absent, it is damage: unless a creation was killed just before its end.
    """
    if folder is None:
        return None
    descriptor = _read(folder, names.descriptor, path)
    if descriptor is None and files.exists(folder, names.extent):
        begun = (names.creating, names.deleting)
        if not any(files.exists(folder, marker) for marker in begun):
            raise MetadataDamaged(f"{path}: the descriptor is missing, its extent {names.extent} is there")
    return descriptor


@contextmanager
def _open_extent(folder: int, descriptor: vmdk.Descriptor, path: DiskPath, *, writable: bool = False) -> Iterator[Extent]:
    try:
        file = files.open_file(folder, descriptor.extent, writable=writable)
    except FileNotFoundError as error:
        raise MetadataDamaged(f"{path}: its extent {descriptor.extent} is missing") from error
    try:
        yield Extent(file, descriptor, path)
    finally:
        os.close(file)


def _disk(folder: int | None, path: DiskPath, descriptor: vmdk.Descriptor) -> Disk:
    assert folder is not None
    assert descriptor.uuid is not None
    with _open_extent(folder, descriptor, path) as extent:
        state = os.fstat(extent.file)
    vmdk.check_extent(descriptor, state.st_size, str(path))
    return Disk(DiskRef(descriptor.uuid, path), descriptor.size_bytes, state.st_blocks * 512, descriptor.note)


# --- steps of a creation and a deletion ------------------------------------------------------------------------


def _build(folder: int, names: _Names, descriptor: vmdk.Descriptor, fill: Callable[[int], None]) -> None:
    try:
        files.write_new(folder, names.creating, vmdk.write(descriptor))
        file = files.new_file(folder, names.extent_creating)
        try:
            fill(file)
        finally:
            os.close(file)
        files.rename(folder, names.extent_creating, names.extent)
        # From the next line on the disk exists.
        files.rename(folder, names.creating, names.descriptor)
    except BaseException:
        _remove_creation(folder, names)
        raise


def _clear_creation(folder: int, names: _Names, ref: DiskRef) -> None:
    """Take away what a killed creation of this disk left; WrongDisk if it was another one's."""
    try:
        begun = _read(folder, names.creating, ref.path)
    except MetadataDamaged:
        # Torn before it was flushed. The extent gets its name after that: if it has it, this is real damage.
        if files.exists(folder, names.extent):
            raise
        begun = None
    if begun is not None:
        _check_identity(begun, ref)
    _remove_creation(folder, names)


def _remove_creation(folder: int, names: _Names) -> None:
    # Without its marker the extent is that of a whole disk.
    if files.exists(folder, names.creating):
        files.remove(folder, names.extent)
    files.remove(folder, names.extent_creating)
    files.remove(folder, names.creating)


def _finish_deletion(folder: int, names: _Names, descriptor: vmdk.Descriptor) -> None:
    files.remove(folder, descriptor.extent)
    files.remove(folder, names.sidecar)
    files.remove_temporary(folder, names.sidecar)
    # The marker goes last: as long as it is there the rest is known to be this disk's.
    files.settle(folder, names.deleting)
    files.remove(folder, names.deleting)
    files.settle(folder, names.deleting)


@contextmanager
def _locked(folder: int, descriptor: vmdk.Descriptor, path: DiskPath, lock: Callable[[Extent], None]) -> Iterator[None]:
    """Hold the extent's lock, if there still is an extent."""
    if not files.exists(folder, descriptor.extent):
        yield
        return
    # Writable, since NFS grants an exclusive lock only then.
    with _open_extent(folder, descriptor, path, writable=True) as extent:
        lock(extent)
        yield
