"""`vmdkvol advise maintenance`: what stands against taking something away for a while, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from vmdkvol.cli import completing
from vmdkvol.cli.paths import path_of
from vmdkvol.cli.reaching import api_options
from vmdkvol.cli.render import Table, output_option, show, show_value
from vmdkvol.errors import one_line

if TYPE_CHECKING:
    from vmdkvol.cli.client import Client

# What something in use is elsewhere, too.
BLOCKED = 5
_ADVICE = Table(("status", "matter", "about", "detail"), ("command",), name="about")


@click.group("advise")
def command() -> None:
    """What to do before something is taken away. Nothing is ever changed."""


@command.command("maintenance", short_help="List what blocks taking a host or datastore away.")
@click.argument(
    "target",
    metavar="HOST|VM|DATASTORE",
    shell_complete=completing.any_of(completing.names("datastores"), completing.names("vms")),
)
@click.option("--kind", type=click.Choice(("host", "vm", "datastore")), help="What is meant, where several have one name.")
@output_option
@api_options
def maintenance(target: str, kind: str | None, client: Client, output: str) -> int:
    """List what blocks maintenance of an ESXi host, of a Docker host's virtual machine or of a datastore, with the commands.

    Exit code 0: nothing does. 5: something does. Repeat it until nothing does, and then begin.
    """
    found = client.get(path_of("advice", "maintenance"), {"target": target, "kind": kind})
    if output in ("json", "yaml"):
        show_value(found, output)
    elif output == "name":
        # What blocks, for a program that sees to one after the other.
        show(_ADVICE, [each for each in found["advice"] if each["blocks"]], output)
    else:
        _show(found, output)
    return 0 if found["ready"] else BLOCKED


def _show(found: Mapping[str, Any], output: str) -> None:
    rows = [{**each, "status": "BLOCKS" if each["blocks"] else "note"} for each in found["advice"]]
    if rows:
        show(_ADVICE, rows, output)
    if found["more"]:
        click.echo(f"vmdkvol: {found['more']} more are not shown: begin with these", err=True)
    commands = [each["command"] for each in found["advice"] if each["blocks"] and each["command"]]
    if commands:
        click.echo("\nWhat to do:")
        for each in dict.fromkeys(commands):
            click.echo(f"  {one_line(each, 1000)}")
    if found["ready"]:
        click.echo(f"{one_line(found['kind'])} {one_line(found['target'])}: nothing blocks maintenance")
