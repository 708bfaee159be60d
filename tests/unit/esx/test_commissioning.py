"""A volume for a vmgroup by an administrator's order: once, within the limits, or none at all."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.unit.esx.admin_site import AdminSite
from tests.unit.esx.site import DS1, DS2, GB, Killed
from tests.unit.esx.test_crashes import TASK, Passed
from vmdkvol.admin_errors import VmgroupNotFound
from vmdkvol.errors import (
    DatastoreNotFound,
    InvalidName,
    InvalidOption,
    InvalidSize,
    NameConflict,
    NoSpace,
    NotPermitted,
    QuotaExceeded,
    TruthUnknown,
    VolumeInUse,
    VolumeNotFound,
)
from vmdkvol.orders import Actor, Outcome, Role
from vmdkvol.points import Point
from vmdkvol.task_messages import GetTask, TaskState
from vmdkvol.volume import State, VmgroupId, VolumeId
from vmdkvol.volume_orders import CreateVolumeFor, InspectVolume
from vmdkvol_esx.cordons import Cordon
from vmdkvol_esx.ports import CreateDisk
from vmdkvol_esx.records import Group, Right, Vmgroup


@pytest.fixture
def site() -> AdminSite:
    site = AdminSite(datastores=(DS1, DS2))
    web = Vmgroup(VmgroupId(uuid4()), "web", DS1, defaults=(("fstype", "xfs"), ("size", "2gb")))
    rights = (Right(DS1, allow_create=False, max_bytes=4 * GB, total_bytes=6 * GB),)
    site.store.put_group(Group(web, rights), expect=None)
    return site


def create(site: AdminSite, name: str = "db", seconds: float = 1000.0, **more: Any) -> Outcome:
    options = tuple(more.pop("options", {}).items())
    order = CreateVolumeFor(vmgroup=more.pop("vmgroup", "web"), name=name, options=options, **more)
    outcome: Outcome = site.order(order, seconds=seconds)
    return outcome


def made(site: AdminSite) -> list[str]:
    return sorted(f"{record.name} {record.state}" for record in site.records())


def test_an_option_that_is_given_twice_is_named(site: AdminSite) -> None:
    with pytest.raises(InvalidOption, match="option 'size' is given twice; give it once"):
        site.order(CreateVolumeFor(vmgroup="web", name="db", options=(("size", "1gb"), ("size", "2gb"))))
    assert made(site) == []


def test_a_volume_is_there_with_the_vmgroup_s_defaults(site: AdminSite) -> None:
    told = create(site, by=Actor("ann", Role.ADMIN, "unix"))
    record = site.record(VolumeId(UUID(told.subject)))
    assert (record.name, record.state, record.datastore, record.size_bytes) == ("db", State.READY, DS1, 2 * GB)
    assert (record.options.fstype, record.created_by, told.revision) == ("xfs", "ann", 1)
    assert site.copy_of(record) == record
    site.check_settled()


def test_it_is_not_told_to_another_vmgroup(site: AdminSite) -> None:
    create(site)
    with pytest.raises(VolumeNotFound):
        site.get("db")
    assert site.order(InspectVolume(volume="db")).row.vmgroup == "web"


def test_the_same_again_holds_already(site: AdminSite) -> None:
    first = create(site)
    again = create(site)
    assert (again.plan.steps, again.subject, again.done) == ((), first.subject, True)
    assert len(site.records()) == 1


@pytest.mark.parametrize("options", [{"size": "3gb"}, {"fstype": "ext4"}, {"datastore": "ds2"}])
def test_a_name_with_other_options_is_refused(site: AdminSite, options: dict[str, str]) -> None:
    create(site)
    with pytest.raises(NameConflict):
        create(site, options=options)


def test_a_dry_run_makes_the_plan_of_the_real_run_and_nothing_else(site: AdminSite) -> None:
    dry = create(site, dry_run=True)
    assert (made(site), dry.done, dry.subject) == ([], False, "")
    assert create(site).plan == dry.plan


@pytest.mark.parametrize("dry_run", [True, False])
def test_on_a_cordoned_datastore_nothing_is_made(site: AdminSite, dry_run: bool) -> None:
    site.store.cordon(Cordon(DS1, "ann", 1.0))
    with pytest.raises(NotPermitted, match="takes no new volumes"):
        create(site, dry_run=dry_run)
    assert made(site) == []
    assert create(site, options={"datastore": "ds2"}, dry_run=dry_run).plan.steps


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"vmgroup": "nobody"}, VmgroupNotFound),
        ({"vmgroup": ""}, VmgroupNotFound),
        ({"name": ""}, InvalidName),
        ({"name": "a/b"}, InvalidName),
        ({"name": "db "}, InvalidName),
        ({"name": "\ud800"}, InvalidName),
        ({"options": {"size": "0"}}, InvalidSize),
        ({"options": {"size": "1e9zb"}}, InvalidSize),
        ({"options": {"nothing": "x"}}, InvalidOption),
        ({"options": {"label": "x" * (1 << 20)}}, InvalidOption),
        ({"options": {"datastore": "ds9"}}, DatastoreNotFound),
        ({"name": "db@ds1", "options": {"datastore": "ds2"}}, InvalidOption),
        ({"options": {"size": "5gb"}}, QuotaExceeded),
        ({"options": {"size": "101gb", "diskformat": "zeroedthick"}, "over_quota": True}, NoSpace),
        ({"options": {"clone-from": "nothing"}}, VolumeNotFound),
    ],
)
def test_what_cannot_be_is_refused_in_a_dry_run_too(
    site: AdminSite, more: dict[str, Any], error: type[Exception], dry_run: bool
) -> None:
    with pytest.raises(error) as told:
        create(site, **more, dry_run=dry_run)
    assert len(str(told.value)) <= 300
    assert made(site) == []


def test_the_total_counts_and_over_quota_says_otherwise(site: AdminSite) -> None:
    for name in ("a", "b", "c"):
        create(site, name)
    for dry_run in (True, False):
        with pytest.raises(QuotaExceeded):
            create(site, dry_run=dry_run)
    assert "whatever its limits are" in (create(site, over_quota=True).plan.steps[0].after or "")
    assert len(site.records()) == 4


def test_an_unreadable_datastore_s_name_is_not_claimed(site: AdminSite) -> None:
    site.hypervisor.read_only(DS1)
    with pytest.raises(Exception, match="read-only"):
        create(site)
    assert made(site) == []


def test_a_failed_disk_leaves_no_name_and_no_quota(site: AdminSite) -> None:
    site.hypervisor.fail(NoSpace("full"))
    with pytest.raises(NoSpace):
        create(site, options={"size": "4gb"})
    assert made(site) == []
    create(site, options={"size": "4gb"})


def test_long_work_is_told_as_a_task_and_goes_on(site: AdminSite) -> None:
    site.hypervisor.takes(CreateDisk, 60.0)
    told = create(site, seconds=5.0)
    assert not told.done
    assert told.task is not None
    assert site.order(GetTask(task=told.task)).state is TaskState.RUNNING
    assert create(site).done
    assert site.order(GetTask(task=told.task)).state is TaskState.DONE
    assert made(site) == ["db ready"]


def test_a_clone_of_a_volume_in_use_is_refused(site: AdminSite) -> None:
    source = site.create("src", datastore="ds1").id
    site.format(source)
    site.attach(source)
    with pytest.raises(VolumeInUse):
        create(site, "copy", vmgroup="_DEFAULT", options={"clone-from": "src", "datastore": "ds1"})
    assert made(site) == ["src ready"]


def test_a_clone_has_its_source_s_data(site: AdminSite) -> None:
    source = site.create("src", datastore="ds1").id
    site.format(source)
    create(site, "copy", vmgroup="_DEFAULT", options={"clone-from": "src", "datastore": "ds1"})
    copy = site.get("copy")
    assert site.hypervisor.content(site.record(copy.id).disk_uuid) == f"data of {source}"


def test_while_the_hypervisor_is_away_nothing_is_undone(site: AdminSite) -> None:
    site.restart(Passed(2))
    with pytest.raises(Killed):
        create(site)
    site.hypervisor.unreadable(DS1)
    site.restart()
    with pytest.raises(TruthUnknown):
        create(site)
    assert made(site) == ["db preparing"]


@pytest.mark.parametrize("nth", range(6))
def test_after_a_death_the_repeat_succeeds_once(site: AdminSite, nth: int) -> None:
    points = (Point.COMMISSION_BEGUN, *TASK, Point.SIDECAR_WRITTEN)
    site.hypervisor.takes(CreateDisk, 1.0)
    passed = Passed(nth)
    site.restart(passed)
    with pytest.raises(Killed):
        create(site)
    assert tuple(passed.points) == points[: nth + 1]
    site.restart()
    site.check()
    create(site)
    site.clock.sleep(1.0)
    site.calm_down()
    assert made(site) == ["db ready"]
    site.check_settled()
