"""Storage policies: what ``StoragePolicies`` and ``ChangePolicy`` promise, on each hypervisor."""

from __future__ import annotations

import pytest

from tests.contract import proven
from tests.contract.hypervisor_benches import BIG, MARKS, MIB, VM_A, VM_B, Bench, attached, do, made, new_disk
from tests.contract.proven import Where
from tests.doubles.simulated_hypervisor import SimulatedHypervisor
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.errors import BadRequest, InvalidOption, PolicyNotFound, StaleRequest, TruthUnknown, VolumeInUse, VolumeLost
from vmdkvol.policy_messages import Compliance, PolicyKind
from vmdkvol_esx.ports import AttachDisk, ChangePolicy, CreateDisk, DetachDisk, DiskRef
from vmdkvol_esx.storage_policies import LATE, Followed, Unseen

# Where policies are made here, and each disk is under one.
OURS = [pytest.param(each, marks=MARKS[each], id=each) for each in (Where.SIMULATED, Where.LOCAL)]
# Where they are a vCenter's, which knows the policy of a machine's disk alone; the simulated one is made so. What the
# library's simulator answers of that is our own addition.
VCENTERS = [
    pytest.param(Where.SIMULATED, marks=MARKS[Where.SIMULATED], id=Where.SIMULATED),
    *(pytest.param(each, marks=MARKS[Where.STRICT], id=each) for each in (Where.VCENTER, Where.STRICT)),
]
ALONE = [pytest.param(Where.ESXI, marks=MARKS[Where.ESXI], id=Where.ESXI)]
EVERYWHERE = [pytest.param(each, marks=MARKS[each], id=each) for each in proven.EVERYWHERE]
GOLD, SILVER, UNFIT = "vSAN Default Storage Policy", "VVol No Requirements Policy", "Host-local PMem Default Storage Policy"
MODE = "independent_persistent"


@pytest.fixture(scope="module", params=EVERYWHERE)
def where(request: pytest.FixtureRequest) -> Where:
    return Where(request.param)


def stands(bench: Bench, disk: DiskRef) -> Followed:
    found = bench.hypervisor.followed([disk])[disk.uuid]
    assert isinstance(found, Followed), found
    return found


def policy_of(bench: Bench, disk: DiskRef) -> str | None:
    return stands(bench, disk).policy


def test_whose_policies_there_are_is_told_also_if_there_are_none(bench: Bench) -> None:
    known = bench.hypervisor.storage_policies()

    assert known.kind in (PolicyKind.SPBM, PolicyKind.LOCAL)
    assert "no such policy" not in known.descriptions


def test_a_disk_under_no_policy_follows_that_of_its_datastore_and_an_absent_one_says_nothing(bench: Bench) -> None:
    disk, absent = made(bench), new_disk()

    followed = bench.hypervisor.followed([disk, absent])

    # Where it is told of machines' disks alone, neither is said to be under any.
    assert all(isinstance(each, Unseen) or each.policy is None for each in followed.values())
    assert isinstance(followed.get(absent.uuid, Unseen("", 0.0)), Unseen)


@pytest.mark.parametrize("where", OURS, indirect=True)
def test_a_disk_is_made_under_the_policy_that_was_named_and_stands_to_it(bench: Bench) -> None:
    disk = new_disk()

    do(bench, CreateDisk(disk, 4 * MIB, "zeroedthick", {"name": "db"}, "thick"))

    found = stands(bench, disk)
    assert (found.policy, found.compliance) == ("thick", Compliance.COMPLIANT)


@pytest.mark.parametrize("where", OURS, indirect=True)
def test_a_disk_comes_under_another_policy_and_back_with_its_bytes_and_all_else(bench: Bench) -> None:
    disk = attached(bench)
    bench.write(disk, b"data")
    before = bench.hypervisor.disk(disk)
    assert before is not None

    for policy in ("any", "thin", "thin", None):
        do(bench, ChangePolicy(disk, policy, VM_A.id))
        assert policy_of(bench, disk) == policy

    assert bench.hypervisor.disk(disk) == before
    assert bench.read(disk, 4) == b"data"


