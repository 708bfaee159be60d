"""`vmdkvol volume ls|inspect`: volumes as the service tells them, whatever an engine remembers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from vmdkvol.cli.asking import Connection, connected, directory_option, service_address
from vmdkvol.cli.render import Row, Table, output_option, show
from vmdkvol.cli.waiting import screen, wait, work_of
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.errors import VolumeError
from vmdkvol.messages import GetVolume, ListVolumes
from vmdkvol.names import VolumeRef
from vmdkvol.options import OPTIONS
from vmdkvol.progress import words
from vmdkvol.sizes import format_size
from vmdkvol.volume import VolumeInfo

_VOLUMES = Table(
    ("name", "size", "datastore", "state", "content", "attached_to"),
    ("fstype", "diskformat", "allocated", "device", "created", "id"),
)
# While something is under way that takes its time.
_WITH_PROGRESS = Table(("name", "size", "datastore", "state", "progress", "content", "attached_to"), _VOLUMES.wide)
service_option = click.option(
    "--service", metavar="ADDRESS", envvar="VMDKVOL_SERVICE", show_envvar=True, help="The service: unix:///PATH."
)


@click.group("volume")
def command() -> None:
    """Look at volumes. They are created and removed with `docker volume`."""


@command.command("ls")
@service_option
@directory_option
@output_option
def ls(service: str | None, directory: Path, output: str) -> None:
    """List the volumes and who has them, those that are being made included."""
    with connected(service_address(service, directory)) as connection:
        rows = [row_of(info) for info in all_volumes(connection, preparing=True)]
    table = _VOLUMES if all(row["progress"] is None for row in rows) else _WITH_PROGRESS
    show(table, sorted(rows, key=lambda row: str(row["name"])), output)


@command.command("inspect")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@service_option
@directory_option
@output_option
def inspect(names: tuple[str, ...], service: str | None, directory: Path, output: str) -> None:
    """Show everything about volumes, by their exact names."""
    with connected(service_address(service, directory)) as connection:
        found = [_look_up(connection, name) for name in names]
    rows = [each for each in found if not isinstance(each, VolumeError)]
    errors = [each for each in found if isinstance(each, VolumeError)]
    for error in errors[:-1]:
        click.echo(f"vmdkvol: {error}", err=True)
    if rows and output in ("table", "wide"):
        _show_facts(rows)
    elif rows:
        show(_VOLUMES, rows, output)
    if errors:
        # The others are shown all the same; the last error's code is the command's.
        raise errors[-1]


@command.command("wait")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.0),
    default=3600.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for all of them.",
)
@service_option
@directory_option
def wait_for(names: tuple[str, ...], timeout: float, service: str | None, directory: Path) -> None:
    """Wait until nothing is done to volumes any more, and show how far it is.

    A create or a clone that takes longer than Docker waits goes on in the service. Exit code 0: all of them are ready.
    """
    refs = [VolumeRef.parse(name) for name in names]
    clock = SystemClock()
    deadline = Deadline.after(clock, timeout)
    with connected(service_address(service, directory)) as connection, screen() as shown:
        for ref in refs:
            info = wait(connection, ref, clock, shown, deadline)
            click.echo(f"volume {info.name}: {info.state.value}", err=True)


def _look_up(connection: Connection, name: str) -> Row | VolumeError:
    try:
        return row_of(connection.ask(GetVolume(VolumeRef.parse(name))))
    except VolumeError as error:
        return error


def all_volumes(connection: Connection, *, preparing: bool = False) -> Iterator[VolumeInfo]:
    """Yield every volume once; one that is removed meanwhile is left out or still shown whole.

    ``preparing``: those that are being made too, from a service that can tell.
    """
    after = None
    while True:
        page = connection.ask(ListVolumes(after=after, preparing=preparing))
        yield from page.volumes
        if page.next is None:
            return
        after = page.next


def row_of(info: VolumeInfo) -> dict[str, Any]:
    """Return a volume under the keys that ``-o json`` promises."""
    holder, work = info.attached_to, work_of(info)
    return {
        "name": info.name,
        "id": str(info.id),
        "size": format_size(info.size_bytes),
        "size_bytes": info.size_bytes,
        "allocated": format_size(info.allocated_bytes),
        "allocated_bytes": info.allocated_bytes,
        "datastore": info.datastore,
        "vmgroup": str(info.vmgroup),
        "state": info.state.value,
        "progress": words(work) if work else None,
        "percent": work.percent if work else None,
        "seconds_left": work.left_s if work else None,
        "content": info.content.value,
        "fstype": info.options.fstype,
        "diskformat": info.options.diskformat,
        "attached_to": holder.vm_name if holder else None,
        "device": str(holder.address) if holder else None,
        "created": datetime.fromtimestamp(info.created_at, UTC).isoformat(timespec="seconds"),
        "created_by": info.created_by,
        "options": {
            option.key: option.show(getattr(info.options, option.field))
            for option in OPTIONS.values()
            if option.field in info.options.given
        },
    }


def _show_facts(rows: list[Row]) -> None:
    for number, row in enumerate(rows):
        if number:
            click.echo()
        options = {f"option {key}": value for key, value in row["options"].items()}
        facts = {**{key: value for key, value in row.items() if key != "options"}, **options}
        # What was understood, exactly: "20gb" is read differently by other tools (ecosystem-facts 4.1).
        facts["size"] = f"{row['size']} = {row['size_bytes']} bytes"
        facts["allocated"] = f"{row['allocated']} = {row['allocated_bytes']} bytes"
        width = max(map(len, facts))
        for key, value in facts.items():
            if not key.endswith("_bytes") and key not in ("percent", "seconds_left"):
                click.echo(f"{key.upper().replace('_', ' '):<{width}}   {'-' if value is None else value}")
