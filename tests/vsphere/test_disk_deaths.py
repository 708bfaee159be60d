"""The service dies after each single call of the API that a create, a clone or a removal makes; the next one settles it.

Nothing of ours may be left that no record knows, and no record without its disk, whatever the dead process had noted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.unit.esx.site import Killed
from tests.vsphere.deaths import Site, named
from tests.vsphere.outside import outside
from tests.vsphere.simulators import Simulator
from tests.vsphere.stage import Stage
from vmdkvol.messages import RemoveVolume, Request

pytestmark = [pytest.mark.integration, pytest.mark.vcsim_injected]


def _create(site: Site) -> Request[Any]:
    return named("db", size="8mb", fstype="ext4")


def _clone(site: Site) -> Request[Any]:
    site.ask(named("src", size="8mb"))
    return named("db", clone_from="src")


def _remove(site: Site) -> Request[Any]:
    return RemoveVolume(site.ask(named("db", size="8mb")).id)


WORK: dict[str, Callable[[Site], Request[Any]]] = {"create": _create, "clone": _clone, "remove": _remove}
TASKS = {"create": "CreateVirtualDisk_Task", "clone": "CopyVirtualDisk_Task", "remove": "DeleteVirtualDisk_Task"}
STARTS = {"create": "creating ", "clone": "copying to ", "remove": "deleting "}


# Only a clone is asked for otherwise on one of them: these suffice.
MODELS = [("create", "vcenter"), ("create", "esxi"), ("clone", "vcenter"), ("remove", "esxi")]


@pytest.fixture
def begin(own: Callable[..., Simulator], stage: Stage) -> Iterator[Callable[[str], Site]]:
    with ExitStack() as stack:

        def start(model: str) -> Site:
            simulator = own(model, "-strict")
            return Site(simulator, stack.enter_context(outside(simulator)), stage)

        yield start


def clean(site: Site) -> None:
    """Let nothing be left of an earlier death: the next one begins with nothing."""
    site.restart()
    for record in site.records():
        site.ask(RemoveVolume(record.id))
    site.check_settled()
    assert site.records() == []


@pytest.mark.parametrize(("work", "model"), MODELS)
def test_after_a_death_behind_any_call_nothing_is_lost_and_nothing_is_left(
    begin: Callable[[str], Site], work: str, model: str
) -> None:
    site = begin(model)
    nth = 0
    while True:
        request = WORK[work](site)
        site.restart(nth)
        try:
            site.ask(request)
        except Killed:
            pass
        else:
            break
        died_behind = site.session.calls[nth]

        site.restart()
        site.settle()

        try:
            site.check_settled()
        except AssertionError as error:
            raise AssertionError(f"after a death behind call {nth}, {died_behind!r}: {error}") from error
        clean(site)
        nth += 1

    assert nth > 8


@pytest.mark.parametrize(("work", "model"), MODELS)
def test_a_task_that_runs_on_after_its_starter_died_is_brought_to_its_end(
    begin: Callable[[str], Site], work: str, model: str
) -> None:
    """Nobody has its id: the process died before it was noted."""
    site = begin(model)
    request = WORK[work](site)
    site.restart(10_000)
    nth = calls_until(site, request, STARTS[work])
    clean(site)
    request = WORK[work](site)
    site.simulator.next(TASKS[work], "slow", ms=1500)
    site.restart(nth)
    with pytest.raises(Killed):
        site.ask(request)

    site.restart()
    site.settle()

    site.check_settled()


@pytest.mark.parametrize("work", WORK)
def test_a_second_death_while_it_is_settled_changes_nothing(begin: Callable[[str], Site], work: str) -> None:
    site = begin("vcenter")
    request = WORK[work](site)
    site.restart(10_000)
    nth = calls_until(site, request, STARTS[work])
    clean(site)
    request = WORK[work](site)
    site.restart(nth)
    with pytest.raises(Killed):
        site.ask(request)
    for again in range(0, 24, 2):
        site.restart(again)
        try:
            site.settle()
        except Killed:
            continue
        break

    site.restart()
    site.settle()

    site.check_settled()


def calls_until(site: Site, request: Request[Any], start: str) -> int:
    """Return which call starts the task of ``request``, carried out undisturbed."""
    site.ask(request)
    return next(number for number, what in enumerate(site.session.calls) if what.startswith(start))
