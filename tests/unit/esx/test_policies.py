"""What an administrator does with storage policies, on a whole service in memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.esx.admin_site import AdminSite
from tests.unit.esx.site import A
from vmdkvol.admin_errors import PolicyInUse
from vmdkvol.clock import Deadline
from vmdkvol.errors import (
    BadRequest,
    HypervisorUnreachable,
    InvalidOption,
    NameConflict,
    PolicyNotFound,
    StaleRequest,
    TruthUnknown,
)
from vmdkvol.orders import Order, Step
from vmdkvol.policy_messages import (
    POLICY_REQUESTS,
    Compliance,
    ComplianceCounts,
    CreatePolicy,
    GetPolicy,
    ListPolicies,
    ListPolicyVolumes,
    PolicyInfo,
    PolicyKind,
    RemovePolicy,
    SetVolumePolicy,
    UpdatePolicy,
)
from vmdkvol.vmgroup_messages import CreateVmgroup, SetRight, UpdateVmgroup
from vmdkvol_esx.choosing import Choosing
from vmdkvol_esx.policies import MOST_JUDGED, Policies
from vmdkvol_esx.storage_policies import LATE, LocalPolicy


@pytest.fixture
def site() -> AdminSite:
    """Disks are files in directories."""
    made = AdminSite()
    made.hypervisor.local_policies = lambda: made.store.local_policies()
    return made


@pytest.fixture
def vcenter() -> AdminSite:
    made = AdminSite()
    made.hypervisor.policies = ("gold", "silver")
    return made


def info(site: AdminSite, name: str) -> PolicyInfo:
    found: PolicyInfo = site.order(GetPolicy(name=name)).policy
    return found


def test_every_message_has_its_row(site: AdminSite) -> None:
    assert Policies(site.verbs.parts, Choosing(site.store)).rows().keys() == set(POLICY_REQUESTS) - {SetVolumePolicy}


# --- looking -----------------------------------------------------------------------------------------------------


def test_a_policy_is_told_with_its_volumes_and_who_may_use_it(site: AdminSite) -> None:
    site.order(CreatePolicy(name="gold", description="room", diskformat="thick"))
    site.order(CreateVmgroup(name="dev", default_datastore="ds1", policies=("gold",)))
    site.create("db", A, policy="gold", diskformat="zeroedthick")
    site.remove(site.create("old", A, policy="gold").id)
    found = info(site, "gold")
    assert (found.kind, found.description, found.diskformat) == (PolicyKind.LOCAL, "room", "thick")
    # _DEFAULT may use any; dev names it.
    assert (found.volumes, found.allowed_for, found.named_by) == (2, 2, 1)
    assert found.compliance == ComplianceCounts(compliant=1, not_compliant=1)
    assert site.order(GetPolicy(name="gold")).vmgroups == ("dev",)


def test_a_vcenters_policies_are_told_without_a_revision(vcenter: AdminSite) -> None:
    assert [(each.name, each.kind, each.revision) for each in vcenter.order(ListPolicies()).policies] == [
        ("gold", PolicyKind.SPBM, None),
        ("silver", PolicyKind.SPBM, None),
    ]


def test_one_that_volumes_or_vmgroups_name_and_that_there_is_not_is_missing(vcenter: AdminSite) -> None:
    vcenter.create("db", A, policy="gold")
    vcenter.order(UpdateVmgroup(name="_DEFAULT", policies=("silver", "gold")))
    vcenter.hypervisor.policies = ()
    found = {each.name: each for each in vcenter.order(ListPolicies()).policies}
    assert {name: each.kind for name, each in found.items()} == {"gold": PolicyKind.MISSING, "silver": PolicyKind.MISSING}
    assert (found["gold"].volumes, found["gold"].allowed_for, found["silver"].named_by) == (1, 0, 1)


def test_how_volumes_stand_is_counted_only_when_it_is_asked_for(vcenter: AdminSite) -> None:
    vcenter.attach(vcenter.create("db", A, policy="gold").id)
    (gold, _) = vcenter.order(ListPolicies()).policies
    (judged, none) = vcenter.order(ListPolicies(compliance=True)).policies
    assert (gold.compliance, judged.compliance, none.compliance) == (None, ComplianceCounts(compliant=1), ComplianceCounts())


def test_of_too_many_volumes_it_is_not_counted_how_they_stand(vcenter: AdminSite) -> None:
    many = vcenter.verbs.parts.store
    vcenter.create("db", A, policy="gold")

    class Large:
        def __getattr__(self, name: str) -> object:
            return getattr(many, name)

        def policy_volumes(self) -> dict[str, int]:
            return {"gold": MOST_JUDGED + 1}

    policies = Policies(replace(vcenter.verbs.parts, store=Large()), Choosing(many))  # type: ignore[arg-type]
    assert policies.get(GetPolicy(name="gold"), Deadline.after(vcenter.clock, 100.0)).policy.compliance is None


def test_policies_come_in_pages(vcenter: AdminSite) -> None:
    first = vcenter.order(ListPolicies(limit=1))
    assert ([each.name for each in first.policies], first.next) == (["gold"], "gold")
    last = vcenter.order(ListPolicies(after="gold", limit=1))
    assert ([each.name for each in last.policies], last.next) == (["silver"], None)


def test_a_page_ends_when_a_look_at_more_disks_would_come_too_late(vcenter: AdminSite) -> None:
    first = vcenter.order(ListPolicies(compliance=True), seconds=1.0)
    assert ([each.name for each in first.policies], first.next) == (["gold"], "gold")
    last = vcenter.order(ListPolicies(compliance=True, after="gold"), seconds=1.0)
    assert ([each.name for each in last.policies], last.next) == (["silver"], None)


def test_disks_that_nobody_has_time_to_look_at_are_unknown_and_the_policy_is_told(vcenter: AdminSite) -> None:
    vcenter.attach(vcenter.create("db", A, policy="gold").id)
    told = vcenter.order(GetPolicy(name="gold"), seconds=0.4).policy
    assert (told.volumes, told.compliance) == (1, ComplianceCounts(unknown=1))
    (row,) = vcenter.order(ListPolicyVolumes(name="gold"), seconds=0.4).volumes
    assert (row.compliance, row.reason) == (Compliance.UNKNOWN, LATE)
    assert vcenter.order(GetPolicy(name="gold")).policy.compliance == ComplianceCounts(compliant=1)


def test_volumes_come_in_pages_each_with_how_it_stands(vcenter: AdminSite) -> None:
    volumes = sorted((vcenter.create(name, A, policy="gold") for name in "abc"), key=lambda volume: str(volume.id))
    for volume in volumes:
        vcenter.attach(volume.id)
    first = vcenter.order(ListPolicyVolumes(name="gold", limit=2))
    assert ([each.id for each in first.volumes], first.next) == ([each.id for each in volumes[:2]], volumes[1].id)
    last = vcenter.order(ListPolicyVolumes(name="gold", after=first.next, limit=2))
    assert ([each.id for each in last.volumes], last.next) == ([volumes[2].id], None)
    assert {(each.compliance, each.vmgroup) for each in (*first.volumes, *last.volumes)} == {(Compliance.COMPLIANT, "_DEFAULT")}


@pytest.mark.parametrize("limit", [0, 201])
def test_a_page_that_is_too_long_or_none_is_refused(site: AdminSite, limit: int) -> None:
    for request in (ListPolicies(limit=limit), ListPolicyVolumes(name="gold", limit=limit)):
        with pytest.raises(BadRequest):
            site.order(request)


@pytest.mark.parametrize("name", ["", "Gold", "golden", "\x00", "../gold"])
def test_what_is_no_policy_is_not_found_and_the_known_ones_are_told(site: AdminSite, name: str) -> None:
    site.order(CreatePolicy(name="gold"))
    for request in (GetPolicy(name=name), ListPolicyVolumes(name=name), UpdatePolicy(name=name), RemovePolicy(name=name)):
        with pytest.raises(PolicyNotFound) as refused:
            site.order(request)
        assert refused.value.remedy == "known: gold"


def test_what_cannot_be_looked_at_is_unknown_and_the_record_is_told_all_the_same(vcenter: AdminSite) -> None:
    vcenter.create("db", A, policy="gold")
    vcenter.hypervisor.policies_fail = HypervisorUnreachable("away")
    (row,) = vcenter.order(ListPolicyVolumes(name="gold")).volumes
    assert (row.name, row.compliance, row.checked_at) == ("db", Compliance.UNKNOWN, None)


def test_a_disk_that_no_machine_of_vsphere_has_is_unknown_with_the_reason(vcenter: AdminSite) -> None:
    vcenter.create("db", A, policy="gold")
    (row,) = vcenter.order(ListPolicyVolumes(name="gold")).volumes
    assert (row.compliance, row.follows, row.reason) == (Compliance.UNKNOWN, None, "no machine has the disk")


def test_without_the_hypervisor_what_is_named_is_listed_and_not_called_missing(vcenter: AdminSite) -> None:
    vcenter.create("db", A, policy="gold")
    vcenter.hypervisor.policies_fail = HypervisorUnreachable("away")
    (gold,) = vcenter.order(ListPolicies(compliance=True)).policies
    assert (gold.name, gold.kind, gold.volumes, gold.compliance) == ("gold", PolicyKind.UNREAD, 1, ComplianceCounts(unknown=1))
    assert info(vcenter, "gold").kind is PolicyKind.UNREAD


def test_without_the_hypervisor_nothing_is_decided_about_a_policy(vcenter: AdminSite) -> None:
    vcenter.create("db", A, policy="gold")
    vcenter.hypervisor.policies_fail = HypervisorUnreachable("away")
    for order in (CreatePolicy(name="tin"), RemovePolicy(name="gold"), SetVolumePolicy(volume="db", policy="gold")):
        with pytest.raises(HypervisorUnreachable):
            vcenter.order(order)
    for question in (GetPolicy(name="silver"), ListPolicyVolumes(name="silver")):
        with pytest.raises(TruthUnknown):
            vcenter.order(question)


# --- those that are made here ------------------------------------------------------------------------------------


def test_a_policy_that_was_made_can_be_named_at_a_create(site: AdminSite) -> None:
    with pytest.raises(PolicyNotFound):
        site.create("db", A, policy="gold")
    site.order(CreatePolicy(name="gold"))
    assert site.create("db", A, policy="gold").options.policy == "gold"


def test_made_twice_it_is_the_same_and_with_other_words_a_conflict(site: AdminSite) -> None:
    first = site.order(CreatePolicy(name="gold", diskformat="thick"))
    assert (first.subject, first.revision, first.plan.steps) == (
        "gold",
        1,
        (Step("create-policy", "gold", None, "thick disks"),),
    )
    assert site.order(CreatePolicy(name="gold", diskformat="thick")).plan.steps == ()
    with pytest.raises(NameConflict, match="thick disks"):
        site.order(CreatePolicy(name="gold", diskformat="thin"))
    site.order(UpdatePolicy(name="gold", description="x"))
    assert site.order(CreatePolicy(name="gold", description="x", diskformat="thick")).plan.steps == ()


@pytest.mark.parametrize(
    ("order", "error"),
    [
        pytest.param(CreatePolicy(name=""), InvalidOption, id="no-name"),
        pytest.param(CreatePolicy(name="x" * 81), InvalidOption, id="long-name"),
        pytest.param(CreatePolicy(name="a\nb"), InvalidOption, id="newline"),
        pytest.param(CreatePolicy(name="a/b"), BadRequest, id="no-part-of-a-path"),
        pytest.param(CreatePolicy(name=" a"), BadRequest, id="blank-before"),
        pytest.param(CreatePolicy(name="a", diskformat="zeroedthick"), BadRequest, id="no-demand"),
        pytest.param(CreatePolicy(name="a", diskformat=""), BadRequest, id="empty-demand"),
        pytest.param(CreatePolicy(name="a", description="x\ny"), BadRequest, id="description-of-two-lines"),
        pytest.param(CreatePolicy(name="a", description="x" * 257), BadRequest, id="long-description"),
    ],
)
def test_what_is_no_policy_is_not_made(site: AdminSite, order: Order, error: type[Exception]) -> None:
    with pytest.raises(error):
        site.order(order)
    assert site.store.local_policies() == ()


def test_a_change_is_seen_in_how_disks_stand_and_changes_none(site: AdminSite) -> None:
    site.order(CreatePolicy(name="gold", description="room"))
    site.create("db", A, policy="gold")
    done = site.order(UpdatePolicy(name="gold", diskformat="thick"))
    assert done.plan.steps == (Step("update-policy", "gold", "any disk; room", "thick disks; room"),)
    assert info(site, "gold").compliance == ComplianceCounts(not_compliant=1)
    site.order(UpdatePolicy(name="gold", unset=("diskformat", "description")))
    assert site.store.local_policies() == (LocalPolicy("gold", revision=3),)
    assert info(site, "gold").compliance == ComplianceCounts(compliant=1)


@pytest.mark.parametrize("unset", [("name",), ("diskformat", "revision")])
def test_what_cannot_be_unset_is_refused(site: AdminSite, unset: tuple[str, ...]) -> None:
    site.order(CreatePolicy(name="gold"))
    with pytest.raises(BadRequest):
        site.order(UpdatePolicy(name="gold", unset=unset))


def test_given_and_unset_is_refused(site: AdminSite) -> None:
    site.order(CreatePolicy(name="gold"))
    with pytest.raises(BadRequest, match="given and unset"):
        site.order(UpdatePolicy(name="gold", diskformat="thin", unset=("diskformat",)))


def test_an_unused_one_is_removed(site: AdminSite) -> None:
    site.order(CreatePolicy(name="gold"))
    assert site.order(RemovePolicy(name="gold")).plan.steps == (Step("remove-policy", "gold", "any disk", None),)
    with pytest.raises(PolicyNotFound):
        site.order(RemovePolicy(name="gold"))


def test_one_that_is_used_stays_and_who_uses_it_is_named(site: AdminSite) -> None:
    site.order(CreatePolicy(name="gold"))
    site.order(CreateVmgroup(name="dev", default_datastore="ds1", defaults=(("policy", "gold"),)))
    site.remove(site.create("old", A, policy="gold").id)
    for dry_run in (True, False):
        with pytest.raises(PolicyInUse, match="1 volume and vmgroup dev: old of _DEFAULT"):
            site.order(RemovePolicy(name="gold", dry_run=dry_run))
    assert [each.name for each in site.store.local_policies()] == ["gold"]


@pytest.mark.parametrize(
    "order", [CreatePolicy(name="tin"), UpdatePolicy(name="gold", description="x"), RemovePolicy(name="gold")]
)
def test_a_vcenters_are_made_changed_and_removed_there(vcenter: AdminSite, order: Order) -> None:
    with pytest.raises(BadRequest, match="vCenter's") as refused:
        vcenter.order(order)
    assert "in vCenter" in (refused.value.remedy or "")
    assert vcenter.store.local_policies() == ()


ORDERS: list[Order] = [CreatePolicy(name="tin"), UpdatePolicy(name="gold", diskformat="thin"), RemovePolicy(name="gold")]


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: type(order).__name__)
def test_a_dry_run_changes_nothing_and_has_the_plan_of_the_real_one(site: AdminSite, order: Order) -> None:
    site.order(CreatePolicy(name="gold"))
    before = site.store.local_policies()
    dry = site.order(replace(order, dry_run=True))
    assert site.store.local_policies() == before
    real = site.order(order)
    assert (dry.done, real.done, real.plan) == (False, True, dry.plan)
    assert site.store.local_policies() != before


@pytest.mark.parametrize("order", ORDERS[1:], ids=lambda order: type(order).__name__)
def test_the_second_of_two_administrators_is_told_instead_of_winning_silently(site: AdminSite, order: Order) -> None:
    site.order(CreatePolicy(name="gold"))
    site.order(UpdatePolicy(name="gold", description="the first one's", expect=1))
    before = site.store.local_policies()
    for dry_run in (True, False):
        with pytest.raises(StaleRequest):
            site.order(replace(order, expect=1, dry_run=dry_run))
    assert site.store.local_policies() == before


# --- vmgroups name policies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "order",
    [
        CreateVmgroup(name="ops", default_datastore="ds1", policies=("tin",)),
        CreateVmgroup(name="ops", default_datastore="ds1", defaults=(("policy", "tin"),)),
        UpdateVmgroup(name="dev", policies=("gold", "tin")),
        UpdateVmgroup(name="dev", defaults=(("vsan-policy-name", "tin"),)),
        SetRight(name="dev", datastore="_ALL_DS", allow_create=False, policies=("tin",)),
    ],
)
def test_a_vmgroup_names_no_policy_that_there_is_not(site: AdminSite, order: Order) -> None:
    site.order(CreatePolicy(name="gold"))
    site.order(CreateVmgroup(name="dev", default_datastore="ds1"))
    before = site.store.groups()
    with pytest.raises(PolicyNotFound, match="'tin'") as refused:
        site.order(order)
    assert (refused.value.remedy, site.store.groups()) == ("known: gold", before)


def test_a_vmgroup_that_names_a_missing_one_can_still_be_changed(vcenter: AdminSite) -> None:
    vcenter.order(CreateVmgroup(name="dev", default_datastore="ds1", policies=("gold",)))
    vcenter.hypervisor.policies = ()
    vcenter.order(UpdateVmgroup(name="dev", description="x"))
    vcenter.hypervisor.policies_fail = HypervisorUnreachable("away")
    vcenter.order(UpdateVmgroup(name="dev", unset=("policies",)))
