"""Undo: the steps of a failed block run last first, and the first error is the one that is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pytest

from vmdkvol.errors import NoSpace
from vmdkvol.undo import undo_on_error


def fail(text: str) -> None:
    raise ValueError(text)


def run(steps: Sequence[Callable[[], None]], error: BaseException | None, failed: list[Exception] | None = None) -> None:
    """Do a block of these undo steps that ends with ``error``."""
    with undo_on_error((failed if failed is not None else []).append) as undo:
        for step in steps:
            undo.append(step)
        if error is not None:
            raise error


def test_a_block_that_succeeds_undoes_nothing() -> None:
    undone: list[str] = []
    run([partial(undone.append, "step")], None)
    assert undone == []


def test_a_failed_block_is_undone_last_step_first() -> None:
    undone: list[str] = []
    with pytest.raises(NoSpace):
        run([partial(undone.append, "first"), partial(undone.append, "second")], NoSpace("full"))
    assert undone == ["second", "first"]


def test_a_block_that_failed_before_its_first_step_has_nothing_to_undo() -> None:
    with pytest.raises(NoSpace):
        run([], NoSpace("full"))


def test_the_first_error_is_the_one_that_is_told() -> None:
    with pytest.raises(NoSpace, match="full"):
        run([partial(fail, "undo")], NoSpace("full"))


def test_an_undo_that_fails_is_handed_over_and_the_others_still_run() -> None:
    undone: list[str] = []
    failed: list[Exception] = []
    steps = [partial(undone.append, "first"), partial(fail, "second"), partial(undone.append, "third")]
    with pytest.raises(NoSpace):
        run(steps, NoSpace("full"), failed)
    assert undone == ["third", "first"]
    assert [str(error) for error in failed] == ["second"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)])
def test_a_stop_of_the_process_is_undone_too(error: BaseException) -> None:
    undone: list[str] = []
    with pytest.raises(type(error)):
        run([partial(undone.append, "step")], error)
    assert undone == ["step"]
