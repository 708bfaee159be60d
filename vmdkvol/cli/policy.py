"""`vmdkvol policy`: the storage policies, who uses them, and how the disks under them stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from vmdkvol.cli import completing
from vmdkvol.cli.given import one_name
from vmdkvol.cli.moments import iso
from vmdkvol.cli.ordering import Change, How, carry_out, change_options
from vmdkvol.cli.paths import path_of
from vmdkvol.cli.reaching import api_options
from vmdkvol.cli.render import Table, View, output_option, show, show_facts, view_options
from vmdkvol.cli.several import for_each

if TYPE_CHECKING:
    from vmdkvol.cli.client import Client

_STANDS = ("compliant", "not_compliant", "out_of_date", "not_applicable", "unknown")
_POLICIES = Table(
    ("name", "kind", "volumes", "vmgroups", "compliance", "description"), ("diskformat", "named_by"), (*_STANDS, "revision")
)
_UNDER = Table(("volume", "vmgroup", "datastore", "state", "compliance", "reason"), ("follows", "checked", "id"))
_names = completing.names("policies")
_name = click.argument("name", required=False, shell_complete=_names)
_flag = click.option("--name", "flag", metavar="NAME", shell_complete=_names, help="As vDVS had it; or an argument.")
_volumes = click.argument("volumes", nargs=-1, required=True, metavar="VOLUME...", shell_complete=completing.names("volumes"))
_vmgroup = click.option(
    "--vmgroup", metavar="NAME", shell_complete=completing.names("vmgroups"), help="Whose, where several have one of that name."
)
_description = click.option("--description", metavar="TEXT", help="A line for people.")
_diskformat = click.option("--diskformat", type=click.Choice(("thin", "thick")), help="Demand such disks.")


@click.group("policy", short_help="Storage policies: who uses them, and how disks stand to them.")
def command() -> None:
    """Storage policies: what volumes made with `-o policy=NAME` are under.

    On vSphere they are vCenter's (kind spbm), made and changed there. Where disks are files in directories, they are made here
    (kind local). One that is missing is named by volumes or vmgroups, and is not there.
    """


@command.command("ls")
@view_options(_POLICIES)
@api_options
def ls(client: Client, view: View) -> None:
    """List the policies with what uses them. VMGROUPS is how many may use it."""
    view.show(_POLICIES, [row_of(info) for info in client.pages(path_of("policies"), "policies", {"compliance": True})])


@command.command("inspect")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=_names)
@output_option
@api_options
def inspect(names: tuple[str, ...], client: Client, output: str) -> int:
    """Show everything about policies, and which vmgroups name them."""
    rows, code = for_each(names, lambda name: _detail(client.get(path_of("policies", name))))
    if output in ("table", "wide"):
        show_facts(rows)
    else:
        show(_POLICIES, rows, output)
    return code


@command.command("volumes", short_help="List the volumes under a policy, and how they stand.")
@_name
@_flag
@view_options(_UNDER)
@api_options
def volumes(name: str | None, flag: str | None, client: Client, view: View) -> None:
    """List the volumes under the policy NAME, and how each stands to it.

    \b
    vmdkvol policy volumes gold --filter compliance!=compliant
    """
    wanted = one_name(name, flag, "policy")
    view.show(_UNDER, [_volume(each) for each in client.pages(path_of("policies", wanted, "volumes"), "volumes")])


@command.command("create", short_help="Create a local policy.")
@_name
@_flag
@_description
@_diskformat
@change_options()
@api_options
def create(
    name: str | None, flag: str | None, description: str | None, diskformat: str | None, client: Client, how: How
) -> int:
    """Create the local policy NAME; on vSphere a policy is made in vCenter.

    \b
    vmdkvol policy create gold --diskformat thick --description "room that nobody else takes"
    """
    wanted = one_name(name, flag, "policy")
    body = {"name": wanted, "description": description or "", "diskformat": diskformat}
    return carry_out(client, {wanted: Change("POST", path_of("policies"), body)}, how, _said("is there"))


@command.command("update")
@_name
@_flag
@_description
@_diskformat
@click.option(
    "--unset",
    metavar="FIELD",
    multiple=True,
    type=click.Choice(("description", "diskformat")),
    help="Have this say nothing again: description or diskformat.",
)
@change_options(revised=True)
@api_options
def update(name: str | None, flag: str | None, client: Client, how: How, **fields: Any) -> int:
    """Change what the local policy NAME says. Disks stay as they are: see then which are not compliant."""
    wanted = one_name(name, flag, "policy")
    given = {
        key: list(value) if isinstance(value, tuple) else value for key, value in fields.items() if value not in (None, ())
    }
    if not given:
        raise click.UsageError("say what to change", click.get_current_context(silent=True))
    change = Change("PATCH", path_of("policies", wanted), given, replaces=True)
    return carry_out(client, {wanted: change}, how, _said("is changed"))


@command.command("rm", short_help="Remove local policies that nobody uses.")
@click.argument("names", nargs=-1, metavar="NAME...", shell_complete=_names)
@click.option("--name", "flags", metavar="NAME", multiple=True, shell_complete=_names, help="As vDVS had it; or an argument.")
@change_options(revised=True)
@api_options
def rm(names: tuple[str, ...], flags: tuple[str, ...], client: Client, how: How) -> int:
    """Remove local policies that no volume is under and no vmgroup names."""
    wanted = [*names, *flags]
    if not wanted:
        raise click.UsageError("name a policy", click.get_current_context(silent=True))
    return carry_out(client, {name: Change("DELETE", path_of("policies", name)) for name in wanted}, how, _said("is removed"))


@command.command("apply", short_help="Put volumes under a policy.")
@click.argument("name", shell_complete=_names)
@_volumes
@_vmgroup
@click.option("--over-allowed", is_flag=True, help="Also a policy that the volume's vmgroup may not use.")
@change_options(working=True, revised=True)
@api_options
def apply(name: str, volumes: tuple[str, ...], vmgroup: str | None, over_allowed: bool, client: Client, how: How) -> int:
    """Put volumes under the policy NAME, mounted or not; their data stays what it is.

    \b
    vmdkvol policy apply gold db web
    """
    changes = {each: _assigned(each, vmgroup, {"policy": name, "over_allowed": over_allowed}) for each in volumes}
    return carry_out(client, changes, how, lambda volume: f"volume {volume} is under policy {name}")


@command.command("unset")
@_volumes
@_vmgroup
@change_options(working=True, revised=True)
@api_options
def unset(volumes: tuple[str, ...], vmgroup: str | None, client: Client, how: How) -> int:
    """Put volumes under no policy of their own, but their datastore's."""
    changes = {each: _assigned(each, vmgroup, {"policy": None}) for each in volumes}
    return carry_out(client, changes, how, lambda volume: f"volume {volume} is under its datastore's own policy")


