"""`vmdkvol vmgroup vm add|rm|replace|ls`: which virtual machines are in a vmgroup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from vmdkvol.cli import completing
from vmdkvol.cli.given import one_name, words_of
from vmdkvol.cli.ordering import Change, How, carry_out, change_options
from vmdkvol.cli.paths import path_of
from vmdkvol.cli.reaching import api_options
from vmdkvol.cli.render import Table, View, view_options

if TYPE_CHECKING:
    from vmdkvol.cli.client import Client

_MEMBERS = Table(("name", "running", "id"))
_vmgroups = completing.names("vmgroups")
_name = click.option(
    "--name",
    "flag",
    metavar="NAME",
    shell_complete=_vmgroups,
    help="The vmgroup's name, as vDVS had it; or the first argument.",
)
_names = click.argument("names", nargs=-1, metavar="[NAME] [VM]...", shell_complete=completing.vmgroup_then_vms)
_vms = click.option(
    "--vm-list",
    "--vm",
    "listed",
    metavar="VM,VM",
    multiple=True,
    shell_complete=completing.listed(completing.names("vms")),
    help="Virtual machines, by name or id.",
)


@click.group("vm")
def command() -> None:
    """The virtual machines of a vmgroup. A machine with an attached volume changes no vmgroup; _DEFAULT has no list."""


@command.command("add")
@_names
@_name
@_vms
@change_options(revised=True)
@api_options
def add(names: tuple[str, ...], flag: str | None, listed: tuple[str, ...], client: Client, how: How) -> int:
    """Add virtual machines to the vmgroup NAME.

    \b
    vmdkvol vmgroup vm add prod web3 web4
    """
    name, vms = _asked(names, flag, listed)
    return _order(client, how, name, Change("POST", path_of("vmgroups", name, "members"), {"vms": vms}), "has", vms)


@command.command("rm", short_help="Take virtual machines out of a vmgroup.")
@_names
@_name
@_vms
@change_options(revised=True)
@api_options
def rm(names: tuple[str, ...], flag: str | None, listed: tuple[str, ...], client: Client, how: How) -> int:
    """Take virtual machines out of the vmgroup NAME, also deleted ones by the name that they had. They are in _DEFAULT then."""
    name, vms = _asked(names, flag, listed)
    change = Change("POST", path_of("vmgroups", name, "members", "remove"), {"vms": vms})
    return _order(client, how, name, change, "no longer has", vms)


@command.command("replace")
@_names
@_name
@_vms
@change_options(revised=True)
@api_options
def replace(names: tuple[str, ...], flag: str | None, listed: tuple[str, ...], client: Client, how: How) -> int:
    """Have exactly these virtual machines in the vmgroup NAME."""
    name, vms = _asked(names, flag, listed)
    change = Change("PUT", path_of("vmgroups", name, "members"), {"vms": vms}, replaces=True)
    return _order(client, how, name, change, "has exactly", vms)


@command.command("ls")
@click.argument("name", required=False, shell_complete=_vmgroups)
@_name
@view_options(_MEMBERS)
@api_options
def ls(name: str | None, flag: str | None, client: Client, view: View) -> None:
    """List the virtual machines of the vmgroup NAME."""
    wanted = one_name(name, flag, "vmgroup")
    rows = [_row(member) for member in client.pages(path_of("vmgroups", wanted, "members"), "members")]
    view.show(_MEMBERS, sorted(rows, key=lambda row: (row["name"], row["id"])))


def _row(member: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": member["name"], "id": member["vm"], "running": member["running"]}


def _asked(names: tuple[str, ...], flag: str | None, listed: tuple[str, ...]) -> tuple[str, list[str]]:
    """Return the vmgroup and the machines: the first argument is the vmgroup unless ``--name`` says it."""
    name, vms = (flag, names) if flag is not None else (names[0] if names else None, names[1:])
    wanted = one_name(name, None, "vmgroup")
    found = [*vms, *words_of(listed)]
    if not found:
        raise click.UsageError(
            "name the virtual machines, as arguments or with --vm-list", click.get_current_context(silent=True)
        )
    return wanted, found


def _order(client: Client, how: How, name: str, change: Change, verb: str, vms: list[str]) -> int:
    return carry_out(client, {name: change}, how, lambda name: f"vmgroup {name} {verb} {', '.join(vms)}")
