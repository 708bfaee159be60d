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
    Busy,
    Conflict,
    HypervisorUnreachable,
    InvalidOption,
    NoSpace,
    NotPermitted,
    OutcomeUnknown,
    PolicyNotFound,
    StaleRequest,
    VolumeError,
    VolumeLost,
    VolumeNotFound,
)
from vmdkvol.orders import Step
from vmdkvol.policy_messages import AWAIT_ATTACH, CreatePolicy, ListPolicyVolumes, RemovePolicy, SetVolumePolicy
from vmdkvol.vmgroup_messages import SetRight, UpdateVmgroup
from vmdkvol.volume import Attachment, VolumeId
from vmdkvol.volume_orders import InspectVolume
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.ports import AttachDisk, ChangePolicy
from vmdkvol_esx.storage_policies import Followed


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
    assert isinstance(seen, Followed)
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


# --- on vSphere --------------------------------------------------------------------------------------------------


@pytest.fixture
def vcenter() -> AdminSite:
    """Only a machine's disk is under a policy; ``db`` is to be under gold, and no machine has it."""
    # What is seen is noted within a second of this clock, which on a busy machine is to be longer than the 20 ms of others.
    made = AdminSite(hurry=2.0)
    made.hypervisor.policies = ("gold", "silver", "tin")
    made.hypervisor.unfit = ("tin",)
    made.create("db", A, policy="gold")
    return made


def pending(site: AdminSite) -> tuple[str | None, bool, bool]:
    """Return the policy on record, whether it is pending, and whether its copy says the same."""
    record = site.record(site.get("db").id)
    copy = site.copy_of(record)
    alike = (copy.options, copy.policy_pending) == (record.options, record.policy_pending)
    return record.options.policy, record.policy_pending, alike


def told(site: AdminSite) -> tuple[bool, list[str]]:
    """Return what an administrator reads of the volume: whether its policy is pending, and the lines of trouble about it."""
    detail = site.order(InspectVolume(volume="db"))
    return detail.policy_pending, [line for line in detail.trouble if "policy" in line]


def under(site: AdminSite) -> str | None:
    record = site.record(site.get("db").id)
    seen = site.hypervisor.followed([disk_ref(record)])[record.disk_uuid]
    assert isinstance(seen, Followed)
    return seen.policy


def mounted(site: AdminSite) -> Attachment:
    volume: VolumeId = site.get("db").id
    site.format(volume)
    return site.attach(volume)


def test_the_disk_of_a_machine_comes_under_it_at_once(vcenter: AdminSite) -> None:
    mounted(vcenter)
    done = vcenter.order(SetVolumePolicy(volume="db", policy="silver"))
    assert done.plan.steps == (Step("ChangePolicy", "db", "gold", "silver"),)
    assert (under(vcenter), pending(vcenter)) == ("silver", ("silver", False, True))


def test_a_disk_that_no_machine_has_comes_under_it_when_one_gets_it(vcenter: AdminSite) -> None:
    vcenter.hypervisor.submitted.clear()
    done = vcenter.order(SetVolumePolicy(volume="db", policy="silver"))
    assert done.plan.steps == (Step(AWAIT_ATTACH, "db", "gold", "silver"),)
    assert (pending(vcenter), vcenter.hypervisor.submitted) == (("silver", True, True), [])
    assert told(vcenter) == (True, ["policy silver is laid on when a machine gets the disk"])

    vcenter.attach(vcenter.get("db").id)

    assert (under(vcenter), told(vcenter)) == ("silver", (False, []))


def test_so_does_one_that_is_to_be_under_its_datastores_own(vcenter: AdminSite) -> None:
    vcenter.order(SetVolumePolicy(volume="db"))
    assert (pending(vcenter)[:2], told(vcenter)[1]) == (
        (None, True),
        ["its datastore's own policy is laid on when a machine gets the disk"],
    )
    vcenter.attach(vcenter.get("db").id)
    assert (under(vcenter), told(vcenter)) == (None, (False, []))


def test_what_waits_is_told_again_and_ordered_once(vcenter: AdminSite) -> None:
    first = vcenter.order(SetVolumePolicy(volume="db", policy="silver"))
    again = vcenter.order(SetVolumePolicy(volume="db", policy="silver"))
    assert ([step.verb for step in again.plan.steps], again.revision) == ([AWAIT_ATTACH], first.revision)


