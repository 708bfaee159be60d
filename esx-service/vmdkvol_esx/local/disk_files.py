"""The files that make one disk in a directory, and the order in which they come and go.

The names are listed in ``datastore``. Killed after any line, the next CreateDisk or DeleteDisk of the same disk goes on
or cleans up; both markers carry the disk's identity, so that nothing of another disk is ever taken away.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from vmdkvol.errors import MetadataDamaged, WrongDisk
from vmdkvol_esx.local import files, vmdk
from vmdkvol_esx.ports import Disk, DiskPath, DiskRef

SIDECAR = ".vmdkvol.json"
# A flat extent is nothing but the disk's bytes. Where the file system has such attributes it says whose they are.
_IDENTITY = "user.vmdkvol.disk"
_NO_IDENTITY = frozenset({errno.ENODATA, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EACCES})


@dataclass(frozen=True, slots=True)
class Extent:
    """The open extent of a verified disk. Whoever has it may lock it, and bind or copy what it covers."""

    file: int
    descriptor: vmdk.Descriptor
    path: DiskPath

    @property
    def real_path(self) -> str:
        """The path as sysfs tells it for a loop device's file."""
        return os.readlink(f"/proc/self/fd/{self.file}")

    @property
    def span(self) -> tuple[int, int, int]:
        """The open file, where in it the disk begins, and the disk's size."""
        return self.file, self.descriptor.offset_bytes, self.descriptor.size_bytes


@dataclass(frozen=True, slots=True)
class Names:
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


def names_of(path: DiskPath) -> tuple[tuple[str, ...], Names]:
    """Return the directory of a disk, and the names of its files."""
    *parts, name = files.relative_parts(path.path)
    stem = name.removesuffix(".vmdk")
    if stem == name or not stem or '"' in name or not name.isprintable():
        raise MetadataDamaged(f"{path.path!r} is not the path of a descriptor")
    return tuple(parts), Names(name, vmdk.extent_name(name), f"{stem}{SIDECAR}")


def check_identity(descriptor: vmdk.Descriptor, ref: DiskRef) -> None:
    if descriptor.uuid is None:
        raise MetadataDamaged(f"{ref.path} has no ddb.uuid: which disk it is cannot be said")
    if descriptor.uuid != ref.uuid:
        raise WrongDisk(f"{ref.path} is disk {descriptor.uuid}, not {ref.uuid}", found=str(descriptor.uuid))


def read_descriptor(folder: int | None, name: str, path: DiskPath) -> vmdk.Descriptor | None:
    data = None if folder is None else files.read_whole(folder, name, vmdk.MAX_BYTES)
    return None if data is None else vmdk.read(data, str(path))


def present(folder: int | None, names: Names, path: DiskPath) -> vmdk.Descriptor | None:
    """Return the disk's descriptor, None if the disk is positively absent.

    An extent without a descriptor is not absent, it is damage: unless a creation was killed just before its end.
    """
    if folder is None:
        return None
    descriptor = read_descriptor(folder, names.descriptor, path)
    if descriptor is None and files.exists(folder, names.extent):
        begun = (names.creating, names.deleting)
        if not any(files.exists(folder, marker) for marker in begun):
            raise MetadataDamaged(f"{path}: the descriptor is missing, its extent {names.extent} is there")
    return descriptor


@contextmanager
def open_extent(folder: int, descriptor: vmdk.Descriptor, path: DiskPath, *, writable: bool = False) -> Iterator[Extent]:
    try:
        file = files.open_file(folder, descriptor.extent, writable=writable)
    except FileNotFoundError as error:
        raise MetadataDamaged(f"{path}: its extent {descriptor.extent} is missing") from error
    try:
        _check_extent_identity(file, descriptor, path)
        yield Extent(file, descriptor, path)
    finally:
        os.close(file)


