"""`vmdkvol volume ls|inspect`: volumes as the service tells them, whatever an engine remembers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from vmdkvol.cli.asking import Connection, connected, directory_option, service_address
from vmdkvol.cli.render import Table, View, output_option, show, show_facts, view_options
from vmdkvol.cli.several import for_each
from vmdkvol.cli.waiting import screen, wait, work_of
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.messages import GetVolume, ListVolumes
from vmdkvol.names import VolumeRef
from vmdkvol.options import OPTIONS
from vmdkvol.progress import words
from vmdkvol.sizes import format_size
from vmdkvol.volume import VolumeInfo

_VOLUMES = Table(
    ("name", "size", "datastore", "state", "content", "attached_to"),
    ("fstype", "diskformat", "allocated", "device", "created", "id"),
    ("size_bytes", "allocated_bytes", "vmgroup", "progress", "percent", "seconds_left", "created_by", "options"),
)
# While something is under way that takes its time.
_WITH_PROGRESS = Table(
    ("name", "size", "datastore", "state", "progress", "content", "attached_to"), _VOLUMES.wide, _VOLUMES.more
)
service_option = click.option(
    "--service", metavar="ADDRESS", envvar="VMDKVOL_SERVICE", show_envvar=True, help="The service: unix:///PATH."
)


@click.group("volume")
def command() -> None:
    """Look at volumes. They are created and removed with `docker volume`."""


@command.command("ls")
@service_option
@directory_option
@view_options
def ls(service: str | None, directory: Path, view: View) -> None:
    """List the volumes and who has them, those that are being made included."""
    view.check(_VOLUMES)
    with connected(service_address(service, directory)) as connection:
        rows = [row_of(info) for info in all_volumes(connection, preparing=True)]
    table = _VOLUMES if all(row["progress"] is None for row in rows) else _WITH_PROGRESS
    view.show(table, sorted(rows, key=lambda row: str(row["name"])))


@command.command("inspect")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@service_option
@directory_option
@output_option
def inspect(names: tuple[str, ...], service: str | None, directory: Path, output: str) -> int:
    """Show everything about volumes, by their exact names."""
    with connected(service_address(service, directory)) as connection:
        rows, code = for_each(names, lambda name: row_of(connection.ask(GetVolume(VolumeRef.parse(name)))))
    if output in ("table", "wide"):
        show_facts([_facts(row) for row in rows])
    else:
        show(_VOLUMES, rows, output)
    return code


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


def _facts(row: Mapping[str, Any]) -> Mapping[str, Any]:
    options = {f"option {key}": value for key, value in row["options"].items()}
    # What was understood, exactly: "20gb" is read differently by other tools (ecosystem-facts 4.1).
    sizes = {key: f"{row[key]} = {row[f'{key}_bytes']} bytes" for key in ("size", "allocated")}
    left_out = ("size_bytes", "allocated_bytes", "percent", "seconds_left", "options")
    return {key: value for key, value in {**row, **sizes, **options}.items() if key not in left_out}
