"""A disk grows under its file system: who follows at once, who with the next mount, and what stands in nobody's way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.doubles.simulated_clock import SimulatedClock
from tests.doubles.small_service import SmallService
from tests.unit.guest.host import ID1, ID2, ID3, VM_B, Host, Killed
from vmdkvol.errors import NotPermitted, ServiceUnreachable, TruthUnknown, WrongDisk
from vmdkvol.messages import Attach, Lagging
from vmdkvol.notices import Grown
from vmdkvol.volume import Lag

MIB = 1 << 20
OLD, NEW, MORE = 100 * MIB, 200 * MIB, 300 * MIB


@pytest.fixture(params=range(3))
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


def spans(host: Host) -> int:
    return host.guest.disks[host.kept().disk].now.spans


def told(host: Host) -> dict[str, Any]:
    status = host.driver.get("db").status
    assert status is not None
    return dict(status)


# --- who is mounted -----------------------------------------------------------------------------------------------


def test_a_mounted_file_system_follows_its_disk_when_the_host_is_told(host: Host) -> None:
    host.mount()
    host.guest.write(host.volume(), "x", b"data", fsync=True)
    host.service.grow("db", NEW)
    host.settle(1.0)

    assert spans(host) == NEW
    assert host.guest.read(host.volume(), "x") == b"data"
    assert (told(host)["size-bytes"], told(host)["filesystem"]) == (NEW, None)


def test_a_lost_notice_costs_time_and_nothing_else(host: Host) -> None:
    host.mount()
    host.service.grow("db", NEW, told=False)
    host.settle(1.0)
    assert spans(host) == OLD

    host.settle(60.0)
    assert spans(host) == NEW


def test_a_kernel_that_has_missed_the_growth_reads_the_size_anew(host: Host) -> None:
    host.mount()
    host.service.grow("db", NEW, seen=False)
    host.settle(5.0)

    assert (spans(host), host.device().size_bytes) == (NEW, NEW)


def test_the_same_notice_again_grows_nothing_again(host: Host) -> None:
    host.mount()
    host.service.grow("db", NEW)
    host.settle(1.0)
    host.line.tell(Grown(host.volume(), NEW))
    host.settle(60.0)

    assert host.guest.calls.count("grow") == 1


def test_a_volume_that_has_not_grown_is_looked_at_once_and_left_alone(host: Host) -> None:
    host.mount()
    host.settle(300.0)

    assert host.guest.calls.count("grow") == 0
    assert host.guest.calls.count("size") == 1


def test_a_growth_is_no_reason_to_take_a_disk_away_or_to_keep_one(host: Host) -> None:
    host.mount()
    host.service.grow("db", NEW)
    host.settle(60.0)
    assert host.mounted()

    host.unmount()
    host.settle(60.0)
    assert (host.attached(), host.notebook.holdings()) == (False, {})


def test_after_the_growth_the_last_unmount_gives_the_disk_back_with_its_new_generation(host: Host) -> None:
    host.mount()
    host.service.grow("db", NEW, told=False)
    host.unmount()
    host.settle(60.0)

    assert not host.attached()
    assert host.guest.plugged == {}


def test_a_second_container_mounts_while_the_growth_is_not_known_here(host: Host) -> None:
    """The disk has another size than was noted, and is the right one all the same."""
    path = host.mount()
    host.service.grow("db", NEW, told=False)

    assert host.mount(ID2) == path
    host.settle(1.0)
    assert spans(host) == NEW


def test_a_disk_of_another_size_that_is_smaller_is_still_the_wrong_one(host: Host) -> None:
    host.mount()
    host.guest.enlarge(host.kept().disk, OLD - MIB)
    with pytest.raises(WrongDisk):
        host.mount(ID2)


# --- who is not ---------------------------------------------------------------------------------------------------


def test_the_next_mount_has_the_new_size_before_it_is_answered(host: Host) -> None:
    host.mount()
    host.unmount()
    host.settle()
    host.service.grow("db", NEW)
    assert spans(host) == OLD

    host.mount(ID2)
    assert spans(host) == NEW


def test_a_disk_that_only_lingers_grows_with_the_next_mount(host: Host) -> None:
    host.mount()
    host.unmount()
    host.service.grow("db", NEW)
    host.settle(2.0)
    assert spans(host) == OLD

    host.mount(ID2)
    assert spans(host) == NEW


def test_the_next_host_finds_the_new_size(host: Host, clock: SimulatedClock) -> None:
    host.mount()
    host.unmount()
    host.settle()
    host.service.grow("db", NEW)
    other = Host(clock, host.service, VM_B)
    other.mount(ID2)

    assert spans(other) == NEW


def test_a_new_volume_is_made_in_the_size_that_its_disk_has(host: Host) -> None:
    host.service.grow("db", NEW)
    host.mount()

    assert (spans(host), host.guest.calls.count("grow")) == (NEW, 0)


def test_a_disk_that_grows_while_it_is_mounted_for_the_second_time_is_mounted_all_the_same(host: Host) -> None:
    host.mount()
    host.unmount()
    host.settle()
    host.line.meanwhile[Attach] = [lambda: host.service.grow("db", NEW)]

    assert host.mount(ID2)
    host.settle(1.0)
    assert spans(host) == NEW


def test_a_clone_of_a_grown_volume_follows_with_its_first_mount(host: Host) -> None:
    host.mount()
    host.unmount()
    host.settle()
    host.service.grow("db", NEW)
    host.create("copy", clone_from="db")
    host.mount(ID2, "copy")

    assert host.guest.disks[host.kept("copy").disk].now.spans == NEW


# --- what does not work -------------------------------------------------------------------------------------------


def test_a_growth_that_fails_leaves_the_mount_and_is_told(host: Host) -> None:
    host.mount()
    host.guest.script["grow"] = [NotPermitted("the ext4 cannot grow", remedy="give the agent SYS_RESOURCE")]
    host.service.grow("db", NEW)
    host.settle(1.0)

    assert (spans(host), host.mounted(), host.ids()) == (OLD, True, frozenset({ID1}))
    assert told(host)["filesystem"] == {"size-bytes": OLD, "disk-bytes": NEW, "reason": "the ext4 cannot grow"}
    assert told(host)["size-bytes"] == NEW
    assert host.log.count("warning") == 1


def test_a_growth_that_failed_is_tried_again_less_and_less_often_and_warned_of_once(host: Host) -> None:
    host.mount()
    host.guest.script["grow"] = [TruthUnknown("busy") for _ in range(1000)]
    host.service.grow("db", NEW)
    host.settle(4 * 3600.0)
    tried = host.guest.calls.count("grow")
    host.guest.script["grow"].clear()
    host.settle(3700.0)

    assert 5 < tried < 20
    assert host.log.count("warning") == 1
    assert (spans(host), told(host)["filesystem"]) == (NEW, None)


def test_the_same_order_again_tries_again_at_once(host: Host) -> None:
    host.mount()
    host.guest.script["grow"] = [TruthUnknown("busy")] * 8
    host.service.grow("db", NEW)
    host.settle(1200.0)
    host.guest.script["grow"].clear()
    host.line.tell(Grown(host.volume(), NEW))
    host.settle(1.0)

    assert spans(host) == NEW


def test_a_further_growth_does_not_wait_for_the_pause_of_the_one_before(host: Host) -> None:
    host.mount()
    host.guest.script["grow"] = [TruthUnknown("busy")] * 5
    host.service.grow("db", NEW)
    host.settle(300.0)
    host.guest.script["grow"].clear()
    host.service.grow("db", MORE, told=False)
    host.settle(40.0)

    assert spans(host) == MORE


def test_a_growth_that_fails_at_a_mount_does_not_fail_the_mount(host: Host) -> None:
    host.mount()
    host.unmount()
    host.settle()
    host.service.grow("db", NEW)
    host.guest.script["grow"] = [TruthUnknown("busy")]

    assert host.mount(ID2)
    assert spans(host) == OLD
    host.settle(120.0)
    assert spans(host) == NEW


def test_a_size_that_is_not_told_does_not_fail_the_mount(host: Host) -> None:
    host.guest.script["size"] = [TruthUnknown("no answer")]

    assert host.mount()
    host.settle(60.0)
    assert told(host)["filesystem"] is None


def test_a_kernel_that_never_sees_the_new_size_keeps_its_mount(host: Host) -> None:
    host.mount()
    host.service.grow("db", NEW, seen=False)
    host.guest.script["find"] = [WrongDisk("it has 104857600 bytes")] * 3
    host.settle(20.0)

    assert (host.mounted(), spans(host)) == (True, OLD)
    assert "104857600" in told(host)["filesystem"]["reason"]
    host.guest.script["find"].clear()
    host.settle(300.0)
    assert spans(host) == NEW


def test_a_read_only_volume_keeps_its_file_system_as_it_is_and_says_so(clock: SimulatedClock) -> None:
    host = Host(clock, SmallService(clock))
    host.create(access="read-only")
    host.mount()
    host.service.grow("db", NEW)
    host.settle(3600.0)

    assert (spans(host), host.guest.calls.count("grow")) == (OLD, 0)
    assert "read-only" in told(host)["filesystem"]["reason"]
    assert host.guest.reads_only(host.volume())


def test_what_was_told_of_a_volume_ends_with_its_mount(host: Host) -> None:
    host.mount()
    host.guest.script["grow"] = [TruthUnknown("busy")]
    host.service.grow("db", NEW)
    host.settle(1.0)
    host.unmount()

    assert told(host)["filesystem"] is None


# --- restarts -----------------------------------------------------------------------------------------------------


def test_the_next_agent_finds_a_file_system_that_has_not_followed(host: Host) -> None:
    host.mount()
    host.kill()
    host.service.grow("db", NEW)
    host.start()
    host.settle(60.0)

    assert (spans(host), host.ids()) == (NEW, frozenset({ID1}))


def test_a_file_system_that_had_not_followed_when_its_agent_died_is_found_without_the_service(host: Host) -> None:
    host.mount()
    host.guest.script["grow"] = [TruthUnknown("busy")]
    host.service.grow("db", NEW)
    host.settle(1.0)
    host.kill()
    host.start()
    host.line.down = TruthUnknown("away")
    host.settle(60.0)

    assert spans(host) == NEW


def test_a_reboot_keeps_the_size(host: Host) -> None:
    host.mount()
    host.service.grow("db", NEW)
    host.settle(1.0)
    host.kill()
    host.guest.reboot()
    host.notebook.reboot()
    host.start()
    host.settle()
    host.mount(ID3)

    assert spans(host) == NEW


# --- what administrators are told ---------------------------------------------------------------------------------


def refused(host: Host) -> None:
    """The mounted file system cannot follow its disk."""
    host.mount()
    host.guest.script["grow"] = [NotPermitted("the ext4 cannot grow")] * 100
    host.service.grow("db", NEW)
    host.settle(5.0)


def test_the_service_hears_of_a_file_system_that_did_not_follow(host: Host) -> None:
    refused(host)
    assert host.service.lags == {host.vm: (Lag(host.volume(), NEW, OLD, "the ext4 cannot grow"),)}


def test_the_service_hears_that_it_did_after_all(host: Host) -> None:
    refused(host)
    host.guest.script["grow"].clear()
    host.line.tell(Grown(host.volume(), NEW))
    host.settle(5.0)

    assert host.service.lags == {host.vm: ()}


def test_the_service_hears_nothing_of_a_file_system_that_is_not_mounted_any_more(host: Host) -> None:
    refused(host)
    host.unmount()
    host.settle(40.0)

    assert host.service.lags == {host.vm: ()}


def test_a_service_that_was_restarted_hears_it_again(host: Host) -> None:
    refused(host)
    host.service.lags.clear()
    host.settle(40.0)

    assert host.vm in host.service.lags


def test_what_the_service_did_not_hear_it_is_told_again(host: Host) -> None:
    host.line.before[Lagging] = [ServiceUnreachable("away")]
    refused(host)
    host.settle(40.0)

    assert host.vm in host.service.lags
    assert host.mounted()


def test_where_everything_has_followed_that_is_told_once(host: Host) -> None:
    host.mount()
    host.service.grow("db", NEW)
    host.settle(300.0)

    assert host.service.lags == {host.vm: ()}
    assert host.line.count(Lagging) == 1


def test_what_the_agent_before_told_does_not_outlive_it(host: Host) -> None:
    refused(host)
    host.kill()
    host.guest.script["grow"].clear()
    host.start()
    host.line.tell(Grown(host.volume(), NEW))
    host.settle(100.0)

    assert spans(host) == NEW
    assert host.service.lags == {host.vm: ()}


def test_a_service_of_an_older_protocol_is_not_told_what_it_would_take_for_a_broken_line(host: Host) -> None:
    host.speaks = 6
    host.start()
    before = host.line.count(Lagging)
    refused(host)
    host.settle(60.0)

    assert host.line.count(Lagging) == before
