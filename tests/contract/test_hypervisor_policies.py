"""Storage policies: what ``StoragePolicies`` promises, on each hypervisor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.hypervisor_benches import Bench, made, new_disk
from tests.contract.proven import Where
from tests.contract.test_hypervisor import MARKS
from tests.contract.vsphere_bench import SimulatorSite, bench_of, started
from vmdkvol.policy_messages import PolicyKind

BENCHES = [pytest.param(each, marks=MARKS[each], id=each) for each in (Where.SIMULATED, Where.LOCAL, Where.STRICT)]


@pytest.fixture(scope="module", params=BENCHES)
def where(request: pytest.FixtureRequest) -> Where:
    return Where(request.param)


@pytest.fixture(scope="module")
def site(where: Where, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorSite | None]:
    with started(where, tmp_path_factory.mktemp(where) / "simulator") as found:
        yield found


@pytest.fixture
def bench(where: Where, site: SimulatorSite | None, tmp_path: Path) -> Iterator[Bench]:
    bench = bench_of(where, site, tmp_path)
    yield bench
    bench.end()


def test_whose_policies_there_are_is_told_also_if_there_are_none(bench: Bench) -> None:
    known = bench.hypervisor.storage_policies()

    assert known.kind in (PolicyKind.SPBM, PolicyKind.LOCAL)
    assert "no such policy" not in known.descriptions


def test_a_disk_under_no_policy_follows_that_of_its_datastore_and_an_absent_one_says_nothing(bench: Bench) -> None:
    disk, absent = made(bench), new_disk()

    followed = bench.hypervisor.followed([disk, absent])

    assert followed.keys() <= {disk.uuid}
    assert all(each.policy is None for each in followed.values())
