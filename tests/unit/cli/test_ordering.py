"""What an order's command tells of long work: how it ended, and, broken off, which of it goes on and where that is found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.doubles.small_api import Says
from tests.unit.cli.asked import Terminal, outcome
from tests.unit.cli.asked import terminal as terminal
from vmdkvol.cli.ordering import Change, How, carry_out

ENDS: Mapping[str, Any] = {"doing": "policy", "percent": 5, "since": 1.0, "left_s": None, "volume_name": "x", "volume": "v"}
UNDER_WAY = Says(outcome("apply-policy", done=False, task="7", subject="v"))


def task(state: str) -> dict[str, Any]:
    return {**ENDS, "id": "7", "state": state}


class Api:
    """Its orders begin long work with the task ``NAME-task``; ctrl-C comes with the order for, or the look at, ``broken``."""

    def __init__(self, broken: str) -> None:
        self._broken = broken

    def order(self, method: str, path: str, *more: object, **how: object) -> dict[str, Any]:
        name = path.split("/")[3]
        if name == self._broken:
            raise KeyboardInterrupt
        return outcome("apply-policy", done=False, task=f"{name}-task")

    def get(self, path: str, query: object = None) -> dict[str, Any]:
        if path.endswith(self._broken):
            raise KeyboardInterrupt
        return task("done")


def apply_until(broken: str, how: How) -> None:
    changes = {name: Change("POST", f"/v1/volumes/{name}/policy", {}) for name in "ab"}
    with pytest.raises(KeyboardInterrupt):
        carry_out(Api(broken), changes, how, lambda name: f"{name} is done")  # type: ignore[arg-type]


@pytest.mark.parametrize("how", [How(), How(wait=False), How(output="json", wait=False)], ids=["waits", "does-not", "json"])
def test_who_breaks_off_the_second_order_hears_of_the_first(how: How, capsys: pytest.CaptureFixture[str]) -> None:
    apply_until("b", how)
    assert "the work on a goes on: vmdkvol task wait a-task" in capsys.readouterr().err


def test_the_task_of_work_that_nobody_waits_for_is_told_before_the_next_order(capsys: pytest.CaptureFixture[str]) -> None:
    apply_until("b", How(wait=False))
    assert capsys.readouterr().out == "a-task\n"


def test_who_breaks_off_the_waiting_hears_only_of_what_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    apply_until("b-task", How())
    assert capsys.readouterr().err.split("\n") == ["a is done", "", "the work on b goes on: vmdkvol task wait b-task", ""]


def answered(terminal: Terminal, *answers: Says) -> Any:
    said = terminal.answers(*answers).run("policy", "apply", "gold", "a", "b", "-o", "json")
    return json.loads(said.out)


def test_what_was_waited_for_is_done_for_programs_too_with_its_revision(terminal: Terminal) -> None:
    row = Says({"row": {"revision": 9}})
    told = answered(terminal, UNDER_WAY, UNDER_WAY, Says(task("done")), row, Says(task("done")), row)
    assert [(each["done"], each["revision"]) for each in told] == [(True, 9), (True, 9)]


def test_of_one_that_is_gone_by_then_no_revision_is_told(terminal: Terminal) -> None:
    gone = Says({"code": "volume-not-found", "detail": "gone", "status": 404}, 404, "application/problem+json")
    told = answered(terminal, UNDER_WAY, UNDER_WAY, Says(task("done")), gone, Says(task("done")), gone)
    assert [(each["done"], each["revision"]) for each in told] == [(True, None), (True, None)]


def test_what_was_undone_is_not_told_as_if_it_went_on(terminal: Terminal) -> None:
    row = Says({"row": {"revision": 9}})
    told = answered(terminal, UNDER_WAY, UNDER_WAY, Says(task("undone")), Says(task("done")), row)
    assert [each["done"] for each in told] == [True]


def test_who_does_not_wait_hears_that_it_is_not_done(terminal: Terminal) -> None:
    said = terminal.answers(UNDER_WAY).run("policy", "apply", "gold", "a", "--no-wait", "-o", "json")
    assert [(each["done"], each["task"]) for each in json.loads(said.out)] == [(False, "7")]