def test_the_policy_that_it_was_made_under_does_not_wait(vcenter: AdminSite) -> None:
    assert vcenter.order(SetVolumePolicy(volume="db", policy="gold")).plan.steps == ()
    assert pending(vcenter) == ("gold", False, True)


def test_a_dry_run_leaves_nothing_pending(vcenter: AdminSite) -> None:
    order = SetVolumePolicy(volume="db", policy="silver")
    dry = vcenter.order(replace(order, dry_run=True))
    assert pending(vcenter) == ("gold", False, True)
    assert vcenter.order(order).plan == dry.plan


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(("policy", "error"), [("lead", PolicyNotFound), ("tin", InvalidOption)])
@pytest.mark.parametrize("attached", [True, False])
def test_what_fits_nowhere_is_refused_at_once_and_not_at_an_attach(
    vcenter: AdminSite, attached: bool, policy: str, error: type[Exception], dry_run: bool
) -> None:
    if attached:
        mounted(vcenter)
    with pytest.raises(error):
        vcenter.order(SetVolumePolicy(volume="db", policy=policy, dry_run=dry_run))
    assert (pending(vcenter)[:2], vcenter.store.open_intents()) == (("gold", False), ())


@pytest.mark.parametrize("trouble", ["refused", "away"])
def test_an_attach_does_without_and_it_stays_pending_and_is_told(vcenter: AdminSite, trouble: str) -> None:
    vcenter.order(SetVolumePolicy(volume="db", policy="silver"))
    vcenter.hypervisor.wishes = False
    vcenter.hypervisor.policies_fail = HypervisorUnreachable("away") if trouble == "away" else None
    volume = mounted(vcenter).volume
    assert list(vcenter.hypervisor.truth().holders.values()) == [A]
    vcenter.hypervisor.policies_fail = None
    assert told(vcenter) == (
        True,
        ["policy silver is not seen to be laid on, and host-a has the disk; `vmdkvol policy apply silver db`"],
    )

    vcenter.order(SetVolumePolicy(volume="db", policy="silver"))

    assert (under(vcenter), told(vcenter)) == ("silver", (False, []))
    assert vcenter.record(volume).options.policy == "silver"


def test_an_attach_does_not_look_and_a_scan_does(vcenter: AdminSite) -> None:
    vcenter.order(SetVolumePolicy(volume="db", policy="silver"))
    vcenter.attach(vcenter.get("db").id)
    assert pending(vcenter)[:2] == ("silver", True)

    vcenter.housekeeping.scan()
    vcenter.housekeeping.scan()

    assert pending(vcenter) == ("silver", False, True)


def test_so_does_who_lists_the_policys_volumes(vcenter: AdminSite) -> None:
    vcenter.order(SetVolumePolicy(volume="db", policy="silver"))
    vcenter.attach(vcenter.get("db").id)
    vcenter.order(ListPolicyVolumes(name="silver"))
    assert pending(vcenter)[:2] == ("silver", False)


@pytest.mark.parametrize("trouble", ["refused", "away", "unseen", "detached"])
def test_a_scan_that_does_not_see_it_laid_on_lets_it_wait(vcenter: AdminSite, trouble: str) -> None:
    vcenter.order(SetVolumePolicy(volume="db", policy="silver"))
    vcenter.hypervisor.wishes = trouble != "refused"
    attachment = vcenter.attach(vcenter.get("db").id)
    if trouble == "detached":
        vcenter.detach(attachment)
    vcenter.hypervisor.policies_fail = HypervisorUnreachable("away") if trouble == "away" else None
    vcenter.hypervisor.unseen = trouble == "unseen"

    vcenter.housekeeping.scan()

    assert pending(vcenter)[:2] == ("silver", True)


def test_what_was_laid_on_and_not_noted_is_noted_by_the_same_order(vcenter: AdminSite) -> None:
    vcenter.order(SetVolumePolicy(volume="db", policy="silver"))
    volume = mounted(vcenter).volume
    # As if the service had died before it looked.
    record = replace(vcenter.record(volume), policy_pending=True)
    vcenter.store.update(record, expect=record.generation)
    assert vcenter.order(SetVolumePolicy(volume="db", policy="silver")).plan.steps == ()
    assert pending(vcenter) == ("silver", False, True)