@pytest.mark.parametrize("where", OURS, indirect=True)
@pytest.mark.parametrize("policy", ["no such policy", "thick"])
def test_a_policy_that_there_is_not_or_that_the_disk_does_not_fit_leaves_the_old_one(bench: Bench, policy: str) -> None:
    disk = made(bench)
    do(bench, ChangePolicy(disk, "any"))

    with pytest.raises((PolicyNotFound, InvalidOption)):
        do(bench, ChangePolicy(disk, policy))

    assert policy_of(bench, disk) == "any"


@pytest.mark.parametrize("where", OURS, indirect=True)
def test_the_policy_of_another_machines_disk_is_not_changed(bench: Bench) -> None:
    disk, free = attached(bench), made(bench)

    for vm in (None, VM_B.id):
        with pytest.raises(VolumeInUse):
            do(bench, ChangePolicy(disk, "any", vm))
    with pytest.raises(StaleRequest):
        do(bench, ChangePolicy(free, "any", VM_A.id))

    assert (policy_of(bench, disk), policy_of(bench, free)) == (None, None)


@pytest.mark.parametrize("where", OURS, indirect=True)
def test_no_disk_is_made_by_a_change_of_its_policy(bench: Bench) -> None:
    disk = new_disk()

    with pytest.raises(VolumeLost):
        do(bench, ChangePolicy(disk, "any"))

    assert bench.hypervisor.disk(disk) is None


def test_a_disk_that_there_was_no_time_to_look_at_is_unseen(bench: Bench) -> None:
    disk = made(bench)

    followed = bench.hypervisor.followed([disk], Deadline.after(SystemClock(), -1.0))

    seen = followed[disk.uuid]
    assert isinstance(seen, Unseen)
    assert seen.reason == LATE


@pytest.mark.parametrize("where", OURS, indirect=True)
def test_what_cannot_be_read_is_not_called_absent(bench: Bench) -> None:
    disk = made(bench, datastore=BIG)
    bench.hide()

    with pytest.raises(TruthUnknown):
        bench.hypervisor.followed([disk])


# --- a vCenter's -------------------------------------------------------------------------------------------------


@pytest.fixture
def vcenter(bench: Bench) -> Bench:
    if isinstance(bench.hypervisor, SimulatedHypervisor):
        bench.hypervisor.local_policies = None
        bench.hypervisor.policies, bench.hypervisor.unfit = (GOLD, SILVER, UNFIT), (UNFIT,)
    return bench


def under(bench: Bench, policy: str | None, wish: str | None = None) -> DiskRef:
    """A disk that was made under a policy, and that a machine has got with this wish."""
    disk = new_disk()
    do(bench, CreateDisk(disk, 4 * MIB, "thin", {}, policy))
    do(bench, AttachDisk(VM_A.id, disk, MODE, policy=wish or policy))
    return disk


@pytest.mark.parametrize("where", VCENTERS, indirect=True)
def test_a_machines_disk_is_under_the_policy_that_its_attach_names(vcenter: Bench) -> None:
    disk = under(vcenter, GOLD)

    found = stands(vcenter, disk)
    assert (found.policy, found.compliance, found.reason) == (GOLD, Compliance.COMPLIANT, "")


@pytest.mark.parametrize("where", VCENTERS, indirect=True)
def test_whether_an_attach_took_its_policy_along_is_known_afterwards(vcenter: Bench) -> None:
    disk, without = under(vcenter, GOLD), under(vcenter, None, wish="no such policy")

    told = [vcenter.hypervisor.carried(each.uuid) for each in (disk, without, new_disk())]
    do(vcenter, DetachDisk(VM_A.id, disk))

    assert (told, vcenter.hypervisor.carried(disk.uuid)) == ([True, False, False], False)


@pytest.mark.parametrize("where", OURS, indirect=True)
def test_where_a_disk_is_under_its_policy_without_a_machine_each_attach_takes_it_along(bench: Bench) -> None:
    assert bench.hypervisor.carried(attached(bench).uuid)


@pytest.mark.parametrize("where", VCENTERS, indirect=True)
def test_an_attach_that_names_none_leaves_the_disk_to_its_datastore(vcenter: Bench) -> None:
    found = stands(vcenter, under(vcenter, None))

    assert (found.policy, found.compliance) == (None, Compliance.NOT_APPLICABLE)


