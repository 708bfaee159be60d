"""What befalls a site: machines are switched off, moved, destroyed, cut off; disks and datastores get other names.

A record follows the truth by the disk's UUID; a disk leaves a machine by its agent's word or on proof, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from uuid import uuid4

import pytest

from tests.vsphere.life import DS, OTHER, Life
from tests.vsphere.outside import attached, outside
from tests.vsphere.simulators import Model, simulator
from tests.vsphere.stage import CLOCK, Stage
from vmdkvol.errors import NotFound, SnapshotPresent, StaleRequest, TruthUnknown, Unavailable, VolumeInUse, WrongDisk
from vmdkvol.points import Point
from vmdkvol.volume import State, VolumeId
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.ports import DetachDisk

pytestmark = [pytest.mark.integration, pytest.mark.vcsim_injected]
MODELS: tuple[Model, ...] = ("vcenter", "esxi")
ELSEWHERE = f"[{OTHER}] moved/moved_1.vmdk"


class Killed(BaseException):
    """The process dies here. No handler of the product may catch it."""


@pytest.fixture
def begin(tmp_path: Path, stage: Stage) -> Iterator[Callable[[Model], Life]]:
    with ExitStack() as stack:

        def started(model: Model) -> Life:
            flags = ("-strict", "-uuids", "-machines", "3")
            world = stack.enter_context(simulator(model, tmp_path / "simulator", *flags))
            made = Life(world, stack.enter_context(outside(world)), stage)
            stack.callback(made.close)
            return made

        yield started


@pytest.fixture(params=MODELS)
def life(request: pytest.FixtureRequest, begin: Callable[[Model], Life]) -> Life:
    return begin(request.param)


# --- the main job ------------------------------------------------------------------------------------------------


def test_a_volume_is_made_used_on_one_host_then_on_another_and_removed(life: Life) -> None:
    volume = life.create("db")
    first = life.attach(volume, life.a)
    assert life.has(life.a, volume)
    assert (holder := life.get("db").attached_to) is not None
    assert holder.vm_name == life.refs[life.a].name

    life.detach(first, life.a)
    second = life.attach(volume, life.b)
    assert (life.has(life.a, volume), life.has(life.b, volume)) == (False, True)
    life.detach(second, life.b)
    life.remove(volume)

    assert not [path for store in (DS, OTHER) for path in life.outside.file(f"[{store}] vmdkvol").rglob("*") if path.is_file()]


def test_a_disk_that_another_host_uses_is_refused_before_any_reconfigure_and_the_holder_is_named(life: Life) -> None:
    volume = life.create("db")
    life.attach(volume, life.a)
    before = life.reconfigures()

    with pytest.raises(VolumeInUse, match=life.refs[life.a].name):
        life.attach(volume, life.b)

    assert life.reconfigures() == before
    assert life.has(life.a, volume)


def test_a_disk_that_somebody_attached_to_a_machine_of_his_is_named_and_left_alone(life: Life) -> None:
    volume = life.create("db")
    stranger = life.refs[life.stranger]
    life.outside.attach(stranger, life.path(volume), 5)

    for attempt in (lambda: life.attach(volume, life.a), lambda: life.remove(volume)):
        with pytest.raises(VolumeInUse, match=f"{stranger.name}, which this service did not do"):
            attempt()

    assert life.has(life.stranger, volume)


# --- copies ------------------------------------------------------------------------------------------------------

COPY = f"[{OTHER}] restored/restored_1.vmdk"


def copied(life: Life, volume: VolumeId) -> None:
    """A backup's copy of the disk lies there, with the identity of its original, as some of them have it."""
    life.outside.files.MakeDirectory(f"[{OTHER}] restored", life.outside.datacenter, True)
    life.outside.copy(life.path(volume), COPY)
    life.outside.disks.SetVirtualDiskUuid(COPY, life.outside.datacenter, life.outside.uuid(life.path(volume)))