@pytest.mark.parametrize("trouble", ["refused", "away"])
def test_one_that_waited_for_nothing_is_told_too_if_an_attach_went_without(vcenter: AdminSite, trouble: str) -> None:
    vcenter.hypervisor.wishes = trouble != "refused"
    vcenter.hypervisor.policies_fail = HypervisorUnreachable("away") if trouble == "away" else None

    mounted(vcenter)

    vcenter.hypervisor.policies_fail = None
    assert told(vcenter) == (
        True,
        ["policy gold is not seen to be laid on, and host-a has the disk; `vmdkvol policy apply gold db`"],
    )


def test_an_attach_that_took_it_along_leaves_nothing_pending(vcenter: AdminSite) -> None:
    mounted(vcenter)
    assert pending(vcenter)[:2] == ("gold", False)


def test_where_nobody_knows_whether_an_attach_took_it_along_it_waits_for_a_look(vcenter: AdminSite) -> None:
    volume = vcenter.get("db").id
    vcenter.hypervisor.forgets = True

    vcenter.attach(volume)

    assert pending(vcenter)[:2] == ("gold", True)
    assert told(vcenter) == (False, [])


def test_each_attach_names_the_policy_since_it_is_forgotten_with_each_detach(vcenter: AdminSite) -> None:
    attachment = mounted(vcenter)
    vcenter.detach(attachment)
    vcenter.attach(attachment.volume, B)
    assert under(vcenter) == "gold"


def test_a_volume_without_a_policy_says_nothing_of_one_at_its_attach(vcenter: AdminSite) -> None:
    vcenter.attach(vcenter.create("plain", A).id)
    (change,) = [each for each in vcenter.hypervisor.submitted if isinstance(each, AttachDisk)]
    assert change.policy is None


def test_one_that_somebody_edited_since_is_laid_on_once_more(vcenter: AdminSite) -> None:
    mounted(vcenter)
    vcenter.hypervisor.edited = ("gold",)
    assert vcenter.order(SetVolumePolicy(volume="db", policy="gold")).plan.steps != ()


@pytest.mark.parametrize("carried_out", [True, False])
def test_nobody_who_tells_of_policies_keeps_no_volume_from_its_machine(vcenter: AdminSite, carried_out: bool) -> None:
    mounted(vcenter)
    vcenter.hypervisor.unseen = True
    vcenter.hypervisor.lose_answer(done=carried_out)
    with pytest.raises(OutcomeUnknown):
        vcenter.order(SetVolumePolicy(volume="db", policy="silver"))

    vcenter.housekeeping.settle_all()

    (attachment,) = vcenter.attached()
    vcenter.detach(attachment)
    assert (vcenter.store.open_intents(), dict(vcenter.hypervisor.truth().holders)) == ((), {})
    assert pending(vcenter) == ("silver", False, False)


@pytest.mark.parametrize("error", [HypervisorUnreachable("away"), NotPermitted("no"), PolicyNotFound("gone")])
def test_a_change_that_cannot_be_settled_now_keeps_no_attach_and_the_policy_of_before_waits(
    vcenter: AdminSite, error: VolumeError
) -> None:
    volume = mounted(vcenter).volume
    vcenter.hypervisor.unseen = True
    vcenter.hypervisor.lose_answer(done=True)
    with pytest.raises(OutcomeUnknown):
        vcenter.order(SetVolumePolicy(volume="db", policy="silver"))
    vcenter.hypervisor.refuse(error)

    vcenter.attach(volume)

    assert (vcenter.store.open_intents(), pending(vcenter)[:2]) == ((), ("gold", True))
    # The disk may have come under either: what is on record is laid on by the next attach.
    vcenter.hypervisor.unseen = False
    (attachment,) = vcenter.attached()
    vcenter.detach(attachment)
    vcenter.attach(volume, B)
    assert (under(vcenter), told(vcenter)) == ("gold", (False, []))


def test_a_change_whose_outcome_stays_unknown_stays_open(vcenter: AdminSite) -> None:
    volume = mounted(vcenter).volume
    vcenter.hypervisor.lose_answer(done=False)
    with pytest.raises(OutcomeUnknown):
        vcenter.order(SetVolumePolicy(volume="db", policy="silver"))
    vcenter.hypervisor.lose_answer(done=False)
    with pytest.raises(OutcomeUnknown):
        vcenter.attach(volume)
    assert len(vcenter.store.open_intents()) == 1
