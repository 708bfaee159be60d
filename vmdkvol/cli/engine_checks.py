"""What a Docker engine on this machine has to do with a volume plugin: what delays it, hides a volume, or sees no mount."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from vmdkvol.cli.asking import listens, plugin_answers
from vmdkvol.findings import FAIL, OK, WARN, Finding

SPEC_DIRECTORIES = (Path("/etc/docker/plugins"), Path("/usr/lib/docker/plugins"))
DAEMON_FILE = Path("/etc/docker/daemon.json")
# Where an engine keeps everything, unless it was told otherwise.
DATA_ROOT = Path("/var/lib/docker")


def stale_sockets(directory: Path) -> Iterator[Finding]:
    """A socket file without a listener delays every `docker volume ls` by 15 s (docker-facts 2.1)."""
    found = False
    for socket in sorted(directory.glob("*.sock")):
        if not listens(socket):
            found = True
            yield Finding(WARN, "stale socket", f"nobody listens at {socket}", f"start its plugin, or rm {socket}")
    if not found:
        yield Finding(OK, "stale socket", f"none in {directory}")


def left_over_specs(directories: Sequence[Path] = SPEC_DIRECTORIES) -> Iterator[Finding]:
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


def plugin(check: str, socket: Path, start: str) -> Finding:
    """Judge the agent's own socket; ``start`` is what starts it."""
    if not plugin_answers(socket):
        return Finding(FAIL, check, f"{socket} does not answer", start)
    found = socket.stat()
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid != 0 or mode & 0o077:
        fix = f"chown root {socket}; chmod 0600 {socket}"
        return Finding(FAIL, check, f"{socket} is uid {found.st_uid}'s with mode {mode:04o}", fix)
    return Finding(OK, check, f"answers at {socket}")


def mount_root(directory: Path, proc: Path = Path("/proc")) -> Finding:
    """Mounts of the agent reach an engine in another mount namespace only below a shared mount (corrections 41)."""
    engines = engine_pids(proc)
    if not engines:
        return Finding(OK, "mount root", "no Docker engine runs here")
    ours, reached = _namespace(proc / "self"), _shared(directory, proc)
    apart = [pid for pid in engines if _namespace(proc / str(pid)) not in (ours, "")]
    if apart and not reached:
        # An engine of another sandbox or test beside one that sees our mounts is no failure of ours.
        status = FAIL if len(apart) == len(engines) else WARN
        fix = f"mount --make-rshared on the mount of {directory}, then restart dockerd"
        finding = f"dockerd (pid {apart[0]}) has its own mount namespace and ours is not shared"
        return Finding(status, "mount root", finding, fix)
    how = "has its own mount namespace; ours is shared" if apart else "has our mount namespace"
    return Finding(OK, "mount root", f"dockerd (pid {engines[0]}) {how}")


def shadowing(names: Collection[str], driver: str, local_volumes: Path = DATA_ROOT / "volumes") -> Iterator[Finding]:
    """A local volume of the same name is what `docker run -v NAME:...` gets without a driver (corrections 4)."""
    try:
        local = {entry.name for entry in local_volumes.iterdir() if (entry / "_data").is_dir()}
    except OSError:
        return
    for name in sorted(local.intersection(names)):
        fix = f"name the driver (--volume-driver {driver}), or remove the local volume"
        yield Finding(WARN, "local volume", f"Docker has a local volume {name!r} that hides ours", fix)


def data_root(proc: Path = Path("/proc"), file: Path = DAEMON_FILE) -> Path:
    """Return where this machine's engine keeps its data: by its command line, its file, or the default."""
    for pid in engine_pids(proc):
        told = _option(_arguments(proc / str(pid)), "--data-root")
        if told:
            return Path(told)
    try:
        said = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return DATA_ROOT
    root = said.get("data-root") if isinstance(said, dict) else None
    return Path(root) if isinstance(root, str) and root.startswith("/") else DATA_ROOT


def engine_pids(proc: Path) -> list[int]:
    """Return the processes that are Docker engines."""
    pids = sorted(int(entry.name) for entry in proc.iterdir() if entry.name.isdecimal())
    return [pid for pid in pids if os.path.basename((_arguments(proc / str(pid)) or [""])[0]) == "dockerd"]


def _arguments(process: Path) -> list[str]:
    try:
        return (process / "cmdline").read_bytes().decode("utf-8", "surrogateescape").split("\0")
    except OSError:
        # It ended while we looked.
        return []


def _option(arguments: Sequence[str], name: str) -> str:
    """Return the value of an option, written as ``name value`` or ``name=value``; nothing if it is not there."""
    for at, argument in enumerate(arguments):
        if argument == name:
            return arguments[at + 1] if at + 1 < len(arguments) else ""
        if argument.startswith(f"{name}="):
            return argument.removeprefix(f"{name}=")
    return ""


def _namespace(process: Path) -> str:
    """Return the mount namespace of a process; nothing if it is gone."""
    try:
        return os.readlink(process / "ns/mnt")
    except OSError:
        return ""


def _shared(path: Path, proc: Path) -> bool:
    """Tell whether the mount that ``path`` lies on is shared."""
    best, shared = "", False
    for line in (proc / "self/mountinfo").read_text(errors="replace").splitlines():
        words = line.split(" ")
        point = words[4].rstrip("/") + "/"
        if f"{path}/".startswith(point) and len(point) >= len(best):
            best, shared = point, any(word.startswith("shared:") for word in words[6 : words.index("-")])
    return shared
