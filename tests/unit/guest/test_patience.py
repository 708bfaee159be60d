"""A service that restarts is not seen, an absent one costs a moment once: what waits for the line, and what never does."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.doubles.simulated_clock import SimulatedClock
from tests.doubles.small_service import SmallService
from tests.unit.guest.host import Host
from vmdkvol.errors import NotFound, ServiceUnreachable, StillWorking, TruthUnknown
from vmdkvol.messages import CreateVolume, GetVolume, ListVolumes
from vmdkvol.names import VolumeRef
from vmdkvol.options import CreateOptions

AWAY = ServiceUnreachable("the service is away")


@pytest.fixture(params=range(2))
def clock(request: pytest.FixtureRequest) -> Iterator[SimulatedClock]:
    with SimulatedClock(request.param) as simulated:
        yield simulated


@pytest.fixture
def host(clock: SimulatedClock) -> Host:
    """A host that knows of one volume, "db", and not yet of another one's, "theirs"."""
    host = Host(clock, SmallService(clock), loop=False)
    host.create()
    host.driver.list()
    host.service.answer(CreateVolume(VolumeRef.parse("theirs"), CreateOptions()), host.vm, host.parts.new_id())
    return host


def lose(host: Host) -> None:
    """The line breaks."""
    host.up = False
    host.catalogue.lost()


def back(host: Host, after_s: float) -> None:
    """The line stands again ``after_s`` seconds from now, and its Hello is answered."""

    def greet() -> None:
        host.clock.sleep(after_s)
        host.up = True
        host.catalogue.greeted()

    host.beside(greet)


def took(host: Host, call: Callable[[], object]) -> tuple[object, float]:
    """Return what the call returned or raised, and how long it took."""
    began = host.clock.monotonic()
    try:
        outcome = call()
    except Exception as error:  # noqa: BLE001 - the test looks at it
        outcome = error
    return outcome, host.clock.monotonic() - began


@pytest.mark.parametrize("break_it", [lose, Host.restart], ids=["the service restarts", "the agent restarts"])
def test_a_name_that_is_not_known_here_waits_for_the_line(host: Host, break_it: Callable[[Host], None]) -> None:
    break_it(host)
    host.up = False
    back(host, 0.7)

    assert host.driver.get("theirs").name == "theirs"


def test_an_absent_name_is_absent_once_the_line_stands(host: Host) -> None:
    """Before a Create the engine asks for the name; not to be answered costs it 15 s (docker-facts 2.4)."""
    lose(host)
    back(host, 0.7)

    with pytest.raises(NotFound):
        host.driver.get("nobody's")


def test_a_get_that_was_cut_off_by_the_restart_is_asked_again(host: Host) -> None:
    def cut() -> None:
        host.up = False
        back(host, 0.7)
        raise AWAY

    host.line.meanwhile[GetVolume] = [cut]

    assert host.driver.get("theirs").name == "theirs"


def test_of_a_service_that_stays_away_it_cannot_be_said(host: Host) -> None:
    lose(host)

    outcome, seconds = took(host, lambda: host.driver.get("theirs"))

    assert isinstance(outcome, TruthUnknown)
    assert seconds == pytest.approx(host.limits.away_s)


def test_a_thousand_such_names_wait_no_longer_than_one(host: Host) -> None:
    lose(host)
    began = host.clock.monotonic()

    for number in range(1000):
        with pytest.raises(TruthUnknown):
            host.driver.get(f"v{number}")

    assert host.clock.monotonic() - began == pytest.approx(host.limits.away_s)


def test_a_name_that_is_known_here_waits_for_nothing(host: Host) -> None:
    lose(host)

    outcome, seconds = took(host, lambda: host.driver.get("db").name)

    assert (outcome, seconds) == ("db", 0.0)


def test_a_name_that_docker_made_up_waits_for_nothing(host: Host) -> None:
    lose(host)

    outcome, seconds = took(host, lambda: host.driver.get("a" * 64))

    assert isinstance(outcome, NotFound)
    assert seconds == 0.0


def test_the_first_list_of_all_waits_for_the_line(clock: SimulatedClock) -> None:
    host = Host(clock, SmallService(clock), loop=False)
    host.up = False
    back(host, 0.7)

    assert host.driver.list() == []


def test_a_list_that_can_be_answered_waits_for_nothing(host: Host) -> None:
    lose(host)

    outcome, seconds = took(host, lambda: [shown.name for shown in host.driver.list()])

    assert (outcome, seconds) == (["db"], 0.0)


def test_an_error_that_the_service_says_is_told_at_once(host: Host) -> None:
    host.line.before[GetVolume] = [TruthUnknown("the hypervisor does not answer")]

    outcome, seconds = took(host, lambda: host.driver.get("theirs"))

    assert isinstance(outcome, TruthUnknown)
    assert seconds == 0.0


def test_one_list_that_waited_in_vain_for_the_background_spares_the_next_ones_that(host: Host) -> None:
    """The background waits for a service that hangs as long as ten seconds."""
    host.line.meanwhile[ListVolumes] = [lambda: host.clock.sleep(8.0)]
    host.beside(host.catalogue.refresh)
    host.clock.sleep(0.1)

    _, first = took(host, host.driver.list)
    _, second = took(host, host.driver.list)

    assert first == pytest.approx(host.limits.list_s)
    assert second == 0.0


def test_a_list_that_the_service_is_slow_with_comes_from_the_catalogue(host: Host) -> None:
    host.line.before[ListVolumes] = [StillWorking("slow")]

    assert [shown.name for shown in host.driver.list()] == ["db"]
