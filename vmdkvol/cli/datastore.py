"""`vmdkvol datastore`: how full each is and may become, and which take no new volumes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from vmdkvol.cli import completing
from vmdkvol.cli.moments import iso
from vmdkvol.cli.ordering import Change, How, carry_out, change_options
from vmdkvol.cli.paths import path_of
from vmdkvol.cli.reaching import api_options
from vmdkvol.cli.render import Table, View, output_option, show, show_facts, view_options
from vmdkvol.cli.several import for_each
from vmdkvol.sizes import short_size

if TYPE_CHECKING:
    from vmdkvol.cli.client import Client

_SIZES = ("capacity", "free", "used", "provisioned")
_DATASTORES = Table(
    ("name", *_SIZES, "overcommit", "volumes", "cordoned", "warnings"),
    ("cordoned_by", "cordoned_at", "reason"),
    ("writable", "problem", *(f"{size}_bytes" for size in _SIZES)),
)
_names = click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=completing.names("datastores"))


@click.group("datastore", short_help="How full datastores are, and which take no new volumes.")
def command() -> None:
    """Datastores: where volumes lie.

    PROVISIONED is what the volumes on it may take in all, with those in the trash, USED what their disks take now.
    OVERCOMMIT is provisioned by capacity: beyond 1, the volumes together may become larger than the datastore.
    """


@command.command("ls")
@view_options(_DATASTORES)
@api_options
def ls(client: Client, view: View) -> None:
    """List the datastores with their space."""
    view.show(_DATASTORES, [row_of(info) for info in client.pages(path_of("datastores"), "datastores")])


@command.command("inspect")
@_names
@output_option
@api_options
def inspect(names: tuple[str, ...], client: Client, output: str) -> int:
    """Show everything about datastores."""
    rows, code = for_each(names, lambda name: row_of(client.get(path_of("datastores", name))))
    if output in ("table", "wide"):
        show_facts(rows)
    else:
        show(_DATASTORES, rows, output)
    return code


@command.command("cordon")
@_names
@click.option("--reason", default="", metavar="TEXT", help="A line for people.")
@change_options()
@api_options
def cordon(names: tuple[str, ...], reason: str, client: Client, how: How) -> int:
    """Let datastores take no new volumes, also after a restart. The volumes on them go on."""
    changes = {name: Change("POST", path_of("datastores", name, "cordon"), {"reason": reason}) for name in names}
    return carry_out(client, changes, how, _said("is cordoned"))


@command.command("uncordon")
@_names
@change_options()
@api_options
def uncordon(names: tuple[str, ...], client: Client, how: How) -> int:
    """Let datastores take new volumes again."""
    changes = {name: Change("POST", path_of("datastores", name, "uncordon"), {}) for name in names}
    return carry_out(client, changes, how, _said("takes new volumes"))


def row_of(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return a datastore under the keys that ``-o json`` promises; null: not known."""
    row: dict[str, Any] = {"name": info["name"]}
    for size in _SIZES:
        found = info[f"{size}_bytes"]
        row |= {size: None if found is None else short_size(found), f"{size}_bytes": found}
    cordon = info["cordon"]
    return {
        **row,
        "overcommit": info["overcommit"],
        "volumes": info["volumes"],
        "cordoned": cordon is not None,
        "cordoned_by": None if cordon is None else cordon["by"],
        "cordoned_at": None if cordon is None else iso(cordon["at"]),
        "reason": None if cordon is None else cordon["reason"],
        "writable": info["writable"],
        "problem": info["problem"],
        "warnings": info["warnings"],
    }


def _said(what: str) -> Callable[[str], str]:
    return lambda name: f"datastore {name} {what}"
