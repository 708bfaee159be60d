"""Loop devices over files below a directory: seen by the kernel's own list, detached when a test is over.

Loop devices are not part of a namespace: they outlive the process that made them and the mounts that used them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

_LOOP_CLR_FD = 0x4C01
_LOOP_CTL_REMOVE = 0x4C81
# The product adds device nodes of its own from here on; lower ones are the machine's and stay.
_FIRST_OF_OURS = 100000


def under(root: Path) -> dict[str, str]:
    """Return ``/dev/loopN`` -> backing file for each loop device whose file lies below ``root``."""
    found = {}
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            # The kernel appends this when the file was unlinked; the device still holds it.
            file = backing.read_text().rstrip("\n").removesuffix(" (deleted)")
            if Path(file).is_relative_to(root):
                found[f"/dev/{backing.parts[3]}"] = file
    return found


def sweep(root: Path) -> None:
    """Detach every loop device over a file below ``root``; what has it mounted must be gone already."""
    for device in under(root):
        with contextlib.suppress(OSError):
            descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.ioctl(descriptor, _LOOP_CLR_FD)
            finally:
                os.close(descriptor)
            _remove(int(device.removeprefix("/dev/loop")))


def _remove(number: int) -> None:
    if number < _FIRST_OF_OURS:
        return
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(50):
            with contextlib.suppress(OSError):
                fcntl.ioctl(control, _LOOP_CTL_REMOVE, number)
                return
            time.sleep(0.02)
    finally:
        os.close(control)
