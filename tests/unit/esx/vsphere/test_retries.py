"""Which refusals are tried again: a total table over what a server can mean."""

from __future__ import annotations

import pytest

from tests.doubles.hand_clock import HandClock
from vmdkvol.clock import Deadline
from vmdkvol.errors import Busy, HypervisorUnreachable, OutcomeUnknown, StillWorking, UnknownTask, VolumeError
from vmdkvol_esx.vsphere.faults import Kind, Meaning, Trouble, Where, error_of
from vmdkvol_esx.vsphere.retries import AGAIN_S, MAX_REPLANS, Tries, anothers, has_ended

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
def test_what_went_with_others_is_tried_alone_unless_it_is_the_machines_trouble(meaning: Meaning) -> None:
    found, _ = tries()
    whole = meaning in PASSES | {Meaning.MOVED, Meaning.GONE}

    assert found.again(fault(meaning, Where.TASK), shared=True)

    assert found.alone is not whole
    assert anothers(fault(meaning, Where.TASK), shared=True) is not whole
    assert not anothers(fault(meaning, Where.TASK), shared=False)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("meaning", list(Meaning))
def test_a_task_has_ended_unless_its_end_is_in_doubt(meaning: Meaning, shared: bool) -> None:
    error = fault(meaning, Where.TASK)
    unsure = isinstance(error, OutcomeUnknown | HypervisorUnreachable)

    assert has_ended(error, shared=shared) is (not unsure or (shared and meaning is Meaning.OTHER))


@pytest.mark.parametrize("error", [OutcomeUnknown("x"), UnknownTask("x"), StillWorking("x"), HypervisorUnreachable("x")])
@pytest.mark.parametrize("shared", [True, False])
def test_a_task_of_which_nothing_is_known_has_not_ended(error: VolumeError, shared: bool) -> None:
    assert not has_ended(error, shared=shared)


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
