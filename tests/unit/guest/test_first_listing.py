"""A listing under way goes on by itself, whatever interrupts it: the next look at everything may be ten minutes away."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest

from tests.doubles.simulated_clock import SimulatedClock
from tests.doubles.small_service import SmallService
from tests.unit.guest.host import Host
from vmdkvol.errors import StillWorking, TruthUnknown, VolumeError
from vmdkvol.messages import CreateVolume, ListVolumes
from vmdkvol.names import VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol_guest.parts import Limits

VOLUMES = 950


@pytest.fixture(params=range(3))
def clock(request: pytest.FixtureRequest) -> Iterator[SimulatedClock]:
    with SimulatedClock(request.param) as simulated:
        yield simulated


@pytest.fixture
def host(clock: SimulatedClock) -> Host:
    """A host whose line stands, which knows none of the service's volumes yet, and looks at everything every ten minutes."""
    host = Host(clock, SmallService(clock), limits=Limits(reconcile_s=600.0))
    for number in range(VOLUMES):
        request = CreateVolume(VolumeRef.parse(f"v{number}"), CreateOptions())
        host.service.answer(request, host.vm, UUID(int=number + 1))
    return host


def known(host: Host) -> int:
    return len(host.notebook.catalogue())


def test_a_list_that_gave_up_waiting_does_not_end_the_listing_in_the_background(host: Host) -> None:
    """The List believes that the service hangs; the page comes nevertheless."""
    host.line.meanwhile[ListVolumes] = [lambda: host.clock.sleep(5.0)]
    host.clock.sleep(0.1)
    with pytest.raises(VolumeError):
        host.driver.list()

    host.clock.sleep(10.0)

    assert known(host) == VOLUMES


@pytest.mark.parametrize("error", [StillWorking("slow"), TruthUnknown("the hypervisor does not answer")])
def test_an_answer_that_fails_is_asked_for_again_after_a_moment(host: Host, error: VolumeError) -> None:
    host.line.meanwhile[ListVolumes] = [lambda: None, lambda: host.clock.sleep(2.0)]
    host.line.before[ListVolumes] = [error, error]

    host.clock.sleep(10.0)

    assert known(host) == VOLUMES
    assert host.driver.list() != []


def test_a_page_that_came_makes_the_next_pause_short_again(host: Host) -> None:
    trouble = StillWorking("slow")

    def fail_next(times: int) -> None:
        host.line.before[ListVolumes] = [trouble] * times

    # Pauses of 1, 2, 4 s, a page, and pauses of 1, 2, 4 s again.
    host.line.meanwhile[ListVolumes] = [lambda: fail_next(3)]
    fail_next(3)

    host.clock.sleep(14.5)

    assert known(host) == VOLUMES


def test_a_service_that_never_answers_is_asked_less_and_less_often(host: Host) -> None:
    host.line.before[ListVolumes] = [StillWorking("slow")] * 1000

    host.clock.sleep(300.0)

    # After 1, 2, 4, 8, 16 and then every 30 s.
    assert 10 <= host.line.count(ListVolumes) <= 15


def test_while_the_line_is_down_nothing_is_asked_and_its_return_goes_on(host: Host) -> None:
    host.line.meanwhile[ListVolumes] = [lambda: host.clock.sleep(0.4) for _ in range(10)]
    host.clock.sleep(1.0)
    host.up = False
    host.catalogue.lost()
    host.clock.sleep(5.0)
    asked = host.line.count(ListVolumes)

    host.clock.sleep(60.0)
    assert (host.line.count(ListVolumes), 0 < known(host) < VOLUMES) == (asked, True)

    host.up = True
    host.catalogue.greeted()
    host.reconcile.wake(None)
    host.clock.sleep(10.0)
    assert known(host) == VOLUMES
