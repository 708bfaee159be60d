"""Work under way and ended work, through restarts; and how the site is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.doubles.faulty import Faults
from tests.doubles.hand_clock import HandClock
from tests.unit.esx.admin_site import AdminSite, meaning
from tests.unit.esx.site import DS1, DS2, A, B, Killed
from tests.unit.esx.test_desk import Notes
from vmdkvol import logs
from vmdkvol.admin_errors import NotCancellable, TaskNotFound
from vmdkvol.audit_messages import AuditEntry, QueryAudit
from vmdkvol.clock import Deadline
from vmdkvol.errors import BadRequest, Conflict, HypervisorUnreachable, NoSpace, VolumeError
from vmdkvol.messages import Attach, Call, CreateVolume, RemoveVolume
from vmdkvol.names import VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.orders import Actor, Role
from vmdkvol.points import Point
from vmdkvol.task_messages import CancelTask, Failure, GetTask, ListTasks, SiteInfo, SiteStatus, TaskInfo, TaskState
from vmdkvol.vmgroup_messages import SetRight, UpdateVmgroup
from vmdkvol.volume import DEFAULT_VMGROUP, Doing, State, VmgroupId
from vmdkvol.volume_orders import CreateVolumeFor
from vmdkvol_esx.auditing import Auditing
from vmdkvol_esx.begun import ADMINISTRATOR
from vmdkvol_esx.desk import Desk
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.ports import AttachDisk, CloneDisk, CreateDisk, Datastore
from vmdkvol_esx.records import Intent
from vmdkvol_esx.standing import Standing
from vmdkvol_esx.store import open_store

BIG = CreateVolume(VolumeRef.parse("big"), CreateOptions.parse({"datastore": "ds1"}))


@pytest.fixture
def site() -> AdminSite:
    return AdminSite(datastores=(DS1, DS2))


def tasks(site: AdminSite, **more: Any) -> list[TaskInfo]:
    return list(site.order(ListTasks(**more)).tasks)


def task(site: AdminSite, id: UUID) -> TaskInfo:
    found: TaskInfo = site.order(GetTask(task=id))
    return found


def begin(site: AdminSite, seconds: float = 500.0) -> TaskInfo:
    site.hypervisor.takes(CreateDisk, seconds)
    site.leave(BIG)
    (found,) = tasks(site)
    return found


# --- work --------------------------------------------------------------------------------------------------------


def test_work_under_way_is_told_with_who_asked_and_how_far_it_is(site: AdminSite) -> None:
    begun = begin(site)
    site.clock.sleep(100.0)
    told = task(site, begun.id)
    assert (told.volume_name, told.doing, told.state, told.by) == ("big", Doing.CREATE, TaskState.RUNNING, "host-a")
    assert told.percent is not None
    assert 10 < told.percent < 100
    assert told.left_s is not None


def test_work_survives_a_restart_of_the_service(site: AdminSite) -> None:
    begun = begin(site)
    site.restart()
    told = task(site, begun.id)
    assert (told.id, told.state, told.since) == (begun.id, TaskState.RUNNING, begun.since)


def test_ended_work_is_told_as_done(site: AdminSite) -> None:
    begun = begin(site, seconds=5.0)
    site.clock.sleep(6.0)
    site.calm_down()
    told = task(site, begun.id)
    assert (told.state, told.ended_at is not None, told.percent) == (TaskState.DONE, True, None)
    assert tasks(site) == []
    assert tasks(site, ended=True) == [told]


def test_work_that_did_not_happen_is_told_as_undone(site: AdminSite) -> None:
    site.hypervisor.fail(NoSpace("full"))
    with pytest.raises(NoSpace):
        site.create("Größe 1", datastore="ds1")
    (told,) = tasks(site, ended=True)
    assert (told.state, told.doing, told.volume_name) == (TaskState.UNDONE, Doing.CREATE, "Größe 1")


def test_of_undone_work_the_next_process_knows_what_its_file_reminds_of(site: AdminSite) -> None:
    site.hypervisor.fail(NoSpace("full"))
    with pytest.raises(NoSpace):
        site.create("Big one", datastore="ds1")
    site.restart()
    (told,) = tasks(site, ended=True)
    assert (told.state, told.volume_name) == (TaskState.UNDONE, "big-one")


def after_nothing(_: AdminSite) -> None:
    """It is followed to its end by the thread that began it."""


# One that began it gives it up after ten minutes, too.
@pytest.mark.parametrize("between", [after_nothing, AdminSite.restart])
def test_work_that_failed_says_why_to_who_did_not_wait(site: AdminSite, between: Callable[[AdminSite], None]) -> None:
    site.hypervisor.takes(CreateDisk, 200.0)
    site.hypervisor.fail(NoSpace("ds1 is full"))
    order = CreateVolumeFor(vmgroup="_DEFAULT", name="big", options=(("datastore", "ds1"),))
    begun = site.order(order, seconds=50.0)
    between(site)
    site.clock.sleep(200.0)
    site.calm_down()
    told = task(site, begun.task)
    assert told.state is TaskState.UNDONE
    assert told.failure == Failure("no-space", "ds1 is full", NoSpace.remedy)


ANN = Actor("ann", Role.ADMIN, "unix")
BIG_FOR_ANN = CreateVolumeFor(vmgroup="_DEFAULT", name="big", options=(("datastore", "ds1"),), by=ANN)


def at_the_desk(site: AdminSite, order: CreateVolumeFor, seconds: float = 5.0) -> Any:
    """Give the order as it comes from outside: who gave it is kept, and the audit hears of it."""
    call = uuid4()
    desk = Desk(site.handles, site.store, site.auditing, site.clock, site.log, meaning(site.store))
    with logs.bound(call=str(call)):
        return desk.answer(order, Call(call, Deadline.after(site.clock, seconds), ADMINISTRATOR))


def audited(site: AdminSite) -> list[AuditEntry]:
    """Return what the audit has of the volume ``big``, the oldest first."""
    named = (each for each in site.auditing.page(QueryAudit()).entries if each.target == "big" or "name=big" in each.detail)
    return sorted(named, key=lambda each: each.seq)


def test_ordered_work_that_failed_has_its_end_in_the_audit_beside_its_beginning(site: AdminSite) -> None:
    site.hypervisor.takes(CreateDisk, 20.0)
    site.hypervisor.fail(NoSpace("ds1 is full"))
    begun = at_the_desk(site, BIG_FOR_ANN)
    site.clock.sleep(20.0)
    site.calm_down()
    assert [(each.verb, each.result) for each in audited(site)] == [
        ("create-volume-for", "started"),
        ("CreateDisk", "no-space"),
    ]
    assert all(f"operation={begun.task}" in each.detail for each in audited(site))


def test_an_ordered_clone_whose_source_was_attached_meanwhile_has_its_end_in_audit_and_tasks(site: AdminSite) -> None:
    source = site.create("src", datastore="ds1").id
    store, faults = site.store, Faults(site.clock)
    gate, refused = faults.hang("begin"), list[VolumeError]()
    site.store = faults.around(store)
    site.restart()
    options = (("clone-from", "src"), ("datastore", "ds1"))

    def clone() -> None:
        try:
            at_the_desk(site, replace(BIG_FOR_ANN, options=options), 500.0)
        except VolumeError as error:
            refused.append(error)

    cloning = site.clock.start("clone", clone)
    assert gate.reached()
    site.attach(source)
    gate.open()
    cloning.join(30.0)

    assert [error.code for error in refused] == ["volume-in-use"]
    told = next(each for each in tasks(site, ended=True) if each.doing is Doing.CLONE)
    assert (told.state, told.volume_name) == (TaskState.UNDONE, "big")
    assert told.failure is not None
    assert told.failure.text == "volume src was attached meanwhile"
    kept = Auditing(store.trail, site.clock, site.log, uuid4, retention_s=1e9, most=1000).page(QueryAudit()).entries
    assert [each.result for each in kept if each.verb == "CloneDisk"] == ["volume-in-use"]


def test_ordered_work_that_did_not_survive_its_process_has_its_end_in_the_audit(site: AdminSite) -> None:
    def at(point: Point) -> None:
        if point is Point.COMMISSION_BEGUN:
            raise Killed

    site.restart(at)
    with pytest.raises(Killed):
        at_the_desk(site, BIG_FOR_ANN)
    site.restart()
    site.calm_down()
    assert [(each.verb, each.result) for each in audited(site)][-1] == ("CreateDisk", "undone")


def test_a_machines_work_that_failed_is_told_where_it_is_refused(site: AdminSite) -> None:
    site.hypervisor.fail(NoSpace("full"))
    with pytest.raises(NoSpace):
        site.create("big", datastore="ds1")
    assert [(each.verb, each.result) for each in audited(site)] == [("CreateVolume", "no-space")]


def test_work_on_a_volume_that_is_gone_has_its_name_still() -> None:
    site = AdminSite(retention_s=0.0)
    volume = site.create("db").id
    site.ask(RemoveVolume(volume))
    latest = tasks(site, ended=True)[0]
    assert (latest.doing, latest.volume_name, latest.state, latest.by) == (Doing.DELETE, "db", TaskState.DONE, None)


def test_the_latest_comes_first_and_the_limit_holds(site: AdminSite) -> None:
    for number in range(5):
        site.create(f"v{number}", datastore="ds1")
        site.clock.sleep(1.0)
    assert [each.volume_name for each in tasks(site, ended=True, limit=3)] == ["v4", "v3", "v2"]


def test_work_on_one_volume_is_told_alone(site: AdminSite) -> None:
    volume = site.create("db", datastore="ds1").id
    site.create("other", datastore="ds1")
    site.detach(site.attach(volume))
    assert [each.doing for each in tasks(site, ended=True, volume=volume)] == [Doing.DETACH, Doing.ATTACH, Doing.CREATE]
    begin(site)
    assert tasks(site, volume=volume) == []


def test_work_is_forgotten_after_a_day(site: AdminSite) -> None:
    record = site.record(site.create("db", datastore="ds1").id)
    clock = HandClock()
    store = open_store(None, clock)
    intent = Intent(uuid4(), record.id, CreateDisk(disk_ref(record), record.size_bytes, "thin", {}), None, clock.wall())
    store.begin(intent, replace(record, generation=1))
    assert store.work(intent.id) == intent
    store.finish(intent.id, replace(record, generation=1))
    clock.pass_time(24 * 3600.0 - 1.0)
    assert [each.intent for each in store.ended(None, 10)] == [intent]
    clock.pass_time(1.0)
    assert (store.work(intent.id), store.ended(None, 10), store.ended(record.id, 10)) == (None, (), ())


def test_unknown_work_is_not_found(site: AdminSite) -> None:
    with pytest.raises(TaskNotFound):
        task(site, uuid4())
    with pytest.raises(TaskNotFound):
        site.order(CancelTask(task=uuid4()))


@pytest.mark.parametrize("limit", [0, -1, 201])
def test_a_list_of_none_or_too_many_is_refused(site: AdminSite, limit: int) -> None:
    with pytest.raises(BadRequest):
        tasks(site, limit=limit)


def test_a_making_that_was_cancelled_leaves_nothing_and_its_name_is_free(site: AdminSite) -> None:
    site.store.set_default_datastore(DEFAULT_VMGROUP, DS1)
    begun = begin(site)
    dry = site.order(CancelTask(task=begun.id, dry_run=True))
    assert (dry.done, task(site, begun.id).state) == (False, TaskState.RUNNING)
    real = site.order(CancelTask(task=begun.id))
    assert (real.done, real.plan) == (True, dry.plan)
    assert task(site, begun.id).state is TaskState.UNDONE
    assert (site.records(), site.hypervisor.truth().disks) == ([], {})
    site.hypervisor.takes(CreateDisk, 0.0)
    assert site.create("big").name == "big"
    site.check_settled()


def test_who_waits_for_what_is_cancelled_hears_why(site: AdminSite) -> None:
    site.hypervisor.takes(CreateDisk, 500.0)
    heard: list[VolumeError] = []

    def wait() -> None:
        try:
            site.ask(BIG)
        except VolumeError as error:
            heard.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not tasks(site):
        site.clock.sleep(0.05)
    site.order(CancelTask(task=tasks(site)[0].id))
    waiting.join(10.0)
    assert [(type(each), "cancelled" in each.text) for each in heard] == [(Conflict, True)]


def test_a_clone_is_cancelled_and_its_source_is_free(site: AdminSite) -> None:
    source = site.create("db", datastore="ds1").id
    site.format(source)
    site.hypervisor.takes(CloneDisk, 500.0)
    site.leave(CreateVolume(VolumeRef.parse("copy"), CreateOptions.parse({"clone-from": "db", "datastore": "ds1"})))
    site.order(CancelTask(task=tasks(site)[0].id))
    assert [record.id for record in site.records()] == [source]
    site.attach(source, B)


def test_a_cancellation_that_comes_again_is_a_success(site: AdminSite) -> None:
    begun = begin(site)
    site.order(CancelTask(task=begun.id))
    again = site.order(CancelTask(task=begun.id))
    assert (again.done, again.plan.steps) == (True, ())


def test_cancelled_in_one_process_it_is_undone_by_the_next(site: AdminSite) -> None:
    """Killed after the hypervisor was told, and before anything was undone."""
    begun = begin(site)
    (intent,) = site.store.open_intents()
    site.hypervisor.cancel(intent.task)
    site.restart()
    site.calm_down()
    assert task(site, begun.id).state is TaskState.UNDONE
    assert (site.records(), site.hypervisor.truth().disks) == ([], {})


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_is_no_making_is_not_cancelled_and_the_reason_is_told(site: AdminSite, dry_run: bool) -> None:
    volume = site.create("db", datastore="ds1").id
    site.hypervisor.takes(AttachDisk, 500.0)
    site.leave(Attach(volume))
    (begun,) = tasks(site)
    with pytest.raises(NotCancellable, match="as a whole or not at all"):
        site.order(CancelTask(task=begun.id, dry_run=dry_run))
    assert task(site, begun.id).state is TaskState.RUNNING


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_hypervisor_that_stops_nothing_goes_on_and_the_reason_is_told(site: AdminSite, dry_run: bool) -> None:
    begun = begin(site)
    site.hypervisor.stops_nothing = True
    with pytest.raises(NotCancellable, match="remove the volume"):
        site.order(CancelTask(task=begun.id, dry_run=dry_run))
    assert task(site, begun.id).state is TaskState.RUNNING


def test_ended_work_is_not_cancelled(site: AdminSite) -> None:
    site.create("db", datastore="ds1")
    with pytest.raises(NotCancellable, match="has ended"):
        site.order(CancelTask(task=tasks(site, ended=True)[0].id))


def test_work_says_which_administrator_ordered_it(site: AdminSite) -> None:
    call = uuid4()
    order = CreateVolumeFor(vmgroup="_DEFAULT", name="db", options=(("datastore", "ds1"),), by=Actor("ann", Role.ADMIN, "unix"))
    desk = Desk(site.handles, site.store, Notes(), site.clock, site.log, meaning(site.store))
    with logs.bound(call=str(call)):
        desk.answer(order, Call(call, Deadline.after(site.clock, 100.0), ADMINISTRATOR))
    assert [each.by for each in tasks(site, ended=True)] == ["ann"]


# --- the site ----------------------------------------------------------------------------------------------------


def status(site: AdminSite) -> SiteInfo:
    found: SiteInfo = site.order(SiteStatus())
    return found


def test_a_sound_site_has_no_trouble(site: AdminSite) -> None:
    site.create("db", datastore="ds1")
    site.remove(site.create("old", datastore="ds1").id)
    site.connected |= {A}
    site.clock.sleep(10.0)
    found = status(site)
    counts = {each.what: each.count for each in found.states}
    assert (counts["ready"], counts["trashed"], counts["lost"]) == (1, 1, 0)
    assert (found.hosts, found.datastores, found.open_work, found.trouble) == (("host-a",), 2, 0, ())
    assert found.uptime_s >= 10.0
    assert found.revision == site.store.change_number()


def test_lost_and_damaged_volumes_are_trouble(site: AdminSite) -> None:
    for name, state in (("a", State.LOST), ("b", State.DAMAGED)):
        record = site.record(site.create(name, datastore="ds1").id)
        site.store.update(replace(record, state=state), expect=record.generation)
    assert [line.split(":")[0] for line in status(site).trouble] == ["1 volumes are lost", "1 volumes are damaged"]


def test_a_vmgroup_that_was_lost_with_a_database_is_trouble_until_it_has_a_name(site: AdminSite) -> None:
    group = VmgroupId(uuid4())
    record = site.record(site.create("a", datastore="ds1").id)
    site.store.delete(record.id, expect=record.generation)
    site.store.restore(replace(record, vmgroup=group))
    (line,) = status(site).trouble
    assert line.startswith("1 vmgroups were lost with a database")
    assert "`vmdkvol orphans ls`" in line
    site.order(UpdateVmgroup(name=str(group), new_name="dev", default_datastore="ds1"))
    assert status(site).trouble == ()


def test_volumes_of_a_default_vmgroup_without_any_right_are_trouble_with_the_command_that_gives_it(site: AdminSite) -> None:
    """As after a rebuild without the old database, when machines that were in other vmgroups are in this one."""
    site.create("db", datastore="ds1")
    default = site.store.group_by_id(DEFAULT_VMGROUP)
    site.store.put_group(replace(default, rights=()), expect=default.vmgroup.revision)
    (line,) = status(site).trouble
    assert line.startswith("_DEFAULT has no right on any datastore")
    assert line.endswith("`vmdkvol vmgroup access add _DEFAULT --datastore _ALL_DS --allow-create`")
    site.order(SetRight(name="_DEFAULT", datastore="_ALL_DS", allow_create=True))
    assert status(site).trouble == ()


def test_a_default_vmgroup_without_right_and_volumes_is_no_trouble(site: AdminSite) -> None:
    """A site whose machines are all in vmgroups of their own wants it so."""
    default = site.store.group_by_id(DEFAULT_VMGROUP)
    site.store.put_group(replace(default, rights=()), expect=default.vmgroup.revision)
    assert status(site).trouble == ()


def test_volumes_of_a_datastore_that_was_taken_away_are_trouble(site: AdminSite) -> None:
    """They are as ready as before, and nothing of them can be reached."""
    site.create("db@ds2")
    away = site.hypervisor.take_away(DS2)
    (line,) = status(site).trouble
    assert line == ("volumes lie on datastores that the settings do not name: ds2; `vmdkvol orphans ls` says what mends each")
    site.hypervisor.bring_back(away)
    assert status(site).trouble == ()


def test_a_disk_without_a_record_is_trouble_once_a_scan_has_seen_it(site: AdminSite) -> None:
    record = site.record(site.create("a", datastore="ds1").id)
    site.store.delete(record.id, expect=record.generation)
    site.housekeeping.scan()
    (line,) = status(site).trouble
    assert line == "1 disk has no record: `vmdkvol orphans ls` has the command for it"
    site.store.restore(record)
    site.housekeeping.scan()
    assert status(site).trouble == ()


def test_a_datastore_that_cannot_be_written_is_trouble(site: AdminSite) -> None:
    site.hypervisor.read_only(DS2)
    assert status(site).trouble == ("datastore ds2 is read-only",)


def test_a_datastore_that_is_nearly_full_is_trouble_before_it_is_full(site: AdminSite) -> None:
    parts = replace(site.verbs.parts, hypervisor=Filled(site.hypervisor, Datastore(DS1, 100 << 30, 15 << 30, True)))
    found = Standing(parts, site.store, lambda vm: True, "vmdkvol-esxd 0").status()
    assert found.trouble == ("datastore ds1 is 85 % full: 15gb of 100gb free",)


class Filled:
    """A hypervisor that shows this datastore."""

    def __init__(self, inner: object, datastore: Datastore) -> None:
        self._inner = inner
        self._datastore = datastore

    def datastores(self) -> list[Datastore]:
        return [self._datastore]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def test_a_quota_that_is_nearly_used_is_trouble_before_a_volume_is_refused(site: AdminSite) -> None:
    size = site.record(site.create("db", datastore="ds1").id).size_bytes
    site.order(SetRight(name="_DEFAULT", datastore=DS1, allow_create=True, total_bytes=size * 10 // 8))
    assert status(site).trouble == ()
    site.order(SetRight(name="_DEFAULT", datastore=DS1, total_bytes=size * 10 // 9))
    (line,) = status(site).trouble
    assert line.startswith("vmgroup _DEFAULT has ")
    assert line.endswith(" on ds1")


def test_without_the_hypervisor_the_status_is_told_with_the_reason(site: AdminSite) -> None:
    site.create("db", datastore="ds1")
    faults = Faults(site.clock)
    faults.fail_before("datastores", HypervisorUnreachable("vCenter does not answer"))
    parts = replace(site.verbs.parts, hypervisor=faults.around(site.hypervisor))
    found = Standing(parts, site.store, lambda vm: True, "vmdkvol-esxd 0").status()
    assert "vCenter does not answer" in found.trouble[0]
    assert {each.what: each.count for each in found.states}["ready"] == 1


def test_open_work_is_counted(site: AdminSite) -> None:
    site.attach(site.create("db", datastore="ds1").id, B)
    begin(site)
    site.hypervisor.takes(AttachDisk, 0.0)
    assert status(site).open_work == 1
