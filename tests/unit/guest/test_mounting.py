"""Mount and Unmount: first holder in, last holder out, whatever Docker repeats, loses or overtakes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID

import pytest

from tests.doubles.memory_guest import Content as DiskContent
from tests.doubles.simulated_clock import SimulatedClock
from tests.doubles.small_service import Kept, SmallService
from tests.unit.guest.host import ID1, ID2, ID3, VM_B, Host
from vmdkvol.errors import (
    CheckFailed,
    ForeignContent,
    MissingTool,
    NoSpace,
    ServiceUnreachable,
    StillMounted,
    StillWorking,
    TruthUnknown,
    VolumeError,
    VolumeInUse,
    VolumeNotFound,
    WrongDisk,
)
from vmdkvol.messages import Attach, Call, CreateVolume, Detach, GetVolume, Mark
from vmdkvol.volume import Content, DiskUuid, State, renewed_uuid
from vmdkvol_guest.parts import Limits


@pytest.fixture(params=range(3))
def clock(request: pytest.FixtureRequest) -> Iterator[SimulatedClock]:
    with SimulatedClock(request.param) as simulated:
        yield simulated


@pytest.fixture
def host(clock: SimulatedClock) -> Host:
    host = Host(clock, SmallService(clock))
    host.create()
    return host


# --- the main job --------------------------------------------------------------------------------------------------


def test_the_first_mount_attaches_formats_and_mounts(host: Host) -> None:
    path = host.mount()

    assert path == f"/run/vmdkvol/mnt/{host.volume()}/data"
    assert host.kept().info.content is Content.FORMATTED
    assert host.kept().filesystem_uuid == host.guest.disks[host.kept().disk].now.uuid


def test_the_owner_and_mode_of_the_options_are_set_at_format(clock: SimulatedClock) -> None:
    host = Host(clock, SmallService(clock))
    host.create(uid="999", gid="998", mode="0700")

    host.mount()

    assert host.guest.disks[host.kept().disk].now.owners["data"] == (999, 998, 0o700)


def test_a_later_mount_never_formats_or_prepares_again(host: Host) -> None:
    host.mount()
    host.unmount()
    host.settle()
    host.guest.calls.clear()

    host.mount(ID2)

    assert {"make", "prepare", "blank", "renew_uuid"}.isdisjoint(host.guest.calls)


def test_a_later_first_holder_has_the_file_system_checked(host: Host) -> None:
    host.mount()
    host.unmount()
    host.guest.calls.clear()

    host.mount(ID2)

    assert "check" in host.guest.calls


def test_data_survives_a_new_container(host: Host) -> None:
    host.mount()
    host.guest.write(host.volume(), "x", b"kept", fsync=True)
    host.unmount()
    host.settle()

    host.mount(ID2)

    assert host.guest.read(host.volume(), "x") == b"kept"


def test_the_second_holder_attaches_nothing(host: Host) -> None:
    first = host.mount()

    assert host.mount(ID2) == first
    assert host.line.count(Attach) == 1


def test_the_last_holder_unmounts_and_the_disk_lingers(host: Host) -> None:
    host.mount()
    host.mount(ID2)
    host.unmount(ID1)
    assert host.mounted()

    host.unmount(ID2)

    assert not host.mounted()
    assert host.attached()


def test_a_read_only_volume_is_formatted_writable_and_mounted_read_only(clock: SimulatedClock) -> None:
    host = Host(clock, SmallService(clock))
    host.create(access="read-only")

    host.mount()

    assert host.guest.table[host.volume()].read_only
    assert "prepare" in host.guest.calls


def test_a_clone_gets_a_full_check_and_a_uuid_of_its_own_before_its_first_mount(host: Host) -> None:
    host.mount()
    host.unmount()
    host.settle()
    host.create("copy", clone_from="db")
    host.guest.calls.clear()

    host.mount(ID2, "copy")

    assert host.guest.calls.index("check-full") < host.guest.calls.index("renew_uuid") < host.guest.calls.index("mount")
    assert host.kept("copy").filesystem_uuid not in (None, host.kept().filesystem_uuid)
    assert host.kept("copy").filesystem_uuid == host.guest.disks[host.kept("copy").disk].now.uuid


def cloned(host: Host) -> Kept:
    """A volume with data is cloned, and nobody mounted the clone yet."""
    host.mount()
    host.unmount()
    host.settle()
    host.create("copy", clone_from="db")
    return host.kept("copy")


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_somebody_elses_file_system_on_a_clone_is_left_as_it_is(clock: SimulatedClock, fstype: str) -> None:
    """As on every other disk: also one of the same kind as the source's."""
    host = Host(clock, SmallService(clock))
    host.create(fstype=fstype, size="300mb")
    clone = cloned(host)
    theirs = DiskContent(fstype, UUID(int=99))
    host.guest.disks[clone.disk].put(theirs)
    host.guest.calls.clear()

    with pytest.raises(ForeignContent):
        host.mount(ID2, "copy")

    assert host.guest.disks[clone.disk].now == theirs
    assert {"renew_uuid", "check-full", "mount"}.isdisjoint(host.guest.calls)


