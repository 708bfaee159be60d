"""Disks grow, alone and in a machine: what the label says, what failed, what nobody knows, and deaths behind any call."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from pyVmomi import vim

from tests.unit.esx.site import Killed
from tests.vsphere.deaths import Site as Service
from tests.vsphere.deaths import named
from tests.vsphere.disk_world import DS, MIB, new_ref
from tests.vsphere.outside import Outside, outside
from tests.vsphere.simulators import Simulator
from tests.vsphere.stage import CLOCK, Stage, soon
from vmdkvol.errors import (
    Busy,
    NoSpace,
    NotPermitted,
    OutcomeUnknown,
    SnapshotPresent,
    StaleRequest,
    TruthUnknown,
)
from vmdkvol.messages import untold
from vmdkvol.volume import VmId, VolumeId
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.ports import AttachDisk, Change, CreateDisk, DiskRef, GrowDisk, TaskId
from vmdkvol_esx.vsphere import labels
from vmdkvol_esx.vsphere.endpoint import Trust
from vmdkvol_esx.vsphere.hypervisor import VsphereHypervisor
from vmdkvol_esx.vsphere.labels import Label

pytestmark = [pytest.mark.integration, pytest.mark.vcsim_injected]
# A disk of nobody's, and one that a machine has.
WHERE = ("alone", "attached")
METHODS = {"alone": "ExtendVirtualDisk_Task", "attached": "ReconfigVM_Task"}
OLD, NEW = 4 * MIB, 8 * MIB


def told_by_file(outside: Outside, disk: DiskRef) -> int:
    """Return the size that the disk's own descriptor says."""
    found = re.search(rb"(?m)^RW ([0-9]+) VMFS", outside.file(str(disk.path)).read_bytes())
    assert found is not None
    return int(found[1]) * 512


def label_of(outside: Outside, disk: DiskRef) -> Label:
    file: Path = outside.file(labels.beside(str(disk.path), labels.LABEL))
    return labels.decode(file.read_bytes(), "label")


class Site:
    """One disk of ours, a hypervisor on it, and a machine that has the disk or has it not."""

    def __init__(self, simulator: Simulator, world: Outside, stage: Stage) -> None:
        self.simulator = simulator
        self.outside = world
        self.stage = stage
        self.machine = world.machines()[0]
        self.vm = VmId(UUID(self.machine.config.instanceUuid))
        self.restart()
        self.disk = new_ref()
        self.do(CreateDisk(self.disk, OLD, "thin", {"name": "db"}))

    def restart(self) -> None:
        """Our process is another one: it remembers nothing."""
        session = self.stage.session(self.simulator.port, Trust(ca=self.simulator.ca), password=self.simulator.password)
        self.hypervisor = VsphereHypervisor(session, [DS], [self.vm], CLOCK, self.stage.log)

    def begin(self, change: Change) -> TaskId | None:
        return self.hypervisor.submit(change, uuid4())

    def do(self, change: Change) -> None:
        task = self.begin(change)
        if task is not None:
            self.hypervisor.wait(task, soon(), untold)

    def growth(self, where: str, mode: str = "independent_persistent") -> GrowDisk:
        """Bring the disk to where it is to grow, and return the change."""
        if where == "alone":
            return GrowDisk(self.disk, NEW)
        self.do(AttachDisk(self.vm, self.disk, mode))
        return GrowDisk(self.disk, NEW, self.vm)

    def size(self) -> int:
        disk = self.hypervisor.disk(self.disk)
        assert disk is not None
        return disk.size_bytes

    def sizes(self) -> tuple[int, int, int, int | None]:
        """Return what we say, what the file says, and what the label says after we were asked."""
        size = self.size()
        label = label_of(self.outside, self.disk)
        return size, told_by_file(self.outside, self.disk), label.size_bytes, label.growing


@pytest.fixture
def site(own: Callable[..., Simulator], stage: Stage) -> Iterator[Site]:
    with ExitStack() as stack:
        simulator = own("vcenter", "-strict", "-uuids")
        yield Site(simulator, stack.enter_context(outside(simulator)), stage)


@pytest.mark.parametrize("where", WHERE)
def test_at_the_end_all_say_the_new_size(site: Site, where: str) -> None:
    site.do(site.growth(where))

    assert site.sizes() == (NEW, NEW, NEW, None)


