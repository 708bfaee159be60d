"""One command for several names: each is tried, whatever becomes of the others, and the exit code tells all, some or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import click

from vmdkvol.command import PARTIAL
from vmdkvol.errors import VolumeError

T = TypeVar("T")


def for_each(names: Sequence[str], work: Callable[[str], T]) -> tuple[list[T], int]:
    """Return what ``work`` gave for each name, and the exit code; an error is told on stderr, and the next name tried.

    0: all of them. 3: some. None: the error's own code, 1 if the errors have different ones. One name alone raises its error.
    """
    names = list(dict.fromkeys(names))
    if len(names) == 1:
        return [work(names[0])], 0
    done: list[T] = []
    codes: list[int] = []
    for name in names:
        try:
            done.append(work(name))
        except VolumeError as error:
            click.echo(f"vmdkvol: {error}", err=True)
            codes.append(error.exit_code)
    if done and codes:
        click.echo(f"vmdkvol: {len(done)} of {len(names)} were done [partial]", err=True)
        return done, PARTIAL
    return done, codes[0] if len(set(codes)) == 1 else int(bool(codes))
