"""The promises of Hypervisor (tests/contract) on virtual machines that run: what the guests write goes through PVSCSI.

Which of them cannot be shown here, and why, says tests/contract/proven.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contract import proven
from tests.contract import test_hypervisor as suite
from tests.contract.hypervisor_benches import VM_A, VM_B, LocalBench, attached, begin, do, holders, made
from tests.contract.proven import Where
from tests.system.guest import Guest, Hardware
from tests.system.hypervisor import QemuHypervisor
from tests.system.machine import SLOTS, Machine
from tests.system.site import Site
from vmdkvol.errors import NoFreeSlot, StaleRequest, VolumeInUse
from vmdkvol.volume import VmId
from vmdkvol_esx.local.datastore import LocalDatastore
from vmdkvol_esx.ports import AttachDisk, DetachDisk, DiskRef

pytestmark = [pytest.mark.integration, pytest.mark.system]

Guests = Mapping[VmId, Guest]

# pytest takes what a module has as its own tests, with this module's fixtures.
globals().update({name: getattr(suite, name) for _, name in proven.promises() if Where.QEMU in proven.shown(name)})


class QemuBench(LocalBench):
    """As LocalBench, and the machines are real ones."""

    hypervisor: QemuHypervisor

    def __init__(self, directory: Path, site: Site, guests: Guests) -> None:
        self._site = site
        self._guests = guests
        super().__init__(directory)

    def made(self, stores: Sequence[LocalDatastore]) -> QemuHypervisor:
        return QemuHypervisor(stores, self._site.machines_folder, self.clock)

    def end(self) -> None:
        for guest in self._guests.values():
            for disk in guest.machine.disks():
                guest.unplug(disk)
        super().end()

    def write(self, disk: DiskRef, content: bytes) -> None:
        guest, device = self._device(disk)
        guest.write(device, content)

    def read(self, disk: DiskRef, size: int) -> bytes:
        guest, device = self._device(disk)
        return guest.read(device, size)

    def _device(self, disk: DiskRef) -> tuple[Guest, str]:
        [holder] = holders(self, disk)
        guest = self._guests[holder]
        return guest, guest.wait_disk(disk.uuid)


@pytest.fixture(scope="module")
def guests(image: Path, site: Site) -> Iterator[Guests]:
    """The suite's two machines, running."""
    made = {vm.id: Guest(site.machine(vm.name, vm.id), image, Hardware(processors=1)) for vm in (VM_A, VM_B)}
    try:
        for guest in made.values():
            guest.power_on()
        yield {vm: guest.wait_ready() for vm, guest in made.items()}
    finally:
        for guest in made.values():
            guest.close()


@pytest.fixture
def bench(guests: Guests, site: Site, tmp_path: Path) -> Iterator[QemuBench]:
    bench = QemuBench(tmp_path, site, guests)
    yield bench
    bench.end()


def test_a_machine_has_sixty_disks_and_the_next_one_is_refused_and_stays_free(bench: QemuBench, guests: Guests) -> None:
    disks = [attached(bench, size=1 << 20) for _ in SLOTS]
    one_more = made(bench, size=1 << 20)

    with pytest.raises(NoFreeSlot, match="has 60 disks"):
        begin(bench, AttachDisk(VM_A.id, one_more, "independent_persistent"))

    listed = bench.hypervisor.devices([VM_A.id]).lists[VM_A.id]
    assert [disk.address for disk in listed] == list(SLOTS)
    guests[VM_A.id].wait_disk(disks[-1].uuid)
    assert len(guests[VM_A.id].block_devices()) == 60
    do(bench, AttachDisk(VM_B.id, one_more, "independent_persistent"))


def test_a_frozen_guest_gives_its_disk_to_nobody_and_a_detach_reaches_it_all_the_same(bench: QemuBench, guests: Guests) -> None:
    disk = attached(bench, VM_A)
    guests[VM_A.id].freeze()
    try:
        with pytest.raises(VolumeInUse, match=VM_A.name):
            begin(bench, AttachDisk(VM_B.id, disk, "independent_persistent"))
        do(bench, DetachDisk(VM_A.id, disk))
    finally:
        guests[VM_A.id].resume()

    do(bench, AttachDisk(VM_B.id, disk, "independent_persistent"))
    guests[VM_B.id].wait_disk(disk.uuid)


@pytest.fixture
def off(site: Site) -> Iterator[Machine]:
    """A third machine, which is switched off."""
    machine = site.machine("host-c")
    yield machine
    shutil.rmtree(machine.folder)


def test_a_switched_off_machine_keeps_its_disk_until_it_is_taken_from_it(bench: QemuBench, off: Machine) -> None:
    disk = made(bench)
    do(bench, AttachDisk(off.id, disk, "independent_persistent"))

    with pytest.raises(VolumeInUse, match=off.name):
        begin(bench, AttachDisk(VM_B.id, disk, "independent_persistent"))
    assert holders(bench, disk) == [off.id]

    do(bench, DetachDisk(off.id, disk, only_off=True))
    do(bench, AttachDisk(VM_B.id, disk, "independent_persistent"))
    assert holders(bench, disk) == [VM_B.id]


def test_a_disk_that_was_moved_since_is_not_taken_away_at_its_old_place(bench: QemuBench) -> None:
    disk = attached(bench)
    elsewhere = replace(disk, path=replace(disk.path, path=disk.path.path.replace("db-", "other-")))

    with pytest.raises(StaleRequest):
        do(bench, DetachDisk(VM_A.id, elsewhere))

    assert holders(bench, disk) == [VM_A.id]
