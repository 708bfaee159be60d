"""Loop devices by ioctl: what attaches a VMDK's extent on one machine. No process is started.

``lo_file_name`` carries our tag (VM and disk) and is the device list; ``flock`` on the extent's descriptor, which the
kernel keeps open as long as the loop device is bound, is the lock of VMFS (corrections 2). Numbers of ioctls and the
layout of ``struct loop_config`` are those of linux/loop.h.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from vmdkvol.clock import Clock, Deadline, Worker
from vmdkvol.errors import HypervisorUnreachable, NoFreeSlot, StillMounted, TruthUnknown, WrongDisk
from vmdkvol.sizes import SECTOR
from vmdkvol.volume import FIRST_LOOP, DiskUuid, VmId, loop_tag, parse_loop_tag

_CLR_FD, _SET_STATUS64, _GET_STATUS64, _CONFIGURE = 0x4C01, 0x4C04, 0x4C05, 0x4C0A
_CTL_ADD, _CTL_REMOVE = 0x4C80, 0x4C81
_AUTOCLEAR, _DIRECT_IO = 4, 16
# struct loop_info64: device, inode, rdevice, offset, sizelimit; number, encryption (2), flags; names, key, init.
_INFO = struct.Struct("=5Q4I64s64s32s2Q")
_CONFIG = struct.Struct(f"=2I{_INFO.size}s64x")
_FLAGS, _NAME = 8, 9

# How many numbers are tried before we say that there is none; others may take ours at the same moment.
_TRIES = 4096
# A starting container copies all mounts for a moment: a short EBUSY says nothing (corrections J).
PATIENCE_S = 1.0
# How long an opener that is not exclusive, such as a probe by udev, may delay the end of a detach.
_UNBIND_S = 3.0


@dataclass(frozen=True, slots=True)
class Loop:
    """A bound loop device whose file lies in one of our datastores. ``owner`` is None if it is not one of ours."""

    number: int
    file: str
    owner: tuple[VmId, DiskUuid] | None


class Loops:
    """The loop devices over files below ``roots``."""

    def __init__(self, clock: Clock, roots: Sequence[str]) -> None:
        self._clock = clock
        self._roots = tuple(os.path.realpath(root) + "/" for root in roots)
        self._lock = clock.condition()
        self._removals: list[Worker] = []

    def bound(self) -> list[Loop]:
        """Return every bound loop device over a file of ours; TruthUnknown if one of them cannot be read."""
        found = []
        for number in _numbers():
            file = _backing_file(number)
            if file is not None and file.startswith(self._roots):
                tag = _tag_of(number)
                if tag is not None:
                    found.append(Loop(number, file, parse_loop_tag(tag)))
                elif _backing_file(number) == file:
                    raise TruthUnknown(f"loop{number} is bound to {file}, but its device cannot be opened")
        return found

    def attach(self, extent: int, tag: str, *, offset_bytes: int, size_bytes: int, keep_blocks: bool) -> int:
        """Bind a loop device to the open, locked ``extent`` and return its number.

        It has exactly ``size_bytes``, and direct I/O if the file system under it can. With ``keep_blocks`` it takes no
        discards: fstrim would give back the blocks of a thick disk (corrections 35). On an error nothing is bound.
        """
        try:
            for number in _candidates():
                device = _open_device(number, os.O_RDWR)
                if device is None:
                    continue
                try:
                    if keep_blocks:
                        # Before the binding too, which keeps it (seen on 6.18): killed in between, it stays thick.
                        with suppress(OSError):
                            _limit_discards(number, "0")
                    if _bind(device, extent, tag, offset_bytes, size_bytes):
                        return _prepared(device, number, size_bytes, keep_blocks=keep_blocks)
                finally:
                    os.close(device)
        except OSError as error:
            raise HypervisorUnreachable(
                f"no loop device could be made: {error.strerror}",
                remedy="the service must run as root, with the kernel's loop driver",
            ) from error
        raise NoFreeSlot("this machine has no free loop device")

    def detach(self, loop: Loop, what: str) -> None:
        """Afterwards the device is unbound and its number given back; gone before is fine.

        StillMounted while anybody has it open in a way that keeps it; it is then bound as before. LOOP_CLR_FD on such
        a device would return 0 and only mark it, so the exclusive open comes first (corrections 3).
        """
        device = self._claim(loop.number, what)
        if device is None:
            return
        try:
            if _tag(device) != _text(loop):
                return
            fcntl.ioctl(device, _CLR_FD)
        finally:
            os.close(device)
        if not self._unbound(loop):
            _keep_bound(loop)
            raise StillMounted(f"{what} is still open on /dev/loop{loop.number}")
        self._give_back(loop.number)

    def close(self) -> None:
        """Wait until the numbers of detached devices are given back."""
        with self._lock:
            removals = list(self._removals)
        for removal in removals:
            removal.join()

    def _give_back(self, number: int) -> None:
        # Beside, because LOOP_CTL_REMOVE waits some 45 ms for the kernel's readers (seen on 6.18); nothing depends on
        # it: an attach may take the number again at once, and then it stays.
        with self._lock:
            self._removals = [removal for removal in self._removals if removal.is_alive()]
            self._removals.append(self._clock.start(f"loop{number}-remove", lambda: _remove(number)))

    def _claim(self, number: int, what: str) -> int | None:
        """Return the device held exclusively: proof that no file system and no other exclusive user is on it.

        Read-only, since closing a writable descriptor makes udev probe the device again (corrections 39).
        """
        deadline = Deadline.after(self._clock, PATIENCE_S)
        while True:
            try:
                return _open_device(number, os.O_RDONLY | os.O_EXCL)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise TruthUnknown(f"/dev/loop{number} cannot be opened: {error.strerror}") from error
                if deadline.passed:
                    raise StillMounted(f"{what} is in use on /dev/loop{number}") from error
            self._clock.sleep(0.02)

    def _unbound(self, loop: Loop) -> bool:
        """Wait until the device is no longer this loop; the number may be another's already."""
        deadline = Deadline.after(self._clock, _UNBIND_S)
        pause = 0.0005
        while _backing_file(loop.number) is not None and _tag_of(loop.number) == _text(loop):
            if deadline.passed:
                return False
            self._clock.sleep(pause)
            pause = min(2 * pause, 0.05)
        return True


