"""`vmdkvol orphans ls|mend`: disks and records that have lost each other, each with the command that puts it right."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from vmdkvol.cli.ordering import Change, How, carry_out, change_options
from vmdkvol.cli.paths import path_of
from vmdkvol.cli.reaching import api_options
from vmdkvol.cli.render import Table, View, view_options
from vmdkvol.errors import one_line
from vmdkvol.sizes import format_size

if TYPE_CHECKING:
    from vmdkvol.cli.client import Client

_ORPHANS = Table(("where", "kind", "size", "volume", "detail"), ("actions", "command"), ("size_bytes",))
# As the service knows them; the first one that fits is the safest.
_ACTIONS = ("adopt", "trash", "forget", "remove-sidecar")


@click.group("orphans")
def command() -> None:
    """Disks without a record, records without a disk. Nothing is ever mended by itself."""


@command.command("ls", short_help="List what has lost its other half, and what mends it.")
@view_options(_ORPHANS)
@api_options
def ls(client: Client, view: View) -> None:
    """Look at every datastore now, and list what has lost its other half, with the command that mends it."""
    found = client.get(path_of("orphans"))
    view.show(_ORPHANS, [_row(orphan) for orphan in found["orphans"]])
    for place in found["unread"]:
        click.echo(f"vmdkvol: not known: {one_line(place)}", err=True)
    if found["more"]:
        click.echo(f"vmdkvol: {found['more']} more are not shown: mend these first", err=True)
    if view.output == "table" and found["orphans"]:
        click.echo("\nTo begin with, a dry run each:")
        for orphan in found["orphans"]:
            click.echo(f"  {one_line(orphan['command'] or 'look at ' + shlex.quote(orphan['where']), 1000)}")


@command.command("mend")
@click.argument("where")
@click.argument("action", type=click.Choice(_ACTIONS))
@change_options(losing=True)
@api_options
def mend(where: str, action: str, client: Client, how: How) -> int:
    """Mend the orphan WHERE, as `orphans ls` calls it.

    \b
    adopt            make its record again from the sidecar beside the disk
    trash            put the disk into the trash, from where it can be restored
    forget           drop the record whose disk is gone
    remove-sidecar   remove a sidecar whose disk is gone
    """
    body = {"where": where, "action": action, "i_know": where}
    change = Change("POST", path_of("orphans", "mend"), body)
    return carry_out(client, {where: change}, how, lambda name: f"{name} is mended ({action})", question=f"Mend {where}?")


def _row(orphan: Mapping[str, Any]) -> dict[str, Any]:
    size = orphan["size_bytes"]
    return {**orphan, "size": None if size is None else format_size(size)}
