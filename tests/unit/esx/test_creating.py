"""Create: one volume of a name, or nothing; and an error that says what to do."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from tests.unit.esx.site import DS1, DS2, GB, B, Site
from vmdkvol.errors import (
    DatastoreNotFound,
    InvalidOption,
    NameConflict,
    NoSpace,
    NotPermitted,
    OutcomeUnknown,
    PolicyNotFound,
    StillWorking,
    TruthUnknown,
    VolumeLost,
)
from vmdkvol.messages import CreateVolume, ListVolumes
from vmdkvol.names import DatastoreName, VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.volume import DEFAULT_VMGROUP, Content, DiskUuid, State
from vmdkvol_esx.paths import disk_path
from vmdkvol_esx.ports import CreateDisk, DeleteDisk


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def two_datastores() -> Site:
    return Site(datastores=(DS1, DS2))


def nothing_is_left(site: Site) -> bool:
    return not site.records() and not site.hypervisor.truth().disks and not site.store.open_intents()


def test_a_new_volume_is_ready_and_blank(site: Site) -> None:
    info = site.create("db", size="20gb")
    assert (info.name, info.size_bytes, info.state, info.content) == ("db", 20 * GB, State.READY, Content.UNFORMATTED)


def test_the_creator_is_kept_by_name(site: Site) -> None:
    assert site.create("db", B).created_by == "host-b"


def test_the_disk_has_our_metadata(site: Site) -> None:
    info = site.create("db")
    (disk,) = site.hypervisor.truth().disks.values()
    assert disk.note["volume"] == str(info.id)


def test_the_sidecar_says_ready(site: Site) -> None:
    record = site.record(site.create("db").id)
    assert site.copy_of(record) == record


def test_the_same_again_is_the_same_volume(site: Site) -> None:
    assert site.create("db", size="1gb").id == site.create("db", B, size="1gb").id


def test_options_that_are_left_out_are_no_difference(site: Site) -> None:
    assert site.create("db", size="1gb", fstype="xfs").id == site.create("db").id


@pytest.mark.parametrize(
    ("opts", "said"),
    [
        pytest.param({"size": "2gb"}, "size is 1gb, not 2gb", id="size"),
        pytest.param({"fstype": "xfs", "size": "1gb"}, "fstype is ext4, not xfs", id="fstype"),
        pytest.param({"access": "read-only"}, "access is read-write, not read-only", id="access"),
        pytest.param({"label": "a=b"}, "label is ", id="label"),
        pytest.param({"clone_from": "db2"}, "clone-from is not set, not db2", id="clone-of-another"),
    ],
)
def test_an_existing_name_with_other_options_says_what_differs(site: Site, opts: dict[str, str], said: str) -> None:
    site.create("db", size="1gb")
    with pytest.raises(NameConflict) as caught:
        site.create("db", **opts)
    assert said in str(caught.value)


def test_a_conflict_touches_nothing(site: Site) -> None:
    before = site.record(site.create("db", size="1gb").id)
    with pytest.raises(NameConflict):
        site.create("db", size="2gb")
    assert site.records() == [before]


def test_names_differ_by_case_and_by_datastore(two_datastores: Site) -> None:
    ids = {two_datastores.create(name, datastore="ds1").id for name in ("db", "DB", "db@ds1")}
    assert len(ids) == 3


# --- datastores --------------------------------------------------------------------------------------------------


def test_the_only_datastore_needs_no_name(site: Site) -> None:
    assert site.create("db").datastore == DS1


def test_several_datastores_without_a_default_need_a_name(two_datastores: Site) -> None:
    with pytest.raises(InvalidOption, match="several datastores") as caught:
        two_datastores.create("db")
    assert "ds1, ds2" in str(caught.value)


def test_the_default_of_the_vmgroup_is_used(two_datastores: Site) -> None:
    two_datastores.store.set_default_datastore(DEFAULT_VMGROUP, DS2)
    assert two_datastores.create("db").datastore == DS2


def test_the_name_selects_the_datastore(two_datastores: Site) -> None:
    assert two_datastores.create("db@ds2").datastore == DS2


def test_name_and_option_may_say_the_same(two_datastores: Site) -> None:
    assert two_datastores.create("db@ds2", datastore="ds2").name == "db@ds2"


def test_name_and_option_may_not_differ(two_datastores: Site) -> None:
    with pytest.raises(InvalidOption, match="the name says datastore ds2, the option says ds1"):
        two_datastores.create("db@ds2", datastore="ds1")


@pytest.mark.parametrize("name", ["db@nowhere", "a@b@nowhere"])
def test_an_unknown_datastore_lists_the_known_ones(two_datastores: Site, name: str) -> None:
    with pytest.raises(DatastoreNotFound) as caught:
        two_datastores.create(name)
    assert str(caught.value) == "there is no datastore 'nowhere'; known: ds1, ds2 [datastore-not-found]"


def test_a_name_that_is_on_another_datastore_is_told_its_way(two_datastores: Site) -> None:
    two_datastores.create("db", datastore="ds1")
    with pytest.raises(NameConflict) as caught:
        two_datastores.create("db", datastore="ds2")
    assert "exists on datastore ds1; for another one on ds2 use the name db@ds2" in str(caught.value)


def test_the_default_may_change_and_the_name_stays_what_it_is(two_datastores: Site) -> None:
    two_datastores.store.set_default_datastore(DEFAULT_VMGROUP, DS1)
    first = two_datastores.create("db")
    two_datastores.store.set_default_datastore(DEFAULT_VMGROUP, DS2)
    assert two_datastores.create("db") == first


def test_naming_the_datastore_where_it_is_is_no_difference(two_datastores: Site) -> None:
    two_datastores.store.set_default_datastore(DEFAULT_VMGROUP, DS1)
    assert two_datastores.create("db").id == two_datastores.create("db", datastore="ds1").id


def test_a_read_only_datastore_is_refused(site: Site) -> None:
    site.hypervisor.read_only(DS1)
    with pytest.raises(NotPermitted, match="ds1 is read-only"):
        site.create("db")
    assert nothing_is_left(site)


@pytest.mark.parametrize("diskformat", ["zeroedthick", "eagerzeroedthick"])
def test_a_thick_disk_that_cannot_fit_is_refused_before_any_work(site: Site, diskformat: str) -> None:
    with pytest.raises(NoSpace, match="needs more"):
        site.create("db", size="1tb", diskformat=diskformat)
    assert nothing_is_left(site)


def test_a_thin_disk_may_be_larger_than_what_is_free(site: Site) -> None:
    assert site.create("db", size="1tb").size_bytes == 1024 * GB


def test_a_full_datastore_leaves_nothing_and_works_when_there_is_room(site: Site) -> None:
    site.hypervisor.fill(DS1)
    for _ in range(2):
        with pytest.raises(NoSpace):
            site.create("db")
        assert nothing_is_left(site)
    site.hypervisor.fill(DS1, leaving=GB)
    assert site.create("db").state is State.READY


# --- what goes wrong ---------------------------------------------------------------------------------------------


def test_a_refused_change_leaves_nothing(site: Site) -> None:
    site.hypervisor.refuse(TruthUnknown("the host is away"))
    with pytest.raises(TruthUnknown, match="the host is away"):
        site.create("db")
    assert nothing_is_left(site)


@pytest.mark.parametrize("seconds", [0.0, 3.0])
def test_a_failed_change_leaves_nothing(site: Site, seconds: float) -> None:
    site.hypervisor.takes(CreateDisk, seconds)
    site.hypervisor.fail(NoSpace("full"))
    with pytest.raises(NoSpace, match="full"):
        site.create("db")
    assert nothing_is_left(site)


def test_a_lost_answer_to_a_done_change_is_a_success(site: Site) -> None:
    site.hypervisor.lose_answer(done=True)
    assert site.create("db").state is State.READY


def test_a_lost_answer_to_a_change_that_never_came_leaves_nothing(site: Site) -> None:
    site.hypervisor.lose_answer(done=False)
    with pytest.raises(OutcomeUnknown):
        site.create("db")
    assert nothing_is_left(site)


def test_a_lost_answer_while_the_task_runs_stays_open_and_the_repeat_joins(site: Site) -> None:
    site.hypervisor.takes(CreateDisk, 20.0)
    site.hypervisor.lose_answer(done=True)
    with pytest.raises(OutcomeUnknown):
        site.create("db")
    (waiting,) = site.records()
    site.clock.sleep(21.0)
    assert site.create("db").id == waiting.id


def test_a_forgotten_task_is_settled_by_looking(site: Site) -> None:
    site.hypervisor.takes(CreateDisk, 2.0)
    call = uuid4()
    with pytest.raises(StillWorking):
        site.ask(CreateVolume(VolumeRef.parse("db"), CreateOptions.parse({})), seconds=0.5, call=call)
    site.hypervisor.forget_tasks()
    site.clock.sleep(2.5)
    assert site.create("db").state is State.READY
    site.check_settled()


def test_an_undo_that_fails_keeps_the_first_error_and_is_settled_later(site: Site) -> None:
    site.hypervisor.takes(CreateDisk, 1.0)
    site.hypervisor.fail(NoSpace("full"))
    site.hypervisor.fail(TruthUnknown("the host is away"))
    with pytest.raises(NoSpace, match="full"):
        site.create("db")
    assert len(site.store.open_intents()) == 1
    site.housekeeping.settle_all()
    assert nothing_is_left(site)


def test_a_sidecar_that_cannot_be_written_is_no_failed_create(site: Site) -> None:
    site.hypervisor.sidecars_fail = NoSpace("no room for the sidecar")
    record = site.record(site.create("db").id)
    site.hypervisor.sidecars_fail = None
    assert site.hypervisor.read_sidecar(disk_path(record)) is None
    site.housekeeping.scan()
    assert site.copy_of(record) == record


def test_a_slow_create_goes_on_and_the_same_command_joins_it(site: Site) -> None:
    site.hypervisor.takes(CreateDisk, 10.0)
    request = CreateVolume(VolumeRef.parse("db"), CreateOptions.parse({}))
    site.leave(request)
    assert site.ask(request).state is State.READY
    assert len(site.hypervisor.truth().disks) == 1


def test_a_slow_create_is_shown_by_get_and_hidden_from_list(site: Site) -> None:
    """Corrections 11."""
    site.hypervisor.takes(CreateDisk, 10.0)
    site.leave(CreateVolume(VolumeRef.parse("db"), CreateOptions.parse({})))
    assert site.get("db").state is State.PREPARING
    assert site.ask(ListVolumes()).volumes == ()


def test_a_lost_volume_keeps_its_name(site: Site) -> None:
    """F42: nobody gets an empty volume in the place of one whose disk is away."""
    record = site.record(site.create("db").id)
    site.hypervisor.lose(disk_path(record))
    site.housekeeping.scan()
    site.housekeeping.scan()
    with pytest.raises(VolumeLost):
        site.create("db")


def test_the_trash_frees_the_name() -> None:
    """Corrections 18."""
    site = Site(retention_s=1000.0)
    old = site.create("db")
    site.remove(old.id)
    assert site.create("db").id != old.id
    assert {record.state for record in site.records()} == {State.READY, State.TRASHED}


def test_a_disk_in_the_way_is_not_deleted(site: Site) -> None:
    """The undo of a create never deletes another's file."""
    site.hypervisor.takes(CreateDisk, 5.0)
    site.hypervisor.lose_answer(done=True)
    with pytest.raises(OutcomeUnknown):
        site.create("db")
    (waiting,) = site.records()
    site.clock.sleep(6.0)
    site.hypervisor.swap(disk_path(waiting), DiskUuid(UUID(int=9)))
    with pytest.raises(TruthUnknown, match="the disk is elsewhere"):
        site.create("db")
    assert list(site.hypervisor.truth().disks) == [UUID(int=9)]


