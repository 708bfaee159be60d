"""The gate, the arrivals and the agenda: small counters on which others rely."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest

from tests.doubles.simulated_clock import SimulatedClock
from vmdkvol.clock import Deadline
from vmdkvol.errors import Busy
from vmdkvol.volume import VolumeId
from vmdkvol_guest.agenda import Agenda
from vmdkvol_guest.arrivals import Arrivals
from vmdkvol_guest.gate import SLOTS, WAITING, Gate

V, W = VolumeId(UUID(int=1)), VolumeId(UUID(int=2))


@pytest.fixture
def clock() -> Iterator[SimulatedClock]:
    with SimulatedClock(1) as simulated:
        yield simulated


class Crowd:
    """Calls that each stay ``seconds`` behind the gate."""

    def __init__(self, clock: SimulatedClock, gate: Gate) -> None:
        self.clock, self.gate = clock, gate
        self.inside = self.most = self.done = self.refused = 0

    def come(self, number: int, seconds: float, limit: float = 110.0) -> None:
        for _ in range(number):
            self.clock.start("call", lambda: self._call(seconds, limit))

    def _call(self, seconds: float, limit: float) -> None:
        try:
            with self.gate.passing(Deadline.after(self.clock, limit)):
                self.inside += 1
                self.most = max(self.most, self.inside)
                self.clock.sleep(seconds)
                self.inside -= 1
                self.done += 1
        except Busy:
            self.refused += 1


def test_the_225th_call_waits_and_is_served(clock: SimulatedClock) -> None:
    crowd = Crowd(clock, gate := Gate(clock))
    gate.open()
    crowd.come(SLOTS + 1, 10.0)

    clock.sleep(5.0)
    assert (crowd.inside, crowd.refused) == (224, 0)
    clock.sleep(20.0)

    assert (crowd.done, crowd.most) == (225, 224)


def test_calls_that_would_take_the_last_threads_are_refused_at_once(clock: SimulatedClock) -> None:
    crowd = Crowd(clock, gate := Gate(clock))
    gate.open()
    crowd.come(SLOTS + WAITING + 3, 10.0)

    clock.sleep(1.0)

    assert crowd.refused == 3


def test_a_call_that_waits_too_long_is_busy_and_gives_its_place_back(clock: SimulatedClock) -> None:
    crowd = Crowd(clock, gate := Gate(clock, slots=1, waiting=1))
    gate.open()
    crowd.come(1, 100.0)
    clock.sleep(1.0)
    crowd.come(1, 1.0, limit=5.0)
    clock.sleep(10.0)
    assert crowd.refused == 1

    crowd.come(1, 1.0)
    clock.sleep(200.0)

    assert crowd.done == 2


def test_before_it_is_opened_nobody_passes(clock: SimulatedClock) -> None:
    crowd = Crowd(clock, gate := Gate(clock))
    crowd.come(5, 1.0)
    clock.sleep(50.0)
    assert crowd.done == 0

    gate.open()
    clock.sleep(2.0)

    assert crowd.done == 5


def test_a_call_that_fails_gives_its_place_back(clock: SimulatedClock) -> None:
    gate = Gate(clock, slots=1, waiting=0)
    gate.open()

    for _ in range(3):
        with pytest.raises(ValueError, match="bug"), gate.passing(Deadline.after(clock, 1.0)):
            raise ValueError("bug")


# --- arrivals ----------------------------------------------------------------------------------------------------------


def test_an_id_whose_mount_is_under_way_is_dropped_by_nobody(clock: SimulatedClock) -> None:
    arrivals, dropped = Arrivals(clock), list[str]()

    with arrivals.arriving(V, "a"):
        assert arrivals.drop(V, {"a", "b"}, lambda _, mount_id: dropped.append(mount_id)) == {"b"}

    assert dropped == ["b"]
    assert arrivals.drop(V, {"a"}, lambda _, mount_id: dropped.append(mount_id)) == {"a"}


def test_the_same_id_twice_is_under_way_until_both_end(clock: SimulatedClock) -> None:
    arrivals = Arrivals(clock)
    with arrivals.arriving(V, "a"):
        with arrivals.arriving(V, "a"):
            pass
        assert arrivals.ids(V) == {"a"}

    assert arrivals.ids(V) == frozenset()


def test_one_volumes_arrival_does_not_hold_another(clock: SimulatedClock) -> None:
    arrivals, ran = Arrivals(clock), list[str]()
    with arrivals.arriving(V, "a"):
        arrivals.unless_arriving(W, lambda: ran.append("w"), lambda: ran.append("no"))
        arrivals.unless_arriving(V, lambda: ran.append("v"), lambda: ran.append("kept"))

    assert ran == ["w", "kept"]


def test_an_activate_forgets_who_was_mounted_before_but_not_who_is_coming(clock: SimulatedClock) -> None:
    arrivals = Arrivals(clock)
    with arrivals.arriving(V, "old"):
        pass
    assert arrivals.renewed(V) == {"old"}

    with arrivals.arriving(V, "coming"):
        arrivals.activated()

    assert arrivals.renewed(V) == {"coming"}


def test_an_unmounted_id_is_not_renewed(clock: SimulatedClock) -> None:
    arrivals = Arrivals(clock)
    with arrivals.arriving(V, "a"):
        pass
    arrivals.left(V, "a")

    assert arrivals.renewed(V) == frozenset()


# --- the agenda --------------------------------------------------------------------------------------------------------


def taken(agenda: Agenda) -> tuple[bool, tuple[VolumeId, ...]]:
    due = agenda.wait()
    assert due is not None
    return due.everything, due.volumes


@pytest.fixture
def agenda(clock: SimulatedClock) -> Agenda:
    agenda = Agenda(clock, 30.0, lambda: 1.0)
    assert taken(agenda) == (True, ())
    return agenda


def test_everything_is_due_after_the_period(agenda: Agenda, clock: SimulatedClock) -> None:
    assert taken(agenda) == (True, ())
    assert clock.monotonic() == 30.0


def test_a_volume_that_is_woken_is_due_alone(agenda: Agenda) -> None:
    agenda.wake(V)

    assert taken(agenda) == (False, (V,))


def test_an_alarm_rings_once_at_its_time(agenda: Agenda, clock: SimulatedClock) -> None:
    agenda.look_again(V, 7.0)

    assert taken(agenda) == (False, (V,))
    assert clock.monotonic() == 7.0
    assert taken(agenda) == (True, ())


def test_a_pause_gets_longer_until_a_step_succeeds(agenda: Agenda, clock: SimulatedClock) -> None:
    assert agenda.rest(V)
    assert agenda.resting(V)
    taken(agenda)
    assert (clock.monotonic(), agenda.resting(V)) == (1.0, False)
    assert not agenda.rest(V)
    taken(agenda)
    assert clock.monotonic() == 3.0

    agenda.end_pause(V)

    assert agenda.rest(V)


def test_a_want_ends_a_pause_and_lasts_until_the_volume_is_settled(agenda: Agenda) -> None:
    agenda.rest(V)
    agenda.want(V)
    assert taken(agenda) == (True, ())
    assert (agenda.resting(V), V in agenda.wanted()) == (False, True)

    agenda.settled(V)

    assert agenda.wanted() == frozenset()


def test_a_stopped_agenda_has_nothing_due(agenda: Agenda) -> None:
    agenda.wake(V)
    agenda.stop()

    assert agenda.wait() is None
