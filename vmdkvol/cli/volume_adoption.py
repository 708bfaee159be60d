"""`vmdkvol volume scan|adopt|release`: disks that somebody else made become volumes where they lie, and are given back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from vmdkvol.cli import completing
from vmdkvol.cli.ordering import Change, How, carry_out, change_options
from vmdkvol.cli.paths import path_of
from vmdkvol.cli.reaching import api_options
from vmdkvol.cli.render import Table, View, view_options
from vmdkvol.cli.volume_changes import pairs
from vmdkvol.sizes import format_size, short_size

if TYPE_CHECKING:
    from vmdkvol.cli.client import Client

_DISKS = Table(("place", "size", "adoptable", "reason"), ("allocated", "format", "uuid", "volume", "used_by"), ("size_bytes",))


@click.command("scan", short_help="List the disks that vmdkvol did not make.")
@click.argument("datastore", shell_complete=completing.names("datastores"))
@click.option("--folder", default="", metavar="PATH", help="Only this folder of the datastore, and what is below it.")
@view_options(_DISKS)
@api_options
def scan(datastore: str, folder: str, client: Client, view: View) -> None:
    """List the disks on DATASTORE that vmdkvol did not make, and whether `adopt` could take each. Only looks.

    \b
    vmdkvol volume scan ds1 --folder databases --filter adoptable=true
    """
    uncompared: list[int] = []
    pages = client.pages(
        path_of("disks", datastore),
        "disks",
        {"folder": folder.strip("/") or None},
        # An API of a version before does not say it.
        lambda page: uncompared.append(page.get("uncompared", 0)),
    )
    found = [row_of(disk) for disk in pages]
    view.show(_DISKS, found)
    completing.remember_scan(click.get_current_context(), (row["place"] for row in found if row["adoptable"]))
    if max(uncompared, default=0):
        click.echo(
            f"vmdkvol: {max(uncompared)} disks of virtual machines do not say who they are and cannot be compared but by "
            "their places: look whose a disk is before it is adopted",
            err=True,
        )


@click.command("adopt", short_help="Make a disk that is there a volume, as it is.")
@click.argument("disk", shell_complete=completing.scanned)
@click.argument("name")
@click.option(
    "--vmgroup",
    metavar="NAME",
    default="_DEFAULT",
    show_default=True,
    shell_complete=completing.names("vmgroups"),
    help="Whose virtual machines see it.",
)
@click.option("-o", "options", metavar="KEY=VALUE", multiple=True, help="fstype, layout, access, label, ...: see below.")
@click.option("--over-quota", is_flag=True, help="Also beyond the vmgroup's limits.")
@change_options(short=False)
@api_options
def adopt(disk: str, name: str, vmgroup: str, options: tuple[str, ...], over_quota: bool, client: Client, how: How) -> int:
    """Make the disk at DISK the volume NAME, where it lies and as it is. Not a byte of it is written, and it is never deleted.

    DISK is a place that `scan` lists, also as DATASTORE/PATH: so Tab completes it with what the last scan saw. Its file system
    must be ext4, or what -o fstype says: it is never made, and a disk with another one is refused at its first mount, which
    checks all of it. Other keys for -o: access, attach-as, iops-limit, label, layout (root unless it is given), mount-options,
    shares.

    \b
    vmdkvol volume adopt "[ds1] databases/db.vmdk" db --vmgroup prod -o fstype=xfs
    """
    disk = completing.as_place(disk)
    body = {"disk": disk, "vmgroup": vmgroup, "name": name, "options": pairs(options), "over_quota": over_quota}
    return carry_out(client, {disk: Change("POST", path_of("disks", "adopt"), body)}, how, lambda _: f"volume {name} is ready")


@click.command("release")
@click.argument("name", shell_complete=completing.names("volumes"))
@click.option(
    "--vmgroup", metavar="NAME", shell_complete=completing.names("vmgroups"), help="Whose, where several have one of that name."
)
@change_options(losing=True, revised=True)
@api_options
def release(name: str, vmgroup: str | None, client: Client, how: How) -> int:
    """Forget the adopted volume NAME. Its disk stays where it lies, with all that is on it; the plan says where."""
    body = {} if vmgroup is None else {"vmgroup": vmgroup}
    change = Change("POST", path_of("volumes", name, "release"), body)
    said = "is released: its disk is nobody's, and lies where it lay"
    return carry_out(client, {name: change}, how, lambda each: f"volume {each} {said}", question=f"Release {name}?")


COMMANDS: Sequence[click.Command] = (scan, adopt, release)


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
