"""`vmdkvol sandbox up|status|down`: the whole product on one machine, with directories as datastores."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from vmdkvol.cli import demo_life, devices, processes
from vmdkvol.cli.asking import directory_option, plugin_answers
from vmdkvol.cli.bringing_up import bring_up, daemons, recorded, refuse_impossible, trouble
from vmdkvol.cli.demo_data import ARCHIVE, fill
from vmdkvol.cli.layout import Identity, Layout, extended
from vmdkvol.cli.reaching import make_client
from vmdkvol.cli.render import Table, output_option, show, show_value
from vmdkvol.cli.sandbox_page import page_facts, with_page
from vmdkvol.cli.taking_down import purge, take_down
from vmdkvol.errors import BadRequest, MetadataDamaged, Unavailable

_STATUS = Table(("name", "role", "state", "pid", "socket"), ("log",))
_DATASTORES = Table(("datastore", "free", "capacity", "path"))


@click.group("sandbox", short_help="Run the whole product on this machine.")
def command() -> None:
    """Run service and agents on this machine, without vSphere: datastores are directories, disks are loop devices."""


@command.command("up")
@directory_option
@click.option("--driver", metavar="NAME", help="The driver's name for Docker (default: vsphere).")
@click.option("--datastore", "datastores", metavar="NAME", multiple=True, help="Add a datastore; may be repeated.")
@click.option("--host", "hosts", metavar="NAME", multiple=True, help="Add a simulated Docker host, with a driver of this name.")
@click.option(
    "--page-port", type=click.IntRange(1, 65535), metavar="PORT", help="Serve the web page at this port of 127.0.0.1."
)
@click.option(
    "--demo-data",
    is_flag=True,
    help="Fill it with three vmgroups, volumes, machines that use some, a trash and work under way, and serve the web page.",
)
@output_option
def up(directory: Path, hosts: tuple[str, ...], output: str, **wanted: Any) -> None:
    """Start what does not run. Hosts, datastores and page of earlier times are kept, with their volumes.

    The page proves itself with a certificate of its own, and an administrator's token for it is put into a file.
    """
    _need_root()
    layout = Layout.at(directory)
    # Before the directory is made, too: what cannot be leaves nothing behind.
    refuse_impossible(layout, _wanted(layout, hosts, **wanted))
    with layout.alone():
        identity = _wanted(layout, hosts, **wanted)
        bring_up(layout, identity)
        if wanted["demo_data"]:
            _fill(layout, identity)
    problem = _show_status(layout, identity, output)
    if problem is not None:
        raise problem


def _wanted(
    layout: Layout,
    hosts: Sequence[str],
    *,
    driver: str | None,
    datastores: Sequence[str],
    page_port: int | None,
    demo_data: bool,
) -> Identity:
    known = layout.identity()
    identity = extended(known, list(hosts) if driver is None else [driver, *hosts], datastores)
    if page_port is not None or demo_data:
        identity = with_page(identity, page_port)
    if demo_data:
        # Added behind those that the sandbox has anyhow.
        identity = replace(extended(identity, identity.demo_hosts, [ARCHIVE]), trash=True, demo=True)
    return identity


def _fill(layout: Layout, identity: Identity) -> None:
    """Have the demo's vmgroups and volumes, and what uses them; what is made is told on stderr."""
    address = f"unix://{layout.web_address.path}"
    with contextlib.closing(make_client(address, None)) as client:
        for line in fill(client, [name for name in identity.datastores if name != ARCHIVE]):
            click.echo(line, err=True)
        for line in demo_life.enliven(client, layout, identity):
            click.echo(line, err=True)


@command.command("status")
@directory_option
@output_option
def status(directory: Path, output: str) -> None:
    """Say what runs, and where its sockets, datastores and logs are."""
    layout = Layout.at(directory)
    problem = _show_status(layout, layout.identity(), output)
    if problem is not None and output in ("table", "wide"):
        click.echo(f"\n{problem}")


