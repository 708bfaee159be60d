"""`vmdkvol doctor`: what is wrong with this machine's sandbox or agent, and what to do. Exit 0, 1 (WARN), 2 (FAIL)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from vmdkvol.cli import devices, engine_checks
from vmdkvol.cli.asking import all_volumes, boot_id, connected, directory_option
from vmdkvol.cli.engine_checks import left_over_specs, shadowing, stale_sockets
from vmdkvol.cli.layout import PLUGIN_DIRECTORY, RUN_DIRECTORY, Identity, Layout, SandboxHost
from vmdkvol.cli.render import Table, output_option, show
from vmdkvol.errors import ServiceUnreachable, VolumeError
from vmdkvol.findings import COLUMNS, FAIL, OK, WARN, Finding, exit_code, of_access, of_error
from vmdkvol.options import PACKAGES


@click.command("doctor", short_help="Check this machine and say how to put it right.")
@directory_option
@output_option
def command(directory: Path, output: str) -> int:
    """Check this machine: rights, tools, devices, sockets, service, mounts."""
    findings = list(examine(Layout.at(directory)))
    show(Table(COLUMNS, name="check"), [asdict(finding) for finding in findings], output)
    return exit_code(findings)


def examine(layout: Layout) -> Iterator[Finding]:
    """Yield every finding. A check that cannot look says so; none of them changes anything."""
    identity: Identity | None = None
    try:
        identity = layout.identity()
    except VolumeError as error:
        yield of_error("sandbox", error)
    except OSError as error:
        yield of_access("sandbox", error)
    checks: list[Callable[[], Iterator[Finding]]] = [_rights, _tools, _loop_devices]
    checks += [partial(stale_sockets, PLUGIN_DIRECTORY), left_over_specs, _boot]
    checks.append(lambda: iter([engine_checks.mount_root(RUN_DIRECTORY)]))
    if identity is None:
        checks.append(lambda: iter([Finding(OK, "sandbox", f"none in {layout.root}", "start one with `vmdkvol sandbox up`")]))
    else:
        checks += [partial(_agent, host) for host in identity.engines]
        checks.append(partial(_service, layout, identity))
    for check in checks:
        try:
            yield from check()
        except OSError as error:
            yield of_access("access", error)


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


def _boot() -> Iterator[Finding]:
    yield Finding(OK, "boot id", boot_id())


def _agent(host: SandboxHost) -> Iterator[Finding]:
    yield engine_checks.plugin(f"agent {host.name}", host.plugin_socket, "run `vmdkvol sandbox up`")


def _service(layout: Layout, identity: Identity) -> Iterator[Finding]:
    for host in identity.hosts:
        try:
            with connected(layout.service_address(host.name)) as connection:
                volumes = list(all_volumes(connection))
        except VolumeError as error:
            fix = error.remedy or f"see {layout.log('service')}"
            if isinstance(error, ServiceUnreachable):
                fix = f"run `vmdkvol sandbox up`; {layout.log('service')} says why it ended"
            yield Finding(FAIL, f"service for {host.name}", error.text, fix)
            continue
        yield Finding(OK, f"service for {host.name}", f"answers; {len(volumes)} volumes")
        yield from shadowing({volume.name for volume in volumes}, host.name)
    for loop in devices.loops_under(layout.datastores):
        if not loop.file.exists():
            yield Finding(WARN, "loop devices", f"{loop.device} holds the deleted {loop.file}", "run `vmdkvol sandbox down`")