@pytest.mark.parametrize("where", WHERE)
def test_another_process_brings_a_growth_to_its_end(site: Site, where: str) -> None:
    task = site.begin(site.growth(where))
    assert task is not None
    site.restart()

    site.hypervisor.wait(task, soon(), untold)

    assert site.sizes() == (NEW, NEW, NEW, None)


def test_the_receipt_of_an_old_growth_says_nothing_after_a_newer_one(site: Site) -> None:
    task = site.begin(GrowDisk(site.disk, NEW))
    assert task is not None
    site.hypervisor.wait(task, soon(), untold)
    site.do(GrowDisk(site.disk, 3 * OLD))

    site.hypervisor.wait(task, soon(), untold)

    assert site.sizes() == (3 * OLD, 3 * OLD, 3 * OLD, None)


@pytest.mark.parametrize("where", WHERE)
def test_a_growth_whose_task_fails_leaves_the_old_size(site: Site, where: str) -> None:
    change = site.growth(where)
    site.simulator.next(METHODS[where], "fault", fault="NoDiskSpace")

    with pytest.raises(NoSpace):
        site.do(change)

    assert site.sizes() == (OLD, OLD, OLD, None)


@pytest.mark.parametrize("where", WHERE)
def test_a_growth_that_is_refused_leaves_the_label_as_it_was(site: Site, where: str) -> None:
    change = site.growth(where)
    before = label_of(site.outside, site.disk)
    site.simulator.next(METHODS[where], "soap", fault="NoPermission")

    with pytest.raises(NotPermitted):
        site.do(change)

    assert label_of(site.outside, site.disk) == before


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize(("how", "size"), [("lost", NEW), ("dropped", OLD)])
def test_a_growth_whose_answer_was_lost_is_settled_by_reading_and_never_sent_twice(
    site: Site, where: str, how: str, size: int
) -> None:
    change = site.growth(where)
    before = site.simulator.calls().get(METHODS[where], 0)
    site.simulator.next(METHODS[where], how)

    with pytest.raises(OutcomeUnknown):
        site.do(change)
    site.restart()

    assert site.sizes() == (size, size, size, None)
    assert site.simulator.calls()[METHODS[where]] - before == 1


@pytest.mark.parametrize("where", WHERE)
def test_while_a_growth_may_be_on_its_way_the_old_size_is_not_told_for_the_truth(site: Site, where: str) -> None:
    change = site.growth(where)
    site.simulator.next(METHODS[where], "dropped")
    with pytest.raises(OutcomeUnknown):
        site.do(change)

    with pytest.raises(TruthUnknown, match="may be on its way"):
        site.size()
    with pytest.raises(Busy):
        site.do(change)


@pytest.mark.parametrize("where", WHERE)
def test_a_growth_that_runs_on_after_its_starter_died_is_waited_for(site: Site, where: str) -> None:
    change = site.growth(where)
    site.simulator.next(METHODS[where], "slow", ms=3000)
    site.begin(change)
    site.restart()

    deadline, seen = soon(), set()
    while NEW not in seen and not deadline.passed:
        try:
            seen.add(site.size())
        except TruthUnknown:
            CLOCK.sleep(0.1)

    assert seen == {NEW}
    assert site.sizes() == (NEW, NEW, NEW, None)


def test_a_machine_out_of_reach_does_not_say_how_large_its_disk_is(site: Site) -> None:
    change = site.growth("attached")
    site.simulator.next("ReconfigVM_Task", "dropped")
    with pytest.raises(OutcomeUnknown):
        site.do(change)
    site.restart()

    site.simulator.machine(site.machine._moId, "disconnected")
    with pytest.raises(TruthUnknown):
        site.size()
    assert label_of(site.outside, site.disk).growing == NEW

    site.simulator.machine(site.machine._moId, "connected")
    assert site.sizes() == (OLD, OLD, OLD, None)


