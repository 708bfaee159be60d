"""The agent is killed at each of its crash points: the next one converges, nothing leaks, and the repeat works (I1-I6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.doubles.memory_guest import AgentDied
from tests.doubles.simulated_clock import SimulatedClock
from tests.doubles.small_service import SmallService
from tests.unit.guest.host import ID1, ID2, ID3, Host, Killed
from vmdkvol.errors import VolumeNotFound
from vmdkvol.points import Point
from vmdkvol.volume import Content

MOUNT = [point for point in Point if point.startswith(("guest.mount.", "guest.format."))]
UNMOUNT = [point for point in Point if point.startswith("guest.unmount.")]
RELEASE = [point for point in Point if point.startswith("guest.release.")]
CREATE = [point for point in Point if point.startswith("guest.create.")]
GROWTH = [point for point in Point if point.startswith("guest.growth.")]
REMOVE = [point for point in Point if point.startswith("guest.remove.")]


@pytest.fixture(params=range(2))
def clock(request: pytest.FixtureRequest) -> Iterator[SimulatedClock]:
    with SimulatedClock(request.param) as simulated:
        yield simulated
        # Threads of a killed agent end like this, as they should.
        simulated.failures[:] = [error for error in simulated.failures if not isinstance(error, Killed)]


@pytest.fixture
def host(clock: SimulatedClock) -> Host:
    host = Host(clock, SmallService(clock))
    host.create()
    return host


def die(host: Host, point: Point, work: Callable[[], object]) -> None:
    """A new agent that is killed at ``point``, and one after it. The first has no background, which might come before."""
    host.kill()
    host.loop = False
    host.start(ends_at=point)
    with pytest.raises(Killed):
        work()
    assert host.life.over
    host.loop = True
    host.restart()


def nothing_here(host: Host) -> None:
    host.settle()
    assert host.ids() == frozenset()
    assert not host.mounted()
    assert not host.attached()
    assert host.notebook.holdings() == {}
    assert host.guest.plugged == {}


def test_every_point_of_the_agent_is_tested_here() -> None:
    assert set(MOUNT + UNMOUNT + RELEASE + CREATE + REMOVE + GROWTH) == {point for point in Point if point.startswith("guest.")}


@pytest.mark.parametrize("point", [point for point in MOUNT if point is not Point.MOUNT_REPLYING])
def test_a_first_mount_that_dies_is_rolled_back(host: Host, point: Point) -> None:
    die(host, point, host.mount)

    # Only a mount that stands keeps its holder: nobody can tell whether Docker had the answer.
    host.settle()
    if host.mounted():
        assert host.ids() == {ID1}
        host.unmount()
    nothing_here(host)


@pytest.mark.parametrize("point", MOUNT)
def test_the_repeat_of_a_first_mount_that_died_works(host: Host, point: Point) -> None:
    die(host, point, host.mount)

    host.mount(ID2)
    host.guest.write(host.volume(), "x", b"data", fsync=True)
    host.unmount(ID2)
    host.unmount(ID1)

    nothing_here(host)
    host.mount(ID3)
    assert host.guest.read(host.volume(), "x") == b"data"


@pytest.mark.parametrize("point", MOUNT)
def test_no_container_gets_a_file_system_that_is_not_recorded_as_made(host: Host, point: Point) -> None:
    """Else the next first mount takes it for unfinished and makes it anew, with the container's data on it."""
    die(host, point, host.mount)

    host.mount(ID2)

    assert host.kept().info.content is Content.FORMATTED


@pytest.mark.parametrize("point", MOUNT)
def test_a_read_only_volume_is_never_left_writable(clock: SimulatedClock, point: Point) -> None:
    host = Host(clock, SmallService(clock))
    host.create(access="read-only")
    die(host, point, host.mount)

    host.mount(ID2)

    assert host.guest.table[host.volume()].read_only


@pytest.mark.parametrize("point", MOUNT)
def test_a_duplicate_right_after_the_kill_works(host: Host, point: Point) -> None:
    die(host, point, host.mount)

    assert host.mount(ID1)
    assert host.ids() == {ID1}
    host.settle()
    assert host.mounted()


@pytest.mark.parametrize("point", MOUNT)
def test_a_later_mount_that_dies_never_formats(host: Host, point: Point) -> None:
    host.mount()
    host.guest.write(host.volume(), "x", b"data", fsync=True)
    host.unmount()
    host.settle()
    if point.startswith("guest.format.") and point is not Point.FORMAT_PROBED:
        # Not passed any more: that is the point of the test.
        host.kill()
        host.start(ends_at=point)
        host.mount(ID2)
    else:
        die(host, point, lambda: host.mount(ID2))
        host.mount(ID2)

    assert host.guest.read(host.volume(), "x") == b"data"
    assert host.guest.disks[host.kept().disk].formatted == 1


def test_an_agent_that_dies_inside_mkfs_leaves_it_running_and_waits_for_its_end(host: Host) -> None:
    host.guest.die_in_make = True
    with pytest.raises(AgentDied):
        host.mount()
    host.restart()
    host.settle()
    assert host.attached()
    device = host.device()

    host.guest.finish_mkfs(device)
    host.settle()

    assert not host.attached()
    host.mount(ID2)
    assert host.guest.disks[host.kept().disk].now.uuid == host.kept().filesystem_uuid


