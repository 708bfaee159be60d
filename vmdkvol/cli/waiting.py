"""`vmdkvol volume wait`: how far long work is, until it has ended. A bar on a terminal, lines elsewhere; on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

import click

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import Unavailable, VolumeNotFound, quoted
from vmdkvol.messages import A, GetVolume, Request
from vmdkvol.names import VolumeRef
from vmdkvol.progress import still_working, words
from vmdkvol.volume import Doing, State, VolumeInfo, Work

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

# How often the service is asked. A bar that moves less often seems to hang; more often tells nobody more.
ASK_EVERY_S = 0.5
# A service that restarts goes on with the work, or undoes it; one that is away longer is told as such.
AWAY_S = 60.0
# Lines for logs: one for so many percent.
_LINE_PERCENT = 10


class Asking(Protocol):
    def ask(self, request: Request[A], answer_s: float = ...) -> A: ...


class Screen(Protocol):
    """Where progress is shown."""

    def show(self, name: str, work: Work) -> None: ...


def wait(connection: Asking, ref: VolumeRef, clock: Clock, screen: Screen, deadline: Deadline) -> VolumeInfo:
    """Return the volume as soon as nothing is done to it any more.

    Raises StillWorking at the deadline, VolumeNotFound if there is none or its creation failed, and Unavailable if the
    service is away for a minute.
    """
    seen: VolumeInfo | None = None
    away = Deadline.after(clock, AWAY_S)
    while True:
        try:
            seen = connection.ask(GetVolume(ref))
            away = Deadline.after(clock, AWAY_S)
        except Unavailable:
            if seen is None or away.passed or deadline.passed:
                raise
        except VolumeNotFound as error:
            raise error if seen is None else _gone(ref) from error
        work = work_of(seen)
        if work is None:
            return seen
        screen.show(ref.text, work)
        if deadline.passed:
            raise still_working(ref.text, work)
        clock.sleep(min(ASK_EVERY_S, deadline.left_s))


def _gone(ref: VolumeRef) -> VolumeNotFound:
    return VolumeNotFound(
        f"volume {quoted(ref.text, 110)} is gone: it could not be made, or it was removed",
        remedy="run the create command again to see why",
        name=ref.text,
    )


def work_of(info: VolumeInfo) -> Work | None:
    """Return what is being done to the volume; one that is preparing is being made, also when nobody says how far it is."""
    if info.work is None and info.state is State.PREPARING:
        return Work(Doing.CREATE, 0, info.created_at)
    return info.work


class Lines:
    """A line at the beginning, and for each further tenth of the work."""

    def __init__(self) -> None:
        self._told: tuple[str, Doing, int] | None = None

    def show(self, name: str, work: Work) -> None:
        now = (name, work.doing, work.percent // _LINE_PERCENT)
        if now != self._told:
            self._told = now
            click.echo(f"volume {name}: {words(work)}", err=True)


class _Bar:
    """A bar for each volume, redrawn in its place."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def show(self, name: str, work: Work) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task("", total=100, name=name)
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
