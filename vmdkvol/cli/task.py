"""`vmdkvol task ls|wait|cancel`: long work on volumes' disks. It goes on whether or not anybody waits for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from vmdkvol.admin_errors import TaskNotFound
from vmdkvol.cli import completing
from vmdkvol.cli.moments import iso
from vmdkvol.cli.ordering import Change, How, carry_out, change_options
from vmdkvol.cli.paths import path_of
from vmdkvol.cli.reaching import api_options
from vmdkvol.cli.render import Table, View, view_options
from vmdkvol.cli.several import Several
from vmdkvol.cli.waiting import going_on, look_at_task, screen, wait
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.errors import one_line, quoted
from vmdkvol.progress import duration

if TYPE_CHECKING:
    from vmdkvol.cli.client import Client

_TASKS = Table(
    ("id", "volume", "doing", "state", "percent", "left", "since"), ("by", "ended", "trouble"), ("volume_id", "seconds_left")
)
_ids = click.argument("ids", nargs=-1, required=True, metavar="ID...", shell_complete=completing.names("tasks"))


@click.group("task")
def command() -> None:
    """Work under way: copies, disks that are made, enlarged, deleted.

    On vSphere a copy or a new disk goes on while the service is restarted. On VMDK files in directories it ends with the
    service and is undone (`ls --all` shows it so, its name is free): give the order again.
    """


@command.command("ls")
@click.option("-a", "--all", "ended", is_flag=True, help="Also what has ended within the last day.")
@view_options(_TASKS)
@api_options
def ls(ended: bool, client: Client, view: View) -> None:
    """List the work under way, the newest first."""
    view.show(_TASKS, [row_of(info) for info in client.get(path_of("tasks"), {"ended": ended, "limit": 200})["tasks"]])


@command.command("wait")
@_ids
@click.option(
    "--timeout", type=click.FloatRange(min=0.0), default=3600.0, show_default=True, metavar="SECONDS", help="For all of them."
)
@api_options
def wait_for(ids: tuple[str, ...], timeout: float, client: Client) -> int:
    """Wait until the work has ended, and show how far it is. Ctrl-C ends the waiting, not the work."""
    clock, several = SystemClock(), Several(ids)
    deadline, going = Deadline.after(clock, timeout), {task: task for task in several.names}

    def until_done(task: str) -> None:
        name = client.get(path_of("tasks", _id(task)))["volume_name"] or task
        wait(look_at_task(client, task, lambda: going.pop(task, None)), name, clock, shown, deadline)
        click.echo(f"task {one_line(task)} is done", err=True)

    with screen() as shown, going_on(going):
        several.each(until_done)
    return several.exit_code()


@command.command("cancel")
@_ids
@change_options()
@api_options
def cancel(ids: tuple[str, ...], client: Client, how: How) -> int:
    """Stop work and undo what was done of it, where that can be done."""
    changes = {task: Change("POST", path_of("tasks", _id(task), "cancel")) for task in dict.fromkeys(ids)}
    return carry_out(client, changes, how, lambda task: f"task {task} is stopped, nothing is left of it")


def _id(task: str) -> str:
    """Return the task's id; TaskNotFound for what cannot be one."""
    try:
        return str(UUID(task))
    except ValueError:
        raise TaskNotFound(f"{quoted(task)} is no task's id") from None


def row_of(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return a piece of work under the keys that ``-o json`` promises."""
    left, failure = info["left_s"], info.get("failure")
    return {
        "id": info["id"],
        "volume": info["volume_name"],
        "volume_id": info["volume"],
        "doing": info["doing"],
        "state": info["state"],
        "percent": info["percent"],
        "left": None if left is None else duration(left),
        "seconds_left": left,
        "by": info["by"],
        "since": iso(info["since"]),
        "ended": iso(info["ended_at"]),
        "trouble": None if failure is None else f"{failure['text']}; {failure['remedy']} [{failure['code']}]",
    }
