"""How far long work is, until it has ended: a bar on a terminal, lines elsewhere, on stderr. Ctrl-C leaves it running."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TextIO

import click

from vmdkvol.cli.paths import path_of
from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import (
    CheckFailed,
    Conflict,
    Unavailable,
    VolumeError,
    VolumeLost,
    VolumeNotFound,
    from_code,
    one_line,
    quoted,
)
from vmdkvol.progress import still_working, words
from vmdkvol.volume import Doing, State, Work

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from vmdkvol.cli.client import Client

# How often the service is asked. A bar that moves less often seems to hang; more often tells nobody more.
ASK_EVERY_S = 0.5
# A service that restarts goes on with the work, or undoes it; one that is away longer is told as such.
AWAY_S = 60.0
# Lines for logs: one for so many percent.
_LINE_PERCENT = 10

# None when the work has ended well, the error that it ended with if not: what is raised instead says why that is not known.
Look = Callable[[], Work | VolumeError | None]


class Screen(Protocol):
    """Where progress is shown."""

    def show(self, name: str, work: Work) -> None: ...


def wait(look: Look, name: str, clock: Clock, screen: Screen, deadline: Deadline) -> None:
    """Return as soon as there is no work to look at any more; raise StillWorking at the deadline.

    Also raises what the work ended with, and what ``look`` does; that it is Unavailable only if the service is away for a
    minute, or was so from the first.
    """
    last: Work | None = None
    away = Deadline.after(clock, AWAY_S)
    while True:
        try:
            work = look()
            away = Deadline.after(clock, AWAY_S)
        except Unavailable:
            if last is None or away.passed or deadline.passed:
                raise
            work = last
        if isinstance(work, VolumeError):
            raise work
        if work is None:
            return
        last = work
        screen.show(name, work)
        if deadline.passed:
            raise still_working(name, work)
        clock.sleep(min(ASK_EVERY_S, deadline.left_s))


def look_at_volume(client: Client, path: str, query: Mapping[str, str | None], name: str, seen: list[str]) -> Look:
    """Return what tells the work on a volume, and puts its states into ``seen``.

    VolumeNotFound if it goes away, with a word if it was there before.
    """

    def look() -> Work | None:
        try:
            row = client.get(path, query)["row"]
        except VolumeNotFound as error:
            raise (_gone(name) if seen else error) from error
        seen.append(row["state"])
        return work_of(row)

    return look


def work_of(row: Mapping[str, Any]) -> Work | None:
    """Return what is being done to a volume; one that is preparing is being made, also when nobody says how far it is."""
    if row["doing"] is None:
        return Work(Doing.CREATE, 0, row["created_at"]) if row["state"] == State.PREPARING else None
    return Work(Doing(row["doing"]), row["percent"] or 0, 0.0, row.get("left_s"))


def check_ready(name: str, state: str) -> None:
    """Raise what stands against using a volume of this state, unless it is ready."""
    if state == State.READY:
        return
    stands = f"volume {quoted(name, 110)} is {one_line(state)}"
    if state in (State.TRASHED, State.REMOVING):
        raise VolumeNotFound(stands, remedy="see `vmdkvol volume ls --trash`", name=name)
    if state == State.LOST:
        raise VolumeLost(f"{stands}: its disk was not found", remedy="see `vmdkvol orphans ls`", name=name)
    if state == State.DAMAGED:
        raise CheckFailed(f"{stands}: the check of its file system failed", name=name)
    raise Conflict(stands, remedy="wait until it is ready: `vmdkvol volume inspect` says what is done with it", name=name)


def look_at_task(client: Client, task: str, ended: Callable[[], object] = lambda: None) -> Look:
    """Return what tells how far a task is. If it was undone that tells why, Conflict if it is not known any more.

    ``ended`` is called when it has come to an end, good or bad.
    """

    def look() -> Work | VolumeError | None:
        info = client.get(path_of("tasks", task))
        if info["state"] in ("done", "undone"):
            ended()
        if info["state"] == "undone":
            failure = info.get("failure")
            if failure is not None:
                return from_code(failure["code"], failure["text"], {}, failure["remedy"])
            what = f"{info['doing']} of volume {quoted(info['volume_name'] or info['volume'], 100)}"
            return Conflict(
                f"{what} was undone: nothing is left of it", remedy="see `vmdkvol audit ls` and the service's log for why"
            )
        return (
            None if info["state"] == "done" else Work(Doing(info["doing"]), info["percent"] or 0, info["since"], info["left_s"])
        )

    return look


@contextmanager
def unanswered(name: str) -> Iterator[None]:
    """Ctrl-C inside leaves an order without its answer; then say where it is seen what became of it."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"\nwhat was asked for {one_line(name)} may go on: vmdkvol task ls --all", err=True)
        raise


@contextmanager
def going_on(tasks: Mapping[str, str], found: str = "task wait") -> Iterator[None]:
    """Ctrl-C inside ends the waiting only; then say where the work is found that stands in ``tasks`` at that moment."""
    try:
        yield
    except KeyboardInterrupt:
        for name, task in tasks.items():
            click.echo(f"\nthe work on {one_line(name)} goes on: vmdkvol {found} {one_line(task)}", err=True)
        raise


def _gone(name: str) -> VolumeNotFound:
    return VolumeNotFound(
        f"volume {quoted(name, 110)} is gone: it could not be made, or it was removed",
        remedy="run the create command again to see why",
        name=name,
    )


class Lines:
    """A line at the beginning, and for each further tenth of the work."""

    def __init__(self) -> None:
        self._told: tuple[str, Doing, int] | None = None

    def show(self, name: str, work: Work) -> None:
        now = (name, work.doing, work.percent // _LINE_PERCENT)
        if now != self._told:
            self._told = now
            click.echo(f"volume {one_line(name)}: {words(work)}", err=True)


class _Bar:
    """A bar for each volume, redrawn in its place."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def show(self, name: str, work: Work) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task("", total=100, name=one_line(name))
        self._progress.update(self._tasks[name], completed=work.percent, description=words(work))


@contextmanager
def screen(errors: TextIO | None = None) -> Iterator[Screen]:
    """Yield a bar if ``errors``, stderr, is a terminal; else lines."""
    errors = errors or sys.stderr
    if not errors.isatty():
        yield Lines()
        return
    # As for tables: loaded when it is needed.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    # No markup: a volume may be called [red].
    name = TextColumn("volume {task.fields[name]}", markup=False)
    columns = name, BarColumn(), TextColumn("{task.description}", markup=False)
    with Progress(*columns, console=Console(file=errors), transient=True) as progress:
        yield _Bar(progress)
