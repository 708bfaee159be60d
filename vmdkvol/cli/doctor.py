"""`vmdkvol doctor`: what is wrong with this machine's sandbox or agent, and what to do. Exit 0, 1 (WARN), 2 (FAIL)."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import click

from vmdkvol.cli import devices
from vmdkvol.cli.asking import boot_id, connected, directory_option, listens, plugin_answers
from vmdkvol.cli.layout import PLUGIN_DIRECTORY, RUN_DIRECTORY, Identity, Layout, SandboxHost
from vmdkvol.cli.processes import arguments
from vmdkvol.cli.render import Table, show
from vmdkvol.cli.volume import all_volumes
from vmdkvol.errors import VolumeError
from vmdkvol.options import PACKAGES

OK, WARN, FAIL = "OK", "WARN", "FAIL"
_EXIT = {OK: 0, WARN: 1, FAIL: 2}
_SPEC_DIRECTORIES = (Path("/etc/docker/plugins"), Path("/usr/lib/docker/plugins"))
# Where an engine keeps volumes of its own driver, unless it was told otherwise.
_LOCAL_VOLUMES = Path("/var/lib/docker/volumes")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; ``fix`` is empty when all is well."""

    status: str
    check: str
    finding: str
    fix: str = ""


@click.command("doctor", short_help="Check this machine and say how to put it right.")
@directory_option
@click.option("-o", "--output", type=click.Choice(("table", "json")), default="table", show_default=True)
def command(directory: Path, output: str) -> int:
    """Check this machine: rights, tools, devices, sockets, service, mounts."""
    findings = list(examine(Layout.at(directory)))
    show(Table(("status", "check", "finding", "fix")), [asdict(finding) for finding in findings], output)
    return max(_EXIT[finding.status] for finding in findings)


def examine(layout: Layout) -> Iterator[Finding]:
    """Yield every finding. A check that cannot look says so; none of them changes anything."""
    identity: Identity | None = None
    try:
        identity = layout.identity()
    except VolumeError as error:
        yield Finding(FAIL, "sandbox", error.text, error.remedy)
    except OSError as error:
        yield _unseen("sandbox", error)
    checks: list[Callable[[], Iterator[Finding]]] = [_rights, _tools, _loop_devices, _stale_sockets, _left_over_specs]
    checks += [_boot, _mount_root]
    if identity is None:
        checks.append(lambda: iter([Finding(OK, "sandbox", f"none in {layout.root}", "start one with `vmdkvol sandbox up`")]))
    else:
        checks += [partial(_agent, host) for host in identity.hosts]
        checks.append(partial(_service, layout, identity))
    for check in checks:
        try:
            yield from check()
        except OSError as error:
            yield _unseen("access", error)


def _unseen(check: str, error: OSError) -> Finding:
    """What cannot be looked at is no good sign; the other checks go on."""
    what = f"{error.filename or 'something'} cannot be looked at: {error.strerror or error}"
    return Finding(FAIL, check, what, "run it with sudo" if isinstance(error, PermissionError) else "")


def _rights() -> Iterator[Finding]:
    if os.geteuid() != 0:
        yield Finding(FAIL, "root", f"runs as uid {os.geteuid()}", "run it with sudo: mounts and sockets are root's")
        return
    yield Finding(OK, "root", "runs as root")


def _tools() -> Iterator[Finding]:
    for fstype, package in PACKAGES.items():
        missing = [tool for tool in (f"mkfs.{fstype}", f"fsck.{fstype}") if shutil.which(tool, path=_path()) is None]
        if missing:
            yield Finding(WARN, f"tools {fstype}", f"{', '.join(missing)} missing", f"apt-get install {package}")
        else:
            yield Finding(OK, f"tools {fstype}", f"mkfs.{fstype} is there")
    for tool, package in (("blkid", "util-linux"), ("mount", "mount")):
        if shutil.which(tool, path=_path()) is None:
            yield Finding(FAIL, f"tool {tool}", "missing", f"apt-get install {package}")


def _path() -> str:
    # An administrator's login shell may lack the directories that the agent has.
    return os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"


def _loop_devices() -> Iterator[Finding]:
    control = Path("/dev/loop-control")
    if not control.exists():
        yield Finding(FAIL, "loop devices", f"{control} is missing", "modprobe loop")
    elif not os.access(control, os.R_OK | os.W_OK):
        yield Finding(FAIL, "loop devices", f"{control} cannot be opened", "run it with sudo")
    else:
        yield Finding(OK, "loop devices", f"{control} can be used")


def _stale_sockets() -> Iterator[Finding]:
    """A socket file without a listener delays every `docker volume ls` by 15 s (docker-facts 2.1)."""
    found = False
    for socket in sorted(PLUGIN_DIRECTORY.glob("*.sock")):
        if not listens(socket):
            found = True
            yield Finding(WARN, "stale socket", f"nobody listens at {socket}", f"start its plugin, or rm {socket}")
    if not found:
        yield Finding(OK, "stale socket", f"none in {PLUGIN_DIRECTORY}")


