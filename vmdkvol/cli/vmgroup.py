"""`vmdkvol vmgroup`: who may use which datastores, and how much of them. The verbs and flags are vDVS's (vdvs-facts 8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from vmdkvol.cli import completing, vmgroup_access, vmgroup_vm
from vmdkvol.cli.given import one_name, words_of
from vmdkvol.cli.ordering import Change, How, carry_out, change_options
from vmdkvol.cli.paths import path_of
from vmdkvol.cli.reaching import api_options
from vmdkvol.cli.render import Table, View, output_option, show, show_facts, view_options
from vmdkvol.cli.several import for_each
from vmdkvol.errors import InvalidOption, quoted
from vmdkvol.sizes import short_size

if TYPE_CHECKING:
    from vmdkvol.cli.client import Client

VMGROUPS = Table(
    ("name", "default_datastore", "vm_count", "volumes", "used", "description"),
    ("vms", "policies", "defaults", "id"),
    ("used_bytes", "rights", "revision"),
)
_vmgroups, _vms, _datastores = completing.names("vmgroups"), completing.names("vms"), completing.names("datastores")
_name = click.argument("name", required=False, shell_complete=_vmgroups)
_flag = click.option(
    "--name", "flag", metavar="NAME", shell_complete=_vmgroups, help="The vmgroup's name, as vDVS had it; or an argument."
)
_default_datastore = "A datastore, or _VM_DS for the one where each virtual machine's own files lie."
_defaults = click.option(
    "--default", "defaults", metavar="KEY=VALUE", multiple=True, help="An option (as after -o) of creates that do not give it."
)
_policies = click.option(
    "--policy",
    "policies",
    metavar="NAME",
    multiple=True,
    shell_complete=completing.names("policies"),
    help="Allow this storage policy; without, any.",
)


@click.group(
    "vmgroup",
    commands=[vmgroup_vm.command, vmgroup_access.command],
    short_help="Tenants: who may use which datastores, and how much.",
)
def command() -> None:
    """Vmgroups: virtual machines with one set of volumes, rights and quotas.

    A virtual machine is in one vmgroup; one that was never added is in _DEFAULT. A volume belongs to the vmgroup of the
    machine that created it, and no other vmgroup learns that it exists.
    """


@command.command("ls")
@view_options(VMGROUPS)
@api_options
def ls(client: Client, view: View) -> None:
    """List the vmgroups, with what their volumes take."""
    view.show(VMGROUPS, [row_of(info) for info in client.pages(path_of("vmgroups"), "vmgroups")])


@command.command("inspect", short_help="Show rights, quotas, defaults, members.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=_vmgroups)
@output_option
@api_options
def inspect(names: tuple[str, ...], client: Client, output: str) -> int:
    """Show everything about vmgroups: rights, quotas, defaults, members."""
    rows, code = for_each(names, lambda name: row_of(client.get(path_of("vmgroups", name))))
    if output in ("table", "wide"):
        show_facts([_facts(row) for row in rows])
    else:
        show(VMGROUPS, rows, output)
    return code


@command.command("create")
@_name
@_flag
@click.option(
    "--default-datastore",
    metavar="NAME",
    required=True,
    shell_complete=_datastores,
    help=f"{_default_datastore} It gets full right on it.",
)
@click.option("--description", default="", help="A line for people.")
@click.option(
    "--vm-list",
    "--vm",
    "vms",
    metavar="VM,VM",
    multiple=True,
    shell_complete=completing.listed(_vms),
    help="Its virtual machines, by name or id.",
)
@_defaults
@_policies
@change_options()
@api_options
def create(
    name: str | None,
    flag: str | None,
    default_datastore: str,
    description: str,
    vms: tuple[str, ...],
    defaults: tuple[str, ...],
    policies: tuple[str, ...],
    client: Client,
    how: How,
) -> int:
    """Create the vmgroup NAME.

    \b
    vmdkvol vmgroup create prod --default-datastore ds1 --vm-list web1,web2
    """
    wanted = one_name(name, flag, "vmgroup")
    body = {
        "name": wanted,
        "default_datastore": default_datastore,
        "description": description,
        "vms": words_of(vms),
        "defaults": [list(pair) for pair in _pairs(defaults)],
        "policies": list(policies),
    }
    return carry_out(client, {wanted: Change("POST", path_of("vmgroups"), body)}, how, _said("is created"))


@command.command("update")
@_name
@_flag
@click.option("--new-name", metavar="NAME", help="Rename it; its volumes stay what they are.")
@click.option("--description", help="A line for people; '' for none.")
@click.option("--default-datastore", metavar="NAME", shell_complete=_datastores, help=_default_datastore)
@_defaults
@_policies
@click.option(
    "--unset",
    metavar="FIELD",
    multiple=True,
    type=click.Choice(("description", "defaults", "policies")),
    help="Have this say nothing again: description, defaults or policies.",
)
@change_options(revised=True)
@api_options
def update(name: str | None, flag: str | None, client: Client, how: How, **fields: Any) -> int:
    """Change what is given of the vmgroup NAME; everything else stays. `--default KEY=` takes one default away."""
    wanted = one_name(name, flag, "vmgroup")
    given: dict[str, Any] = {key: value for key, value in fields.items() if value not in (None, ())}
    if "defaults" in given:
        given["defaults"] = [list(pair) for pair in _pairs(given["defaults"])]
    if not given:
        raise click.UsageError("say what to change", click.get_current_context(silent=True))
    given = {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}
    change = Change("PATCH", path_of("vmgroups", wanted), given, replaces=True)
    return carry_out(client, {wanted: change}, how, _said("is changed"))


@command.command("rm", short_help="Remove vmgroups.")
@click.argument("names", nargs=-1, metavar="NAME...", shell_complete=_vmgroups)
@click.option(
    "--name", "flags", metavar="NAME", multiple=True, shell_complete=_vmgroups, help="As vDVS had it; or an argument."
)
@click.option(
    "--remove-volumes", is_flag=True, help="Remove all of its volumes first; where the trash keeps them with --empty-trash."
)
@click.option("--empty-trash", is_flag=True, help="Destroy for good what of it is in the trash, or comes there now.")
@click.option("--force", is_flag=True, help="Take its virtual machines out with it; not those that have a volume attached.")
@change_options(losing=True, revised=True)
@api_options
def rm(
    names: tuple[str, ...],
    flags: tuple[str, ...],
    remove_volumes: bool,
    empty_trash: bool,
    force: bool,
    client: Client,
    how: How,
) -> int:
    """Remove vmgroups that have no members and no volumes, in the trash too.

    What is wanted is moved to another vmgroup first (`volume restore`, `volume move`); all else goes with
    --remove-volumes --empty-trash. The plan names each volume and says what is lost; that is what is confirmed.

    _DEFAULT can be removed too: then machines of no vmgroup have no access until it is made again, under its one id.
    """
    wanted = [*names, *flags]
    if not wanted:
        raise click.UsageError("name a vmgroup", click.get_current_context(silent=True))
    query = {"remove_volumes": remove_volumes or None, "empty_trash": empty_trash or None, "force": force or None}
    changes = {name: Change("DELETE", path_of("vmgroups", name), query=query, planned=empty_trash) for name in wanted}
    many = len(changes) > 1 or remove_volumes or empty_trash
    word = (wanted[0] if len(changes) == 1 else f"{len(changes)} vmgroups") if many else None
    question = f"Remove vmgroup {wanted[0]}?" if len(changes) == 1 else f"Remove {len(changes)} vmgroups?"
    return carry_out(client, changes, how, _said("is removed"), question=question, word=word)


def row_of(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return a vmgroup under the keys that ``-o json`` promises."""
    used = sum(usage["used_bytes"] for usage in info["usage"])
    return {
        "name": info["name"],
        "id": info["id"],
        "description": info["description"],
        "default_datastore": info["default_datastore"],
        "vms": [member["name"] for member in info["members"]],
        "vm_count": info["member_count"],
        "volumes": info["volumes"],
        "used": short_size(used),
        "used_bytes": used,
        "defaults": dict(info["defaults"]),
        "policies": info["policies"],
        "rights": [vmgroup_access.row_of(right) for right in info["rights"]],
        "revision": info["revision"],
    }


def _facts(row: Mapping[str, Any]) -> dict[str, Any]:
    rights = {f"right {right['datastore']}": vmgroup_access.words(right) for right in row["rights"]}
    used = f"{row['used']} = {row['used_bytes']} bytes"
    return {key: value for key, value in {**row, "used": used}.items() if key not in ("rights", "used_bytes")} | rights


def _said(what: str) -> Callable[[str], str]:
    return lambda name: f"vmgroup {name} {what}"


def _pairs(texts: tuple[str, ...]) -> list[tuple[str, str]]:
    pairs = []
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise InvalidOption(f"default {quoted(text)} cannot be read", remedy="write --default KEY=VALUE, as after -o")
        pairs.append((key, value))
    return pairs
