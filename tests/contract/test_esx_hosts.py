"""The hosts that machines run on: what ``EsxHosts`` promises, on each hypervisor."""

from __future__ import annotations

import pytest

from tests.contract.hypervisor_benches import BIG, MARKS, SMALL, VM_A, VM_B, Bench
from tests.contract.proven import Where

HERE = (Where.SIMULATED, Where.LOCAL, Where.VCENTER, Where.ESXI, Where.STRICT)
BENCHES = [pytest.param(each, marks=MARKS[each], id=each) for each in HERE]


@pytest.fixture(scope="module", params=BENCHES)
def where(request: pytest.FixtureRequest) -> Where:
    return Where(request.param)


def test_only_where_there_is_one_kernel_there_are_no_hosts(bench: Bench, where: Where) -> None:
    assert bool(bench.hypervisor.esx_hosts()) is (where is not Where.LOCAL)


def test_each_machine_is_on_one_host_that_reaches_the_datastores(bench: Bench) -> None:
    hosts = bench.hypervisor.esx_hosts()
    for vm in (VM_A.id, VM_B.id):
        having = [host for host in hosts if vm in host.vms]
        assert len(having) == (1 if hosts else 0)
        assert all({BIG, SMALL} <= host.datastores and host.usable for host in having)


def test_hosts_are_told_by_name(bench: Bench) -> None:
    names = [host.name for host in bench.hypervisor.esx_hosts()]
    assert names == sorted(names)
