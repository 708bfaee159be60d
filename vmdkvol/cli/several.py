"""One command for several names: each is tried, whatever becomes of the others, and the exit code tells all, some or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import click

from vmdkvol.command import PARTIAL
from vmdkvol.errors import VolumeError

T = TypeVar("T")


class Several:
    """The names of one command, and which of them have failed so far. One name alone raises its error."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = list(dict.fromkeys(names))
        self._errors: dict[str, VolumeError] = {}

    def each(self, work: Callable[[str], T]) -> dict[str, T]:
        """Return what ``work`` gives for each name that has not failed; an error is told on stderr, and the next name tried."""
        found: dict[str, T] = {}
        for name in self.names:
            if name in self._errors:
                continue
            try:
                found[name] = work(name)
            except VolumeError as error:
                if len(self.names) == 1:
                    raise
                self._errors[name] = error
                click.echo(f"vmdkvol: {error}", err=True)
        return found

    def exit_code(self) -> int:
        """0: all of them. 3: some. None: the errors' own code, 1 if they have different ones."""
        codes = {error.exit_code for error in self._errors.values()}
        done = len(self.names) - len(self._errors)
        if done and codes:
            click.echo(f"vmdkvol: {done} of {len(self.names)} were done [partial]", err=True)
            return PARTIAL
        return codes.pop() if len(codes) == 1 else int(bool(codes))


def for_each(names: Sequence[str], work: Callable[[str], T]) -> tuple[list[T], int]:
    """Return what ``work`` gave, and the exit code of ``Several``."""
    several = Several(names)
    return list(several.each(work).values()), several.exit_code()