def test_a_copy_with_the_identity_of_its_original_does_not_become_the_volume(life: Life) -> None:
    volume = life.create("db")
    own = life.path(volume)
    copied(life, volume)
    life.outside.attach(life.refs[life.a], COPY, 5)

    life.housekeeping.scan()
    for attempt in (lambda: life.attach(volume, life.a), lambda: life.attach(volume, life.b), lambda: life.remove(volume)):
        with pytest.raises(WrongDisk, match="restored_1.vmdk"):
            attempt()

    assert life.path(volume) == own
    assert COPY in [disk.backing.fileName for disk in attached(life.refs[life.a])]


def test_a_copy_beside_its_original_on_one_machine_is_not_mounted_for_it(life: Life) -> None:
    volume = life.create("db")
    copied(life, volume)
    first = life.attach(volume, life.a)
    life.outside.attach(life.refs[life.a], COPY, 6)

    with pytest.raises(VolumeInUse, match="did not do"):
        life.attach(volume, life.a)
    life.detach(first, life.a)

    assert not life.has(life.a, volume)
    assert COPY in [disk.backing.fileName for disk in attached(life.refs[life.a])]


# --- machines ----------------------------------------------------------------------------------------------------


def test_a_disk_leaves_a_machine_that_is_switched_off_as_soon_as_that_is_heard(life: Life) -> None:
    volume = life.create("db")
    life.attach(volume, life.a)
    life.housekeeping.start()
    life.hypervisor.start(life.housekeeping.hint)

    life.happens(life.a, "off")

    life.until(lambda: not life.has(life.a, volume), "the disk left the machine")


def test_a_machine_that_is_destroyed_after_it_was_switched_off_takes_no_disk_along(life: Life) -> None:
    """Corrections 31."""
    volume = life.create("db")
    life.attach(volume, life.a)
    life.happens(life.a, "off")
    life.housekeeping.scan()

    life.happens(life.a, "destroy")

    assert life.attach(volume, life.b).volume == volume


def test_all_disks_leave_a_machine_that_is_off_in_few_reconfigures(begin: Callable[[Model], Life]) -> None:
    life = begin("vcenter")
    volumes = [life.create(f"db{number}") for number in range(12)]
    for each in volumes:
        life.attach(each, life.a)
    life.happens(life.a, "off")
    before = life.reconfigures()

    life.housekeeping.scan()

    assert not any(life.has(life.a, each) for each in volumes)
    # One for whoever came first, and for those that came meanwhile; a machine's own pace decides how many come.
    assert life.reconfigures() - before < len(volumes)


def test_a_disk_that_was_destroyed_with_its_machine_is_lost_and_not_unknown(life: Life) -> None:
    volume = life.create("db")
    life.attach(volume, life.a)
    life.happens(life.a, "off")
    life.happens(life.a, "destroy")

    for _ in range(3):
        life.housekeeping.scan()

    assert life.record(volume).state is State.LOST
    assert life.get("db").state is State.LOST


def test_a_suspended_machine_keeps_its_disk(life: Life) -> None:
    volume = life.create("db")
    life.attach(volume, life.a)
    life.happens(life.a, "suspend")

    life.housekeeping.scan()
    with pytest.raises(VolumeInUse):
        life.attach(volume, life.b)

    assert life.has(life.a, volume)


@pytest.mark.parametrize("state", ["disconnected", "inaccessible", "orphaned"])
def test_a_machine_out_of_reach_keeps_its_disk_until_it_is_seen_again(begin: Callable[[Model], Life], state: str) -> None:
    life = begin("vcenter")
    volume = life.create("db")
    life.attach(volume, life.a)
    life.happens(life.a, state)
    before = life.reconfigures()

    life.housekeeping.scan()
    with pytest.raises(TruthUnknown, match=life.refs[life.a].name):
        life.attach(volume, life.b)

    assert life.reconfigures() == before
    life.happens(life.a, "connected")
    life.happens(life.a, "off")
    assert life.attach(volume, life.b).volume == volume


