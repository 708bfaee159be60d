"""Undo steps in reverse when a block fails; the first error is the one that the caller sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def undo_on_error(failed: Callable[[Exception], None]) -> Iterator[list[Callable[[], None]]]:
    """Yield a list; append an undo for each step done. On an error they run last first, then the error goes on.

    An undo that fails itself is handed to ``failed`` (it logs) and the others still run. When the process dies
    inside the block nothing runs: every step must also be settled by the next start.
    """
    steps: list[Callable[[], None]] = []
    try:
        yield steps
    except BaseException:
        for step in reversed(steps):
            try:
                step()
            except Exception as error:  # noqa: BLE001 - the first error is the one to report
                failed(error)
        raise