def test_create_takes_one_change_and_no_delete(site: Site) -> None:
    site.hypervisor.takes(DeleteDisk, 1e9)
    site.create("db")
    assert site.hypervisor.truth().open_tasks == 0


def test_a_datastore_name_may_have_blanks() -> None:
    site = Site(datastores=(DatastoreName("vsanDatastore (1)"),))
    assert site.create("db@vsanDatastore (1)").datastore == "vsanDatastore (1)"


def test_a_policy_that_is_known_is_kept_with_the_volume(site: Site) -> None:
    site.hypervisor.policies = ("gold",)

    assert site.create("db", policy="gold").options.policy == "gold"


def test_an_unknown_policy_lists_the_known_ones_and_leaves_nothing(site: Site) -> None:
    site.hypervisor.policies = ("gold", "silver")

    with pytest.raises(PolicyNotFound) as refused:
        site.create("db", policy="golden")

    assert "gold, silver" in refused.value.remedy
    assert nothing_is_left(site)


@pytest.mark.parametrize("opts", [{"policy": "silver"}, {"vsan-policy-name": "silver"}], ids=str)
def test_the_same_name_under_another_policy_is_a_conflict(site: Site, opts: dict[str, str]) -> None:
    site.hypervisor.policies = ("gold", "silver")
    site.create("db", policy="gold")

    with pytest.raises(NameConflict, match="policy is gold, not silver"):
        site.create("db", **opts)


def test_the_same_name_with_the_policy_in_the_other_spelling_is_the_same_volume(site: Site) -> None:
    site.hypervisor.policies = ("gold",)
    assert site.create("db", policy="gold").id == site.create("db", **{"vsan-policy-name": "gold"}).id


def test_a_policy_is_not_laid_on_a_volume_that_is_there_already(site: Site) -> None:
    site.create("db")
    with pytest.raises(NameConflict, match="policy is not set, not gold"):
        site.create("db", policy="gold")