def test_a_machine_that_is_off_on_a_host_out_of_reach_is_no_proof(begin: Callable[[Model], Life]) -> None:
    life = begin("vcenter")
    volume = life.create("db")
    life.attach(volume, life.a)
    life.happens(life.a, "off")
    life.happens(life.a, "disconnected")

    life.housekeeping.scan()

    assert life.has(life.a, volume)


def test_another_machine_out_of_reach_stops_nobody(begin: Callable[[Model], Life]) -> None:
    """Corrections 38."""
    life = begin("vcenter")
    life.happens(life.stranger, "disconnected")
    volume = life.create("db")

    first = life.attach(volume, life.a)
    life.detach(first, life.a)

    assert life.attach(volume, life.b).volume == volume


def test_a_strangers_machine_out_of_reach_keeps_no_deleted_volume(begin: Callable[[Model], Life]) -> None:
    """Corrections 38."""
    life = begin("vcenter")
    life.happens(life.stranger, "disconnected")
    volume = life.create("db")

    life.remove(volume)

    assert life.store.volume(volume) is None
    assert not [path for path in life.outside.file(f"[{DS}] vmdkvol").rglob("*") if path.is_file()]


def test_a_disk_that_a_strangers_machine_had_when_it_was_last_reached_is_not_deleted(begin: Callable[[Model], Life]) -> None:
    life = begin("vcenter")
    volume = life.create("db")
    path = life.path(volume)
    life.outside.attach(life.refs[life.stranger], path, 5)
    life.happens(life.stranger, "disconnected")

    with pytest.raises(VolumeInUse, match=life.refs[life.stranger].name):
        life.remove(volume)
    life.housekeeping.scan()

    assert life.outside.file(path).exists()


def test_a_host_of_ours_out_of_reach_delays_the_deletion(begin: Callable[[Model], Life]) -> None:
    life = begin("vcenter")
    volume = life.create("db")
    path = life.path(volume)
    life.happens(life.b, "disconnected")

    life.remove(volume)
    assert life.outside.file(path).exists()

    life.happens(life.b, "connected")
    life.housekeeping.scan()
    assert not life.outside.file(path).exists()


def test_a_host_of_ours_that_does_not_say_who_it_is_delays_the_deletion(begin: Callable[[Model], Life]) -> None:
    life = begin("vcenter")
    volume = life.create("db")
    path = life.path(volume)
    life.happens(life.b, "identity", to="")
    # Nobody remembers whose machine that was.
    life.restart()

    life.remove(volume)
    assert life.outside.file(path).exists()

    life.happens(life.b, "identity", to=str(life.b))
    life.housekeeping.scan()
    assert not life.outside.file(path).exists()


def test_a_machine_that_was_restarted_on_another_host_has_what_it_had(begin: Callable[[Model], Life]) -> None:
    life = begin("vcenter")
    volume = life.create("db")
    first = life.attach(volume, life.a)
    life.happens(life.a, "host")

    again = life.attach(volume, life.a)

    assert again.address == first.address
    assert again.generation > first.generation


def test_a_renamed_machine_is_the_same(life: Life) -> None:
    volume = life.create("db")
    life.attach(volume, life.a)
    life.happens(life.a, "rename", to="web 1 [ü] 50%")

    with pytest.raises(VolumeInUse, match=r"web 1 \[ü\] 50%"):
        life.attach(volume, life.b)


# --- disks and datastores ----------------------------------------------------------------------------------------


def test_a_disk_that_was_moved_is_followed_and_used_where_it_lies(life: Life) -> None:
    volume = life.create("db")
    first = life.attach(volume, life.a)
    life.happens(life.a, "move", **{"from": life.path(volume), "to": ELSEWHERE})

    life.housekeeping.scan()
    assert life.path(volume) == ELSEWHERE
    life.detach(first, life.a)

    assert life.attach(volume, life.b).disk_uuid == first.disk_uuid
    assert life.has(life.b, volume)


