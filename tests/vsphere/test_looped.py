"""The device side of a simulated VM, which the demo's agent has: a kernel sees what the device list has, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.integration.engine import loops
from tests.vsphere.looped import LoopedDevices, give_back
from tests.vsphere.outside import Outside, View, outside
from tests.vsphere.simulators import Simulator
from tests.vsphere.stage import CLOCK, soon
from vmdkvol.errors import TruthUnknown, WrongDisk
from vmdkvol.options import CreateOptions
from vmdkvol.volume import Attachment, Content, DiskUuid, ScsiAddress, VmId, VolumeId

pytestmark = [pytest.mark.integration, pytest.mark.vcsim_injected]
DISK = "[LocalDS_0] db.vmdk"
MIB = 1 << 20


class Site:
    def __init__(self, world: Outside, simulator: Simulator) -> None:
        self.world = world
        self.simulator = simulator
        self.vm = world.machines()[0]
        self.owner = VmId(UUID(self.vm.config.instanceUuid))
        look = partial(outside, View.of(simulator))
        self.devices = LoopedDevices(CLOCK, lambda: self.owner, look, simulator.folder)
        world.create(DISK, kib=4 << 10)

    def attachment(self, unit: int, **other: Any) -> Attachment:
        uuid = DiskUuid(UUID(self.world.uuid(DISK).replace(" ", "").replace("-", "")))
        told: dict[str, Any] = {"disk_uuid": uuid, "size_bytes": 4 * MIB, "address": ScsiAddress(0, unit), **other}
        return Attachment(
            VolumeId(uuid4()), generation=1, content=Content.UNFORMATTED, filesystem_uuid=None, options=CreateOptions(), **told
        )


@pytest.fixture
def site(own: Callable[..., Simulator]) -> Iterator[Site]:
    with ExitStack() as stack:
        simulator = own("vcenter", "-uuids")
        stack.callback(give_back)
        stack.callback(loops.sweep, simulator.folder)
        yield Site(stack.enter_context(outside(simulator)), simulator)


def test_an_attached_disk_is_a_device_over_its_extent(site: Site) -> None:
    site.world.attach(site.vm, DISK, 5)

    device = site.devices.find(site.attachment(5), soon())

    Path(device.path).write_bytes(b"written")
    os.sync()
    assert site.world.file("[LocalDS_0] db-flat.vmdk").read_bytes()[:7] == b"written"
    assert site.devices.present(site.owner, site.attachment(5)) == device


def test_a_disk_that_is_found_twice_is_one_device(site: Site) -> None:
    site.world.attach(site.vm, DISK, 5)

    first, second = (site.devices.find(site.attachment(5), soon()) for _ in range(2))

    assert first == second
    assert len(loops.under(site.simulator.folder)) == 1


def test_a_disk_that_the_machine_has_not_does_not_appear(site: Site) -> None:
    site.world.attach(site.vm, DISK, 5)

    with pytest.raises(TruthUnknown, match=r"scsi0:6"):
        site.devices.find(site.attachment(6), soon(0.2))

    assert loops.under(site.simulator.folder) == {}


@pytest.mark.parametrize("other", [{"disk_uuid": DiskUuid(uuid4())}, {"size_bytes": 8 * MIB}])
def test_another_disk_at_the_place_is_refused(site: Site, other: dict[str, Any]) -> None:
    site.world.attach(site.vm, DISK, 5)

    with pytest.raises(WrongDisk):
        site.devices.find(site.attachment(5, **other), soon())


def test_a_device_is_forgotten_under_the_claim_that_proves_it_unused(site: Site) -> None:
    site.world.attach(site.vm, DISK, 5)
    device = site.devices.find(site.attachment(5), soon())

    with site.devices.claim(device, soon()):
        site.devices.forget(device)

    assert site.devices.present(site.owner, site.attachment(5)) is None


def test_a_forgotten_device_is_gone_and_comes_again(site: Site) -> None:
    site.world.attach(site.vm, DISK, 5)
    device = site.devices.find(site.attachment(5), soon())

    site.devices.forget(device)
    site.devices.forget(device)

    assert site.devices.present(site.owner, site.attachment(5)) is None
    assert loops.under(site.simulator.folder) == {}
    site.devices.find(site.attachment(5), soon())