def test_a_clone_whose_new_uuid_was_not_recorded_is_mounted_by_the_next(host: Host) -> None:
    """The agent died between the two: the UUID on the disk is the clone's own, and the record still says its source's."""
    clone = cloned(host)
    host.line.before[Mark] = [ServiceUnreachable("lost")]

    with pytest.raises(ServiceUnreachable):
        host.mount(ID2, "copy")
    assert host.guest.disks[clone.disk].now.uuid == renewed_uuid(clone.info.id)
    assert clone.filesystem_uuid is None

    host.mount(ID3, "copy")
    assert clone.filesystem_uuid == renewed_uuid(clone.info.id)


THEIRS = DiskContent("ext4", UUID(int=99), owners={"": (0, 0, 0o755)})


def adopted(host: Host, content: DiskContent | None = THEIRS) -> Kept:
    """Somebody else's disk became a volume, and nobody mounted it yet."""
    host.create("theirs", layout="root")
    kept = host.kept("theirs")
    kept.info, kept.keep_uuid = replace(kept.info, content=Content.FORMATTED), True
    disk = host.guest.disks.disk(kept.disk, kept.info.size_bytes)
    if content is not None:
        disk.put(content)
    return kept


def test_an_adopted_disk_is_checked_in_full_and_keeps_its_uuid(host: Host) -> None:
    kept = adopted(host)

    host.mount(ID2, "theirs")

    assert host.guest.calls.index("check-full") < host.guest.calls.index("mount")
    assert {"make", "prepare", "blank", "renew_uuid"}.isdisjoint(host.guest.calls)
    now = host.guest.disks[kept.disk].now
    assert (kept.filesystem_uuid, now.uuid, now.label) == (THEIRS.uuid, THEIRS.uuid, THEIRS.label)


def test_an_adopted_disk_is_checked_in_full_once(host: Host) -> None:
    adopted(host)
    host.mount(ID2, "theirs")
    host.unmount(ID2, "theirs")
    host.settle()
    host.guest.calls.clear()

    host.mount(ID3, "theirs")

    assert "check-full" not in host.guest.calls


