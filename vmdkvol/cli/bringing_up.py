"""`sandbox up`: a service and an agent per host, as processes of their own, each answering before it is called up."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vmdkvol import durable
from vmdkvol.cli import processes
from vmdkvol.cli.asking import api_answers, connected, listens, listens_at, plugin_answers
from vmdkvol.cli.layout import PAGE_HOST, RUN_DIRECTORY, SERVICE, WEB, Identity, Layout, SandboxHost
from vmdkvol.cli.processes import Process
from vmdkvol.cli.sandbox_page import ensure_token, make_certificate
from vmdkvol.cli.written import agent_config, service_config
from vmdkvol.errors import BadRequest, Conflict, Internal, MetadataDamaged, ServiceUnreachable, Unavailable, VolumeError
from vmdkvol.messages import ListVolumes

START_S = 30.0
STOP_S = 15.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Daemon:
    """One process of the sandbox: how it is started, and how one sees that it serves."""

    name: str
    module: str
    config: str
    answers: Callable[[], bool]
    command: str = "serve"


def bring_up(layout: Layout, identity: Identity) -> None:
    """Afterwards every process runs with these settings and answers. Already so: nothing happens.

    Raises Conflict if somebody else serves one of the sockets, Unavailable with the log's last line if one ends.
    """
    refuse_impossible(layout, identity)
    # First: it is what tells the sandbox's own directories from others of the same names.
    layout.keep_identity(identity)
    _make_directories(layout, identity)
    if identity.page_port is not None:
        make_certificate(layout)
    for daemon in daemons(layout, identity):
        _ensure(layout, daemon)
    if identity.page_port is not None:
        ensure_token(layout, identity)


def refuse_impossible(layout: Layout, identity: Identity) -> None:
    """Raise BadRequest for paths too long for a socket, Conflict for what others have; nothing was made."""
    _ = layout.admin_address, layout.web_address
    for host in identity.hosts:
        layout.service_address(host.name)
        _refuse_foreign(layout, host)
    _refuse_taken_port(layout, identity)
    if layout.identity() is None:
        taken = next((directory for directory in layout.own if _holds_files(directory)), None)
        if taken is not None:
            # `down --purge` would remove them. Directories alone are fine: a datastore may be a mount that was made before.
            raise Conflict(f"{taken} has files that are no sandbox's", remedy="give the sandbox an empty directory with --dir")


def _holds_files(directory: Path) -> bool:
    found = itertools.chain([directory] if os.path.lexists(directory) else [], directory.rglob("*"))
    return any(path.is_symlink() or not path.is_dir() for path in found)


def daemons(layout: Layout, identity: Identity) -> list[Daemon]:
    """Return the sandbox's processes in the order of their start."""
    service = Daemon(
        SERVICE,
        "vmdkvol_esx.cli",
        service_config(layout, identity),
        lambda: all(_service_answers(layout, host) for host in identity.hosts),
    )
    return [service, _web(layout, identity), *(_agent(layout, host) for host in identity.engines)]


def recorded(layout: Layout, name: str) -> Process | None:
    """Return the running process that was started under this name."""
    return processes.from_pid_file(layout.pid_file(name), layout.config(name))


def _web(layout: Layout, identity: Identity) -> Daemon:
    config, socket, port = service_config(layout, identity), layout.web_address.path, identity.page_port

    def answers() -> bool:
        return api_answers(socket) and (port is None or listens_at(PAGE_HOST, port))

    return Daemon(WEB, "vmdkvol_esx.cli", config, answers, "web")


def _agent(layout: Layout, host: SandboxHost) -> Daemon:
    return Daemon(host.name, "vmdkvol_guest.cli", agent_config(layout, host), lambda: plugin_answers(host.plugin_socket))


def trouble(layout: Layout, host: SandboxHost) -> MetadataDamaged | None:
    """Return why the service serves read-only, None if it does all its work; raise Unavailable if it does not answer."""
    address = layout.service_address(host.name)
    if not address.path.exists():
        raise ServiceUnreachable(f"there is no socket {address.path}")
    try:
        with connected(address, patience_s=1.0) as connection:
            connection.ask(ListVolumes(limit=1), answer_s=3.0)
    except MetadataDamaged as error:
        return error
    return None


def _service_answers(layout: Layout, host: SandboxHost) -> bool:
    # Read-only with a damaged database is an answer too: the agents are needed by what runs.
    try:
        trouble(layout, host)
    except Unavailable:
        return False
    return True


def _refuse_foreign(layout: Layout, host: SandboxHost) -> None:
    """A driver's socket that somebody else serves is not ours to take."""
    if not processes.with_config(layout.config(host.name)) and listens(host.plugin_socket):
        raise Conflict(
            f"another process serves {host.plugin_socket}", remedy="stop it, or give the sandbox another name with --driver"
        )


def _refuse_taken_port(layout: Layout, identity: Identity) -> None:
    config, port = layout.config(WEB), identity.page_port
    if port is None or not listens_at(PAGE_HOST, port):
        return
    if not processes.with_config(config) or f"{PAGE_HOST}:{port}" not in config.read_text(encoding="utf-8"):
        raise Conflict(f"another process listens at port {port}", remedy="stop it, or give another one with --page-port")


def _make_directories(layout: Layout, identity: Identity) -> None:
    # Containers of any uid pass through the directories above a mount point (field case C09).
    for directory in (RUN_DIRECTORY, *(host.run_directory for host in identity.engines)):
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        directory.chmod(0o711)
    names = [SERVICE, *(host.name for host in identity.engines)]
    for directory in (*layout.own, *map(layout.state, names), *map(layout.datastore, identity.datastores)):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def _ensure(layout: Layout, daemon: Daemon) -> None:
    config = layout.config(daemon.name)
    changed = _write(config, daemon.config)
    running = recorded(layout, daemon.name)
    if running and not changed and daemon.answers():
        return
    # Whatever else was started with this file: a killed master's worker, or a start that was cut off.
    processes.stop(processes.with_config(config), STOP_S)
    started = processes.start(
        [sys.executable, "-m", daemon.module, "--config", str(config), daemon.command], layout.log(daemon.name)
    )
    processes.write_pid_file(layout.pid_file(daemon.name), started.pid)
    _await(layout, daemon, started)


def _await(layout: Layout, daemon: Daemon, started: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_S
    while not daemon.answers():
        code = started.poll()
        if code is not None:
            raise _ended(layout, daemon, code)
        if time.monotonic() > end:
            raise Unavailable(f"{daemon.name} does not answer after {START_S:.0f} s", remedy=f"see {layout.log(daemon.name)}")
        time.sleep(_POLL_S)


def _ended(layout: Layout, daemon: Daemon, code: int) -> VolumeError:
    lines = layout.log(daemon.name).read_text(errors="replace").strip().splitlines() or ["it wrote nothing"]
    kind = next((kind for kind in (BadRequest, Conflict, Unavailable) if kind.exit_code == code), Internal)
    return kind(f"{daemon.name} ended with {code}: {lines[-1]}", remedy=f"see {layout.log(daemon.name)}")


def _write(path: Path, text: str) -> bool:
    """Write a file whole; tell whether that changed it."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    # Its owner's alone, whatever the umask: a settings file that others may write is refused.
    durable.write(path, text.encode())
    return True
