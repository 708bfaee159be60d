"""Which refusals are tried again: a total table over what a server can mean."""

from __future__ import annotations

import pytest

from tests.doubles.hand_clock import HandClock
from vmdkvol.clock import Deadline
from vmdkvol.errors import Busy, HypervisorUnreachable, OutcomeUnknown, StillWorking, UnknownTask, VolumeError
from vmdkvol_esx.vsphere.faults import Kind, Meaning, Trouble, Where, error_of
from vmdkvol_esx.vsphere.retries import AGAIN_S, MAX_REPLANS, Tries

PASSES = {Meaning.BUSY, Meaning.STATE}
REPLAN = {Meaning.MOVED, Meaning.BAD_SPEC, Meaning.GONE}


def tries(seconds: float = 1000.0) -> tuple[Tries, HandClock]:
    clock = HandClock()
    return Tries(clock, Deadline.after(clock, seconds)), clock


def fault(meaning: Meaning, where: Where = Where.CALL) -> VolumeError:
    return error_of(Kind.CHANGE, Trouble(meaning, "", where), "attaching")


def counted(found: Tries, error: VolumeError) -> int:
    """How often it is tried again after this error, each time."""
    count = 0
    while found.again(error, shared=False):
        count += 1
        assert count < 1000
    return count


@pytest.mark.parametrize("meaning", list(Meaning))
def test_by_meaning(meaning: Meaning) -> None:
    found, clock = tries()
    error = fault(meaning)
    count = counted(found, error)

    if isinstance(error, OutcomeUnknown | HypervisorUnreachable):
        assert count == 0
    elif meaning in PASSES:
        # 50 ms doubling to 2 s, for a minute.
        assert 30 <= count <= 40
        assert clock.monotonic() == AGAIN_S
    else:
        assert count == (MAX_REPLANS if meaning in REPLAN else 0)


@pytest.mark.parametrize("meaning", list(Meaning))
def test_what_went_with_others_is_tried_alone_unless_it_is_in_doubt(meaning: Meaning) -> None:
    found, clock = tries()
    error = fault(meaning, Where.TASK)

    assert found.again(error, shared=True) is not isinstance(error, OutcomeUnknown | HypervisorUnreachable)
    assert clock.monotonic() == 0.0


@pytest.mark.parametrize("error", [OutcomeUnknown("x"), UnknownTask("x"), StillWorking("x"), HypervisorUnreachable("x")])
@pytest.mark.parametrize("shared", [True, False])
def test_what_may_have_been_done_is_never_tried_again(error: VolumeError, shared: bool) -> None:
    assert not tries()[0].again(error, shared=shared)


def test_what_says_no_meaning_is_not_tried_again() -> None:
    assert not tries()[0].again(Busy("waited too long"), shared=False)


@pytest.mark.parametrize("shared", [True, False])
def test_nothing_is_tried_after_the_deadline(shared: bool) -> None:
    found, clock = tries(1.0)
    clock.pass_time(1.0)

    assert not found.again(fault(Meaning.BUSY), shared=shared)


def test_a_pause_ends_at_the_deadline() -> None:
    found, clock = tries(0.06)

    assert found.again(fault(Meaning.BUSY), shared=False)
    assert not found.again(fault(Meaning.BUSY), shared=False)
    assert clock.monotonic() == pytest.approx(0.06)


def test_a_busy_machine_does_not_use_up_the_tries_of_one_that_changes() -> None:
    found, _ = tries()
    for _ in range(10):
        assert found.again(fault(Meaning.BUSY), shared=False)

    assert counted(found, fault(Meaning.MOVED)) == MAX_REPLANS
