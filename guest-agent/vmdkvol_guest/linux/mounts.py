"""Mounts by system call, verified by device number; never lazy, never by a path that a container could bend."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from uuid import UUID

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import NoSpace, StillMounted, TruthUnknown, VolumeError, WrongDisk
from vmdkvol.volume import VolumeId
from vmdkvol_guest.linux import kernel, mountinfo
from vmdkvol_guest.linux.loop_devices import out_of_space
from vmdkvol_guest.linux.mount_call import directory, kept_flags, mount_or_explain
from vmdkvol_guest.linux.mountinfo import MountEntry
from vmdkvol_guest.linux.opening import BUSY_RETRY_S, BUSY_STEP_S, check_identity, mounted_nowhere, opened
from vmdkvol_guest.ports import Device, MountTarget

# A mount point without its mount is of no use to anybody: what Docker binds must not be a plain directory (corrections 8).
_BARE = 0o000
# Every directory above it can be passed by any uid: with userns-remap containers are no root here (C09).
_PASSABLE = 0o711


class LinuxMounts:
    """The ``Mounts`` port. ``root`` is the mount root, such as /run/vmdkvol/vsphere/mnt; it is made when it is needed."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = Path(os.path.realpath(root))
        # What stands in the kernel's line of each mount under the root, which escapes some characters.
        self._words = f"/{self._root.name}/" if self._root.name.isalnum() else ""
        self._clock = clock

    def mount(self, device: Device, volume: VolumeId, fstype: str, options: tuple[str, ...], *, read_only: bool) -> None:
        there = self._at(volume)
        if there:
            self._accept(there[-1], device, volume, read_only=read_only)
            return
        with opened(device) as descriptor:
            point = self._make_point(volume)
            try:
                mount_or_explain(device, str(point), fstype, options, read_only=read_only)
            except VolumeError:
                self._remove_point(volume)
                raise
            try:
                self._verify_number(device, volume)
                _refuse_failed(self._at(volume)[-1], device, volume)
                # Read once more what is mounted: the device could have changed hands before it was opened (corrections 10).
                check_identity(descriptor, device)
            except VolumeError:
                self.unmount(volume)
                raise

    def unmount(self, volume: VolumeId) -> None:
        point = str(self._point(volume))
        deadline = Deadline.after(self._clock, BUSY_RETRY_S)
        last: MountEntry | None = None
        while there := self._at(volume):
            last = there[-1]
            _sync(point)
            self._umount(point, volume, deadline)
        self._remove_point(volume, alone=last is not None and mounted_nowhere(last.source, last.number))

    def mounted(self) -> Mapping[VolumeId, tuple[int, int]]:
        # The last line of a path is the mount on top.
        entries = _own(self._words)
        return {volume: entry.number for entry in entries if (volume := self._volume(entry.path)) is not None}

    def users(self, device: Device) -> Collection[MountTarget]:
        own = {entry.id for entry in _own() if self._volume(entry.path) is not None}
        found: dict[int, MountTarget] = {}
        for pid, entry in _everywhere():
            if entry.number == device.number and entry.id not in own:
                found.setdefault(entry.id, MountTarget(pid, entry.path, entry.root))
        return tuple(found.values())

    def prepare(self, volume: VolumeId, layout: str, uid: int, gid: int, mode: int) -> None:
        self._require_mounted(volume)
        try:
            with directory(str(self._point(volume))) as root:
                _prepare(root, layout, uid, gid, mode)
                os.fsync(root)
                kernel.syncfs(root)
        except OSError as error:
            kind = NoSpace if error.errno == errno.ENOSPC else TruthUnknown
            raise kind(f"the directory of volume {volume} could not be made: {error.strerror}") from error

    def path(self, volume: VolumeId, layout: str) -> str:
        point = f"{self._root}/{volume}"
        return point if layout == "root" else f"{point}/{layout}"

    def verify(self, device: Device, volume: VolumeId, layout: str, *, read_only: bool = False) -> str:
        entry = self._require_mounted(volume)
        if entry.number == device.number:
            self._make_writable(entry, device, volume, read_only=read_only)
        try:
            with directory(str(self._point(volume))) as root:
                _verify(root, device, volume, layout)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENOENT):
                raise WrongDisk(f"volume {volume} has no directory {layout}, or it is a link: {error.strerror}") from error
            raise TruthUnknown(f"volume {volume} could not be looked at: {error.strerror}") from error
        return self.path(volume, layout)

    def _accept(self, entry: MountEntry, device: Device, volume: VolumeId, *, read_only: bool) -> None:
        """Return if ``entry`` is the mount that was asked for, made so if only read-only or writable differs."""
        if entry.number != device.number:
            raise WrongDisk(
                f"another device ({entry.number[0]}:{entry.number[1]}) is mounted for volume {volume}",
                remedy=f"umount {self._point(volume)}",
            )
        with opened(device):
            pass
        self._make_writable(entry, device, volume, read_only=read_only)

    def _make_writable(self, entry: MountEntry, device: Device, volume: VolumeId, *, read_only: bool) -> None:
        """Let the mount be writable, or read-only, whatever somebody made of it."""
        _refuse_failed(entry, device, volume)
        if ("ro" in entry.options) == read_only:
            return
        flags = kernel.MS_REMOUNT | kept_flags(entry) | (kernel.MS_RDONLY if read_only else 0)
        try:
            kernel.mount("none", str(self._point(volume)), entry.fstype, flags, "")
        except OSError as error:
            raise StillMounted(f"volume {volume} is in use and could not be remounted: {error.strerror}") from error

    def _verify_number(self, device: Device, volume: VolumeId) -> None:
        there = self._at(volume)
        if not there or there[-1].number != device.number:
            raise WrongDisk(f"what got mounted for volume {volume} is not {device.path}")

    def _umount(self, point: str, volume: VolumeId, deadline: Deadline) -> None:
        try:
            kernel.umount(point)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                # Gone between the look and the call; the loop looks again.
                return
            if error.errno != errno.EBUSY:
                raise TruthUnknown(f"volume {volume} could not be unmounted: {error.strerror}") from error
            if deadline.passed:
                raise StillMounted(f"volume {volume} is busy at {point}{_culprit(point)}", path=point) from error
            self._clock.sleep(BUSY_STEP_S)

    def _require_mounted(self, volume: VolumeId) -> MountEntry:
        there = self._at(volume)
        if not there:
            raise TruthUnknown(f"volume {volume} is not mounted")
        return there[-1]

    def _at(self, volume: VolumeId) -> list[MountEntry]:
        return mountinfo.at(_own(str(volume)), str(self._point(volume)))

    def _point(self, volume: VolumeId) -> Path:
        return self._root / str(volume)

    def _volume(self, path: str) -> VolumeId | None:
        """Return whose root ``path`` is, or None if it is not one under our mount root."""
        parent, _, name = path.rpartition("/")
        if parent != str(self._root):
            return None
        try:
            return VolumeId(UUID(name))
        except ValueError:
            return None

    def _make_point(self, volume: VolumeId) -> Path:
        point = self._point(volume)
        try:
            for parent in (*reversed(self._root.parents), self._root):
                if not parent.is_dir():
                    parent.mkdir(exist_ok=True)
                    parent.chmod(_PASSABLE)
            point.mkdir(mode=_BARE, exist_ok=True)
            with directory(str(point)) as bare:
                os.fchmod(bare, _BARE)
        except OSError as error:
            raise TruthUnknown(f"the mount point {point} could not be made: {error.strerror}") from error
        return point

    def _remove_point(self, volume: VolumeId, *, alone: bool = False) -> None:
        """Remove the bare directory, unless another namespace still has a mount there, which that would take away lazily.

        ``alone``: it is known that none has, so the mounts of all processes need not be read.
        """
        point = self._point(volume)
        # By its end only: a container that has "/" of the host at /host sees the same directory as /host/run/...
        if not alone and (not point.exists() or any(e.path.endswith(f"/{volume}") for _, e in _everywhere(str(volume)))):
            return
        try:
            point.rmdir()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EBUSY):
                raise TruthUnknown(f"the mount point {point} could not be removed: {error.strerror}") from error