def _check_extent_identity(file: int, descriptor: vmdk.Descriptor, path: DiskPath) -> None:
    """Raise MetadataDamaged if the extent says that it is another disk's: files were swapped, or put back wrongly.

    One that says nothing is taken as it is: made by another tool, or copied by one that leaves attributes behind.
    """
    try:
        found = os.getxattr(file, _IDENTITY).decode("ascii", "replace")
    except OSError as error:
        if error.errno in _NO_IDENTITY:
            return
        raise
    if found != str(descriptor.uuid):
        raise MetadataDamaged(
            f"{path}: its extent {descriptor.extent} holds disk {found[:40]!r}",
            remedy=f"put the right file back; if it is the right one: setfattr -x {_IDENTITY} FILE",
        )


def _sign_extent(file: int, descriptor: vmdk.Descriptor) -> None:
    try:
        os.setxattr(file, _IDENTITY, str(descriptor.uuid).encode("ascii"))
    except OSError as error:
        if error.errno not in _NO_IDENTITY | {errno.ENOSPC, errno.EDQUOT}:
            raise


def shown(folder: int | None, path: DiskPath, descriptor: vmdk.Descriptor) -> Disk:
    assert folder is not None
    assert descriptor.uuid is not None
    with open_extent(folder, descriptor, path) as extent:
        state = os.fstat(extent.file)
    vmdk.check_extent(descriptor, state.st_size, str(path))
    return Disk(DiskRef(descriptor.uuid, path), descriptor.size_bytes, state.st_blocks * 512, descriptor.note)


# --- steps of a creation and a deletion ------------------------------------------------------------------------


def build(folder: int, names: Names, descriptor: vmdk.Descriptor, fill: Callable[[int], None]) -> None:
    try:
        files.write_new(folder, names.creating, vmdk.write(descriptor))
        file = files.new_file(folder, names.extent_creating)
        try:
            # Before the bytes, whose flush takes it to the disk too.
            _sign_extent(file, descriptor)
            fill(file)
        finally:
            os.close(file)
        files.rename(folder, names.extent_creating, names.extent)
        # From the next line on the disk exists.
        files.rename(folder, names.creating, names.descriptor)
    except BaseException:
        _remove_creation(folder, names)
        raise


def clear_creation(folder: int, names: Names, ref: DiskRef) -> None:
    """Take away what a killed creation of this disk left; WrongDisk if it was another one's."""
    try:
        begun = read_descriptor(folder, names.creating, ref.path)
    except MetadataDamaged:
        # Torn before it was flushed. The extent gets its name after that: if it has it, this is real damage.
        if files.exists(folder, names.extent):
            raise
        begun = None
    if begun is not None:
        check_identity(begun, ref)
    _remove_creation(folder, names)


def _remove_creation(folder: int, names: Names) -> None:
    # Without its marker the extent is that of a whole disk.
    if files.exists(folder, names.creating):
        files.remove(folder, names.extent)
    files.remove(folder, names.extent_creating)
    files.remove(folder, names.creating)


def finish_deletion(folder: int, names: Names, descriptor: vmdk.Descriptor) -> None:
    files.remove(folder, descriptor.extent)
    files.remove(folder, names.sidecar)
    files.remove_temporary(folder, names.sidecar)
    files.remove_temporary(folder, names.descriptor)
    # The marker goes last: as long as it is there the rest is known to be this disk's.
    files.settle(folder, names.deleting)
    files.remove(folder, names.deleting)
    files.settle(folder, names.deleting)


@contextmanager
def locked(folder: int, descriptor: vmdk.Descriptor, path: DiskPath, lock: Callable[[Extent], None]) -> Iterator[None]:
    """Hold the extent's lock, if there still is an extent."""
    if not files.exists(folder, descriptor.extent):
        yield
        return
    # Writable, since NFS grants an exclusive lock only then.
    with open_extent(folder, descriptor, path, writable=True) as extent:
        lock(extent)
        yield