@command.command("down", short_help="Stop everything, and leave nothing but the volumes.")
@directory_option
@click.option("--purge", "purging", is_flag=True, help="Remove the datastores too: all volumes are lost.")
def down(directory: Path, purging: bool) -> None:
    """Stop everything and leave no process, mount, loop device or socket. Volumes are kept unless --purge.

    A disk that a running container still uses is named and never pulled (exit code 5).
    """
    _need_root()
    layout = Layout.at(directory)
    identity = layout.identity() if layout.root.is_dir() else None
    if identity is None:
        click.echo(f"no sandbox in {layout.root}")
        return
    with layout.alone():
        take_down(layout, identity)
        if purging:
            purge(layout)
    click.echo(f"sandbox is down; {'its volumes are gone' if purging else f'its volumes are kept in {layout.root}'}")


def _show_status(layout: Layout, identity: Identity | None, output: str) -> MetadataDamaged | None:
    """Show what runs; return what the service says of its database if it serves read-only."""
    rows = _process_rows(layout, identity) if identity else []
    problem = _problem(layout, identity) if identity else None
    stores = [_datastore_row(layout.datastore(name), name) for name in (identity.datastores if identity else ())]
    loops = [
        {"device": loop.device, "file": str(loop.file), "used_by": [user.path for user in devices.foreign_users(loop)]}
        for loop in devices.loops_under(layout.datastores)
    ]
    running = bool(rows) and all(row["state"] == "running" for row in rows)
    page = page_facts(layout, identity) if identity else None
    if output in ("json", "yaml"):
        facts = {"dir": str(layout.root), "running": running, "processes": rows, "datastores": stores, "loops": loops}
        facts["page"] = page
        facts["problem"] = None if problem is None else str(problem)
        show_value(facts, output)
        return problem
    if output == "name":
        show(_STATUS, rows, output)
        return problem
    if identity is None:
        click.echo(f"no sandbox in {layout.root}; start one with `vmdkvol sandbox up`")
        return None
    show(_STATUS, rows, output)
    click.echo()
    show(
        _DATASTORES,
        [{**row, "free": _size(row["free_bytes"]), "capacity": _size(row["capacity_bytes"])} for row in stores],
        output,
    )
    if loops:
        click.echo(f"\n{len(loops)} attached: {', '.join(str(loop['device']) for loop in loops)}")
    if page is not None:
        click.echo(f"\npage: {page['address']}  (certificate's SHA-256 {page['certificate_sha256'] or 'unknown'})")
        click.echo(f"log in with the token in {page['token_file']}")
    return problem


def _problem(layout: Layout, identity: Identity) -> MetadataDamaged | None:
    try:
        return trouble(layout, identity.hosts[0])
    except Unavailable:
        return None


def _process_rows(layout: Layout, identity: Identity) -> list[dict[str, Any]]:
    service, web, *agents = daemons(layout, identity)
    addresses = [str(layout.service_address(host.name).path) for host in identity.hosts]
    rows = [_process_row(layout, service.name, "service", ",".join(addresses), answers=service.answers())]
    rows.append(_process_row(layout, web.name, "web", str(layout.web_address.path), answers=web.answers()))
    for host, agent in zip(identity.engines, agents, strict=True):
        answers = plugin_answers(host.plugin_socket)
        row = _process_row(layout, agent.name, "agent", str(host.plugin_socket), answers=answers)
        rows.append({**row, "vm": host.vm, "service": str(layout.service_address(host.name))})
    return rows


def _process_row(layout: Layout, name: str, role: str, socket: str, *, answers: bool) -> dict[str, Any]:
    # Without its pid file, or with only a killed master's worker left, it is no less there.
    process = recorded(layout, name) or next(iter(processes.with_config(layout.config(name))), None)
    state = "stopped" if process is None else "running" if answers else "silent"
    pid = process.pid if process else None
    return {"name": name, "role": role, "state": state, "pid": pid, "socket": socket, "log": str(layout.log(name))}


def _datastore_row(path: Path, name: str) -> dict[str, Any]:
    try:
        usage = shutil.disk_usage(path)
    except OSError:
        return {"datastore": name, "path": str(path), "free_bytes": None, "capacity_bytes": None}
    return {"datastore": name, "path": str(path), "free_bytes": usage.free, "capacity_bytes": usage.total}


def _size(size: int | None) -> str | None:
    return None if size is None else f"{size / (1 << 30):.1f}gb"


def _need_root() -> None:
    if os.geteuid() != 0:
        raise BadRequest("the sandbox makes loop devices and mounts: it needs root", remedy="run it with sudo")
