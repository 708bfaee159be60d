"""`vmdkvol volume ls|inspect|wait`: all volumes of the site as the service tells them, whatever an engine remembers."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import click

from vmdkvol.cli import completing, volume_adoption, volume_changes
from vmdkvol.cli.moments import iso
from vmdkvol.cli.paths import path_of
from vmdkvol.cli.reaching import api_options
from vmdkvol.cli.render import Table, View, output_option, show, show_facts, view_options
from vmdkvol.cli.several import for_each
from vmdkvol.cli.waiting import check_ready, going_on, look_at_volume, screen, wait, work_of
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.errors import one_line
from vmdkvol.progress import words
from vmdkvol.sizes import format_size, short_size

if TYPE_CHECKING:
    from vmdkvol.cli.client import Client

_KEYS = ("name", "vmgroup", "datastore", "size", "state", "attached_to")
_WIDE = ("allocated", "policy", "diskformat", "fstype", "access", "attach_as", "content", "created", "created_by", "id")
_USE = ("holders", "running", "unsure", "last_vm", "must_check", "progress", "percent")
_OLD = {"volume": "name", "capacity": "size", "used": "allocated", "disk_format": "diskformat", "filesystem": "fstype"}
_VOLUMES = Table(_KEYS, _WIDE, ("size_bytes", "allocated_bytes", "path", *_USE, "trashed", "revision"), old=_OLD)
# While something is under way that takes its time.
_WITH_PROGRESS = Table((*_KEYS[:-1], "progress", "attached_to"), _WIDE, _VOLUMES.more, old=_OLD)
_names = click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=completing.names("volumes"))
_vmgroup = click.option(
    "--vmgroup", metavar="NAME", shell_complete=completing.names("vmgroups"), help="Whose, where several have one of that name."
)


@click.group("volume", commands=(*volume_changes.COMMANDS, *volume_adoption.COMMANDS))
def command() -> None:
    """Volumes of all vmgroups: who uses what, and what an administrator may change. NAME is a volume's name or its id."""


@command.command("ls", short_help="List the volumes and who has them.")
@click.option("--vmgroup", metavar="GLOB", help="Only volumes of vmgroups whose names are like this.")
@click.option("--trash", is_flag=True, help="Also those in the trash.")
@view_options(_VOLUMES)
@api_options
def ls(vmgroup: str | None, trash: bool, client: Client, view: View) -> None:
    """List the volumes and who has them, those that are being made included.

    \b
    vmdkvol volume ls --filter attached_to= --filter size>100gb --sort -size
    """
    found = (row for row in client.pages(path_of("volumes"), "rows", {"trash": trash or None}, warn=_warn))
    rows = [row_of(row) for row in found if vmgroup is None or fnmatchcase(row["vmgroup"], vmgroup)]
    table = _VOLUMES if all(row["progress"] is None for row in rows) else _WITH_PROGRESS
    view.show(table, sorted(rows, key=lambda row: (row["name"], row["vmgroup"])))


@command.command("inspect", short_help="Show everything about volumes.")
@_names
@_vmgroup
@output_option
@api_options
def inspect(names: tuple[str, ...], vmgroup: str | None, client: Client, output: str) -> int:
    """Show everything about volumes, by their exact names or ids, and what stands against using them."""
    query = {"vmgroup": vmgroup}
    rows, code = for_each(names, lambda name: detail_of(client.get(path_of("volumes", name), query)))
    if output in ("table", "wide"):
        show_facts([_facts(row) for row in rows])
    else:
        show(_VOLUMES, rows, output)
    return code


@command.command("wait", short_help="Wait until nothing is done to volumes any more.")
@_names
@_vmgroup
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.0),
    default=3600.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for all of them.",
)
@api_options
def wait_for(names: tuple[str, ...], vmgroup: str | None, timeout: float, client: Client) -> None:
    """Wait until nothing is done to volumes any more, and show how far it is.

    A create or a clone that takes longer than Docker waits goes on in the service. Exit code 0: all of them are ready.
    Else it is that of the first one that is not: 4 if it is gone or in the trash, 1 if it is lost or damaged, 6 at the limit.
    """
    clock = SystemClock()
    deadline = Deadline.after(clock, timeout)
    paths = {name: path_of("volumes", name) for name in names}
    states: dict[str, str] = {}
    going = {name: name for name in names}
    with screen() as shown, going_on(going, "volume wait"):
        for name, path in paths.items():
            seen: list[str] = []
            wait(look_at_volume(client, path, {"vmgroup": vmgroup}, name, seen), name, clock, shown, deadline)
            states[name] = seen[-1]
            going.pop(name)
            click.echo(f"volume {one_line(name)}: {one_line(states[name])}", err=True)
    for name, state in states.items():
        check_ready(name, state)


def row_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a volume under the keys that ``-o json`` promises."""
    work, allocated = work_of(row), row["allocated_bytes"]
    return {
        "name": row["name"],
        "id": row["id"],
        "vmgroup": row["vmgroup"],
        "datastore": row["datastore"],
        "size": format_size(row["size_bytes"]),
        "size_bytes": row["size_bytes"],
        "allocated": None if allocated is None else short_size(allocated),
        "allocated_bytes": allocated,
        "state": row["state"],
        "progress": words(work) if work else None,
        "percent": work.percent if work else None,
        "content": row["content"],
        "must_check": row["must_check"],
        "attached_to": row["vm"],
        # Who may have it mounted: one machine has a disk. Which of its containers, that host's `docker volume inspect` tells.
        "holders": [] if row["vm"] is None else [row["vm"]],
        "running": row["running"],
        "unsure": row["unsure"],
        "last_vm": row["last_vm"],
        **{key: row[key] for key in ("policy", "diskformat", "fstype", "access", "attach_as", "path")},
        "created": iso(row["created_at"]),
        "created_by": row["created_by"],
        "trashed": iso(row["trashed_at"]),
        "revision": row["revision"],
    }


def detail_of(detail: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything about a volume under the keys that ``-o json`` promises."""
    from vmdkvol.told_options import in_words  # what reads values costs more than a list

    return row_of({**detail["row"], "left_s": detail["left_s"]}) | {
        "seconds_left": detail["left_s"],
        "device": detail["address"],
        "vm_id": detail["vm"],
        "vmgroup_id": detail["vmgroup_id"],
        "disk_uuid": detail["disk_uuid"],
        "filesystem_uuid": detail["filesystem_uuid"],
        "options": in_words(detail["options"]),
        "adopted": detail.get("adopted"),
        "policy_pending": detail.get("policy_pending", False),
        "trouble": detail["trouble"],
    }


def _facts(row: Mapping[str, Any]) -> dict[str, Any]:
    options = {f"option {key}": value for key, value in row["options"].items()}
    # What was understood, exactly: "20gb" is read differently by other tools (ecosystem-facts 4.1).
    sizes = {key: f"{row[key]} = {row[f'{key}_bytes']} bytes" for key in ("size", "allocated") if row[key] is not None}
    left_out = ("size_bytes", "allocated_bytes", "percent", "seconds_left", "options", "trouble")
    facts = {key: value for key, value in {**row, **sizes}.items() if key not in left_out}
    return facts | options | {f"trouble {number}": line for number, line in enumerate(row["trouble"], 1)}


def _warn(page: Mapping[str, Any]) -> None:
    for warning in page.get("warnings", ()):
        click.echo(f"vmdkvol: {one_line(warning)}", err=True)