def _assigned(volume: str, vmgroup: str | None, body: dict[str, Any]) -> Change:
    return Change("POST", path_of("volumes", volume, "policy"), body | ({} if vmgroup is None else {"vmgroup": vmgroup}))


def row_of(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return a policy under the keys that ``-o json`` promises; null: not known."""
    stands = info["compliance"]
    counts = dict.fromkeys(_STANDS) if stands is None else {key: stands[key] for key in _STANDS}
    return {
        "name": info["name"],
        "kind": info["kind"],
        "description": info["description"],
        "diskformat": info["diskformat"],
        "volumes": info["volumes"],
        "vmgroups": info["allowed_for"],
        "named_by": info["named_by"],
        "compliance": None if stands is None else ", ".join(_words(key, count) for key, count in counts.items() if count),
        **counts,
        "revision": info["revision"],
    }


def _detail(found: Mapping[str, Any]) -> dict[str, Any]:
    row = row_of(found["policy"])
    return {**row, "named_by": found["vmgroups"]}


def _words(key: str, count: int | None) -> str:
    return f"{count} {key.replace('_', '-')}"


def _volume(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "volume": row["name"],
        "vmgroup": row["vmgroup"],
        "datastore": row["datastore"],
        "state": row["state"],
        "compliance": row["compliance"],
        "reason": row["reason"],
        "follows": row["follows"],
        "checked": iso(row["checked_at"]),
        "id": row["id"],
    }


def _said(what: str) -> Callable[[str], str]:
    return lambda name: f"policy {name} {what}"
