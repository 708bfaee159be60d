"""`sandbox down`: no process, mount, loop device or socket is left, whatever was killed before, and as often as one likes.

Nothing here asks the sandbox's processes: they may be dead. Each step looks at what is there and may be cut off.
"""

from __future__ import annotations

import contextlib
import shutil
import stat
from pathlib import Path

from vmdkvol.cli import devices, processes
from vmdkvol.cli.asking import listens
from vmdkvol.cli.bringing_up import STOP_S
from vmdkvol.cli.layout import RUN_DIRECTORY, SERVICE, WEB, Identity, Layout, SandboxHost
from vmdkvol.errors import Conflict, StillMounted


def take_down(layout: Layout, identity: Identity) -> None:
    """Afterwards nothing of the sandbox runs or is held by the kernel; its directory is kept.

    StillMounted names each loop device that a container still uses. Then the processes go on, so that the container
    can be stopped as usual; only when they were dead already there is nobody to go on.
    """
    _refuse_used(layout)
    for name in [*(host.name for host in identity.hosts), WEB, SERVICE]:
        # Agents first: what they still have to give back needs the service.
        processes.stop(processes.with_config(layout.config(name)), STOP_S)
        layout.pid_file(name).unlink(missing_ok=True)
    _free_loops(layout)
    _remove_sockets(layout.admin_address.path, layout.web_address.path)
    with contextlib.suppress(OSError):  # it is not there, or somebody still listens in it
        layout.web_address.path.parent.rmdir()
    for host in identity.hosts:
        _remove_sockets(host.plugin_socket, layout.service_address(host.name).path)
        _remove_run_directory(host)
    with contextlib.suppress(OSError):  # another sandbox's, or a packaged agent's, is in it
        RUN_DIRECTORY.rmdir()


def purge(layout: Layout) -> None:
    """Remove the sandbox's directory with its datastores. Only after ``take_down``; Conflict if a mount lies inside."""
    inside = [mount.path for mount in devices.mounts_here() if Path(mount.path).is_relative_to(layout.root)]
    if inside:
        raise Conflict(f"{inside[0]} is mounted inside the sandbox's directory", remedy="unmount it, then purge again")
    # Only what the sandbox made: a file of the user's keeps itself, and the directory.
    for directory in layout.own:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(directory)
    layout.identity_file.unlink(missing_ok=True)
    (layout.root / "lock").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        layout.root.rmdir()


def _refuse_used(layout: Layout) -> None:
    """Raise StillMounted if another mount namespace, such as a container's, has one of our devices."""
    held = [(loop, users) for loop in devices.loops_under(layout.datastores) if (users := devices.foreign_users(loop))]
    if held:
        raise devices.held(held[0][0], _all_users(held))


def _all_users(held: list[tuple[devices.Loop, list[devices.Mount]]]) -> str:
    first = devices.users_text(held[0][1])
    others = [loop.device for loop, _ in held[1:]]
    return f"{first}; so {'is' if len(others) == 1 else 'are'} {', '.join(others[:5])}" if others else first


def _free_loops(layout: Layout) -> None:
    failures: list[StillMounted] = []
    for loop in devices.loops_under(layout.datastores):
        try:
            devices.unmount(loop)
            devices.detach(loop)
        except StillMounted as error:
            failures.append(error)
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise StillMounted(failures[0].text + more, remedy=failures[0].remedy)


def _remove_sockets(*sockets: Path) -> None:
    for socket in sockets:
        if not listens(socket):
            socket.unlink(missing_ok=True)
            socket.with_name(f"{socket.name}.lock").unlink(missing_ok=True)


def _remove_run_directory(host: SandboxHost) -> None:
    """Remove an agent's run directory. Directories go by rmdir alone: whatever is mounted or stored in one survives."""
    top = host.run_directory
    if not top.is_dir():
        return
    mounts = top / "mnt"
    for folder in (*(mounts.iterdir() if mounts.is_dir() else ()), mounts):
        with contextlib.suppress(OSError):
            folder.rmdir()
    for path in top.iterdir():
        if stat.S_ISREG(path.lstat().st_mode) or stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        top.rmdir()
