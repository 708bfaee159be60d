"""The driver by name: what Docker may ask, and what it is told when the service is away, slow, or of another opinion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID

import pytest

from tests.doubles.simulated_clock import SimulatedClock
from tests.doubles.small_service import SmallService
from tests.unit.guest.host import ID1, ID2, VM_B, Host
from vmdkvol.errors import (
    BadRequest,
    Denied,
    Internal,
    InvalidName,
    InvalidOption,
    InvalidSize,
    MissingTool,
    NameConflict,
    ServiceUnreachable,
    StaleRequest,
    StillWorking,
    TruthUnknown,
    VolumeError,
    VolumeInUse,
    VolumeNotFound,
)
from vmdkvol.messages import CreateVolume, GetVolume, ListVolumes, RemoveVolume
from vmdkvol.names import VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.volume import State, VmId, VolumeId

AWAY = ServiceUnreachable("the service is away")


@pytest.fixture(params=range(2))
def clock(request: pytest.FixtureRequest) -> Iterator[SimulatedClock]:
    with SimulatedClock(request.param) as simulated:
        yield simulated


@pytest.fixture
def host(clock: SimulatedClock) -> Host:
    host = Host(clock, SmallService(clock))
    host.create(size="1gb")
    clock.sleep(1.0)
    return host


def away(host: Host) -> None:
    host.line.down = AWAY


def quiet(host: Host) -> Host:
    """Return the host with a new agent that does nothing in the background: it would soon put right what went wrong."""
    host.kill()
    host.loop = False
    host.start()
    return host


# --- create ----------------------------------------------------------------------------------------------------------


def test_a_created_volume_is_known_at_once_even_when_the_service_goes_away(host: Host) -> None:
    host.create("new")
    away(host)

    assert host.driver.get("new").name == "new"


def test_the_same_create_again_is_a_success(host: Host) -> None:
    host.create(size="1gb")
    host.create()

    assert len(host.service.volumes) == 1


def test_a_create_with_other_options_says_what_differs(host: Host) -> None:
    with pytest.raises(NameConflict, match="size"):
        host.create(size="2gb")


def test_equal_creates_at_once_are_one_request(host: Host) -> None:
    host.line.meanwhile[CreateVolume] = [lambda: host.clock.sleep(5.0)]
    ended = [host.beside(lambda: host.create("new")) for _ in range(3)]

    host.settle()

    assert ended == [[None], [None], [None]]
    assert host.line.count(CreateVolume) == 2


@pytest.mark.parametrize(
    ("name", "opts", "error"),
    [
        ("a/b", {}, InvalidName),
        ("", {}, InvalidName),
        ("x\n", {}, InvalidName),
        ("x", {"size": "0"}, InvalidSize),
        ("x", {"size": 5}, InvalidOption),
        ("x", {"size": None}, InvalidOption),
        ("x", {"size": True}, InvalidOption),
        ("x", {"sise": "1gb"}, InvalidOption),
        ("x@ds1", {"datastore": "ds2"}, InvalidOption),
        ("x", {"fstype": "xfs", "size": "299mb"}, InvalidSize),
    ],
)
def test_what_is_wrong_in_the_text_is_never_sent(host: Host, name: str, opts: dict[str, object], error: type) -> None:
    with pytest.raises(error):
        host.create(name, **opts)

    assert host.line.count(CreateVolume) == 1


def test_a_missing_mkfs_is_said_at_create_and_names_the_package(host: Host) -> None:
    host.guest.tools.discard("xfs")

    with pytest.raises(MissingTool, match="xfsprogs"):
        host.create("x", fstype="xfs", size="1gb")

    assert len(host.service.volumes) == 1


def test_a_create_beyond_the_limit_is_answered_and_its_repeat_joins(host: Host) -> None:
    host.line.meanwhile[CreateVolume] = [lambda: host.clock.sleep(150.0)]
    with pytest.raises(StillWorking):
        host.create("new")

    host.create("new")

    assert host.line.count(CreateVolume) == 2


# --- get -------------------------------------------------------------------------------------------------------------


def test_get_echoes_the_name_and_shows_a_path(host: Host) -> None:
    shown = host.driver.get("db")

    assert shown.name == "db"
    assert shown.path.endswith("/data")
    assert shown.status is not None
    assert shown.status["stale"] is False


def test_another_spelling_is_no_such_volume(host: Host) -> None:
    with pytest.raises(VolumeNotFound):
        host.driver.get("db@ds1")


def test_get_of_what_was_removed_elsewhere_is_absent(host: Host, clock: SimulatedClock) -> None:
    Host(clock, host.service, VM_B).remove()

    with pytest.raises(VolumeNotFound):
        host.driver.get("db")


def test_get_while_the_service_is_away_is_stale(host: Host) -> None:
    away(host)

    shown = host.driver.get("db")

    assert shown.status is not None
    assert shown.status["stale"] is True


def test_get_of_an_unknown_name_while_the_service_is_away_is_not_answered(host: Host) -> None:
    away(host)

    with pytest.raises(TruthUnknown):
        host.driver.get("other")


def test_get_of_an_unknown_anonymous_name_while_the_service_is_away_is_absent(host: Host) -> None:
    away(host)

    with pytest.raises(VolumeNotFound):
        host.driver.get("f" * 64)


def test_a_service_that_cannot_tell_is_not_believed_to_say_absent(host: Host) -> None:
    for error in (TruthUnknown("unread"), BadRequest("what is this?"), Denied("no"), Internal("a bug")):
        host.line.before[GetVolume] = [error, error]

        assert host.driver.get("db").status
        with pytest.raises(TruthUnknown):
            host.driver.get("other")


def test_what_is_mounted_here_is_never_absent(host: Host) -> None:
    host.mount()
    host.service.volumes.clear()

    shown = host.driver.get("db")

    assert shown.status is not None
    assert (shown.status["stale"], shown.status["mounted"], shown.status["holders"]) == (True, True, [ID1])


def test_get_of_what_is_mounted_here_is_not_asked_again_for_a_minute(host: Host, clock: SimulatedClock) -> None:
    host.driver.get("db")
    host.mount()
    asked = host.line.count(GetVolume)

    shown = host.driver.get("db")

    assert host.line.count(GetVolume) == asked
    assert shown.status is not None
    assert (shown.status["stale"], shown.status["mounted"], shown.status["holders"]) == (False, True, [ID1])
    assert (shown.status["attached to VM"], shown.status["content"]) == ("host-a", "formatted")
    clock.sleep(host.limits.here_s)
    host.driver.get("db")
    assert host.line.count(GetVolume) == asked + 1


def test_get_of_what_is_not_mounted_here_is_asked_each_time(host: Host, clock: SimulatedClock) -> None:
    """Corrections 9: it may have been removed elsewhere since the last word, however short ago that was."""
    other = Host(clock, host.service, VM_B)
    for change in (lambda: None, host.mount, host.unmount):
        change()
        host.driver.get("db")
    host.settle()
    host.driver.get("db")
    other.remove()

    with pytest.raises(VolumeNotFound):
        host.driver.get("db")


def test_get_of_what_is_mounted_here_is_stale_while_the_service_is_away(host: Host) -> None:
    host.driver.get("db")
    host.mount()
    host.up = False

    shown = host.driver.get("db")

    assert shown.status is not None
    assert (shown.status["stale"], shown.status["mounted"]) == (True, True)


def test_get_of_a_name_that_a_mounted_volume_had_before_is_asked(host: Host) -> None:
    host.driver.get("db")
    host.mount()

    with pytest.raises(VolumeNotFound):
        host.driver.get("db@ds1")


def test_after_the_first_failure_nothing_is_asked_until_a_hello_worked(host: Host) -> None:
    host.line.before[GetVolume] = [AWAY]
    host.driver.get("db")
    asked = host.line.count(GetVolume)
    for _ in range(5):
        host.driver.get("db")
    assert host.line.count(GetVolume) == asked

    host.catalogue.greeted()
    host.driver.get("db")

    assert host.line.count(GetVolume) == asked + 1


def test_while_the_line_is_down_get_waits_for_nothing(host: Host) -> None:
    host.up = False
    asked = host.line.count(GetVolume)

    assert host.driver.get("db").status
    assert host.line.count(GetVolume) == asked


def test_the_background_ends_a_distrust_that_no_hello_ended(host: Host) -> None:
    host.line.before[GetVolume] = [StillWorking("slow")]
    host.driver.get("db")

    host.settle()

    assert host.catalogue.worth_asking


def test_a_volume_that_is_being_made_is_shown_by_get_and_hidden_by_list(host: Host) -> None:
    host.kept().info = replace(host.kept().info, state=State.PREPARING)
    host.notebook.forget(host.volume())

    shown = host.driver.get("db")

    assert shown.status is not None
    assert shown.status["state"] == "preparing"
    assert [volume.name for volume in host.driver.list()] == []


def test_a_volume_that_was_being_made_when_the_service_went_away_is_not_said_to_be_there(host: Host) -> None:
    """It may have failed since: the engine would tell the user that a repeated `docker volume create` was done."""
    host.kept().info = replace(host.kept().info, state=State.PREPARING)
    host.notebook.forget(host.volume())
    host.driver.get("db")
    away(host)

    with pytest.raises(TruthUnknown):
        host.driver.get("db")


def test_a_volume_that_is_being_made_takes_the_name_of_one_that_is_gone(host: Host) -> None:
    host.kept().info = replace(host.kept().info, state=State.PREPARING, id=VolumeId(UUID(int=77)))
    host.driver.get("db")

    assert host.notebook.known("db") is None


# --- list ------------------------------------------------------------------------------------------------------------


def test_list_shows_what_other_hosts_made_and_not_what_they_removed(host: Host, clock: SimulatedClock) -> None:
    other = Host(clock, host.service, VM_B)
    other.create("theirs")
    assert [shown.name for shown in host.driver.list()] == ["db", "theirs"]

    other.remove("theirs")

    assert [shown.name for shown in host.driver.list()] == ["db"]


def test_list_while_the_service_is_away_comes_from_the_catalogue(host: Host) -> None:
    host.driver.list()
    away(host)

    assert [shown.name for shown in host.driver.list()] == ["db"]


def test_list_before_the_service_was_ever_reached_is_an_error_and_not_empty(clock: SimulatedClock) -> None:
    host = Host(clock, SmallService(clock), loop=False)
    away(host)

    with pytest.raises(ServiceUnreachable):
        host.driver.list()


def test_list_takes_over_many_pages(host: Host) -> None:
    for number in range(450):
        request = CreateVolume(VolumeRef.parse(f"v{number}"), CreateOptions())
        host.service.answer(request, host.vm, host.parts.new_id())

    assert len(host.driver.list()) == 451


def many(service: SmallService, vm: VmId, count: int) -> None:
    for number in range(count):
        service.answer(CreateVolume(VolumeRef.parse(f"v{number}"), CreateOptions()), vm, UUID(int=number + 1))


def test_a_first_listing_that_does_not_fit_into_list_goes_on_where_it_stopped(clock: SimulatedClock) -> None:
    host = Host(clock, SmallService(clock), loop=False)
    many(host.service, host.vm, 950)
    # Three pages fit into the second that List has.
    host.line.meanwhile[ListVolumes] = [lambda: clock.sleep(0.4) for _ in range(100)]

    for so_far in (300, 600, 900):
        with pytest.raises(StillWorking, match=f"{so_far} so far"):
            host.driver.list()

    assert len(host.driver.list()) == 950
    # Each page was asked for once.
    assert len(host.line.meanwhile[ListVolumes]) == 90


def test_a_first_listing_goes_on_in_the_background_without_holding_up_the_reconciler(clock: SimulatedClock) -> None:
    host = Host(clock, SmallService(clock))
    many(host.service, host.vm, 950)
    host.line.meanwhile[ListVolumes] = [lambda: clock.sleep(0.4) for _ in range(100)]
    host.reconcile.wake(None)

    clock.sleep(4.5)

    assert len(host.notebook.catalogue()) == 950


def test_what_is_made_and_removed_behind_a_listing_under_way_is_taken_over_after_it(clock: SimulatedClock) -> None:
    host, other = Host(clock, SmallService(clock), loop=False), VM_B
    many(host.service, host.vm, 450)
    first = min(host.service.volumes, key=str)
    host.line.meanwhile[ListVolumes] = [lambda: clock.sleep(0.9) for _ in range(5)]
    with pytest.raises(StillWorking):
        host.driver.list()

    host.service.answer(RemoveVolume(first), other, UUID(int=9001))
    host.service.answer(CreateVolume(VolumeRef.parse("late"), CreateOptions()), other, UUID(int=9002))
    for _ in range(2):
        host.beside(host.driver.list)
        clock.sleep(5.0)

    names = {shown.name for shown in host.driver.list()}
    assert "late" in names
    assert len(names) == 450


def test_a_list_that_was_on_its_way_does_not_bring_back_what_was_removed(host: Host) -> None:
    """C17: once Remove is answered, `volume ls` never shows it."""
    host = quiet(host)
    host.create("other")
    host.line.meanwhile[ListVolumes] = [lambda: host.clock.sleep(0.5)]
    listing = host.beside(host.driver.list)
    host.clock.sleep(0.1)
    host.remove("other")

    host.clock.sleep(1.0)

    (shown,) = listing
    assert isinstance(shown, list)
    assert [volume.name for volume in shown] == ["db"]
    assert [info.name for info in host.notebook.catalogue()] == ["db"]


def test_a_get_that_was_on_its_way_does_not_bring_back_what_was_removed(host: Host) -> None:
    host = quiet(host)
    host.line.meanwhile[GetVolume] = [lambda: host.clock.sleep(0.3)]
    host.beside(lambda: host.driver.get("db"))
    host.clock.sleep(0.1)
    host.remove()

    host.clock.sleep(1.0)

    assert host.notebook.catalogue() == ()


def test_path_is_answered_without_the_service(host: Host) -> None:
    away(host)

    assert host.driver.path("db") == host.driver.get("db").path


# --- remove ------------------------------------------------------------------------------------------------------------


def test_remove_frees_the_name(host: Host) -> None:
    host.remove()
    host.create(size="2gb")

    assert host.kept().info.size_bytes == 2 << 30


def test_remove_of_an_unknown_name_is_not_found(host: Host) -> None:
    with pytest.raises(VolumeNotFound):
        host.remove("other")


def test_remove_of_a_held_volume_is_refused_and_names_the_holder(host: Host) -> None:
    host.mount()

    with pytest.raises(VolumeInUse, match="volume 'db': .*111111111111"):
        host.remove()

    assert host.mounted()


def test_remove_under_a_container_that_docker_forgot_is_refused(host: Host) -> None:
    host.mount()
    host.guest.hold_elsewhere(host.device(), pid=4242)
    host.unmount()

    with pytest.raises(VolumeInUse, match="4242"):
        host.remove()

    host.settle()
    assert host.attached()


def test_remove_of_a_lingering_volume_releases_it_first(host: Host) -> None:
    host.mount()
    host.unmount()

    host.remove()

    assert host.service.volumes == {}
    assert host.notebook.holdings() == {}


def test_remove_of_a_volume_on_another_host_is_the_services_refusal(host: Host, clock: SimulatedClock) -> None:
    other = Host(clock, host.service, VM_B)
    other.mount(ID2)

    with pytest.raises(VolumeInUse):
        host.remove()


def test_a_remove_whose_answer_was_lost_is_repeated_in_peace(host: Host) -> None:
    host.line.lost[RemoveVolume] = [AWAY]
    with pytest.raises(ServiceUnreachable):
        host.remove()

    host.remove()

    assert host.driver.list() == []


def test_remove_never_takes_a_volume_that_got_the_name_meanwhile(host: Host, clock: SimulatedClock) -> None:
    other = Host(clock, host.service, VM_B)
    other.remove()
    other.create()

    with pytest.raises(StaleRequest):
        host.remove()

    assert host.kept().info.name == "db"


def test_corrections_9_a_mount_finds_the_volume_that_got_the_name_meanwhile(host: Host, clock: SimulatedClock) -> None:
    other = Host(clock, host.service, VM_B)
    other.remove()
    other.create()

    host.mount()

    assert host.attached()
    assert not other.attached()


def test_a_refused_remove_forgets_nothing(host: Host) -> None:
    host.line.before[RemoveVolume] = [TruthUnknown("unread")]
    with pytest.raises(TruthUnknown):
        host.remove()

    assert host.driver.get("db").name == "db"


# --- mount and unmount by name -----------------------------------------------------------------------------------------


def test_an_unmount_finds_its_volume_by_the_id_when_the_name_is_not_known(host: Host) -> None:
    host.mount()
    host.notebook.forget(host.volume())

    host.unmount()

    assert not host.mounted()


def test_an_error_names_the_volume_as_the_user_knows_it_and_keeps_its_fields(host: Host) -> None:
    host.guest.script["probe"] = [TruthUnknown("it cannot be read", device="loop1", remedy="look at the disk")]

    with pytest.raises(TruthUnknown) as caught:
        host.mount()

    assert str(caught.value).startswith("volume 'db': it cannot be read; look at the disk")
    assert caught.value.fields == {"device": "loop1"}


def test_every_error_is_one_line_with_a_code(host: Host) -> None:
    for work in (lambda: host.mount(ID1, "other"), lambda: host.remove("x/y"), lambda: host.create("n", size="abc")):
        with pytest.raises(VolumeError) as caught:
            work()
        assert str(caught.value).endswith("]")
        assert "\n" not in str(caught.value)
