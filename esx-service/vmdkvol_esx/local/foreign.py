"""Disks in a directory that somebody else put there: found and looked at, never touched."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from itertools import islice

from vmdkvol.clock import Deadline
from vmdkvol.errors import BadRequest, MetadataDamaged, NotFound, SnapshotPresent, TruthUnknown, VolumeError, quoted
from vmdkvol.names import DatastoreName
from vmdkvol_esx import obstacles
from vmdkvol_esx.foreign_disks import MOST, ForeignDisk
from vmdkvol_esx.local import disk_files, files, marker, vmdk
from vmdkvol_esx.local.datastore import DatastoreFiles
from vmdkvol_esx.ports import DiskPath

# Of one listing, files of every kind.
_MOST_ENTRIES = 200_000
# Other descriptors in a disk's folder that are read to see whether they name its extent.
_MOST_NEIGHBOURS = 500

Parts = tuple[str, ...]


def listed(store: DatastoreFiles, name: DatastoreName, folder: str, deadline: Deadline | None = None) -> Sequence[DiskPath]:
    """See ``ForeignDisks.foreign``. A link is not followed, and is no disk."""
    top = folder_parts(folder)
    with files.translated(f"datastore {name}"):
        walk = ("/".join((*parts, file)) for parts, file in _walk(store, top, deadline) if obstacles.is_descriptor(file))
        found = list(islice(walk, MOST + 1))
    if len(found) > MOST:
        raise _too_many(name, folder, f"more than {MOST} disks")
    return [DiskPath(name, path) for path in sorted(found)]


def copies(store: DatastoreFiles, name: DatastoreName) -> Sequence[DiskPath]:
    """See ``MovedDisks.copies_elsewhere``."""
    with files.translated(f"datastore {name}"):
        walk = ("/".join((*parts, file)) for parts, file in _walk(store, (), None) if file.endswith(disk_files.SIDECAR))
        found = [f"{path.removesuffix(disk_files.SIDECAR)}.vmdk" for path in walk]
    return [DiskPath(name, path) for path in sorted(found)]


def looked_at(store: DatastoreFiles, path: DiskPath) -> ForeignDisk | None:
    """See ``ForeignDisks.foreign_disk``."""
    try:
        parts, names = disk_files.names_of(path)
        with files.translated(str(path)), suppress(FileNotFoundError), store.folder(parts) as folder:
            return _seen(folder, names, path)
    except (MetadataDamaged, SnapshotPresent) as error:
        return ForeignDisk(path, obstacle=error.text)
    return None


def folder_parts(folder: str) -> Parts:
    """Return the parts of a folder's path inside a datastore; BadRequest for one that leads out of it."""
    try:
        return files.relative_parts(folder) if folder else ()
    except MetadataDamaged as error:
        raise BadRequest(
            f"{quoted(folder)} is not a folder on a datastore", remedy="write it without a / at its ends, such as a/b"
        ) from error


def _walk(store: DatastoreFiles, top: Parts, deadline: Deadline | None) -> Iterator[tuple[Parts, str]]:
    """Yield every regular file in ``top`` and below it with its folder, but for our own folder."""
    left, entries = [top], 0
    while left:
        parts = left.pop()
        if parts[:1] == (marker.TOP,):
            continue
        if deadline is not None and deadline.passed:
            raise TruthUnknown(f"datastore {store.name} was not listed in time", remedy="name a folder with fewer files")
        try:
            with store.folder(parts) as folder, os.scandir(folder) as scan:
                found = [(each.name, each.is_dir(follow_symlinks=False), each.is_symlink()) for each in scan]
        except FileNotFoundError:
            if parts == top:
                raise NotFound(
                    f"there is no folder {quoted('/'.join(top))} on the datastore",
                    remedy="write it as it lies there, with capital and small letters; or leave it out",
                ) from None
            # It went away meanwhile.
            continue
        entries += len(found)
        if entries > _MOST_ENTRIES:
            raise _too_many(store.name, "/".join(top), f"more than {_MOST_ENTRIES} files")
        left += [(*parts, name) for name, is_folder, _ in found if is_folder]
        yield from ((parts, name) for name, is_folder, is_link in found if not is_folder and not is_link)


def _too_many(name: DatastoreName, folder: str, what: str) -> BadRequest:
    where = f"folder {quoted(folder)} of datastore {name}" if folder else f"datastore {name}"
    return BadRequest(f"there are {what} in {where}", remedy="name a folder with fewer")


def _seen(folder: int, names: disk_files.Names, path: DiskPath) -> ForeignDisk | None:
    around = os.listdir(folder)
    if names.descriptor not in around:
        return None
    data = files.read_whole(folder, names.descriptor, vmdk.MAX_BYTES)
    if data is None:
        return None
    place = obstacles.of_place(path.path) or obstacles.of_neighbours(names.descriptor, around)
    if place:
        return ForeignDisk(path, obstacle=place)
    descriptor = vmdk.read(data, str(path))
    with disk_files.open_extent(folder, descriptor, path) as extent:
        state = os.fstat(extent.file)
    vmdk.check_extent(descriptor, state.st_size, str(path))
    obstacle = ""
    if descriptor.uuid is None:
        obstacle = "it has no identity: write a line ddb.uuid of its own into its descriptor"
    elif state.st_nlink > 1:
        obstacle = f"its extent {descriptor.extent} has another name somewhere (a hard link)"
    elif state.st_size > descriptor.offset_bytes + descriptor.size_bytes:
        obstacle = f"its extent {descriptor.extent} goes on behind the disk: what lies there is not of it"
    else:
        obstacle = _shared(folder, names.descriptor, descriptor.extent, around)
    return ForeignDisk(path, descriptor.uuid, descriptor.size_bytes, state.st_blocks * 512, descriptor.thin, obstacle)


def _shared(folder: int, name: str, extent: str, around: Collection[str]) -> str:
    """Return the obstacle that another descriptor in the folder has the same extent."""
    others = [each for each in sorted(around) if each != name and obstacles.is_descriptor(each)]
    for other in others[:_MOST_NEIGHBOURS]:
        try:
            data = files.read_whole(folder, other, vmdk.MAX_BYTES)
            if data is not None and vmdk.read(data, other).extent == extent:
                return f"another descriptor, {other}, has the same extent"
        except (VolumeError, OSError):
            # Whatever it is, it names no flat extent that could be read.
            continue
    return ""
