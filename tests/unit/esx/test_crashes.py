"""The service dies at each of its crash points. The next one settles what is open, and the repeat succeeds once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.unit.esx.admin_site import AdminSite
from tests.unit.esx.site import GB, A, B, Killed, Site
from vmdkvol.errors import StaleRequest, VolumeError
from vmdkvol.messages import Attach, CreateVolume, Detach, ListAttached, Mark, RemoveVolume, Request
from vmdkvol.names import VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.points import Point
from vmdkvol.resize_messages import ResizeVolume
from vmdkvol.volume import Content, State
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.ports import AttachDisk, CloneDisk, CreateDisk, DeleteDisk, DetachDisk, GrowDisk

P = Point
TASK = (P.CHANGE_SUBMITTED, P.CHANGE_NOTED, P.CHANGE_DONE, P.CHANGE_FINISHED)


class Passed:
    """Notes the points that are passed, and dies at the ``nth`` one (None: at none)."""

    def __init__(self, nth: int | None = None) -> None:
        self.points: list[Point] = []
        self._nth = nth

    def __call__(self, point: Point) -> None:
        self.points.append(point)
        if self._nth is not None and len(self.points) == self._nth + 1:
            raise Killed(point)


@dataclass(frozen=True, slots=True)
class Work:
    """One request: what is there before, the points that it passes, and what must be there in the end."""

    prepare: Callable[[Site], Request[object]]
    points: tuple[Point, ...]
    done: Callable[[Site], bool]


def _create(site: Site) -> Request[object]:
    return CreateVolume(VolumeRef.parse("db"), CreateOptions.parse({"size": "1gb"}))


def _clone(site: Site) -> Request[object]:
    site.format(site.create("src").id)
    return CreateVolume(VolumeRef.parse("db"), CreateOptions.parse({"clone-from": "src"}))


def _attach(site: Site) -> Request[object]:
    return Attach(site.create("db").id)


def _attach_again(site: Site) -> Request[object]:
    volume = site.create("db").id
    site.attach(volume)
    return Attach(volume)


def _detach(site: Site) -> Request[object]:
    attachment = site.attach(site.create("db").id)
    return Detach(attachment.volume, attachment.generation)


def _mark(site: Site) -> Request[object]:
    attachment = site.attach(site.create("db").id)
    return Mark(attachment.volume, attachment.generation, Content.FORMATTING, site.record(attachment.volume).id)


def _remove(site: Site) -> Request[object]:
    return RemoveVolume(site.create("db").id)


def _grow(site: Site) -> Request[object]:
    volume = site.create("db", size="1gb").id
    site.format(volume)
    return ResizeVolume(volume=str(volume), size_bytes=2 * GB)


def _grow_on_a(site: Site) -> Request[object]:
    order = _grow(site)
    site.attach(site.records()[0].id)
    return order


def _db_is_ready(site: Site) -> bool:
    return [record.state for record in site.records() if record.name == "db"] == [State.READY]


def _is_on_a(site: Site) -> bool:
    return list(site.hypervisor.truth().holders.values()) == [A]


def _is_on_nobody(site: Site) -> bool:
    return not site.hypervisor.truth().holders


def _is_marked(site: Site) -> bool:
    (record,) = site.records()
    return record.content is Content.FORMATTING and site.copy_of(record) == record


def _has_grown(site: Site) -> bool:
    (record,) = site.records()
    disk = site.hypervisor.disk(disk_ref(record))
    return disk is not None and {disk.size_bytes, record.size_bytes, site.copy_of(record).size_bytes} == {2 * GB}


def _is_gone(site: Site) -> bool:
    truth = site.hypervisor.truth()
    return not site.records() and not truth.disks and not truth.sidecars


MAKE = (P.CREATE_PARSED, P.CREATE_LOCKED, P.CREATE_BEGUN, *TASK, P.SIDECAR_WRITTEN, P.CREATE_REPLYING)
GROW = (P.RESIZE_LOCKED, P.RESIZE_BEGUN, *TASK, P.SIDECAR_WRITTEN, P.RESIZE_REPLYING)
WORK = {
    "create": Work(_create, MAKE, _db_is_ready),
    "clone": Work(_clone, MAKE, _db_is_ready),
    "attach": Work(_attach, (P.ATTACH_LOCKED, P.ATTACH_CHECKED, P.ATTACH_BEGUN, *TASK, P.ATTACH_REPLYING), _is_on_a),
    "attach-again": Work(_attach_again, (P.ATTACH_LOCKED, P.ATTACH_CHECKED, P.ATTACH_REPLYING), _is_on_a),
    "detach": Work(_detach, (P.DETACH_LOCKED, P.DETACH_BEGUN, *TASK, P.DETACH_REPLYING), _is_on_nobody),
    "mark": Work(_mark, (P.SIDECAR_WRITTEN,), _is_marked),
    "remove": Work(
        _remove,
        (P.REMOVE_LOCKED, P.SIDECAR_WRITTEN, P.REMOVE_TRASHED, P.REMOVE_BEGUN, *TASK, P.REMOVE_REPLYING),
        _is_gone,
    ),
    "grow": Work(_grow, GROW, _has_grown),
    "grow-on-a": Work(_grow_on_a, GROW, _has_grown),
}
BEGUN = {P.CREATE_BEGUN, P.ATTACH_BEGUN, P.DETACH_BEGUN, P.REMOVE_BEGUN, P.RESIZE_BEGUN} | set(TASK[:-1])
CHANGES = (CreateDisk, CloneDisk, AttachDisk, DetachDisk, DeleteDisk, GrowDisk)
DEATHS = [pytest.param(name, nth, id=f"{name}-{point}") for name, work in WORK.items() for nth, point in enumerate(work.points)]
# Deaths that leave an intent open: what the next process has to settle.
OPEN = [row for row in DEATHS if WORK[str(row.values[0])].points[int(str(row.values[1]))] in BEGUN]
# A change is done in `submit`, or it is a task that may still run when the next process looks.
SECONDS = [pytest.param(0.0, id="at-once"), pytest.param(1.0, id="task")]


def _ready(name: str, seconds: float) -> tuple[Site, Request[object]]:
    site = AdminSite(retention_s=0.0)
    request = WORK[name].prepare(site)
    for change in CHANGES:
        site.hypervisor.takes(change, seconds)
    return site, request


def _die(site: Site, request: Request[object], nth: int) -> None:
    site.restart(Passed(nth))
    with pytest.raises(Killed):
        site.ask(request)


def _repeat(site: Site, request: Request[object]) -> None:
    """Ask again as a guest does: a Detach that is too old asks first what is attached."""
    try:
        site.ask(request)
    except StaleRequest:
        assert isinstance(request, Detach)
        site.detach(site.attach(request.volume))


@pytest.mark.parametrize("name", list(WORK))
def test_the_points_of_the_work_are_these(name: str) -> None:
    site, request = _ready(name, 1.0)
    passed = Passed()
    site.restart(passed)
    site.ask(request)
    assert tuple(passed.points) == WORK[name].points


@pytest.mark.parametrize("seconds", SECONDS)
@pytest.mark.parametrize(("name", "nth"), DEATHS)
def test_after_a_death_the_repeat_succeeds_once(name: str, nth: int, seconds: float) -> None:
    """F05, F06, F07: I2, I4 and I10 after each point; F31: the repeat has another call id, so nothing is remembered."""
    if seconds == 0.0 and WORK[name].points[nth] is P.CHANGE_NOTED:
        # Nothing is noted of a change that is done at once: the points after it come one earlier, and have their rows.
        nth -= 1
    site, request = _ready(name, seconds)
    if seconds == 0.0 and P.CHANGE_NOTED in WORK[name].points[:nth]:
        nth -= 1
    _die(site, request, nth)
    site.restart()
    site.check()
    _repeat(site, request)
    site.clock.sleep(seconds)
    site.calm_down()
    assert WORK[name].done(site)
    site.check_settled()


@pytest.mark.parametrize(("name", "nth"), OPEN)
def test_after_a_death_nothing_stays_open_without_a_repeat(name: str, nth: int) -> None:
    site, request = _ready(name, 1.0)
    _die(site, request, nth)
    site.clock.sleep(1.5)
    site.restart()
    site.calm_down()
    site.check_settled()


@pytest.mark.parametrize(("name", "nth"), OPEN)
def test_a_second_death_while_settling_changes_nothing(name: str, nth: int) -> None:
    site, request = _ready(name, 1.0)
    _die(site, request, nth)
    for again in range(3):
        try:
            site.restart(Passed(again))
        except Killed:
            site.check()
    site.restart()
    _repeat(site, request)
    site.calm_down()
    assert WORK[name].done(site)
    site.check_settled()


@pytest.mark.parametrize(("name", "nth"), [row for row in DEATHS if row.values[0] in ("attach", "attach-again", "detach")])
def test_after_a_death_the_disk_can_go_to_another_host(name: str, nth: int) -> None:
    site, request = _ready(name, 1.0)
    _die(site, request, nth)
    site.clock.sleep(1.5)
    site.restart()
    for attachment in site.ask(ListAttached()).attachments:
        site.detach(attachment)
    (record,) = site.records()
    site.attach(record.id, B)
    assert list(site.hypervisor.truth().holders.values()) == [B]
    site.check_settled()


@pytest.mark.parametrize("nth", range(MAKE.index(P.CREATE_BEGUN), MAKE.index(P.CHANGE_FINISHED)))
@pytest.mark.parametrize("name", ["create", "clone"])
def test_while_the_hypervisor_is_away_nothing_is_undone(name: str, nth: int) -> None:
    """I6: what cannot be seen is neither there nor absent."""
    site, request = _ready(name, 1.0)
    _die(site, request, nth)
    known = [record for record in site.records() if record.name == "db"]
    site.clock.sleep(1.5)
    site.hypervisor.unreadable(site.hypervisor.datastores()[0].name)
    site.hypervisor.forget_tasks()
    site.restart()
    with pytest.raises(VolumeError) as told:
        site.ask(request)
    assert [record.id for record in site.records() if record.name == "db"] == [record.id for record in known]
    # Not only that it cannot be seen: an administrator can do something about the reason alone.
    assert "does not answer" in str(told.value)


def test_the_name_is_given_back_when_nothing_was_made() -> None:
    site, request = _ready("create", 0.0)
    _die(site, request, MAKE.index(P.CREATE_BEGUN))
    site.restart()
    assert site.records() == []


def test_a_finished_create_is_kept_without_a_repeat() -> None:
    site, request = _ready("create", 0.0)
    _die(site, request, MAKE.index(P.CHANGE_SUBMITTED))
    site.restart()
    assert _db_is_ready(site)


def test_a_running_task_is_waited_for_and_not_undone() -> None:
    site, request = _ready("create", 30.0)
    _die(site, request, MAKE.index(P.CHANGE_NOTED))
    site.restart()
    assert [record.state for record in site.records()] == [State.PREPARING]
    site.clock.sleep(31.0)
    site.calm_down()
    assert _db_is_ready(site)


def test_a_removal_goes_forward_without_a_repeat() -> None:
    site, request = _ready("remove", 0.0)
    _die(site, request, WORK["remove"].points.index(P.REMOVE_BEGUN))
    site.restart()
    assert _is_gone(site)


def test_a_removal_that_died_in_the_trash_is_emptied_later() -> None:
    site, request = _ready("remove", 0.0)
    _die(site, request, WORK["remove"].points.index(P.REMOVE_TRASHED))
    site.restart()
    site.calm_down()
    assert _is_gone(site)
