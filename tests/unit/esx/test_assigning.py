"""A volume comes under another storage policy, on a whole service in memory."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from tests.unit.esx.admin_site import AdminSite
from tests.unit.esx.site import DS1, A, B
from tests.unit.esx.test_adopting import PLACE, adopt, put
from vmdkvol.admin_errors import PolicyInUse
from vmdkvol.errors import (
    BadRequest,
    Busy,
    Conflict,
    InvalidOption,
    NoSpace,
    OutcomeUnknown,
    PolicyNotFound,
    StaleRequest,
    VolumeError,
    VolumeLost,
    VolumeNotFound,
)
from vmdkvol.orders import Step
from vmdkvol.policy_messages import CreatePolicy, RemovePolicy, SetVolumePolicy
from vmdkvol.vmgroup_messages import SetRight, UpdateVmgroup
from vmdkvol.volume import VolumeId
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.ports import ChangePolicy


@pytest.fixture
def site() -> AdminSite:
    """Disks are files in directories; ``db`` is under gold, there is silver, and heavy for thick disks."""
    made = AdminSite()
    made.hypervisor.local_policies = lambda: made.store.local_policies()
    for policy in (CreatePolicy(name="gold"), CreatePolicy(name="silver"), CreatePolicy(name="heavy", diskformat="thick")):
        made.order(policy)
    made.create("db", A, policy="gold")
    return made


def stands(site: AdminSite) -> tuple[str | None, str | None, str | None]:
    """Return the policy on record, in its copy, and that of the disk."""
    record = site.record(site.get("db").id)
    (seen,) = site.hypervisor.followed([disk_ref(record)]).values()
    return record.options.policy, site.copy_of(record).options.policy, seen.policy


def test_record_copy_and_disk_follow(site: AdminSite) -> None:
    done = site.order(SetVolumePolicy(volume="db", policy="silver"))
    assert (done.done, done.plan.steps) == (True, (Step("ChangePolicy", "db", "gold", "silver"),))
    assert stands(site) == ("silver", "silver", "silver")
    # As if it had been made so.
    assert site.create("db", A, policy="silver").options.policy == "silver"


def test_under_none_it_is_under_its_datastores_own(site: AdminSite) -> None:
    done = site.order(SetVolumePolicy(volume="db"))
    assert done.plan.steps == (Step("ChangePolicy", "db", "gold", "its datastore's own"),)
    assert stands(site) == (None, None, None)


def test_the_same_again_is_a_success_without_a_change(site: AdminSite) -> None:
    first = site.order(SetVolumePolicy(volume="db", policy="silver"))
    site.hypervisor.submitted.clear()
    again = site.order(SetVolumePolicy(volume="db", policy="silver"))
    assert (again.plan.steps, again.revision, site.hypervisor.submitted) == ((), first.revision, [])


def test_a_disk_that_somebody_put_under_another_one_is_brought_back(site: AdminSite) -> None:
    record = site.record(site.get("db").id)
    site.hypervisor.submit(ChangePolicy(disk_ref(record), "silver"), UUID(int=1))
    assert site.order(SetVolumePolicy(volume="db", policy="gold")).plan.steps != ()
    assert stands(site) == ("gold", "gold", "gold")


@pytest.mark.parametrize("dry_run", [True, False])
def test_nothing_is_written_into_a_disk_that_somebody_else_made(site: AdminSite, dry_run: bool) -> None:
    put(site)
    volume = VolumeId(UUID(adopt(site, PLACE, "theirs").subject))
    before = site.record(volume)
    site.hypervisor.submitted.clear()
    with pytest.raises(Conflict, match="is not vmdkvol's"):
        site.order(SetVolumePolicy(volume="theirs", policy="silver", dry_run=dry_run))
    assert (site.record(volume), site.hypervisor.submitted) == (before, [])


def test_a_mounted_volume_keeps_its_machine(site: AdminSite) -> None:
    volume = site.get("db").id
    site.format(volume)
    site.attach(volume)
    site.order(SetVolumePolicy(volume="db", policy="silver"))
    assert stands(site)[2] == "silver"
    assert list(site.hypervisor.truth().holders.values()) == [A]


def test_a_first_mount_is_not_disturbed(site: AdminSite) -> None:
    site.attach(site.get("db").id)
    with pytest.raises(Busy, match="first time"):
        site.order(SetVolumePolicy(volume="db", policy="silver"))
    assert stands(site) == ("gold", "gold", "gold")


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(
    ("policy", "error"),
    [
        pytest.param("tin", PolicyNotFound, id="there-is-not"),
        pytest.param("", PolicyNotFound, id="empty"),
        pytest.param("heavy", InvalidOption, id="of-thick-disks"),
    ],
)
def test_what_cannot_be_leaves_the_old_one(site: AdminSite, policy: str, error: type[Exception], dry_run: bool) -> None:
    with pytest.raises(error):
        site.order(SetVolumePolicy(volume="db", policy=policy, dry_run=dry_run))
    assert stands(site) == ("gold", "gold", "gold")
    assert site.store.open_intents() == ()


def test_a_policy_that_the_vmgroup_may_not_use_needs_a_word(site: AdminSite) -> None:
    site.order(UpdateVmgroup(name="_DEFAULT", policies=("gold",)))
    with pytest.raises(PolicyNotFound, match="may not use"):
        site.order(SetVolumePolicy(volume="db", policy="silver"))
    site.order(SetVolumePolicy(volume="db", policy="silver", over_allowed=True))
    assert stands(site)[0] == "silver"
    # None of its own is always allowed.
    site.order(SetVolumePolicy(volume="db"))


def test_so_does_one_that_its_right_forbids_where_the_volume_lies(site: AdminSite) -> None:
    site.order(SetRight(name="_DEFAULT", datastore=DS1, allow_create=True, policies=("gold",)))
    with pytest.raises(PolicyNotFound, match="on datastore ds1"):
        site.order(SetVolumePolicy(volume="db", policy="silver"))


def test_a_dry_run_changes_nothing_and_has_the_plan_of_the_real_one(site: AdminSite) -> None:
    order = SetVolumePolicy(volume="db", policy="silver")
    dry = site.order(replace(order, dry_run=True))
    assert (dry.done, stands(site)) == (False, ("gold", "gold", "gold"))
    assert site.order(order).plan == dry.plan


def test_of_two_administrators_the_second_is_told(site: AdminSite) -> None:
    seen = site.record(site.get("db").id).generation
    site.order(SetVolumePolicy(volume="db", policy="silver", expect=seen))
    with pytest.raises(StaleRequest):
        site.order(SetVolumePolicy(volume="db", policy="gold", expect=seen))
    assert stands(site)[0] == "silver"


@pytest.mark.parametrize("error", [NoSpace("full"), VolumeLost("gone")], ids=lambda error: error.code)
def test_a_change_that_fails_leaves_the_old_policy_everywhere(site: AdminSite, error: VolumeError) -> None:
    site.hypervisor.refuse(error)
    with pytest.raises(type(error)):
        site.order(SetVolumePolicy(volume="db", policy="silver"))
    assert stands(site) == ("gold", "gold", "gold")
    assert site.store.open_intents() == ()


@pytest.mark.parametrize("carried_out", [True, False])
def test_a_lost_answer_is_settled_by_the_disk(site: AdminSite, carried_out: bool) -> None:
    site.hypervisor.lose_answer(done=carried_out)
    try:
        site.order(SetVolumePolicy(volume="db", policy="silver"))
    except OutcomeUnknown:
        site.order(SetVolumePolicy(volume="db", policy="silver"))
    assert stands(site) == ("silver", "silver", "silver")
    assert site.store.open_intents() == ()


def test_the_policy_that_a_volume_comes_under_is_not_removed_meanwhile(site: AdminSite) -> None:
    site.order(SetVolumePolicy(volume="db", policy="silver"))
    with pytest.raises(PolicyInUse):
        site.order(RemovePolicy(name="silver"))
    site.order(RemovePolicy(name="gold"))


@pytest.mark.parametrize("volume", ["nothing", str(VolumeId(UUID(int=5))), ""])
def test_of_no_volume_nothing_is_changed(site: AdminSite, volume: str) -> None:
    with pytest.raises(VolumeNotFound):
        site.order(SetVolumePolicy(volume=volume, policy="silver"))


def test_on_vsphere_it_is_said_that_vcenter_does_it() -> None:
    site = AdminSite()
    site.hypervisor.policies = ("gold", "silver")
    site.create("db", B, policy="gold")
    with pytest.raises(BadRequest, match="vCenter"):
        site.order(SetVolumePolicy(volume="db", policy="silver"))
