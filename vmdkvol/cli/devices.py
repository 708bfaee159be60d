"""What the sandbox must know of the kernel to leave nothing behind: its loop devices, their mounts, who holds them.

A loop device counts as the sandbox's only if its backing file lies under the sandbox's datastores.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vmdkvol.cli.processes import described, openers
from vmdkvol.errors import StillMounted
from vmdkvol.volume import FIRST_LOOP

# linux/loop.h
_LOOP_CLR_FD = 0x4C01
_LOOP_CTL_REMOVE = 0x4C81
# Starting containers copy all mounts of the host for a moment (corrections J).
_PATIENCE_S = 2.0
_POLL_S = 0.05
_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Loop:
    """A bound loop device. ``number`` is (major, minor) as mountinfo writes it."""

    device: str
    number: str
    file: Path


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of a mountinfo: in the namespace of ``pid``, at ``path``, ``number`` is the device."""

    pid: int
    path: str
    number: str


def loops_under(directory: Path) -> list[Loop]:
    """Return the loop devices whose file lies under ``directory``, a deleted file included."""
    found = []
    for backing in sorted(Path("/sys/block").glob("loop*/loop/backing_file")):
        with contextlib.suppress(OSError):
            file = Path(backing.read_text().rstrip("\n").removesuffix(" (deleted)"))
            number = (backing.parent.parent / "dev").read_text().strip()
            if file.is_relative_to(directory):
                found.append(Loop(f"/dev/{backing.parts[3]}", number, file))
    return found


def mounts_here() -> list[Mount]:
    """Return all mounts of this namespace, the newest first: stacked ones come off in that order."""
    return list(reversed(list(_mounts_of("self", os.getpid()))))


def foreign_users(loop: Loop) -> list[Mount]:
    """Return mounts of the device in other mount namespaces, at a path where this namespace has not mounted it.

    A namespace that only copied ours (a system service's) has it at the same path, and follows our unmount.
    """
    ours = {mount.path for mount in mounts_here() if mount.number == loop.number}
    seen = {_namespace("self")}
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or _namespace(entry.name) in seen:
            continue
        seen.add(_namespace(entry.name))
        for mount in _mounts_of(entry.name, int(entry.name)):
            if mount.number == loop.number and mount.path not in ours:
                found.append(mount)
    return found


def unmount(loop: Loop) -> None:
    """Afterwards this namespace has the device nowhere mounted; StillMounted if that cannot be. Never lazy."""
    for mount in [mount for mount in mounts_here() if mount.number == loop.number]:
        done = subprocess.run(["umount", "--", mount.path], capture_output=True, text=True)
        if done.returncode and any(left == mount for left in mounts_here()):
            raise held(loop, f"it cannot be unmounted from {mount.path}: {done.stderr.strip()}")


def detach(loop: Loop) -> None:
    """Afterwards the device is unbound and gone; StillMounted, naming who holds it, if anybody has it in exclusive use.

    LOOP_CLR_FD succeeds on a mounted device (corrections 3), so the proof is an exclusive open before it and the
    wait until it is unbound after it.
    """
    descriptor = _claim(loop)
    if descriptor is None:
        return
    try:
        with contextlib.suppress(OSError):  # ENXIO: unbound in the meantime
            fcntl.ioctl(descriptor, _LOOP_CLR_FD)
    finally:
        os.close(descriptor)
    _wait_unbound(loop, time.monotonic() + _PATIENCE_S)
    _remove_node(loop)


def _claim(loop: Loop) -> int | None:
    """Return a descriptor that holds the device exclusively, or None if the device is gone."""
    end = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return os.open(loop.device, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > end:
                raise held(loop, _culprits(loop)) from error
        time.sleep(_POLL_S)


def held(loop: Loop, why: str) -> StillMounted:
    """Return the error that names a loop device which must not be pulled."""
    return StillMounted(
        f"{loop.device} ({loop.file.name}) is in use: {why}",
        remedy="stop the containers that use it, then run the command again; nothing was pulled",
    )


def users_text(users: list[Mount]) -> str:
    return ", ".join(f"mounted at {mount.path} for {described(mount.pid)}" for mount in users[:3])


def _culprits(loop: Loop) -> str:
    users = foreign_users(loop)
    if users:
        return users_text(users)
    names = list(openers(loop.device))
    return f"open in {', '.join(names[:3])}" if names else "held by another mount namespace"


def _wait_unbound(loop: Loop, end: float) -> None:
    backing = Path(f"/sys/block/{Path(loop.device).name}/loop/backing_file")
    while backing.exists():
        if time.monotonic() > end:
            raise held(loop, _culprits(loop))
        time.sleep(_POLL_S)


def _remove_node(loop: Loop) -> None:
    """Remove a device node of our own number range; others belong to the machine."""
    number = int(Path(loop.device).name.removeprefix("loop"))
    if number < FIRST_LOOP:
        return
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end and Path(f"/sys/block/loop{number}").exists():
            with contextlib.suppress(OSError):
                fcntl.ioctl(control, _LOOP_CTL_REMOVE, number)
                return
            time.sleep(_POLL_S)
    finally:
        os.close(control)


def _mounts_of(process: str, pid: int) -> Iterator[Mount]:
    try:
        lines = Path(f"/proc/{process}/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        words = line.split(" ")
        # Blanks, tabs, line ends and backslashes stand as octal escapes.
        yield Mount(pid, _ESCAPED.sub(lambda match: chr(int(match.group(1), 8)), words[4]), words[2])


def _namespace(process: str) -> str:
    try:
        return os.readlink(f"/proc/{process}/ns/mnt")
    except OSError:
        return ""
