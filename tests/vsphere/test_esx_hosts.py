"""Which host has which machines and reaches which datastores, as a simulator tells it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from pyVmomi import vim

from tests.vsphere.outside import done, outside
from tests.vsphere.simulators import Simulator
from tests.vsphere.stage import CLOCK, Stage
from vmdkvol.names import DatastoreName
from vmdkvol.volume import VmId
from vmdkvol_esx.vsphere.endpoint import Trust
from vmdkvol_esx.vsphere.esx_hosts import Esx, host_of, kept_out
from vmdkvol_esx.vsphere.places import Places

DS = DatastoreName("LocalDS_0")


def esx(simulator: Simulator, stage: Stage, *names: str) -> Esx:
    session = stage.session(simulator.port, Trust(ca=simulator.ca), password=simulator.password)
    return Esx(session, Places(session, [DatastoreName(name) for name in names], {}, CLOCK), CLOCK)


@pytest.mark.integration
@pytest.mark.vcsim_pure
class TestOnTheSimulator:
    def test_every_machine_is_on_one_host(self, shared: Simulator, stage: Stage) -> None:
        hosts = esx(shared, stage, DS).all()
        with outside(shared) as world:
            expected = sorted((vm.runtime.host.name, VmId(UUID(vm.config.instanceUuid))) for vm in world.machines())
        assert sorted((host.name, vm) for host in hosts for vm in host.vms) == expected
        assert {(host.usable, host.unnamed) for host in hosts} == {(True, 0)}

    def test_the_hosts_reach_a_datastore_of_ours_and_none_that_our_settings_do_not_name(
        self, shared: Simulator, stage: Stage
    ) -> None:
        assert {host.datastores for host in esx(shared, stage, DS).all()} == {frozenset({DS})}
        assert {host.datastores for host in esx(shared, stage).all()} == {frozenset()}
        assert {host.datastores for host in esx(shared, stage, "not there").all()} == {frozenset()}

    def test_a_host_in_maintenance_takes_nobody(self, own: Callable[..., Simulator], stage: Stage) -> None:
        simulator = own("vcenter")
        hosts = esx(simulator, stage, DS)
        name = hosts.all()[-1].name
        with outside(simulator) as world:
            content = world.service.content
            view = content.viewManager.CreateContainerView(content.rootFolder, [vim.HostSystem], True)
            done(next(host for host in view.view if host.name == name).EnterMaintenanceMode_Task(0))
        assert [host.name for host in hosts.all() if not host.usable] == [name]


# --- what no simulator says --------------------------------------------------------------------------------------


def ref(name: str) -> Any:
    return SimpleNamespace(_moId=name)


def mount(host: str, mode: str = "readWrite", accessible: bool | None = True) -> Any:
    return SimpleNamespace(key=ref(host), mountInfo=SimpleNamespace(accessMode=mode, accessible=accessible))


def test_who_cannot_write_on_a_datastore_does_not_reach_it() -> None:
    mounts = [mount("h1"), mount("h2", "readOnly"), mount("h3", accessible=False), mount("h4", accessible=None)]
    assert (kept_out({"host": mounts}), kept_out({})) == (frozenset({"h2", "h3"}), frozenset())
    values = {"datastore": [ref("ds-1"), ref("ds-9")]}
    reached = [host_of(host, values, {}, {DS: "ds-1"}, {"ds-1": ["h2"]}).datastores for host in ("h1", "h2")]
    assert reached == [frozenset({DS}), frozenset()]


@pytest.mark.parametrize(
    ("values", "usable"),
    [
        pytest.param({"runtime.connectionState": "connected"}, True, id="connected"),
        pytest.param({"runtime.connectionState": "connected", "runtime.inMaintenanceMode": True}, False, id="in-maintenance"),
        pytest.param({"runtime.connectionState": "notResponding"}, False, id="silent"),
        pytest.param({}, False, id="it-says-nothing-of-it"),
    ],
)
def test_a_host_takes_machines_only_if_it_says_that_it_is_there(values: dict[str, Any], usable: bool) -> None:
    assert host_of("h1", values, {}, {}, {}).usable is usable


def test_machines_that_do_not_say_who_they_are_are_counted() -> None:
    vm = VmId(UUID(int=1))
    found = host_of("h1", {"name": "esx%2f1", "vm": [ref("vm-1"), ref("vm-2")]}, {"vm-1": vm}, {}, {})
    assert (found.name, found.vms, found.unnamed) == ("esx/1", frozenset({vm}), 1)