def _text(loop: Loop) -> str | None:
    return None if loop.owner is None else loop_tag(*loop.owner)


def _candidates() -> Iterator[int]:
    """Yield numbers of our range that are not bound, each with a device; whoever binds one first has it."""
    taken = {number for number in _numbers() if _backing_file(number) is not None}
    for number in range(FIRST_LOOP, FIRST_LOOP + _TRIES):
        if number not in taken:
            # EEXIST: there already, perhaps left by an attach that was killed before it bound it.
            _control(_CTL_ADD, number, but=(errno.EEXIST, errno.EBUSY))
            yield number


def _remove(number: int) -> None:
    with suppress(OSError):
        _control(_CTL_REMOVE, number, but=())


def _bind(device: int, extent: int, tag: str, offset_bytes: int, size_bytes: int) -> bool:
    """Bind; False if somebody else was faster or took the device away."""
    # No LO_FLAGS_PARTSCAN: a guest's partition table must not make device nodes on the host.
    for flags in (_DIRECT_IO, 0):
        info = _INFO.pack(0, 0, 0, offset_bytes, size_bytes, 0, 0, 0, flags, tag.encode("ascii"), b"", b"", 0, 0)
        try:
            # Sectors of 512 bytes whatever lies below: the disk's size is exact, and a file system made here is
            # readable on a machine whose disks have other sectors.
            fcntl.ioctl(device, _CONFIGURE, _CONFIG.pack(extent, SECTOR, info))
        except OSError as error:
            if error.errno in (errno.EBUSY, errno.ENXIO, errno.ENODEV):
                return False
            if error.errno != errno.EINVAL or not flags:
                raise
        else:
            return True
    return False


def _prepared(device: int, number: int, size_bytes: int, *, keep_blocks: bool) -> int:
    try:
        prepare(number, size_bytes, keep_blocks=keep_blocks)
    except BaseException:
        fcntl.ioctl(device, _CLR_FD)
        raise
    return number


