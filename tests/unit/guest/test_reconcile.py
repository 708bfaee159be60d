"""The background: what lingers, what is taken away, what must stay although nobody seems to need it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from tests.doubles.simulated_clock import SimulatedClock
from tests.doubles.small_service import SmallService
from tests.unit.guest.host import ID1, ID2, VM_B, Host
from vmdkvol.errors import ServiceUnreachable, StillMounted, TruthUnknown, VolumeInUse
from vmdkvol.messages import Attach, Detach, Keep, ListAttached
from vmdkvol.notices import Wanted
from vmdkvol.points import Point
from vmdkvol.volume import Attachment, VmId
from vmdkvol_guest.ports import Device
from vmdkvol_guest.releasing import Releasing


@pytest.fixture(params=range(3))
def clock(request: pytest.FixtureRequest) -> Iterator[SimulatedClock]:
    with SimulatedClock(request.param) as simulated:
        yield simulated


@pytest.fixture
def host(clock: SimulatedClock) -> Host:
    host = Host(clock, SmallService(clock))
    host.create()
    host.mount()
    return host


def test_the_disk_lingers_and_then_leaves(host: Host) -> None:
    host.unmount()
    host.clock.sleep(9.0)
    assert host.attached()

    host.clock.sleep(1.5)

    assert not host.attached()
    assert host.notebook.holdings() == {}


def test_a_mount_ends_the_linger(host: Host) -> None:
    host.unmount()
    host.clock.sleep(5.0)
    host.mount(ID2)

    host.settle()

    assert host.attached()
    assert host.line.count(Detach) == 0


def test_a_crash_loop_attaches_the_disk_once(host: Host) -> None:
    for number in range(10):
        host.unmount(ID1 if number == 0 else f"{number:064d}")
        host.mount(f"{number + 1:064d}")

    assert host.line.count(Detach) == 0
    assert len(host.guest.plugged) == 1


def test_wanted_ends_the_linger_at_once(host: Host) -> None:
    host.unmount()

    host.line.tell(Wanted(host.volume()))
    host.clock.sleep(0.1)

    assert not host.attached()


def test_wanted_takes_nothing_that_is_in_use(host: Host) -> None:
    host.line.tell(Wanted(host.volume()))
    host.settle()

    assert host.mounted()


def test_who_waits_for_a_volume_in_use_is_told_so_once(host: Host) -> None:
    host.line.tell(Wanted(host.volume()))
    host.settle()
    host.settle()

    assert host.line.count(Keep) == 1


def test_of_a_volume_that_only_lingers_nobody_is_told_that_it_is_kept(host: Host) -> None:
    host.unmount()
    host.line.tell(Wanted(host.volume()))
    host.settle()

    assert host.line.count(Keep) == 0


def test_a_want_of_old_does_not_end_a_later_linger(host: Host) -> None:
    host.line.tell(Wanted(host.volume()))
    host.settle()
    host.unmount()

    host.clock.sleep(5.0)

    assert host.attached()


def test_another_host_gets_a_lingering_disk(host: Host, clock: SimulatedClock) -> None:
    other = Host(clock, host.service, VM_B)
    host.unmount()
    with pytest.raises(VolumeInUse):
        other.mount(ID2)
    clock.sleep(0.5)

    assert other.mount(ID2)


def test_the_claim_has_ended_before_the_service_is_asked(host: Host) -> None:
    device = host.device()
    claims: list[int] = []
    host.line.meanwhile[Detach] = [lambda: claims.append(len(host.guest.plugged))]
    host.unmount()

    host.settle()

    # The service refuses to unplug a claimed disk, so it was not.
    assert claims == [0]
    assert device.number not in host.guest.plugged


def test_a_disk_that_another_namespace_holds_is_tried_again_quietly(host: Host) -> None:
    host.guest.hold_elsewhere(host.device())
    host.unmount()

    host.settle(300.0)

    assert host.attached()
    assert host.log.count("warning") == 1
    assert host.guest.calls.count("claim") < 30


def test_a_bystander_that_ends_lets_the_disk_go_within_a_minute(host: Host) -> None:
    device = host.device()
    host.guest.hold_elsewhere(device)
    host.unmount()
    host.settle(300.0)

    host.guest.release_elsewhere(device)
    host.settle(60.0)

    assert not host.attached()


def test_no_detach_while_the_service_says_nothing(host: Host) -> None:
    host.line.down = ServiceUnreachable("away")
    host.unmount()
    host.settle()
    assert host.attached()

    host.line.down = None
    host.settle()

    assert not host.attached()


def test_nothing_waits_in_a_volume_s_lane_for_a_service_that_is_away(host: Host) -> None:
    """A Mount comes into the same lane: it would wait for the background first, and an engine's start with it."""
    host.up = False
    host.line.down = ServiceUnreachable("away")
    host.unmount()
    host.settle()

    assert host.line.count(Detach) == 0
    assert host.attached()
    assert host.guest.plugged

    host.up, host.line.down = True, None
    host.settle()

    assert not host.attached()


