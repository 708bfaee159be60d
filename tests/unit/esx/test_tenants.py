"""What a vmgroup's rights mean for each thing that a machine asks; and a right that goes while a disk is in use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import pytest

from tests.unit.esx.site import DS1, DS2, GB, A, B
from tests.unit.esx.tenants import EVERYTHING, RED, Tenants
from vmdkvol.errors import (
    DatastoreNotFound,
    HypervisorUnreachable,
    InvalidOption,
    NotPermitted,
    PolicyNotFound,
    QuotaExceeded,
    VolumeError,
    VolumeNotFound,
)
from vmdkvol.messages import Attach, Detach, GetVolume, Keep, ListAttached, Mark, RemoveVolume
from vmdkvol.names import ALL_DATASTORES, VM_DATASTORE, DatastoreName, VolumeRef
from vmdkvol.volume import DEFAULT_VMGROUP, Content, State, VolumeId
from vmdkvol_esx.records import Right

USE = (Right(ALL_DATASTORES, allow_create=False),)


@pytest.fixture
def site() -> Tenants:
    return Tenants()


# --- the group's own volumes -------------------------------------------------------------------------------------


def test_two_groups_have_a_volume_of_one_name(site: Tenants) -> None:
    ours, theirs = site.create("db"), site.create("db", B, datastore="ds1")

    assert ours.id != theirs.id
    assert (site.get("db").id, site.get("db", B).id) == (ours.id, theirs.id)
    assert (ours.vmgroup, theirs.vmgroup) == (RED, DEFAULT_VMGROUP)
    site.check()


def test_a_new_volume_lies_on_the_groups_default_datastore(site: Tenants) -> None:
    site.change(default_datastore=DS2)

    assert site.create("db").datastore == DS2
    assert site.create("db@ds1").datastore == DS1


@pytest.mark.parametrize("home", [DS1, DS2])
def test_it_may_be_where_the_machines_own_files_lie(site: Tenants, home: DatastoreName) -> None:
    site.hypervisor.homes[A] = home
    site.change(default_datastore=VM_DATASTORE, rights=(Right(VM_DATASTORE, allow_create=True),))

    assert site.create("db").datastore == home


def test_a_machine_on_no_datastore_of_ours_must_name_one(site: Tenants) -> None:
    site.hypervisor.homes[A] = None
    site.change(default_datastore=VM_DATASTORE)

    with pytest.raises(InvalidOption, match="own files") as caught:
        site.create("db")
    assert "-o datastore=" in caught.value.remedy
    assert site.create("db@ds2").datastore == DS2


@pytest.mark.parametrize("name", [VM_DATASTORE, ALL_DATASTORES])
def test_a_marker_is_no_datastore_to_name(site: Tenants, name: str) -> None:
    with pytest.raises(DatastoreNotFound):
        site.create("db", datastore=name)
    assert site.records() == []


def test_the_groups_default_options_are_the_volumes(site: Tenants) -> None:
    site.change(defaults=(("size", "2gb"), ("fstype", "xfs"), ("access", "read-only")))

    made = site.create("db", access="read-write")

    assert (made.size_bytes, made.options.fstype, made.options.access) == (2 * GB, "xfs", "read-write")
    assert made.options.given == {"access"}
    assert site.create("db").id == made.id


def test_a_policy_that_the_group_may_not_use_makes_nothing(site: Tenants) -> None:
    site.hypervisor.policies = ("gold", "silver")
    site.change(policies=("silver",))

    with pytest.raises(PolicyNotFound, match="may not use storage policy 'gold'"):
        site.create("db", policy="gold")
    assert site.records() == []
    site.create("db", policy="silver")


def test_a_default_policy_is_used_and_checked(site: Tenants) -> None:
    site.hypervisor.policies = ("gold", "silver")
    site.change(defaults=(("policy", "gold"),))
    assert site.create("db").options.policy == "gold"

    site.change(policies=("silver",))
    with pytest.raises(PolicyNotFound):
        site.create("other")


# --- rights ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rights", [(), USE, (Right(DS2, allow_create=True),)], ids=["none", "use", "elsewhere"])
def test_without_the_right_nothing_is_made(site: Tenants, rights: tuple[Right, ...]) -> None:
    site.change(rights=rights)

    with pytest.raises(NotPermitted, match="vmgroup red"):
        site.create("db")
    assert site.records() == []
    assert not site.hypervisor.truth().disks


def test_a_row_that_forbids_is_not_outdone_by_the_one_of_all(site: Tenants) -> None:
    site.change(rights=(Right(DS1, allow_create=False), *EVERYTHING))

    with pytest.raises(NotPermitted, match="not create or remove"):
        site.create("db")
    site.create("db@ds2")


def test_a_datastore_that_is_not_there_is_told_with_those_that_the_group_may_use(site: Tenants) -> None:
    site.change(rights=(Right(DS2, allow_create=True), Right(DS1, allow_create=False)))

    with pytest.raises(DatastoreNotFound) as caught:
        site.create("db", datastore="ds9")
    assert "ds2" in caught.value.remedy
    assert "ds1" not in caught.value.remedy


def test_a_volume_is_used_without_the_right_to_make_one_and_not_removed(site: Tenants) -> None:
    volume = site.create("db").id
    site.change(rights=USE)

    site.format(volume)
    assert site.names() == ["db"]
    # As Docker asks again for what is there.
    assert site.create("db").id == volume
    with pytest.raises(NotPermitted, match="not create or remove"):
        site.remove(volume)
    assert site.record(volume).state is State.READY


def test_what_the_group_has_no_right_to_is_not_listed_not_found_and_not_attached(site: Tenants) -> None:
    hidden, seen = site.create("db").id, site.create("db@ds2").id
    site.change(rights=(Right(DS2, allow_create=True),))

    assert site.names() == ["db@ds2"]
    with pytest.raises(VolumeNotFound) as caught:
        site.get("db")
    assert "no right on datastore ds1" in caught.value.remedy
    for request in (Attach(hidden), RemoveVolume(hidden)):
        with pytest.raises(NotPermitted, match="no right on datastore ds1"):
            site.ask(request)
    with pytest.raises(NotPermitted, match="no right on datastore ds1"):
        site.create("db")
    site.remove(seen)
    assert site.record(hidden).state is State.READY


def test_a_clone_needs_a_right_to_its_source(site: Tenants) -> None:
    site.format(site.create("db", datastore="ds2").id)
    site.change(rights=(Right(DS1, allow_create=True),))

    with pytest.raises(NotPermitted, match="ds2"):
        site.create("copy", clone_from="db")
    site.change(rights=(Right(DS1, allow_create=True), Right(DS2, allow_create=False)))
    assert site.create("copy", clone_from="db").datastore == DS1


def test_the_right_on_the_machines_own_datastore_goes_with_the_machine(site: Tenants) -> None:
    site.hypervisor.homes[A] = DS1
    volume = site.create("db").id
    site.change(rights=(Right(VM_DATASTORE, allow_create=True),))
    site.detach(site.attach(volume))

    site.hypervisor.homes[A] = DS2
    assert site.names() == []
    with pytest.raises(NotPermitted):
        site.attach(volume)
    site.hypervisor.homes[A] = DS1
    site.remove(volume)


def test_a_list_does_not_wait_for_a_hypervisor_that_is_away(site: Tenants) -> None:
    volume = site.create("db").id
    site.change(rights=(Right(VM_DATASTORE, allow_create=True),))
    site.hypervisor.homes_fail = HypervisorUnreachable("vCenter does not answer")

    assert site.names() == ["db"]
    with pytest.raises(HypervisorUnreachable):
        site.attach(volume)


# --- quota -------------------------------------------------------------------------------------------------------


def test_a_create_beyond_the_quota_leaves_nothing(site: Tenants) -> None:
    site.change(rights=(Right(DS1, True, None, 3 * GB),))
    site.create("one", size="2gb")

    with pytest.raises(QuotaExceeded, match="2gb is used"):
        site.create("two", size="2gb")
    assert [record.name for record in site.records()] == ["one"]
    site.create("two", size="1gb")
    site.check_settled()


def test_l9_a_clone_counts(site: Tenants) -> None:
    site.change(rights=(Right(DS1, True, None, 3 * GB),))
    site.format(site.create("db", size="2gb").id)

    with pytest.raises(QuotaExceeded):
        site.create("copy", clone_from="db")
    assert [record.name for record in site.records()] == ["db"]
    site.check_settled()


def test_a_failed_create_gives_its_quota_back(site: Tenants) -> None:
    site.change(rights=(Right(DS1, True, None, 2 * GB),))
    site.hypervisor.refuse(NotPermitted("the host says no"))

    with pytest.raises(NotPermitted):
        site.create("db", size="2gb")
    site.create("db", size="2gb")


def test_what_is_in_the_trash_counts_until_it_is_gone() -> None:
    site = Tenants(retention_s=1000.0)
    site.change(rights=(Right(DS1, True, None, 2 * GB),))
    site.remove(site.create("db", size="2gb").id)

    with pytest.raises(QuotaExceeded, match="2gb of it in the trash"):
        site.create("db", size="2gb")
    site.clock.skip(2000.0)
    site.calm_down()
    site.create("db", size="2gb")


# --- a right that is taken away ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["right", "group", "no group"])
def test_who_has_a_disk_gives_it_back_whatever_it_may_by_then(site: Tenants, how: str) -> None:
    volume = site.create("db").id
    attachment, uuid = site.attach(volume), uuid4()
    site.ask(Mark(volume, attachment.generation, Content.FORMATTING, uuid))
    if how == "right":
        site.change(rights=())
    else:
        if how == "no group":
            site.close_default()
        site.change(members=())

    (told,) = site.ask(ListAttached()).attachments
    assert told.volume == volume
    site.ask(Keep(volume))
    site.ask(Mark(volume, attachment.generation, Content.FORMATTED, uuid))
    site.detach(attachment)

    assert site.hypervisor.truth().holders == {}
    assert site.record(volume).content is Content.FORMATTED
    assert site.record(volume).last_vm is None
    with pytest.raises(VolumeError):
        site.attach(volume)


def test_a_machine_whose_records_are_lost_gives_its_disk_back(site: Tenants) -> None:
    """As after a rebuild: nothing says any more that the disk came to it, but the hypervisor."""
    volume = site.create("db").id
    attachment = site.attach(volume)
    record = site.record(volume)
    site.store.update(replace(record, last_vm=None), expect=record.generation)
    site.change(members=())

    site.detach(attachment)

    assert site.hypervisor.truth().holders == {}


def test_a_volume_that_a_machine_has_is_told_to_it_without_a_right(site: Tenants) -> None:
    volume = site.create("db").id
    attachment = site.attach(volume)
    site.change(rights=())

    assert site.get("db").id == volume
    assert site.names() == ["db"]
    site.detach(attachment)
    assert site.names() == []


# --- what changed since ------------------------------------------------------------------------------------------


def change_rights(site: Tenants) -> None:
    site.change(rights=(Right(DS2, allow_create=True),))


def leave(site: Tenants) -> None:
    site.change(members=())


def lose_every_group(site: Tenants) -> None:
    site.remove(site.get("theirs", B).id, B)
    site.close_default()
    site.change(members=())


@pytest.mark.parametrize(
    ("change", "left"), [(change_rights, ["db@ds2"]), (leave, ["theirs"]), (lose_every_group, [])], ids=lambda x: str(x)[:20]
)
def test_an_agent_that_asks_what_changed_hears_everything_anew(
    site: Tenants, change: Callable[[Tenants], None], left: list[str]
) -> None:
    site.create("db")
    site.create("db@ds2")
    site.create("theirs", B, datastore="ds1")
    since = site.page().change
    assert not site.page(since=since).complete

    change(site)

    page = site.page(since=since)
    assert page.complete
    assert site.names(since=since) == left


def test_a_volume_that_is_not_seen_any_more_is_told_as_removed(site: Tenants) -> None:
    volume = site.create("db").id
    attachment = site.attach(volume)
    site.change(rights=())
    page = site.page()
    assert [info.id for info in page.volumes] == [volume]

    site.detach(attachment)

    changed = site.page(since=page.change)
    assert not changed.complete
    assert (changed.volumes, changed.removed) == ((), (volume,))


# --- a machine in no group ---------------------------------------------------------------------------------------


def test_a_machine_in_no_group_sees_nothing_and_may_nothing(site: Tenants) -> None:
    theirs = site.create("db").id
    site.close_default()

    page = site.page(B)
    assert (page.volumes, page.next, page.complete) == ((), None, True)
    with pytest.raises(VolumeNotFound) as caught:
        site.get("db", B)
    assert "in no vmgroup" in caught.value.remedy
    for volume in (theirs, VolumeId(uuid4())):
        for request in (Attach(volume), RemoveVolume(volume)):
            with pytest.raises(NotPermitted, match="in no vmgroup"):
                site.ask(request, B)
        site.ask(Detach(volume, 1), B)
        site.ask(Keep(volume), B)
        with pytest.raises(VolumeNotFound):
            site.ask(Mark(volume, 1, Content.FORMATTING, uuid4()), B)
    with pytest.raises(NotPermitted, match="in no vmgroup"):
        site.create("db", B)
    assert site.ask(ListAttached(), B).attachments == ()
    assert [record.id for record in site.records()] == [theirs]


def test_a_machine_of_another_name_for_a_volume_hears_no_more_than_that_it_is_not_there(site: Tenants) -> None:
    site.create("db@ds1")

    with pytest.raises(VolumeNotFound) as caught:
        site.ask(GetVolume(VolumeRef.parse("db")), B)
    assert "ds1" not in str(caught.value)


def test_a_volume_is_told_with_the_name_that_its_vmgroup_has_now(site: Tenants) -> None:
    made, known = site.create("db"), site.page().change
    assert made.vmgroup_name == "red"

    site.change(name="blue")

    assert [info.vmgroup_name for info in site.page(since=known).volumes] == ["blue"]
    assert site.create("other", B, datastore="ds1").vmgroup_name == ""