def _own(words: str = "") -> Iterator[MountEntry]:
    try:
        text = Path("/proc/thread-self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError as error:
        raise TruthUnknown(f"the kernel's list of mounts cannot be read: {error.strerror}") from error
    return mountinfo.parse(text, words)


def _everywhere(words: str = "") -> Iterator[tuple[int, MountEntry]]:
    """Yield the mounts of all processes, each namespace once for each root directory that a process of it has.

    mountinfo leaves out what lies outside the root of the process that it belongs to.
    """
    seen = set()
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            view = os.readlink(f"/proc/{name}/ns/mnt"), os.readlink(f"/proc/{name}/root")
            if view in seen:
                continue
            text = Path(f"/proc/{name}/mountinfo").read_text("utf-8", "surrogateescape")
        except OSError:
            # It ended while we looked, or is a zombie.
            continue
        seen.add(view)
        for entry in mountinfo.parse(text, words):
            yield int(name), entry


def _culprit(point: str) -> str:
    """Name one mount in it, or one process, that keeps a mount of this namespace busy, for the error's text (F47)."""
    for entry in _own():
        if entry.path.startswith(f"{point}/"):
            return f": {entry.fstype} is mounted in it at {entry.path.removeprefix(point)[1:60]}"
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            process = Path("/proc", name)
            links = [process / "cwd", process / "root", *(process / "fd").iterdir()]
            if any(f"{os.readlink(link)}/".startswith(f"{point}/") for link in links):
                return f": used by {(process / 'comm').read_text('utf-8', 'replace').strip()} (pid {name})"
        except OSError:
            # It ended, or closed the file, while we looked.
            continue
    return ""


def _refuse_failed(entry: MountEntry, device: Device, volume: VolumeId) -> None:
    """Raise if the file system has stopped writing after an error (F29); another namespace may still have it mounted so."""
    if "ro" not in entry.options and {"ro", "emergency_ro"} & entry.super_options:
        kind = NoSpace if out_of_space(device) else TruthUnknown
        raise kind(f"the file system of volume {volume} turned read-only after an error", remedy="stop all its containers")


def _sync(point: str) -> None:
    """Write back before the umount, so that what cannot be written shows up while somebody still can be told.

    An error is not raised: the pages are lost already, whoever wrote them has been told by fsync, and a file system
    that refuses to be unmounted would keep its disk attached for ever (I3).
    """
    try:
        with directory(point) as root:
            kernel.syncfs(root)
    except OSError:
        return


def _make_directory(name: str, parent: int) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        return


def _prepare(root: int, layout: str, uid: int, gid: int, mode: int) -> None:
    if layout == "root":
        _own_by(root, uid, gid, mode)
        return
    _make_directory(layout, root)
    with directory(layout, root) as data:
        _own_by(data, uid, gid, mode)


def _verify(root: int, device: Device, volume: VolumeId, layout: str) -> None:
    _same_device(root, device, f"volume {volume}")
    if layout != "root":
        with directory(layout, root) as data:
            _same_device(data, device, f"the directory {layout} of volume {volume}")


def _own_by(directory: int, uid: int, gid: int, mode: int) -> None:
    # In this order: chown takes setuid and setgid bits away.
    os.fchown(directory, uid, gid)
    os.fchmod(directory, mode)
    os.fsync(directory)


def _same_device(descriptor: int, device: Device, what: str) -> None:
    found = os.fstat(descriptor).st_dev
    if (os.major(found), os.minor(found)) != device.number:
        raise WrongDisk(f"{what} lies on device {os.major(found)}:{os.minor(found)}, not on {device.path}")
