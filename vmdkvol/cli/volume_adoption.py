"""`vmdkvol volume scan`: disks on a datastore that are no volumes yet, and what stands against making them some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from vmdkvol.cli import completing
from vmdkvol.cli.paths import path_of
from vmdkvol.cli.reaching import api_options
from vmdkvol.cli.render import Table, View, view_options
from vmdkvol.sizes import format_size, short_size

if TYPE_CHECKING:
    from vmdkvol.cli.client import Client

_DISKS = Table(("place", "size", "adoptable", "reason"), ("allocated", "format", "uuid", "volume", "used_by"), ("size_bytes",))


@click.command("scan")
@click.argument("datastore", shell_complete=completing.names("datastores"))
@click.option("--folder", default="", metavar="PATH", help="Only this folder of the datastore, and what is below it.")
@view_options
@api_options
def scan(datastore: str, folder: str, client: Client, view: View) -> None:
    """List the disks on DATASTORE that vmdkvol did not make, and whether `adopt` could take each. Only looks.

    \b
    vmdkvol volume scan ds1 --folder databases --filter adoptable=true
    """
    view.check(_DISKS)
    pages = client.pages(path_of("disks", datastore), "disks", {"folder": folder.strip("/") or None})
    view.show(_DISKS, [row_of(disk) for disk in pages])


COMMANDS: Sequence[click.Command] = (scan,)


def row_of(disk: Mapping[str, Any]) -> dict[str, Any]:
    """Return a disk under the keys that ``-o json`` promises; null: not known."""
    size, allocated = disk["size_bytes"], disk["allocated_bytes"]
    return {
        "place": disk["place"],
        "size": None if size is None else format_size(size),
        "size_bytes": size,
        "allocated": None if allocated is None else short_size(allocated),
        "format": disk["diskformat"],
        **{key: disk[key] for key in ("adoptable", "reason", "uuid", "volume", "used_by")},
    }
