"""Storage policies: what ``StoragePolicies`` and ``ChangePolicy`` promise, on each hypervisor."""

from __future__ import annotations

import pytest

from tests.contract.hypervisor_benches import BIG, MARKS, MIB, VM_A, VM_B, Bench, attached, do, made, new_disk
from tests.contract.proven import Where
from vmdkvol.errors import BadRequest, InvalidOption, PolicyNotFound, StaleRequest, TruthUnknown, VolumeInUse, VolumeLost
from vmdkvol.policy_messages import Compliance, PolicyKind
from vmdkvol_esx.ports import ChangePolicy, CreateDisk, DiskRef

# Where a policy is changed by us; on vSphere it is vCenter's.
OURS = [pytest.param(each, marks=MARKS[each], id=each) for each in (Where.SIMULATED, Where.LOCAL)]
EVERYWHERE = [*OURS, pytest.param(Where.STRICT, marks=MARKS[Where.STRICT], id=Where.STRICT)]


@pytest.fixture(scope="module", params=EVERYWHERE)
def where(request: pytest.FixtureRequest) -> Where:
    return Where(request.param)


def policy_of(bench: Bench, disk: DiskRef) -> str | None:
    return bench.hypervisor.followed([disk])[disk.uuid].policy


def test_whose_policies_there_are_is_told_also_if_there_are_none(bench: Bench) -> None:
    known = bench.hypervisor.storage_policies()

    assert known.kind in (PolicyKind.SPBM, PolicyKind.LOCAL)
    assert "no such policy" not in known.descriptions


def test_a_disk_under_no_policy_follows_that_of_its_datastore_and_an_absent_one_says_nothing(bench: Bench) -> None:
    disk, absent = made(bench), new_disk()

    followed = bench.hypervisor.followed([disk, absent])

    assert followed.keys() <= {disk.uuid}
    assert all(each.policy is None for each in followed.values())


@pytest.mark.parametrize("where", [Where.STRICT], indirect=True)
@pytest.mark.integration
@pytest.mark.vcsim_injected
def test_on_vsphere_a_policy_is_not_changed_here_and_it_is_said_where(bench: Bench) -> None:
    disk = made(bench)

    with pytest.raises(BadRequest, match="vCenter"):
        do(bench, ChangePolicy(disk, None))


@pytest.mark.parametrize("where", OURS, indirect=True)
def test_a_disk_is_made_under_the_policy_that_was_named_and_stands_to_it(bench: Bench) -> None:
    disk = new_disk()

    do(bench, CreateDisk(disk, 4 * MIB, "zeroedthick", {"name": "db"}, "thick"))

    found = bench.hypervisor.followed([disk])[disk.uuid]
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


@pytest.mark.parametrize("where", OURS, indirect=True)
def test_what_cannot_be_read_is_not_called_absent(bench: Bench) -> None:
    disk = made(bench, datastore=BIG)
    bench.hide()

    with pytest.raises(TruthUnknown):
        bench.hypervisor.followed([disk])
