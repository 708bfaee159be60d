"""However many orders are under way, who only looks is answered."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID

import pytest

from vmdkvol.admin_messages import ListVms, RevokeVm
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.errors import Busy, Conflict
from vmdkvol.messages import Call
from vmdkvol_esx.web.places import Places

CLOCK = SystemClock()
LOOK, ORDER = ListVms(), RevokeVm("docker1")


def call() -> Call:
    return Call(UUID(int=1), Deadline.after(CLOCK, 10.0))


class Core:
    """Orders wait until ``go``; how many have come is in ``came``."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.came = threading.Semaphore(0)

    def ask(self, request: Any, _: Call) -> str:
        if request.changes:
            self.came.release()
            assert self.go.wait(60.0)
        return type(request).__name__


@pytest.mark.parametrize(("threads", "orders"), [(4, 3), (32, 24), (1, 1)])
def test_what_looks_is_answered_while_every_place_for_orders_is_taken(threads: int, orders: int) -> None:
    core = Core()
    places = Places(core.ask, CLOCK, threads)
    waiting = [threading.Thread(target=places.ask, args=(ORDER, call())) for _ in range(orders)]
    for each in waiting:
        each.start()
    for _ in waiting:
        assert core.came.acquire(timeout=10.0)
    try:
        assert places.ask(LOOK, call()) == "ListVms"
        with pytest.raises(Busy, match="as may be at a time"):
            places.ask(ORDER, call())
    finally:
        core.go.set()
        for each in waiting:
            each.join(60.0)
    assert places.ask(ORDER, call()) == "RevokeVm"


def test_the_place_of_a_refused_order_is_free_again() -> None:
    def refuse(*_: Any) -> None:
        raise Conflict("it is wet")

    places = Places(refuse, CLOCK, 1)
    for _ in range(3):
        with pytest.raises(Conflict):
            places.ask(ORDER, call())
