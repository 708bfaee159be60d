"""Disks that a machine has open, as ESXi may have it: even who they are cannot be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from uuid import UUID, uuid4

import pytest

from tests.vsphere.disk_world import DS, MIB, new_ref
from tests.vsphere.outside import Outside, identities, outside
from tests.vsphere.simulators import Simulator
from tests.vsphere.stage import CLOCK, Stage, soon
from vmdkvol.errors import VolumeInUse
from vmdkvol.messages import untold
from vmdkvol.volume import VmId
from vmdkvol_esx.ports import AttachDisk, Change, CloneDisk, CreateDisk, DeleteDisk, DetachDisk, DiskRef
from vmdkvol_esx.vsphere.endpoint import Trust
from vmdkvol_esx.vsphere.hypervisor import VsphereHypervisor

pytestmark = [pytest.mark.integration, pytest.mark.vcsim_injected]
MODE = "independent_persistent"


class Site:
    """One disk of ours, attached to the first of two machines; whoever asks its file who it is, is told that it is locked."""

    def __init__(self, simulator: Simulator, world: Outside, stage: Stage) -> None:
        session = stage.session(simulator.port, Trust(ca=simulator.ca), password=simulator.password)
        self.machines = world.machines()[:2]
        self.hosts = [VmId(UUID(vm.config.instanceUuid)) for vm in self.machines]
        self.hypervisor = VsphereHypervisor(session, [DS], self.hosts, CLOCK, stage.log)
        self.disk = new_ref()
        self.do(CreateDisk(self.disk, MIB, "thin", {}))
        self.do(AttachDisk(self.hosts[0], self.disk, MODE))
        simulator.next("QueryVirtualDiskUuid", "soap", fault="FileLocked", match=self.disk.path.path, times=1000)

    def do(self, change: Change) -> None:
        task = self.hypervisor.submit(change, uuid4())
        if task is not None:
            self.hypervisor.wait(task, soon(), untold)


@pytest.fixture
def site(own: Callable[..., Simulator], stage: Stage) -> Iterator[Site]:
    with ExitStack() as stack:
        simulator = own("vcenter", "-strict", "-uuids")
        yield Site(simulator, stack.enter_context(outside(simulator)), stage)


def holders(site: Site) -> list[VmId]:
    return [vm for vm, disks in site.hypervisor.devices(None).lists.items() if any(d.uuid == site.disk.uuid for d in disks)]


def test_it_is_attached_already_where_it_is(site: Site) -> None:
    site.do(AttachDisk(site.hosts[0], site.disk, MODE))

    assert holders(site) == [site.hosts[0]]


def test_another_machine_is_told_who_has_it(site: Site) -> None:
    with pytest.raises(VolumeInUse, match=site.machines[0].name):
        site.do(AttachDisk(site.hosts[1], site.disk, MODE))

    assert holders(site) == [site.hosts[0]]


def test_it_is_detached(site: Site) -> None:
    site.do(DetachDisk(site.hosts[0], site.disk))

    assert site.disk.uuid not in identities(site.machines[0]).values()


def test_it_is_neither_deleted_nor_copied(site: Site) -> None:
    for change in (DeleteDisk(site.disk), CloneDisk(site.disk, new_ref(), "thin", {})):
        with pytest.raises(VolumeInUse, match=site.machines[0].name):
            site.do(change)


def test_it_is_in_the_listing(site: Site) -> None:
    assert [disk.ref for disk in site.hypervisor.disks(DS)] == [site.disk]


def test_it_is_unused_by_nobody(site: Site) -> None:
    with pytest.raises(VolumeInUse):
        site.hypervisor.check_unused(DiskRef(site.disk.uuid, site.disk.path))
