"""`vmdkvol vm enroll|ls|revoke`: which machines may speak to the service. On the service's own machine, as root."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click

from vmdkvol.addresses import UnixAddress, parse_address
from vmdkvol.admin_messages import EnrollVm, ListVms, RevokeVm, VmInfo
from vmdkvol.cli.asking import Connection, connected
from vmdkvol.cli.render import Table, View, show, view_options
from vmdkvol.errors import BadRequest, ServiceUnreachable, one_line
from vmdkvol.tokens import Token

_VMS = Table(("name", "standing", "connected", "running", "expires", "id"), ("token_until",))
_ENROLL_S = 60.0

admin_option = click.option(
    "--admin",
    metavar="ADDRESS",
    default="unix:///run/vmdkvol/admin.sock",
    envvar="VMDKVOL_ADMIN",
    show_default=True,
    show_envvar=True,
    help="The service's admin socket.",
)


@click.group("vm")
def command() -> None:
    """Enrol Docker hosts, see who is enrolled, end an enrolment. At the service, as root."""


@command.command("enroll")
@click.argument("name")
@click.option("--guestinfo", is_flag=True, help="Also write the token into the virtual machine, whose agent then finds it.")
@admin_option
@click.option("-o", "--output", type=click.Choice(("table", "json")), default="table", show_default=True)
def enroll(name: str, guestinfo: bool, admin: str, output: str) -> None:
    """Print a token with which the virtual machine NAME (or its id) can enrol, once, within the hour.

    Whoever has the token can become this machine: do not leave it in a history or a chat.
    """
    with _asking(admin) as connection:
        made = connection.ask(EnrollVm(name, give=guestinfo), _ENROLL_S)
    until = _time(made.expires_at)
    pin = ":".join(f"{byte:02X}" for byte in Token.parse(made.token).pin)
    if output == "json":
        row = {"token": made.token, "name": made.vm_name, "id": str(made.vm), "expires": until, "fingerprint": pin}
        show(_VMS, [row | {"guestinfo": made.given}], output, single=True)
        return
    click.echo(made.token)
    # Whoever may rename a virtual machine in vSphere must not draw on an administrator's terminal.
    click.echo(
        f"For {one_line(made.vm_name)} ({made.vm}), once, until {until}. The site's authority has the SHA-256 {pin}.", err=True
    )
    where = "Its agent finds it in the virtual machine by itself." if made.given else "On it: vmdkvol-agent enroll TOKEN"
    click.echo(where, err=True)


@command.command("ls")
@admin_option
@view_options
def ls(admin: str, view: View) -> None:
    """List the virtual machines that are enrolled, were, or could be."""
    view.check(_VMS)
    with _asking(admin) as connection:
        rows = [row_of(info) for info in _all(connection)]
    view.show(_VMS, sorted(rows, key=lambda row: (row["name"], row["id"])))


@command.command("revoke")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@admin_option
def revoke(name: str, yes: bool, admin: str) -> None:
    """End the enrolment of the virtual machine NAME (or its id).

    Its certificates and tokens count no more and its connections are closed at once. Its containers keep the volumes that
    they have mounted, but nothing is mounted, unmounted or created there until it is enrolled again.
    """
    if not yes and not (sys.stdin is not None and sys.stdin.isatty()):
        raise BadRequest("nobody can be asked whether this is meant", remedy="say --yes")
    if not yes:
        click.confirm(
            f"{name} will be cut off: what it has mounted stays, and it can mount and unmount nothing until it is enrolled "
            "again. Revoke it?",
            abort=True,
            err=True,
        )
    with _asking(admin) as connection:
        connection.ask(RevokeVm(name))
    click.echo(f"{name} is revoked", err=True)


def row_of(info: VmInfo) -> dict[str, Any]:
    """Return a machine under the keys that ``-o json`` promises."""
    return {
        "name": info.name,
        "id": str(info.vm),
        "standing": info.standing.value,
        "connected": info.connected,
        "running": info.running,
        "expires": None if info.not_after is None else _time(info.not_after),
        "token_until": None if info.expires_at is None else _time(info.expires_at),
    }


def _all(connection: Connection) -> Iterator[VmInfo]:
    after = None
    while True:
        page = connection.ask(ListVms(after))
        yield from page.vms
        after = page.next
        if after is None:
            return


@contextmanager
def _asking(admin: str) -> Iterator[Connection]:
    address = _address(admin)
    if not address.path.exists():
        raise ServiceUnreachable(
            f"there is no admin socket {address.path}",
            remedy="run this at the service, which has one as its setting `admin_socket` says, and see that it runs",
        )
    with connected(address) as connection:
        yield connection


def _address(text: str) -> UnixAddress:
    address = parse_address(text)
    if not isinstance(address, UnixAddress):
        raise BadRequest(f"{text[:100]!r} is no Unix socket", remedy="run this at the service, and give --admin unix:///PATH")
    return address


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
