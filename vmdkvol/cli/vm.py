"""`vmdkvol vm enroll|ls|revoke`: which machines may speak to the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from vmdkvol.cli import completing
from vmdkvol.cli.moments import iso
from vmdkvol.cli.ordering import Change, How, carry_out, change_options
from vmdkvol.cli.outcome import show_outcomes
from vmdkvol.cli.paths import path_of
from vmdkvol.cli.reaching import api_options
from vmdkvol.cli.render import Table, View, show_value, view_options
from vmdkvol.errors import one_line
from vmdkvol.tokens import Token

if TYPE_CHECKING:
    from vmdkvol.cli.client import Client

_VMS = Table(("name", "standing", "connected", "running", "expires", "id"), ("token_until",))
_vms = completing.names("vms")


@click.group("vm")
def command() -> None:
    """Enrol Docker hosts, see who is enrolled, end an enrolment."""


@command.command("enroll", short_help="Print a token with which a machine can enrol, once.")
@click.argument("name", shell_complete=_vms)
@click.option("--guestinfo", is_flag=True, help="Also write the token into the virtual machine, whose agent then finds it.")
@change_options()
@api_options
def enroll(name: str, guestinfo: bool, client: Client, how: How) -> None:
    """Print a token with which the virtual machine NAME (or its id) can enrol, once, within the hour.

    Whoever has the token can become this machine: do not leave it in a history or a chat.
    """
    made = client.order("POST", path_of("vms", name, "enroll"), {"give": guestinfo}, dry_run=how.dry_run)
    if how.dry_run:
        show_outcomes([made], how.output)
        return
    until, pin = iso(made["expires_at"]), ":".join(f"{byte:02X}" for byte in Token.parse(made["token"]).pin)
    if how.output != "table":
        row = {"token": made["token"], "name": made["vm_name"], "id": made["vm"], "expires": until, "fingerprint": pin}
        show_value(row | {"guestinfo": made["given"]}, how.output)
        return
    click.echo(made["token"])
    # Whoever may rename a virtual machine in vSphere must not draw on an administrator's terminal.
    whom = f"{one_line(made['vm_name'])} ({one_line(made['vm'])})"
    click.echo(f"For {whom}, once, until {until}. The site's authority has the SHA-256 {pin}.", err=True)
    where = "Its agent finds it in the virtual machine by itself." if made["given"] else "On it: vmdkvol-agent enroll TOKEN"
    click.echo(where, err=True)


@command.command("ls")
@view_options(_VMS)
@api_options
def ls(client: Client, view: View) -> None:
    """List the virtual machines that are enrolled, were, or could be."""
    rows = [row_of(info) for info in client.pages(path_of("vms"), "vms")]
    view.show(_VMS, sorted(rows, key=lambda row: (row["name"], row["id"])))


@command.command("revoke")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=_vms)
@change_options(losing=True)
@api_options
def revoke(names: tuple[str, ...], client: Client, how: How) -> int:
    """End the enrolment of virtual machines, by name or id.

    Their certificates and tokens count no more and their connections are closed at once. Their containers keep the volumes
    that they have mounted, but nothing is mounted, unmounted or created there until they are enrolled again.
    """
    changes = {name: Change("POST", path_of("vms", name, "revoke"), unrevised=True) for name in dict.fromkeys(names)}
    many = f"{len(changes)} machines"
    question = f"Revoke {names[0] if len(changes) == 1 else many}?"
    word = many if len(changes) > 1 else None
    return carry_out(client, changes, how, lambda name: f"{name} is revoked", question=question, word=word)


def row_of(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return a machine under the keys that ``-o json`` promises."""
    return {
        "name": info["name"],
        "id": info["vm"],
        "standing": info["standing"],
        "connected": info["connected"],
        "running": info["running"],
        "expires": iso(info["not_after"]),
        "token_until": iso(info["expires_at"]),
    }
