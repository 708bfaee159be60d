"""`vmdkvol vmgroup access add|set|rm|ls`: what a vmgroup may do on which datastore, and how much of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from vmdkvol.cli import completing
from vmdkvol.cli.given import one_name
from vmdkvol.cli.ordering import Change, How, carry_out, change_options
from vmdkvol.cli.paths import path_of
from vmdkvol.cli.reaching import api_options
from vmdkvol.cli.render import Table, View, view_options
from vmdkvol.errors import InvalidSize, NameConflict, quoted
from vmdkvol.sizes import format_size, parse_size

if TYPE_CHECKING:
    from vmdkvol.cli.client import Client

_RIGHTS = Table(
    ("datastore", "allow_create", "max_volume_size", "total_size", "used"),
    ("policies",),
    ("max_volume_size_bytes", "total_size_bytes", "used_bytes"),
)
# How a limit is taken away: a 0, as vDVS had it, was one for some and none for others (vdvs-facts L21).
_NO_LIMIT = ("none", "unset")
_vmgroups = completing.names("vmgroups")
_name = click.argument("name", required=False, shell_complete=_vmgroups)
_flag = click.option(
    "--name", "flag", metavar="NAME", shell_complete=_vmgroups, help="The vmgroup's name, as vDVS had it; or an argument."
)
_datastore = click.option(
    "--datastore",
    metavar="NAME",
    required=True,
    shell_complete=completing.any_of(completing.names("datastores"), completing.words(("_VM_DS", "_ALL_DS"))),
    help="A datastore, _VM_DS (where a machine's own files lie) or _ALL_DS (the rest).",
)
_limits = (
    click.option("--volume-maxsize", metavar="SIZE", help="The largest volume, such as 10gb; none for no limit."),
    click.option("--volume-totalsize", metavar="SIZE", help="All volumes together, on each datastore; none for no limit."),
    click.option(
        "--policy",
        "policies",
        metavar="NAME",
        multiple=True,
        shell_complete=completing.names("policies"),
        help="Allow this storage policy; none for any.",
    ),
)


def _with_limits(function: Any) -> Any:
    for option in reversed(_limits):
        function = option(function)
    return function


@click.group("access")
def command() -> None:
    """The rights of a vmgroup. The row of the datastore itself decides, else that of _VM_DS, else that of _ALL_DS."""


@command.command("add")
@_name
@_flag
@_datastore
@click.option("--allow-create", is_flag=True, help="Let it create and remove; without, only mount.")
@_with_limits
@change_options(revised=True)
@api_options
def add(name: str | None, flag: str | None, datastore: str, client: Client, how: How, **said: Any) -> int:
    """Let the vmgroup NAME use a datastore.

    \b
    vmdkvol vmgroup access add prod --datastore ds2 --allow-create --volume-maxsize 50gb --volume-totalsize 1tb
    """
    wanted = one_name(name, flag, "vmgroup")
    info = client.get(path_of("vmgroups", wanted))
    if any(right["datastore"] == datastore for right in info["rights"]):
        raise NameConflict(
            f"vmgroup {quoted(wanted)} has a right on {quoted(datastore)} already",
            remedy="change it: `vmdkvol vmgroup access set --help`",
        )
    # Two who add one at once: the second hears that the vmgroup was changed.
    return _set(client, how, wanted, datastore, _body(said), "may now use", seen=info)


@command.command("set", short_help="Change a right or its limits.")
@_name
@_flag
@_datastore
@click.option(
    "--allow-create",
    type=click.Choice((True, False), case_sensitive=False),
    metavar="true|false",
    help="Whether it may create and remove there.",
)
@_with_limits
@change_options(revised=True)
@api_options
def set_right(name: str | None, flag: str | None, datastore: str, client: Client, how: How, **said: Any) -> int:
    """Change what is given of the vmgroup's right on a datastore; everything else stays. `access add` makes one.

    A total below what is used is taken: then nothing new fits.
    """
    wanted, body = one_name(name, flag, "vmgroup"), _body(said)
    if not body:
        raise click.UsageError("say what to change", click.get_current_context(silent=True))
    return _set(client, how, wanted, datastore, body, "has its right changed on")


@command.command("rm")
@_name
@_flag
@_datastore
@change_options(revised=True)
@api_options
def rm(name: str | None, flag: str | None, datastore: str, client: Client, how: How) -> int:
    """Take the vmgroup's right on a datastore away. Its volumes there stay, and it cannot use them until it has one again."""
    wanted = one_name(name, flag, "vmgroup")
    change = Change("DELETE", path_of("vmgroups", wanted, "rights", datastore))
    return carry_out(client, {wanted: change}, how, lambda name: f"vmgroup {name} has no right of its own on {datastore}")


@command.command("ls", short_help="List rights and limits, with what is used.")
@_name
@_flag
@view_options(_RIGHTS)
@api_options
def ls(name: str | None, flag: str | None, client: Client, view: View) -> None:
    """List the rights of the vmgroup NAME, with its limits and what it uses of them."""
    info = client.get(path_of("vmgroups", one_name(name, flag, "vmgroup")))
    view.show(_RIGHTS, [row_of(right) for right in info["rights"]])


def row_of(right: Mapping[str, Any]) -> dict[str, Any]:
    """Return a right under the keys that ``-o json`` promises; null: no limit."""
    row: dict[str, Any] = {"datastore": right["datastore"], "allow_create": right["allow_create"]}
    for key, size in (
        ("max_volume_size", right["max_bytes"]),
        ("total_size", right["total_bytes"]),
        ("used", right["used_bytes"]),
    ):
        row |= {key: None if size is None else format_size(size), f"{key}_bytes": size}
    return row | {"policies": right["policies"]}


def words(row: Mapping[str, Any]) -> str:
    """Return a right as one line for people."""
    said = ["create" if row["allow_create"] else "mount only"]
    said += [f"a volume up to {row['max_volume_size']}"] if row["max_volume_size"] else []
    said += [f"in all up to {row['total_size']}"] if row["total_size"] else []
    said += [f"{row['used']} used"] if row["used"] else []
    said += [f"policies {', '.join(row['policies'])}"] if row["policies"] else []
    return "; ".join(said)


def _set(
    client: Client,
    how: How,
    name: str,
    datastore: str,
    body: Mapping[str, Any],
    verb: str,
    *,
    seen: Mapping[str, Any] | None = None,
) -> int:
    expect, subject = (None, None) if seen is None else (seen["revision"], seen["id"])
    path = path_of("vmgroups", name, "rights", datastore)
    change = Change("PATCH", path, body, expect=expect, subject=subject, replaces=True)
    return carry_out(client, {name: change}, how, lambda name: f"vmgroup {name} {verb} {datastore}")


def _body(said: Mapping[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {}
    unset = []
    if said["allow_create"] is not None:
        body["allow_create"] = said["allow_create"]
    for option, field in (("volume_maxsize", "max_bytes"), ("volume_totalsize", "total_bytes")):
        text = said[option]
        if text is None:
            continue
        if text.lower() in _NO_LIMIT:
            unset.append(field)
        else:
            body[field] = _limit(option, text)
    policies = list(said["policies"])
    if policies == ["none"]:
        unset.append("policies")
    elif policies:
        body["policies"] = policies
    return body | ({"unset": unset} if unset else {})


def _limit(option: str, text: str) -> int:
    if text.strip("0. ") == "":
        raise InvalidSize(f"--{option.replace('_', '-')} {quoted(text)} is no limit", remedy="write none for no limit")
    return parse_size(text)
