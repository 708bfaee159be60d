"""One mark finds a request on its whole way, and no two pieces of work have one id."""

from __future__ import annotations

from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from vmdkvol import logs
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.lanes import Lanes
from vmdkvol.request_ids import MARK, derived, mark


@given(st.uuids(), st.uuids())
def test_an_id_for_a_part_begins_as_its_request_and_ends_as_the_fresh_one(request: UUID, fresh: UUID) -> None:
    made = derived(request, fresh)
    assert str(made)[:MARK] == str(request)[:MARK] == mark(request)
    assert str(made)[MARK:] == str(fresh)[MARK:]


def test_a_part_of_a_part_has_the_mark_of_the_whole() -> None:
    request = uuid4()
    assert mark(derived(derived(request, uuid4()), uuid4())) == mark(request)


def test_many_parts_of_one_request_are_all_different() -> None:
    request = uuid4()
    assert len({derived(request, uuid4()) for _ in range(1000)}) == 1000


def test_work_in_a_lane_knows_the_request_that_it_is_for() -> None:
    clock = SystemClock()
    lanes, request = Lanes(clock, "test"), uuid4()
    with logs.bound(request=str(request)):
        assert lanes.run("key", "equal", lambda: logs.bound_id("request"), Deadline.after(clock, 10.0), "asking") == request
    assert lanes.run("key", "other", lambda: logs.bound_id("request"), Deadline.after(clock, 10.0), "asking") is None


def test_what_is_bound_in_a_lane_does_not_leave_it() -> None:
    clock = SystemClock()
    lanes = Lanes(clock, "test")

    def work() -> None:
        logs.bound(request=str(uuid4())).__enter__()

    lanes.run("key", "equal", work, Deadline.after(clock, 10.0), "asking")
    assert lanes.run("key", "other", lambda: logs.bound_id("request"), Deadline.after(clock, 10.0), "asking") is None
    assert logs.bound_id("request") is None


def test_an_id_that_is_none_is_no_id() -> None:
    with logs.bound(call="None", request="x" * 1000):
        assert (logs.bound_id("call"), logs.bound_id("request"), logs.bound_id("nothing")) == (None, None, None)
