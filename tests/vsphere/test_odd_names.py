"""Datastores and folders with names that are hard to write, from create to delete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from tests.vsphere.disk_world import DS, MIB, new_ref
from tests.vsphere.outside import escaped, outside
from tests.vsphere.simulators import Model, Simulator
from tests.vsphere.stage import CLOCK, Stage, soon
from vmdkvol.messages import untold
from vmdkvol.names import DatastoreName
from vmdkvol.volume import VmId
from vmdkvol_esx.ports import AttachDisk, Change, CloneDisk, CreateDisk, DeleteDisk, DetachDisk, DiskPath, DiskRef
from vmdkvol_esx.vsphere.endpoint import Trust
from vmdkvol_esx.vsphere.hypervisor import VsphereHypervisor

pytestmark = [pytest.mark.integration, pytest.mark.vcsim_injected]
NAMES = ["disks for b", "a] b", "[x] [y]", "50%", "50%25", "Datenträger № 7", "a&b<c>\"d'", "x  y", "(1) #2?=3+4;5"]


@pytest.mark.parametrize("model", ["vcenter", "esxi"])
@pytest.mark.parametrize("flags", [("-strict",), ("-strict", "-uuids")], ids=["by-path", "by-identity"])
def test_a_volumes_life_on_a_datastore_of_any_name(
    own: Callable[..., Simulator], stage: Stage, model: Model, flags: tuple[str, ...]
) -> None:
    simulator, before = own(model, *flags), str(DS)
    with outside(simulator) as world:
        vm = world.machines()[0]
        host = VmId(UUID(vm.config.instanceUuid))
        for name in NAMES:
            # As a server has it: a '%' is escaped in the name of every object.
            simulator.datastore(before, "rename", to=escaped(name))
            before = escaped(name)
            session = stage.session(simulator.port, Trust(ca=simulator.ca), password=simulator.password)
            live(VsphereHypervisor(session, [DatastoreName(name)], [host], CLOCK, stage.log), DatastoreName(name), host)
            session.close(soon(5.0))


def live(hypervisor: VsphereHypervisor, store: DatastoreName, host: VmId) -> None:
    def do(change: Change) -> None:
        task = hypervisor.submit(change, uuid4())
        if task is not None:
            hypervisor.wait(task, soon(), untold)

    disk, clone = new_ref(store), new_ref(store)
    do(CreateDisk(disk, MIB, "thin", {"name": store}))
    hypervisor.write_sidecar(disk.path, b"{}")
    found = hypervisor.disk(disk)
    assert found is not None
    assert (found.ref, found.note, hypervisor.read_sidecar(disk.path)) == (disk, {"name": store}, b"{}")
    assert [each.ref for each in hypervisor.disks(store)] == [disk]
    assert list(hypervisor.traces(store)) == [disk.path]
    assert hypervisor.allocated([disk]).keys() == {disk.uuid}
    for mode in ("persistent", "independent_persistent"):
        do(AttachDisk(host, disk, mode))
        assert [each.uuid for each in hypervisor.devices(None).lists[host]] == [disk.uuid]
        do(DetachDisk(host, disk))
    assert hypervisor.devices(None).lists[host] == ()
    do(CloneDisk(disk, clone, "thin", {}))
    for each in (disk, clone):
        do(DeleteDisk(each))
    assert list(hypervisor.traces(store)) == []


@pytest.mark.parametrize("folder", ["a b", "[x]", "a] b", "50%", "ü № 7", "#1 & <2>"])
def test_a_disk_in_a_folder_of_any_name(shared: Simulator, stage: Stage, folder: str) -> None:
    """Ours have none such; a disk that was moved may."""
    session = stage.session(shared.port, Trust(ca=shared.ca), password=shared.password)
    hypervisor = VsphereHypervisor(session, [DS], [], CLOCK, stage.log)
    ref = new_ref()
    odd: DiskRef = replace(ref, path=DiskPath(DS, f"vmdkvol/{folder}/db-1.vmdk"))
    for change in (CreateDisk(odd, MIB, "thin", {}), DeleteDisk(odd)):
        task = hypervisor.submit(change, uuid4())
        assert task is not None
        hypervisor.wait(task, soon(), untold)
        assert (hypervisor.disk(odd) is not None) == isinstance(change, CreateDisk)