def test_a_detach_whose_answer_was_lost_is_no_leak(host: Host) -> None:
    host.line.lost[Detach] = [ServiceUnreachable("lost")]
    host.unmount()

    host.settle()

    assert not host.attached()
    assert host.notebook.holdings() == {}


def test_an_attach_that_raised_the_generation_unheard_is_detached_all_the_same(host: Host) -> None:
    host.unmount()
    host.kept().generation += 1

    host.settle()

    assert not host.attached()


def test_a_disk_that_says_no_name_is_not_taken_from_the_volume_that_has_its_place_now(host: Host) -> None:
    """The detach of the first one was done and its answer lost; its place went to the second one."""
    host.unmount()
    first = host.notebook.holdings()[host.volume()].attachment
    assert first is not None
    host.create("web")
    host.mount(ID2, "web")
    second = host.notebook.holdings()[host.volume("web")].attachment
    assert second is not None
    host.unmount(ID2, "web")
    device, place = replace(host.device("web"), named=False), second.address

    class Silent:
        """A machine without disk.EnableUUID: what is at the place is taken for what was put there."""

        claimed: ClassVar[list[Device]] = []

        def present(self, vm: VmId, attachment: Attachment) -> Device:
            assert attachment.address == place
            return device

        def __getattr__(self, name: str) -> Any:
            self.claimed.append(device)
            return getattr(host.guest.devices, name)

    silent = Silent()
    host.notebook.note(host.volume("web"), attachment=second, linger_until=None)
    with pytest.raises(TruthUnknown, match="at the same place"):
        Releasing(replace(host.parts, devices=silent)).detach(replace(first, address=place))
    assert (silent.claimed, Detach in map(type, host.line.asked)) == ([], False)


def test_what_a_newer_attach_brought_is_proved_unused_too(host: Host) -> None:
    """It may be at another place by now, where somebody has it; what was proved is where it was."""
    host.unmount()
    device, attachment = host.device(), host.notebook.holdings()[host.volume()].attachment
    assert attachment is not None
    host.kept().generation += 1

    def taken(point: Point) -> None:
        if point is Point.RELEASE_FORGOTTEN:
            host.guest.hold_elsewhere(device)

    with pytest.raises(StillMounted):
        Releasing(replace(host.parts, at=taken)).detach(attachment)
    assert [each.generation for each in host.line.asked if isinstance(each, Detach)] == [attachment.generation]


def test_a_disk_that_only_the_service_knows_here_is_given_back(host: Host, clock: SimulatedClock) -> None:
    host.unmount()
    host.settle()
    host.parts.ask(Attach(host.volume()), 10.0)
    assert host.notebook.holdings() == {}

    host.settle()

    assert not host.attached()


def test_a_disk_that_the_service_took_away_is_forgotten(host: Host) -> None:
    host.unmount()
    host.guest.unplug(host.kept().disk)
    host.kept().holder = None

    host.reconcile.wake()
    host.clock.sleep(1.0)

    assert host.notebook.holdings() == {}
    assert host.line.count(Detach) == 0


def test_a_list_that_cannot_be_read_changes_nothing(host: Host) -> None:
    host.line.before[ListAttached] = [TruthUnknown("unread")] * 5

    host.settle(120.0)

    assert host.mounted()


def test_a_mount_that_nobody_holds_is_taken_down_and_lingers(host: Host) -> None:
    host.notebook.drop(host.volume(), ID1)

    host.settle(100.0)

    assert not host.mounted()
    assert not host.attached()