def test_a_disk_that_was_moved_and_given_back_before_anybody_looked_is_found(life: Life) -> None:
    volume = life.create("db")
    first = life.attach(volume, life.a)
    life.happens(life.a, "move", **{"from": life.path(volume), "to": ELSEWHERE})

    life.detach(first, life.a)

    assert life.path(volume) == ELSEWHERE
    for _ in range(3):
        life.housekeeping.scan()
    assert life.record(volume).state is State.READY
    life.remove(volume)
    assert not life.outside.file(ELSEWHERE).exists()


def test_a_disk_that_is_moved_while_it_is_given_back_stays_until_its_record_has_followed(life: Life) -> None:
    volume = life.create("db")
    first = life.attach(volume, life.a)
    before = disk_ref(life.record(volume))
    life.happens(life.a, "move", **{"from": life.path(volume), "to": ELSEWHERE})

    with pytest.raises(StaleRequest, match="moved to"):
        life.hypervisor.submit(DetachDisk(life.a, before), uuid4())

    life.detach(first, life.a)
    assert life.path(volume) == ELSEWHERE
    assert not life.has(life.a, volume)


def test_a_renamed_datastore_is_the_same_before_and_after_a_restart(life: Life) -> None:
    volume = life.create("db")
    life.housekeeping.scan()
    life.simulator.datastore(DS, "rename", to="fast disks (1) ü")

    for _ in range(3):
        life.housekeeping.scan()
    assert life.record(volume).state is State.READY
    life.restart()
    first = life.attach(volume, life.a)

    assert life.record(volume).datastore == DS
    life.detach(first, life.a)
    assert life.get("db").datastore == DS
    assert life.create("other") != volume


def test_a_datastore_out_of_reach_loses_no_volume_and_takes_none(life: Life) -> None:
    volume = life.create("db")
    life.simulator.datastore(DS, "inaccessible")

    for _ in range(3):
        life.housekeeping.scan()
    with pytest.raises(Unavailable, match=DS):
        life.create("other")
    with pytest.raises(Unavailable):
        life.attach(volume, life.a)

    assert life.get("db").state is State.READY
    life.simulator.datastore(DS, "accessible")
    assert life.attach(volume, life.a).volume == volume


def test_a_snapshot_keeps_the_disk_and_nothing_of_it_is_broken(life: Life) -> None:
    volume = life.create("db", attach_as="persistent")
    first = life.attach(volume, life.a)
    path = life.path(volume)
    life.happens(life.a, "snapshot", to="before the upgrade")

    with pytest.raises(SnapshotPresent, match="before the upgrade"):
        life.detach(first, life.a)
    life.housekeeping.scan()
    assert life.path(volume) == path

    life.happens(life.a, "consolidate")
    life.detach(first, life.a)
    assert not life.has(life.a, volume)


# --- the server --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "how", "sent", "in_doubt"),
    [
        ("CreateVirtualDisk_Task", "lost", 1, True),
        ("CreateVirtualDisk_Task", "dropped", 1, True),
        # It is seen on the machine, by whoever was in doubt.
        ("ReconfigVM_Task", "lost", 1, False),
        ("ReconfigVM_Task", "dropped", 1, True),
        # A removal goes on: what was not deleted is deleted by the next scan.
        ("DeleteVirtualDisk_Task", "lost", 1, False),
        ("DeleteVirtualDisk_Task", "dropped", 2, False),
    ],
)
def test_a_change_whose_answer_is_lost_is_settled_by_looking_and_sent_once(
    life: Life, method: str, how: str, sent: int, in_doubt: bool
) -> None:
    """``dropped``: the request came to nothing."""
    work: dict[str, Callable[[], object]] = {
        "CreateVirtualDisk_Task": lambda: life.create("db"),
        "ReconfigVM_Task": lambda: life.attach(life.get("db").id, life.a),
        "DeleteVirtualDisk_Task": lambda: life.remove(life.get("db").id),
    }
    if method != "CreateVirtualDisk_Task":
        life.create("db")
    before = life.simulator.calls().get(method, 0)
    life.simulator.next(method, how)

    with pytest.raises(Unavailable) if in_doubt else nullcontext():
        work[method]()
    # A process that knows of the doubt waits a minute before it looks; the next one has only the intent.
    life.restart()
    life.housekeeping.scan()

    assert list(life.store.open_intents()) == []
    assert life.simulator.calls()[method] - before == sent
    _use_it_to_the_end(life, gone=method.startswith("Delete"))