def _left_over_specs(directories: Sequence[Path] = _SPEC_DIRECTORIES) -> Iterator[Finding]:
    """A `.spec` or `.json` of a dead plugin costs 30 s each time (docker-facts 2.1)."""
    found = False
    for directory in directories:
        for file in sorted([*directory.glob("*.spec"), *directory.glob("*.json")]):
            text = file.read_text(errors="replace").strip()
            if text.startswith("unix://") and not listens(Path(text.removeprefix("unix://"))):
                found = True
                yield Finding(WARN, "left-over spec", f"{file} names {text}, where nobody listens", f"rm {file}")
    if not found:
        yield Finding(OK, "left-over spec", "none")


def _boot() -> Iterator[Finding]:
    yield Finding(OK, "boot id", boot_id())


def _mount_root() -> Iterator[Finding]:
    """Mounts of the agent reach an engine in another mount namespace only below a shared mount (corrections 41)."""
    engines = [pid for pid in _numbers(Path("/proc")) if Path(arguments(pid)[0] if arguments(pid) else "").name == "dockerd"]
    if not engines:
        yield Finding(OK, "mount root", "no Docker engine runs here")
        return
    reached = _shared(RUN_DIRECTORY)
    apart = [pid for pid in engines if _namespace(pid) not in (_namespace(os.getpid()), "")]
    if apart and not reached:
        # An engine of another sandbox or test beside one that sees our mounts is no failure of ours.
        status = FAIL if len(apart) == len(engines) else WARN
        fix = f"mount --make-rshared on the mount of {RUN_DIRECTORY}, then restart dockerd"
        finding = f"dockerd (pid {apart[0]}) has its own mount namespace and ours is not shared"
        yield Finding(status, "mount root", finding, fix)
    else:
        how = "has its own mount namespace; ours is shared" if apart else "has our mount namespace"
        yield Finding(OK, "mount root", f"dockerd (pid {engines[0]}) {how}")


def _namespace(pid: int) -> str:
    """Return the mount namespace of a process; nothing if it is gone."""
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return ""


def _shared(path: Path) -> bool:
    """Tell whether the mount that ``path`` lies on is shared."""
    best, shared = "", False
    for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():
        words = line.split(" ")
        point = words[4].rstrip("/") + "/"
        if f"{path}/".startswith(point) and len(point) >= len(best):
            best, shared = point, any(word.startswith("shared:") for word in words[6 : words.index("-")])
    return shared


def _agent(host: SandboxHost) -> Iterator[Finding]:
    socket = host.plugin_socket
    if not plugin_answers(socket):
        yield Finding(FAIL, f"agent {host.name}", f"{socket} does not answer", "run `vmdkvol sandbox up`")
        return
    found = socket.stat()
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid != 0 or mode & 0o077:
        fix = f"chown root {socket}; chmod 0600 {socket}"
        yield Finding(FAIL, f"agent {host.name}", f"{socket} is uid {found.st_uid}'s with mode {mode:04o}", fix)
        return
    yield Finding(OK, f"agent {host.name}", f"answers at {socket}")


def _service(layout: Layout, identity: Identity) -> Iterator[Finding]:
    for host in identity.hosts:
        try:
            with connected(layout.service_address(host.name)) as connection:
                volumes = list(all_volumes(connection))
        except VolumeError as error:
            fix = error.remedy or f"see {layout.log('service')}"
            yield Finding(FAIL, f"service for {host.name}", error.text, fix)
            continue
        yield Finding(OK, f"service for {host.name}", f"answers; {len(volumes)} volumes")
        yield from _shadowing({volume.name for volume in volumes}, host.name)
    for loop in devices.loops_under(layout.datastores):
        if not loop.file.exists():
            yield Finding(WARN, "loop devices", f"{loop.device} holds the deleted {loop.file}", "run `vmdkvol sandbox down`")


def _shadowing(names: set[str], driver: str, local_volumes: Path = _LOCAL_VOLUMES) -> Iterator[Finding]:
    """A local volume of the same name is what `docker run -v NAME:...` gets without a driver (corrections 4)."""
    try:
        local = {entry.name for entry in local_volumes.iterdir() if (entry / "_data").is_dir()}
    except OSError:
        return
    for name in sorted(names & local):
        fix = f"name the driver (--volume-driver {driver}), or remove the local volume"
        yield Finding(WARN, "local volume", f"Docker has a local volume {name!r} that hides ours", fix)


def _numbers(directory: Path) -> Iterator[int]:
    for entry in directory.iterdir():
        if entry.name.isdigit():
            yield int(entry.name)