def test_a_busy_unmount_is_tried_again(host: Host) -> None:
    host.guest.busy.add(host.volume())
    with pytest.raises(StillMounted):
        host.unmount()
    host.settle()
    assert host.attached()

    host.guest.busy.clear()
    host.settle()

    assert not host.attached()


# --- stale holders (corrections 5) -----------------------------------------------------------------------------------


def test_a_killed_engines_container_is_let_go_ten_minutes_after_the_engine_is_back(host: Host) -> None:
    host.reconcile.activated()
    host.settle(590.0)
    assert host.ids() == {ID1}

    host.settle(60.0)

    assert host.ids() == frozenset()
    assert not host.attached()


def test_without_an_activate_a_holder_stays(host: Host) -> None:
    host.settle(3600.0)

    assert host.ids() == {ID1}
    assert host.mounted()


def test_a_container_that_outlived_its_engine_keeps_its_holder(host: Host) -> None:
    host.guest.hold_elsewhere(host.device())
    host.reconcile.activated()

    host.settle(3600.0)

    assert host.ids() == {ID1}
    assert host.mounted()


def test_a_container_that_the_new_engine_mounts_again_with_its_old_id_keeps_it(host: Host) -> None:
    host.reconcile.activated()
    host.mount(ID1)

    host.settle(3600.0)

    assert host.ids() == {ID1}


def test_a_slow_start_after_the_activate_is_no_stale_holder(host: Host) -> None:
    host.reconcile.activated()
    host.mount(ID2)

    host.settle(3600.0)

    assert host.ids() == {ID2}
    assert host.mounted()


def test_a_disk_that_cannot_be_told_from_another_keeps_its_holder(host: Host) -> None:
    """A machine without disk.EnableUUID: nobody knows whether a container has it."""
    host.guest.script["present"] = [TruthUnknown("two may be it")] * 1000
    host.reconcile.activated()

    host.settle(3600.0)

    assert host.ids() == {ID1}
    assert host.mounted()


def test_a_disk_that_cannot_be_told_from_another_is_not_detached(host: Host) -> None:
    host.guest.script["present"] = [TruthUnknown("two may be it")] * 1000
    host.unmount()
    host.settle(300.0)
    assert host.attached()
    assert host.line.count(Detach) == 0

    host.guest.script["present"].clear()
    host.settle(60.0)

    assert not host.attached()


def test_a_refusal_stands_though_nobody_can_say_which_device_it_is(host: Host) -> None:
    host.guest.script["present"] = [TruthUnknown("two may be it")]
    with pytest.raises(VolumeInUse, match=ID1[:12]):
        host.remove()


# --- a gap (F62) -------------------------------------------------------------------------------------------------------


def test_after_a_stop_of_five_minutes_the_device_is_claimed_again(host: Host) -> None:
    slept: list[bool] = []
    forget = host.guest.devices.forget

    def stopped(device: object) -> None:
        if not slept:
            slept.append(True)
            host.clock.sleep(300.0)
        forget(host.device())

    host.guest.devices.forget = stopped  # type: ignore[method-assign]
    host.unmount()
    host.settle(400.0)

    assert host.guest.calls.count("claim") >= 2
    assert not host.attached()


def test_stopping_the_agent_takes_nothing_away(host: Host) -> None:
    host.reconcile.stop()
    host.settle()

    assert host.mounted()


# --- release, for Remove ---------------------------------------------------------------------------------------------


def test_release_of_a_lingering_disk_detaches_it_now(host: Host) -> None:
    host.unmount()

    host.reconcile.release(host.volume())

    assert not host.attached()


def test_release_of_a_held_volume_is_refused_and_names_the_holder(host: Host) -> None:
    with pytest.raises(VolumeInUse, match="111111111111"):
        host.reconcile.release(host.volume())

    assert host.mounted()


def test_release_names_the_process_that_has_it_mounted(host: Host) -> None:
    host.guest.hold_elsewhere(host.device(), pid=4711)
    host.unmount()

    with pytest.raises(VolumeInUse, match="4711"):
        host.reconcile.release(host.volume())

    assert host.attached()
