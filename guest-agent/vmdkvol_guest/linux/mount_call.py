"""mount(2) of one device at one place: the flags that every volume gets, the user's words, the errors in our own."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from vmdkvol.errors import CheckFailed, InvalidOption, MissingTool, NoSpace, StillMounted, TruthUnknown, VolumeError
from vmdkvol_guest.linux import kernel
from vmdkvol_guest.linux.loop_devices import out_of_space
from vmdkvol_guest.linux.mountinfo import MountEntry
from vmdkvol_guest.ports import Device

# A volume comes from elsewhere: no program on it gains rights, no node on it is a device (F64).
_ALWAYS = kernel.MS_NOSUID | kernel.MS_NODEV
_FLAGS = {
    "noatime": kernel.MS_NOATIME,
    "nodiratime": kernel.MS_NODIRATIME,
    "relatime": kernel.MS_RELATIME,
    "strictatime": kernel.MS_STRICTATIME,
    "lazytime": kernel.MS_LAZYTIME,
    "noexec": kernel.MS_NOEXEC,
    "sync": kernel.MS_SYNCHRONOUS,
    "dirsync": kernel.MS_DIRSYNC,
}
# ext4: after an error nothing more is written (F29). xfs: a clone beside its source has the source's UUID until its
# first mount is over; identity is ours by the disk's UUID (corrections 34).
_DATA = {"ext4": ("errors=remount-ro",), "xfs": ("nouuid",)}


def mount_or_explain(device: Device, point: str, fstype: str, options: tuple[str, ...], *, read_only: bool) -> None:
    """Mount the device at ``point``, a bare directory; not a link.

    Raises MissingTool, StillMounted, NoSpace, InvalidOption or TruthUnknown, and CheckFailed only for damage.
    """
    try:
        _mount(device, point, fstype, options, read_only=read_only)
    except OSError as error:
        if error.errno == errno.EINVAL and options and _mounts_without(device, point, fstype):
            raise InvalidOption(f"this host's kernel does not take mount-options={','.join(options)} for {fstype}") from error
        raise _explained(error, device, fstype) from error


def _mount(device: Device, point: str, fstype: str, options: tuple[str, ...], *, read_only: bool) -> None:
    flags = _ALWAYS | (kernel.MS_RDONLY if read_only else 0)
    data = list(_DATA.get(fstype, ()))
    for word in options:
        if word in _FLAGS:
            flags |= _FLAGS[word]
        else:
            data.append(word)
    # Through a descriptor: between the check of the mount point and the mount nobody can put a link there.
    with directory(point) as target:
        kernel.mount(device.path, f"/proc/self/fd/{target}", fstype, flags, ",".join(data))


def _mounts_without(device: Device, point: str, fstype: str) -> bool:
    """Tell whether the file system can be mounted without the user's options: then they are wrong, not the disk."""
    try:
        _mount(device, point, fstype, (), read_only=True)
        kernel.umount(point)
    except OSError:
        return False
    return True


def _explained(error: OSError, device: Device, fstype: str) -> VolumeError:
    text = f"{device.path} cannot be mounted as {fstype}: {error.strerror}"
    if error.errno == errno.ENODEV:
        return MissingTool(f"this host's kernel has no file system {fstype}", remedy=f"load the kernel module {fstype}")
    if error.errno == errno.EBUSY:
        return StillMounted(text)
    if error.errno == errno.ENOSPC or out_of_space(device):
        return NoSpace(f"{text} (the datastore is full)")
    return CheckFailed(text) if error.errno in kernel.DAMAGE else TruthUnknown(text)


def kept_flags(entry: MountEntry) -> int:
    """A remount sets all flags anew; return those that the mount has."""
    words = entry.options | entry.super_options
    return _ALWAYS | sum(flag for word, flag in _FLAGS.items() if word in words)


@contextmanager
def directory(path: str, parent: int | None = None) -> Iterator[int]:
    """Open a directory that is no symbolic link; OSError otherwise."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