@pytest.mark.parametrize("point", UNMOUNT)
def test_an_unmount_that_dies_is_finished_by_its_repeat_or_the_next_agent(host: Host, point: Point) -> None:
    host.mount()
    die(host, point, host.unmount)

    if point is Point.UNMOUNT_RECEIVED:
        host.settle()
        assert host.mounted()
        host.unmount()

    nothing_here(host)


@pytest.mark.parametrize("point", UNMOUNT)
def test_a_mount_after_an_unmount_that_died_works(host: Host, point: Point) -> None:
    host.mount()
    die(host, point, host.unmount)

    host.mount(ID1)
    host.settle()

    assert host.mounted()
    assert host.ids() == {ID1}


@pytest.mark.parametrize("point", RELEASE)
def test_a_detach_that_dies_is_finished_by_the_next_agent(host: Host, point: Point) -> None:
    host.mount()
    host.unmount()
    host.kill()
    host.start(ends_at=point)
    host.settle()
    assert host.life.over

    host.restart()

    nothing_here(host)


@pytest.mark.parametrize("point", RELEASE)
def test_a_mount_after_a_detach_that_died_works(host: Host, point: Point) -> None:
    host.mount()
    host.guest.write(host.volume(), "x", b"data", fsync=True)
    host.unmount()
    host.kill()
    host.start(ends_at=point)
    host.settle()
    host.restart()

    host.mount(ID2)
    host.settle()

    assert host.mounted()
    assert host.guest.read(host.volume(), "x") == b"data"


@pytest.mark.parametrize("point", GROWTH)
def test_a_growth_that_dies_is_finished_by_the_next_agent(host: Host, point: Point) -> None:
    host.mount()
    host.guest.write(host.volume(), "x", b"data", fsync=True)
    host.kill()
    host.start(ends_at=point)
    host.service.grow("db", 200 << 20)
    host.settle(1.0)
    assert host.life.over

    host.restart()
    host.settle()

    assert host.guest.disks[host.kept().disk].now.spans == 200 << 20
    assert host.guest.read(host.volume(), "x") == b"data"
    assert host.ids() == {ID1}
    host.unmount()
    nothing_here(host)


@pytest.mark.parametrize("point", [Point.GROWTH_DONE])
def test_a_mount_that_dies_right_after_the_growth_works_again(host: Host, point: Point) -> None:
    host.mount()
    host.unmount()
    host.settle()
    host.service.grow("db", 200 << 20)
    die(host, point, lambda: host.mount(ID2))

    host.mount(ID3)
    assert host.guest.disks[host.kept().disk].now.spans == 200 << 20


@pytest.mark.parametrize("point", CREATE)
def test_the_repeat_of_a_create_that_died_makes_it_once(clock: SimulatedClock, point: Point) -> None:
    host = Host(clock, SmallService(clock))
    die(host, point, lambda: host.create(size="1gb"))

    host.create(size="1gb")

    assert [kept.info.name for kept in host.service.volumes.values()] == ["db"]
    assert [shown.name for shown in host.driver.list()] == ["db"]


@pytest.mark.parametrize("point", REMOVE)
def test_a_remove_that_died_is_all_or_nothing_and_its_repeat_ends_it(host: Host, point: Point) -> None:
    host.mount()
    host.unmount()
    die(host, point, host.remove)

    try:
        host.remove()
    except VolumeNotFound:
        assert point is Point.GUEST_REMOVE_ANSWERED

    assert host.service.volumes == {}
    assert host.driver.list() == []


def test_the_linger_outlives_the_agent(host: Host) -> None:
    host.mount()
    host.unmount()
    host.clock.sleep(2.0)

    host.restart()
    host.clock.sleep(6.0)
    assert host.attached()

    host.clock.sleep(3.0)
    assert not host.attached()


def test_a_restart_under_a_running_container_changes_nothing(host: Host) -> None:
    host.mount()
    host.guest.hold_elsewhere(host.device())
    host.guest.calls.clear()

    host.restart()
    host.settle()

    assert host.mounted()
    assert host.ids() == {ID1}
    assert host.guest.calls.count("unmount") == 0


def test_a_reboot_drops_every_holder_and_gives_the_disk_back(host: Host) -> None:
    host.mount()
    host.kill()
    host.guest.reboot()
    host.notebook.reboot()

    host.start()

    nothing_here(host)


def test_a_lost_notebook_is_rebuilt_from_kernel_and_service(host: Host) -> None:
    """F65: the run directory is wiped under a running container."""
    host.mount()
    device = host.device()
    host.guest.hold_elsewhere(device)
    host.kill()
    host.notebook.reboot()
    host.start()
    host.settle()
    assert host.attached()

    host.mount(ID2)
    host.unmount(ID2)
    host.guest.release_elsewhere(device)

    nothing_here(host)


def test_a_second_death_while_it_is_made_anew_does_not_make_the_disk_foreign(host: Host) -> None:
    """The disk never holds a signature other than the one on record (C6), so that a crash needs no administrator (I5)."""
    die(host, Point.FORMAT_MADE, host.mount)
    die(host, Point.FORMAT_MARKED, lambda: host.mount(ID2))

    host.mount(ID3)

    assert host.kept().info.content is Content.FORMATTED