def prepare(number: int, size_bytes: int, *, keep_blocks: bool) -> None:
    """Check the size that the kernel made of it, and switch discards off for a thick disk, on for a thin one."""
    actual = int(_attribute(number, "size") or "0") * SECTOR
    if actual != size_bytes:
        raise WrongDisk(f"/dev/loop{number} has {actual} bytes instead of {size_bytes}")
    if keep_blocks:
        _limit_discards(number, "0")
    elif _attribute(number, "queue/discard_max_bytes") == "0":
        # The number was a thick disk's and was left over.
        _limit_discards(number, _attribute(number, "queue/discard_max_hw_bytes") or "0")


def _limit_discards(number: int, value: str) -> None:
    with open(f"/sys/block/loop{number}/queue/discard_max_bytes", "w", encoding="ascii") as limit:
        limit.write(value)


def _keep_bound(loop: Loop) -> None:
    """Take back the mark that LOOP_CLR_FD left for the last close: the attachment stays."""
    device = _open_device(loop.number, os.O_RDWR)
    if device is None:
        return
    try:
        if _tag(device) == _text(loop):
            info = list(_status(device))
            info[_FLAGS] &= ~_AUTOCLEAR
            fcntl.ioctl(device, _SET_STATUS64, _INFO.pack(*info))
    finally:
        os.close(device)


# --- one device ------------------------------------------------------------------------------------------------


def _numbers() -> list[int]:
    return [int(name[4:]) for name in os.listdir("/sys/block") if name.startswith("loop") and name[4:].isdigit()]


def _attribute(number: int, name: str) -> str | None:
    """Return what sysfs says about a loop device; None if it is not there (or, in ``loop/``, not bound)."""
    try:
        with open(f"/sys/block/loop{number}/{name}", encoding="utf-8", errors="surrogateescape") as attribute:
            return attribute.read().removesuffix("\n")
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
            return None
        raise TruthUnknown(f"loop{number}: {name} cannot be read: {error.strerror}") from error


def _backing_file(number: int) -> str | None:
    # sysfs keeps the whole path, where lo_file_name has 64 bytes and is ours.
    return _attribute(number, "loop/backing_file") or None


def _open_device(number: int, flags: int) -> int | None:
    """Return a descriptor of /dev/loopN, whose node is made if /dev has none; None if there is no such device."""
    dev = _attribute(number, "dev")
    if dev is None:
        return None
    major, minor = (int(part) for part in dev.split(":"))
    path = f"/dev/loop{number}"
    made = _make_node(path, os.makedev(major, minor))
    try:
        device = os.open(path, flags | os.O_CLOEXEC)
    except OSError as error:
        if made:
            os.unlink(path)
        if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
            return None
        raise
    if os.fstat(device).st_rdev == os.makedev(major, minor):
        return device
    os.close(device)
    raise TruthUnknown(f"{path} is not device {dev}")


def _make_node(path: str, device: int) -> bool:
    """Make the node that a /dev without devtmpfs (a container's) lacks for a number added later (test bench 5)."""
    if os.path.exists(path):
        return False
    try:
        os.mknod(path, 0o600 | stat.S_IFBLK, device)
    except FileExistsError:
        return False
    return True


def _status(device: int) -> tuple[Any, ...]:
    return _INFO.unpack(fcntl.ioctl(device, _GET_STATUS64, bytes(_INFO.size)))


def _tag(device: int) -> str | None:
    """Return ``lo_file_name``; None if the device is not bound."""
    try:
        name: bytes = _status(device)[_NAME]
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
    return name.split(b"\0", 1)[0].decode("utf-8", "replace")


def _tag_of(number: int) -> str | None:
    try:
        device = _open_device(number, os.O_RDONLY)
        if device is None:
            return None
        try:
            return _tag(device)
        finally:
            os.close(device)
    except OSError as error:
        raise TruthUnknown(f"/dev/loop{number} cannot be read: {error.strerror}") from error


def _control(command: int, number: int, *, but: tuple[int, ...]) -> None:
    """Add or remove a number; errors in ``but`` are fine."""
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(control, command, number)
    except OSError as error:
        if error.errno not in but:
            raise
    finally:
        os.close(control)
