"""What the agent asks the service for one request of Docker's begins as that request's id, each call with an id of its own."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from vmdkvol import logs
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.lanes import Lanes
from vmdkvol.messages import Attachments, Call, ListAttached, Request
from vmdkvol.request_ids import mark
from vmdkvol_guest.parts import Parts

CLOCK = SystemClock()


class Asked:
    """A service that keeps the ids of what it is asked."""

    def __init__(self) -> None:
        self.calls: list[UUID] = []

    def ask(self, request: Request[Any], call: Call) -> Any:
        self.calls.append(call.id)
        return Attachments(())


def parts(service: Asked) -> Parts:
    nothing: Any = None
    return Parts(
        service=service,  # type: ignore[arg-type]
        devices=nothing,
        filesystems=nothing,
        mounts=nothing,
        notebook=nothing,
        lanes=Lanes(CLOCK, "volume"),
        clock=CLOCK,
        arrivals=nothing,
        vm=nothing,
        vm_name=nothing,
        new_id=uuid4,
        log=nothing,
        request=lambda: logs.bound_id("request"),
    )


def test_each_call_for_a_request_has_its_mark_and_an_id_of_its_own() -> None:
    service, request = Asked(), uuid4()
    made = parts(service)
    with logs.bound(request=str(request)):
        for _ in range(3):
            made.ask(ListAttached(), 5.0)
    assert {mark(call) for call in service.calls} == {mark(request)}
    assert len({*service.calls, request}) == 4


def test_a_call_from_a_volume_s_lane_has_the_mark_of_the_request_that_waits_for_it() -> None:
    service, request = Asked(), uuid4()
    made = parts(service)
    with logs.bound(request=str(request)):
        made.lanes.run("db", "mount", lambda: made.ask(ListAttached(), 5.0), Deadline.after(CLOCK, 10.0), "mounting")
    assert [mark(call) for call in service.calls] == [mark(request)]


def test_what_nobody_asked_for_has_a_mark_of_its_own() -> None:
    service = Asked()
    made = parts(service)
    made.ask(ListAttached(), 5.0)
    made.ask(ListAttached(), 5.0)
    assert len({mark(call) for call in service.calls}) == 2