def test_an_adopted_disk_keeps_its_tail_until_a_resize_is_ordered(host: Host) -> None:
    size = 100 << 20
    kept = adopted(host, replace(THEIRS, spans=size // 2))
    assert kept.info.size_bytes == size
    kept.info = replace(kept.info, options=replace(kept.info.options, size_bytes=kept.info.size_bytes))

    host.mount(ID2, "theirs")
    host.settle(300.0)
    assert (host.guest.calls.count("grow"), host.guest.disks[kept.disk].now.spans) == (0, size // 2)
    status = host.driver.get("theirs").status
    assert status is not None
    assert "no resize was ordered" in str(dict(status)["filesystem"])

    host.service.grow("theirs", 2 * size)
    host.settle(1.0)
    assert host.guest.disks[kept.disk].now.spans == 2 * size


@pytest.mark.parametrize("content", [None, DiskContent("xfs", UUID(int=99))], ids=["blank", "another-kind"])
def test_an_adopted_disk_with_something_else_is_refused_and_left_as_it_is(host: Host, content: DiskContent | None) -> None:
    kept = adopted(host, content)
    before = host.guest.disks[kept.disk].now

    with pytest.raises(ForeignContent if content else CheckFailed):
        host.mount(ID2, "theirs")

    assert host.guest.disks[kept.disk].now == before
    assert {"make", "blank", "renew_uuid", "check-full", "mount"}.isdisjoint(host.guest.calls)


def test_an_adopted_disk_whose_uuid_was_not_recorded_is_checked_again(host: Host) -> None:
    kept = adopted(host)
    host.line.before[Mark] = [ServiceUnreachable("lost")]

    with pytest.raises(ServiceUnreachable):
        host.mount(ID2, "theirs")
    assert kept.filesystem_uuid is None

    host.mount(ID3, "theirs")
    assert kept.filesystem_uuid == THEIRS.uuid
    assert host.guest.calls.count("check-full") == 2


def test_source_and_clone_are_mounted_together(host: Host) -> None:
    host.mount()
    host.unmount()
    host.settle()
    host.create("copy", clone_from="db")

    assert host.mount(ID2, "copy") != host.mount(ID3)


# --- Docker's mount IDs (docker-facts 2.7) ---------------------------------------------------------------------------


def test_a_doubled_mount_is_one_holder(host: Host) -> None:
    host.mount()
    host.mount()

    host.unmount()

    assert not host.mounted()


def test_a_doubled_unmount_is_fine(host: Host) -> None:
    host.mount()
    host.unmount()

    host.unmount()

    assert host.ids() == frozenset()


def test_an_unknown_id_unmounts_nothing(host: Host) -> None:
    host.mount()

    host.unmount(ID2)

    assert host.mounted()


def test_an_unmount_of_an_unknown_volume_is_fine(host: Host) -> None:
    host.unmount(ID1, "never-heard-of")

    assert host.line.count(GetVolume) == 0


def test_docker_cp_takes_our_mount_but_not_the_running_containers_disk(host: Host) -> None:
    host.mount()
    device = host.device()
    host.guest.hold_elsewhere(device)
    host.mount()
    host.unmount()

    host.settle()

    assert not host.mounted()
    assert host.attached()
    assert host.device() == device


def test_after_docker_cp_a_mount_joins_the_running_containers_file_system(host: Host) -> None:
    host.mount()
    host.guest.hold_elsewhere(host.device())
    host.unmount()
    host.guest.calls.clear()

    host.mount(ID2)

    assert host.mounted()
    assert "check" not in host.guest.calls


def test_after_docker_cp_the_disk_leaves_once_the_container_ends(host: Host) -> None:
    host.mount()
    device = host.device()
    host.guest.hold_elsewhere(device)
    host.mount()
    host.unmount()
    host.settle()

    host.guest.release_elsewhere(device)
    host.settle()

    assert not host.attached()


def test_a_failed_unmount_and_a_start_with_the_same_id_leave_it_mounted(host: Host) -> None:
    host.mount()
    host.guest.script["unmount"] = [StillMounted("busy")]
    with pytest.raises(StillMounted):
        host.unmount()

    host.mount(ID1)
    host.settle()

    assert host.mounted()
    assert host.ids() == {ID1}


def test_a_failed_unmount_is_tried_again_by_itself(host: Host) -> None:
    host.mount()
    host.guest.script["unmount"] = [StillMounted("busy")]
    with pytest.raises(StillMounted):
        host.unmount()

    host.settle()

    assert not host.mounted()
    assert not host.attached()


def test_three_mounts_in_flight_are_one_piece_of_work(host: Host) -> None:
    ended = [host.beside(lambda mount_id=mount_id: host.mount(mount_id)) for mount_id in (ID1, ID2, ID3)]  # type: ignore[misc]

    host.settle()

    assert [len(one) for one in ended] == [1, 1, 1]
    assert len({str(one[0]) for one in ended}) == 1
    assert host.ids() == {ID1, ID2, ID3}
    assert host.line.count(Attach) == 1


def test_an_unmount_while_the_mount_runs_leaves_nothing(host: Host) -> None:
    mounting = host.beside(host.mount)
    host.beside(host.unmount)

    host.settle()

    assert len(mounting) == 1
    if ID1 not in host.ids():
        assert not host.mounted()
        assert not host.attached()


def test_a_mount_during_an_unmount_is_mounted_in_the_end(host: Host) -> None:
    host.mount()
    leaving = host.beside(host.unmount)

    path = host.mount(ID2)
    host.settle()

    assert leaving == [None]
    assert path
    assert host.mounted()
    assert host.ids() == {ID2}


def test_a_mount_during_the_detach_keeps_its_holder(host: Host) -> None:
    host.mount()
    host.unmount()
    host.line.meanwhile[Detach] = [lambda: host.clock.sleep(0.5)]
    host.clock.sleep(10.2)
    assert host.line.count(Detach) == 1

    path = host.mount(ID2)
    host.settle()

    assert path
    assert host.ids() == {ID2}
    assert host.mounted()


# --- late mounts (corrections 7) ---------------------------------------------------------------------------------------


def slow_attach(host: Host, seconds: float) -> None:
    host.line.meanwhile[Attach] = [lambda: host.clock.sleep(seconds)]


def test_a_mount_that_takes_too_long_is_answered_in_time(host: Host) -> None:
    slow_attach(host, 200.0)

    with pytest.raises(StillWorking, match="volume 'db': mounting takes longer"):
        host.mount()

    assert host.ids() == frozenset()


def test_a_late_mount_without_an_owner_goes_again(host: Host) -> None:
    slow_attach(host, 200.0)
    with pytest.raises(StillWorking):
        host.mount()

    host.settle(200.0)

    assert not host.mounted()
    assert not host.attached()


def test_a_repeat_with_a_new_id_gets_the_late_mount(host: Host) -> None:
    slow_attach(host, 200.0)
    with pytest.raises(StillWorking):
        host.mount(ID1)

    path = host.mount(ID2)
    host.settle()

    assert path
    assert host.mounted()
    assert host.ids() == {ID2}


# --- failures: nothing is left, the next try works ------------------------------------------------------------------


def nothing_left(host: Host) -> None:
    host.settle()
    assert host.ids() == frozenset()
    assert not host.mounted()
    assert not host.attached()
    assert host.guest.plugged == {}


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("find", TruthUnknown("no device")),
        ("find", WrongDisk("another disk")),
        ("probe", TruthUnknown("unreadable")),
        ("make", NoSpace("full")),
        ("mount", CheckFailed("bad superblock")),
        ("prepare", NoSpace("full")),
        ("verify", WrongDisk("a symbolic link")),
    ],
)
def test_a_failed_first_mount_leaves_nothing_and_the_next_one_works(host: Host, step: str, error: VolumeError) -> None:
    host.guest.script[step] = [error]
    with pytest.raises(type(error), match="volume 'db': "):
        host.mount()
    nothing_left(host)

    assert host.mount(ID2)


def test_a_failed_check_leaves_nothing_attached_and_the_state_alone(host: Host) -> None:
    host.mount()
    host.unmount()
    host.settle()
    host.guest.script["check"] = [CheckFailed("bad")]

    with pytest.raises(CheckFailed):
        host.mount(ID2)

    nothing_left(host)
    assert host.kept().info.state is State.READY
    assert host.mount(ID3)


def test_what_the_kernel_takes_for_damage_is_checked_in_full_and_mounted(host: Host) -> None:
    host.mount()
    host.unmount()
    host.settle()
    host.guest.calls.clear()
    host.guest.script["mount"] = [CheckFailed("group descriptors")]

    assert host.mount(ID2)

    assert [call for call in host.guest.calls if call in ("check", "check-full", "mount")] == [
        *("check", "mount", "check-full", "mount"),
    ]


def test_damage_that_a_full_check_cannot_mend_leaves_nothing_attached(host: Host) -> None:
    host.mount()
    host.unmount()
    host.settle()
    host.guest.script["mount"] = [CheckFailed("damaged"), CheckFailed("still damaged")]

    with pytest.raises(CheckFailed, match="still damaged"):
        host.mount(ID2)

    nothing_left(host)
    assert host.kept().info.state is State.READY


def test_a_mount_that_fails_for_another_reason_is_not_checked_again(host: Host) -> None:
    host.mount()
    host.unmount()
    host.settle()
    host.guest.calls.clear()
    host.guest.script["mount"] = [NoSpace("full")]

    with pytest.raises(NoSpace):
        host.mount(ID2)

    assert "check-full" not in host.guest.calls


def test_a_check_on_a_full_datastore_is_no_damage(host: Host) -> None:
    host.mount()
    host.unmount()
    disk = host.guest.disks[host.kept().disk]
    disk.now = replace(disk.now, dirty=True)
    disk.full = True
    with pytest.raises(NoSpace):
        host.mount(ID2)

    disk.full = False

    assert host.mount(ID3)


def test_a_disk_without_its_signature_is_refused_twenty_times_and_never_formatted(host: Host) -> None:
    host.mount()
    host.unmount()
    host.settle()
    disk = host.guest.disks[host.kept().disk]
    disk.put(DiskContent())

    for number in range(20):
        with pytest.raises(CheckFailed):
            host.mount(f"{number:064d}")

    nothing_left(host)
    assert disk.formatted == 1


def test_a_new_disk_that_is_not_blank_is_refused(host: Host) -> None:
    kept = host.kept()
    host.guest.disks.disk(kept.disk, kept.info.size_bytes).put(DiskContent("ext4"))

    with pytest.raises(ForeignContent):
        host.mount()

    nothing_left(host)


def test_another_disk_in_its_place_is_refused_untouched(host: Host) -> None:
    host.mount()
    host.unmount()
    host.settle()
    host.guest.script["find"] = [WrongDisk("another disk")]
    host.guest.calls.clear()

    with pytest.raises(WrongDisk):
        host.mount(ID2)

    assert {"make", "check", "mount", "blank"}.isdisjoint(host.guest.calls)


def test_a_disk_that_another_one_took_the_place_of_before_mkfs_stays_blank(host: Host) -> None:
    """Corrections 10: no claim is held across mkfs, so identity is read again just before it."""
    kept = host.kept()
    attachment = host.line.ask(Attach(kept.info.id), Call(UUID(int=1), host.within()))
    other = DiskUuid(UUID(int=0xBAD))

    def replace_it() -> None:
        host.guest.plug_other(attachment, other, attachment.size_bytes)

    host.line.meanwhile[Mark] = [replace_it]

    with pytest.raises(WrongDisk):
        host.mount()

    assert "make" not in host.guest.calls
    assert (host.guest.disks[kept.disk].now.kind, host.guest.disks[other].now.kind) == (None, None)


def test_a_missing_tool_names_the_package(host: Host) -> None:
    host.guest.tools.discard("ext4")

    with pytest.raises(MissingTool, match="e2fsprogs"):
        host.mount()

    nothing_left(host)


def test_a_volume_on_another_host_is_refused_and_that_host_is_named(host: Host, clock: SimulatedClock) -> None:
    host.mount()
    other = Host(clock, host.service, VM_B)

    with pytest.raises(VolumeInUse):
        other.mount(ID2)

    assert other.ids() == frozenset()
    assert host.mounted()


def test_an_attach_whose_answer_was_lost_is_released_again(host: Host) -> None:
    host.line.lost[Attach] = [ServiceUnreachable("the answer is lost")]
    with pytest.raises(ServiceUnreachable):
        host.mount()

    nothing_left(host)


def test_a_mark_whose_answer_was_lost_is_made_anew(host: Host) -> None:
    host.line.lost[Mark] = [ServiceUnreachable("lost")]
    with pytest.raises(ServiceUnreachable):
        host.mount()

    host.mount(ID2)

    assert host.kept().filesystem_uuid == host.guest.disks[host.kept().disk].now.uuid


def test_a_busy_device_that_is_not_formatted_yet_is_left_alone(host: Host) -> None:
    host.line.lost[Mark] = [ServiceUnreachable("lost")]
    with pytest.raises(ServiceUnreachable):
        host.mount()
    host.guest.hold_elsewhere(host.device())

    with pytest.raises(StillMounted):
        host.mount(ID2)

    assert host.guest.disks[host.kept().disk].formatted == 0


def test_a_saved_mount_is_never_believed(host: Host) -> None:
    host.mount()
    del host.guest.table[host.volume()]

    host.mount(ID2)

    assert host.mounted()


def test_a_mount_of_a_name_that_was_made_anew_elsewhere_gets_the_new_volume(host: Host, clock: SimulatedClock) -> None:
    other = Host(clock, host.service, VM_B)
    old = host.volume()
    other.remove()
    other.create()

    assert str(old) not in host.mount()


def test_a_mount_of_a_removed_volume_is_not_found(host: Host, clock: SimulatedClock) -> None:
    Host(clock, host.service, VM_B).remove()

    with pytest.raises(VolumeNotFound):
        host.mount()


def test_mounts_of_different_volumes_do_not_wait_for_each_other(clock: SimulatedClock) -> None:
    host = Host(clock, SmallService(clock), limits=Limits(reconcile_s=1000.0))
    host.create()
    host.create("other")
    slow_attach(host, 100.0)
    slow = host.beside(host.mount)
    clock.sleep(1.0)

    began = clock.monotonic()
    host.mount(ID2, "other")

    assert slow == []
    assert clock.monotonic() - began < 1.0
    assert host.line.count(CreateVolume) == 2