@pytest.mark.parametrize("where", WHERE)
def test_a_growth_that_failed_is_known_to_have_failed_while_others_work_on_their_machines(site: Site, where: str) -> None:
    change = site.growth(where)
    other = site.outside.machines()[1]
    site.simulator.next(METHODS[where], "fault", fault="NoDiskSpace")
    task = site.begin(change)
    assert task is not None
    site.simulator.next("ReconfigVM_Task", "slow", ms=15000)
    other.ReconfigVM_Task(vim.vm.ConfigSpec(annotation="somebody else's"))

    with pytest.raises(NoSpace):
        site.hypervisor.wait(task, soon(), untold)

    assert site.sizes() == (OLD, OLD, OLD, None)


def test_a_disk_in_a_snapshot_does_not_grow(site: Site) -> None:
    change = site.growth("attached", "persistent")
    site.simulator.machine(site.machine._moId, "snapshot", to="before the update")

    with pytest.raises(SnapshotPresent, match="before the update"):
        site.do(change)

    assert label_of(site.outside, site.disk).growing is None


def test_a_disk_that_was_moved_does_not_grow_before_its_record_follows(site: Site) -> None:
    change = site.growth("attached")
    moved = f"[{DS}] vmdkvol/elsewhere.vmdk"
    site.simulator.machine(site.machine._moId, "move", **{"from": str(site.disk.path), "to": moved})

    with pytest.raises(StaleRequest):
        site.do(change)


def test_a_growth_in_a_machine_changes_nothing_else_of_the_disk(site: Site) -> None:
    change = site.growth("attached")
    [before] = [each for each in site.machine.config.hardware.device if site.disk.path.path in str(each.backing)]

    site.do(change)

    [after] = [each for each in site.machine.config.hardware.device if site.disk.path.path in str(each.backing)]
    assert (after.key, after.controllerKey, after.unitNumber) == (before.key, before.controllerKey, before.unitNumber)
    assert (after.backing.diskMode, after.backing.fileName) == (before.backing.diskMode, before.backing.fileName)
    assert (after.capacityInBytes, after.capacityInKB) == (NEW, NEW >> 10)


def test_a_growth_that_was_refused_can_be_asked_for_again(site: Site) -> None:
    site.simulator.next("ExtendVirtualDisk_Task", "soap", fault="NoPermission")
    with pytest.raises(NotPermitted):
        site.do(GrowDisk(site.disk, NEW))

    site.do(GrowDisk(site.disk, NEW))

    assert site.size() == NEW


# --- deaths ----------------------------------------------------------------------------------------------------


def grow(service: Service, volume: VolumeId, vm: VmId | None) -> None:
    """As a use case does it: by an intent."""
    before = service.store.volume(volume)
    change = GrowDisk(disk_ref(before), before.size_bytes + MIB, vm)
    intent = service.journal.begin(change, replace(before, generation=before.generation + 1), None, before=before)
    service.journal.carry_out(intent, service.store.volume(volume), soon())


@pytest.mark.parametrize("where", WHERE)
def test_after_a_death_behind_any_call_the_record_has_the_disks_size(
    own: Callable[..., Simulator], stage: Stage, where: str
) -> None:
    simulator = own("vcenter", "-strict", "-uuids")
    with outside(simulator) as world:
        service = Service(simulator, world, stage)
        volume: VolumeId = service.ask(named("db", size="8mb")).id
        disk = disk_ref(service.store.volume(volume))
        vm = VmId(UUID(world.machines()[0].config.instanceUuid)) if where == "attached" else None
        if vm is not None:
            task = service.hypervisor.submit(AttachDisk(vm, disk, "independent_persistent"), uuid4())
            assert task is not None
            service.hypervisor.wait(task, soon(), untold)
        nth, sizes = 0, set()
        while True:
            service.restart(nth)
            try:
                grow(service, volume, vm)
            except Killed:
                pass
            else:
                break
            died_behind = service.session.calls[nth]
            service.restart()
            service.settle()
            told = f"after a death behind call {nth}, {died_behind!r}"
            assert list(service.store.open_intents()) == [], told
            found, label = service.hypervisor.disk(disk), label_of(world, disk)
            assert found is not None, told
            record = service.store.volume(volume)
            assert record.size_bytes == found.size_bytes == told_by_file(world, disk) == label.size_bytes, told
            assert label_of(world, disk).growing is None, told
            sizes.add(record.size_bytes)
            nth += 1

        assert nth > 8
        assert len(sizes) > 1
