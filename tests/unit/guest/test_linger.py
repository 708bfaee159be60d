"""What Docker does in bursts costs no detach, and so no attach: the disk that is given back is the one that is taken again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.doubles.simulated_clock import SimulatedClock
from tests.doubles.small_service import SmallService
from tests.unit.guest.host import ID1, ID2, ID3, Host
from vmdkvol.messages import Attach, Detach
from vmdkvol.notices import Wanted


@pytest.fixture(params=range(2))
def clock(request: pytest.FixtureRequest) -> Iterator[SimulatedClock]:
    with SimulatedClock(request.param) as simulated:
        yield simulated


@pytest.fixture
def host(clock: SimulatedClock) -> Host:
    host = Host(clock, SmallService(clock))
    host.create()
    return host


def test_a_second_container_asks_nobody(host: Host) -> None:
    host.mount(ID1)

    host.mount(ID2)
    host.unmount(ID1)
    host.settle()

    assert (host.line.count(Attach), host.line.count(Detach)) == (1, 0)
    assert host.mounted()


def test_copying_an_image_s_files_into_a_new_volume_detaches_nothing(host: Host) -> None:
    """Docker mounts it for the copy, unmounts it, and mounts it for the container (docker-facts 2.5)."""
    host.mount(ID1)
    host.unmount(ID1)

    host.mount(ID2)
    host.settle()

    assert host.line.count(Detach) == 0


def test_docker_cp_beside_a_running_container_detaches_nothing(host: Host) -> None:
    host.mount(ID1)

    host.mount(ID2)
    host.unmount(ID2)
    host.settle()

    assert (host.line.count(Attach), host.line.count(Detach)) == (1, 0)


def test_a_container_that_crashes_ten_times_with_longer_and_longer_pauses_detaches_nothing(host: Host) -> None:
    """Docker waits 0.1 s, 0.2 s, ... before it starts it again; what is longer than the linger is not in these."""
    for number in range(7):
        host.mount(f"{number:064d}")
        host.unmount(f"{number:064d}")
        host.clock.sleep(0.1 * 2**number)
    host.mount(ID1)

    assert host.line.count(Detach) == 0


def test_a_linger_that_ended_while_the_agent_was_away_ends_soon_after_its_start(host: Host) -> None:
    host.mount()
    host.unmount()
    host.reconcile.stop()
    host.clock.sleep(60.0)
    assert host.attached()

    host.start()
    host.clock.sleep(1.0)

    assert not host.attached()


def test_an_agent_that_starts_in_the_last_moment_gives_no_new_linger(host: Host) -> None:
    host.mount()
    host.unmount()
    host.clock.sleep(9.5)

    host.restart()
    host.clock.sleep(1.0)

    assert not host.attached()


def test_a_container_that_starts_again_while_the_agent_restarts_finds_its_disk(host: Host) -> None:
    host.mount(ID1)
    host.unmount(ID1)
    host.clock.sleep(5.0)
    host.reconcile.stop()
    host.clock.sleep(3.0)
    host.start()

    host.mount(ID3)
    host.settle()

    assert host.mounted()
    assert host.line.count(Detach) == 0


def test_another_host_gets_a_lingering_disk_at_once_also_from_an_agent_that_has_just_restarted(
    host: Host, clock: SimulatedClock
) -> None:
    host.mount()
    host.unmount()
    host.restart()
    clock.sleep(1.0)
    assert host.attached()

    host.line.tell(Wanted(host.volume()))
    clock.sleep(1.0)

    assert not host.attached()
