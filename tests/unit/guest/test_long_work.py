"""What the agent tells of long work: with how far it is, in time, and never with what was true before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.doubles.simulated_clock import SimulatedClock
from tests.doubles.small_service import SmallService
from tests.unit.guest.host import Host
from vmdkvol.errors import NameConflict, ServiceUnreachable, StillWorking, TruthUnknown
from vmdkvol.messages import Attach, CreateVolume
from vmdkvol.volume import Doing, State, Work

WORK = Work(Doing.CREATE, 43, 1_764_000_000.0, 240)
LINE = (
    "volume db: still being created, 43 % done, about 4 minutes left; "
    "it goes on; repeat the command or mount it when ready [still-working]"
)


@pytest.fixture
def clock() -> Iterator[SimulatedClock]:
    with SimulatedClock(3) as clock:
        yield clock


@pytest.fixture
def host(clock: SimulatedClock) -> Host:
    host = Host(clock, SmallService(clock), loop=False)
    host.create("db", size="1gb")
    return host


def preparing(host: Host) -> None:
    """The service says from now on that the volume is being made, and this host has not heard of it yet."""
    kept = host.kept()
    host.notebook.forget(kept.info.id)
    kept.info = replace(kept.info, state=State.PREPARING, work=WORK)


def test_get_shows_how_far_it_is(host: Host) -> None:
    preparing(host)
    status = host.driver.get("db").status
    assert status is not None
    assert status["state"] == "preparing"
    assert status["progress"] == {
        "doing": "create",
        "percent": 43,
        "since": "2025-11-24T16:00:00Z",
        "seconds-left": 240,
        "text": "being created, 43 % done, about 4 minutes left",
    }


def test_a_volume_that_rests_has_no_progress(host: Host) -> None:
    status = host.driver.get("db").status
    assert status is not None
    assert status["progress"] is None


def test_list_hides_it(host: Host) -> None:
    preparing(host)
    host.driver.get("db")
    assert host.driver.list() == []


def test_with_the_service_away_nothing_is_said_of_it(host: Host) -> None:
    """Its making may have failed since."""
    preparing(host)
    host.driver.get("db")
    host.line.down = ServiceUnreachable("away")
    with pytest.raises(TruthUnknown):
        host.driver.get("db")


def test_time_that_passed_in_a_lane_of_this_host_is_told_with_how_far_it_is(host: Host) -> None:
    """The service has no part in that wait, so it is asked."""
    host.line.meanwhile[CreateVolume] = [lambda: host.clock.sleep(300.0)]
    first = host.beside(lambda: host.driver.create("db", {"size": "1gb"}, host.within(1000.0)))
    host.clock.sleep(1.0)
    preparing(host)
    with pytest.raises(StillWorking) as caught:
        host.create("db", size="1gb")
    assert str(caught.value) == LINE
    assert host.clock.monotonic() <= 1.0 + 110.0
    host.settle(300.0)
    assert first == [None]


@pytest.mark.parametrize("what", ["create", "mount"])
def test_what_the_service_says_of_it_is_not_asked_for_again(host: Host, what: str) -> None:
    said = StillWorking("volume db: still being created, 7 % done", remedy="wait", percent=7)
    host.line.before[CreateVolume if what == "create" else Attach] = [said]
    preparing(host)
    with pytest.raises(StillWorking, match="7 % done"):
        host.create("db", size="1gb") if what == "create" else host.mount()


def test_without_a_word_of_the_service_the_plain_line_stands(host: Host) -> None:
    host.line.before[CreateVolume] = [StillWorking("the service takes longer than the time limit")]
    with pytest.raises(StillWorking, match="takes longer than the time limit"):
        host.create("db", size="1gb")


def test_creates_of_one_name_with_other_options_do_not_wait_for_each_other_here(host: Host) -> None:
    """The service refuses one of them at once; in line behind the other it would hear that after minutes."""
    host.line.meanwhile[CreateVolume] = [lambda: host.clock.sleep(300.0)]
    host.beside(lambda: host.driver.create("big", {"size": "2gb"}, host.within()))
    host.clock.sleep(1.0)
    began = host.clock.monotonic()
    with pytest.raises(NameConflict, match="exists"):
        host.create("big", size="1gb")
    assert host.clock.monotonic() - began < 1.0
