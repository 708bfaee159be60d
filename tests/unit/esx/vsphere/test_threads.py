"""What nobody foresaw, in an answer or in our own code, ends no thread that others rely on, and blocks nobody for good."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from tests.doubles.hurried_clock import HurriedClock
from tests.unit.esx.site import Kept
from vmdkvol.clock import Deadline
from vmdkvol.messages import untold
from vmdkvol.names import DatastoreName
from vmdkvol_esx.ports import TaskId
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.ends import Seen
from vmdkvol_esx.vsphere.places import Places
from vmdkvol_esx.vsphere.session import Session
from vmdkvol_esx.vsphere.sites import Node
from vmdkvol_esx.vsphere.tasks import Waiter
from vmdkvol_esx.vsphere.watch import Watch

CLOCK = HurriedClock(50.0)
PATIENCE_S = 30.0


class Breaks:
    """Answers reads; whatever begins as ``what`` breaks the first time."""

    def __init__(self, what: str, answers: Callable[[str], Any]) -> None:
        self._what = what
        self._answers = answers
        self.asked: list[str] = []

    def read(self, what: str, *_: Any, **__: Any) -> Any:
        self.asked.append(what)
        if what.startswith(self._what) and self.times(self._what) == 1:
            raise ZeroDivisionError("seven")
        return self._answers(what)

    def times(self, what: str) -> int:
        return sum(each.startswith(what) for each in self.asked)

    def session(self) -> Session[Service]:
        return cast(Session[Service], self)


def soon() -> Deadline:
    return Deadline.after(CLOCK, 1000.0)


def test_the_watch_goes_on() -> None:
    heard = threading.Event()
    log = Kept()
    watch = Watch(Breaks("watching", lambda _: True).session(), CLOCK, log, heard.set)
    watch.start()

    assert heard.wait(PATIENCE_S)
    assert watch.stop(soon())
    assert log.events("error") == ["machines not watched"]


def test_the_waiter_goes_on() -> None:
    server: Breaks

    def answer(what: str) -> Any:
        if what.startswith("watching tasks"):
            CLOCK.sleep(0.1)
            return None
        return Seen("success" if server.times("watching tasks") > 1 else "running", "made", None)

    server = Breaks("watching tasks", answer)
    waiter = Waiter(server.session(), CLOCK, Kept(), look_s=1.0)

    assert waiter.wait(TaskId("task-1"), "making a disk", soon(), untold) == "made"
    waiter.close(soon())


def test_datastores_whose_description_breaks_us_are_read_again_by_the_next_caller() -> None:
    name = DatastoreName("ds1")
    broken = {"datastore-1": Node("Datastore", {"name": name, "parent": 7})}
    places = Places(Breaks("nothing", lambda _: broken).session(), [name], {}, CLOCK)

    for _ in range(2):
        with pytest.raises(AttributeError):
            places.place(name, soon())