@pytest.mark.parametrize("where", VCENTERS, indirect=True)
def test_of_a_disk_that_no_machine_has_it_is_told_why_nobody_knows_it(vcenter: Bench) -> None:
    disk = under(vcenter, GOLD)
    do(vcenter, DetachDisk(VM_A.id, disk))

    found = vcenter.hypervisor.followed([disk])[disk.uuid]
    assert isinstance(found, Unseen)
    assert "no machine has the disk" in found.reason


@pytest.mark.parametrize("where", VCENTERS, indirect=True)
def test_a_machines_disk_comes_under_another_policy_and_back_and_stays_what_it_is(vcenter: Bench) -> None:
    disk = under(vcenter, GOLD)
    before = vcenter.hypervisor.disk(disk), vcenter.hypervisor.devices([VM_A.id]).of(VM_A.id)

    for policy in (SILVER, SILVER, None, GOLD):
        do(vcenter, ChangePolicy(disk, policy, VM_A.id))
        assert policy_of(vcenter, disk) == policy

    assert (vcenter.hypervisor.disk(disk), vcenter.hypervisor.devices([VM_A.id]).of(VM_A.id)) == before


@pytest.mark.parametrize("where", VCENTERS, indirect=True)
@pytest.mark.parametrize(("policy", "error"), [("no such policy", PolicyNotFound), (UNFIT, InvalidOption)])
def test_a_machines_disk_keeps_its_policy_if_the_other_is_not_there_or_fits_not(
    vcenter: Bench, policy: str, error: type[Exception]
) -> None:
    disk = under(vcenter, GOLD)

    with pytest.raises(error):
        do(vcenter, ChangePolicy(disk, policy, VM_A.id))
    with pytest.raises(error):
        vcenter.hypervisor.check_fits(policy, BIG)

    assert policy_of(vcenter, disk) == GOLD


@pytest.mark.parametrize("where", VCENTERS, indirect=True)
def test_a_policy_that_is_not_there_keeps_no_machine_from_its_disk(vcenter: Bench) -> None:
    disk = under(vcenter, GOLD, wish="no such policy")

    assert policy_of(vcenter, disk) is None
    assert [each.uuid for each in vcenter.hypervisor.devices([VM_A.id]).of(VM_A.id) or ()] == [disk.uuid]


@pytest.mark.parametrize("where", VCENTERS, indirect=True)
def test_on_a_vcenter_no_policy_is_laid_on_a_disk_of_another_machine_or_of_none(vcenter: Bench) -> None:
    disk, free = under(vcenter, GOLD), made(vcenter)

    for vm in (None, VM_B.id):
        with pytest.raises(VolumeInUse):
            do(vcenter, ChangePolicy(disk, SILVER, vm))
    with pytest.raises(StaleRequest):
        do(vcenter, ChangePolicy(free, SILVER, VM_A.id))
    with pytest.raises(BadRequest, match="when a machine gets the disk"):
        do(vcenter, ChangePolicy(free, SILVER))

    assert policy_of(vcenter, disk) == GOLD


# --- a single ESXi host's ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ALONE, indirect=True)
def test_a_single_host_has_no_policies_and_says_so(bench: Bench) -> None:
    disk = attached(bench)

    found = bench.hypervisor.followed([disk])[disk.uuid]
    assert isinstance(found, Unseen)
    assert "has no storage policies" in found.reason
    for policy in ("gold", None):
        with pytest.raises(BadRequest, match="has no storage policies"):
            bench.hypervisor.check_fits(policy, BIG)
        with pytest.raises(BadRequest, match="has no storage policies"):
            do(bench, ChangePolicy(disk, policy, VM_A.id))


@pytest.mark.parametrize("where", ALONE, indirect=True)
@pytest.mark.parametrize("wish", ["gold", ""])
def test_a_volume_that_came_from_a_vcenter_is_attached_by_a_single_host(bench: Bench, wish: str) -> None:
    disk = made(bench)

    do(bench, AttachDisk(VM_A.id, disk, MODE, policy=wish))

    assert [each.uuid for each in bench.hypervisor.devices([VM_A.id]).of(VM_A.id) or ()] == [disk.uuid]