def _use_it_to_the_end(life: Life, *, gone: bool) -> None:
    if not gone:
        volume = life.create("db")
        life.detach(life.attach(volume, life.a), life.a)
        life.remove(volume)
    life.housekeeping.scan()
    with pytest.raises(NotFound):
        life.get("db")
    assert not [path for path in life.outside.file(f"[{DS}] vmdkvol").rglob("*") if path.is_file()]


POINTS = [
    Point.ATTACH_CHECKED,
    Point.ATTACH_BEGUN,
    Point.CHANGE_SUBMITTED,
    Point.CHANGE_NOTED,
    Point.CHANGE_DONE,
    Point.CHANGE_FINISHED,
    Point.ATTACH_REPLYING,
]


@pytest.mark.parametrize("point", POINTS)
def test_a_service_that_was_killed_within_an_attach_attaches_it_at_the_next_try(
    begin: Callable[[Model], Life], point: Point
) -> None:
    life = begin("vcenter")
    volume = life.create("db")

    _kill_at(life, point, lambda: life.attach(volume, life.a))

    attachment = life.attach(volume, life.a)
    assert life.has(life.a, volume)
    life.detach(attachment, life.a)
    assert not life.has(life.a, volume)


@pytest.mark.parametrize("point", [Point.DETACH_BEGUN, *POINTS[2:6], Point.DETACH_REPLYING])
def test_a_service_that_was_killed_within_a_detach_detaches_it_at_the_next_try(
    begin: Callable[[Model], Life], point: Point
) -> None:
    life = begin("vcenter")
    volume = life.create("db")
    attachment = life.attach(volume, life.a)

    _kill_at(life, point, lambda: life.detach(attachment, life.a))

    again = life.attach(volume, life.a)
    life.detach(again, life.a)
    assert not life.has(life.a, volume)


def test_an_attach_of_a_process_that_died_does_not_come_after_it_was_taken_back(life: Life) -> None:
    volume = life.create("db")
    life.simulator.next("ReconfigVM_Task", "slow", ms=4000)

    _kill_at(life, Point.CHANGE_SUBMITTED, lambda: life.attach(volume, life.a), logged_out=False)
    life.until(lambda: not life.store.open_intents(), "the attach was settled")

    there = life.has(life.a, volume)
    assert (life.record(volume).last_vm == life.a) is there
    CLOCK.sleep(5.0)
    assert life.has(life.a, volume) is there


def _kill_at(life: Life, point: Point, work: Callable[[], object], *, logged_out: bool = True) -> None:
    def die(passed: Point) -> None:
        if passed is point:
            raise Killed

    life.restart(at=die)
    with pytest.raises(Killed):
        work()
    life.restart(logged_out=logged_out)
    life.housekeeping.scan()


def test_a_datastore_that_was_replaced_under_its_name_is_not_used(life: Life) -> None:
    """Its files would be taken for ours, and ours are on the one that has another name now."""
    volume = life.create("db")
    life.housekeeping.scan()
    life.simulator.datastore(DS, "rename", to="away")
    life.simulator.datastore(OTHER, "rename", to=DS)
    life.restart()

    assert life.get("db").datastore == DS
    assert life.path(volume).startswith(f"[{DS}] ")
    assert life.attach(volume, life.a).volume == volume
    names = {disk.backing.fileName for disk in life.refs[life.a].config.hardware.device if hasattr(disk.backing, "diskMode")}
    assert f"[away] {life.record(volume).path}" in names
