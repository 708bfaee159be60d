"""Policies of disks on a vCenter: what it tells of them, what it does not, how one is laid on, and deaths behind any call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from tests.unit.esx.site import Killed
from tests.vsphere.deaths import Site as Service
from tests.vsphere.deaths import named
from tests.vsphere.disk_world import DS, MIB, new_ref
from tests.vsphere.outside import Outside, outside
from tests.vsphere.simulators import Simulator
from tests.vsphere.stage import CLOCK, PATIENCE_S, Stage, soon
from tests.vsphere.test_policies import MEMORY, VSAN, VSAN_ID
from vmdkvol.errors import HypervisorUnreachable, InvalidOption, NotPermitted, OutcomeUnknown, VolumeInUse
from vmdkvol.messages import untold
from vmdkvol.policy_messages import Compliance
from vmdkvol.volume import VmId, VolumeId
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.ports import AttachDisk, Change, ChangePolicy, CreateDisk, DetachDisk, DiskRef, TaskId
from vmdkvol_esx.storage_policies import Followed, Unseen
from vmdkvol_esx.vsphere.compliance import ASK_S, BATCH
from vmdkvol_esx.vsphere.endpoint import Trust
from vmdkvol_esx.vsphere.hypervisor import VsphereHypervisor

pytestmark = [pytest.mark.integration, pytest.mark.vcsim_injected]
VVOL = "VVol No Requirements Policy"
VVOL_ID = "f4e5bade-15a2-4805-bf8e-52318c4ce443"
MODE = "independent_persistent"
ASKING = ("PbmQueryAssociatedProfiles", "PbmFetchComplianceResult")


class Site:
    """A vCenter with two of our machines."""

    def __init__(self, simulator: Simulator, world: Outside, stage: Stage) -> None:
        self.simulator = simulator
        self.outside = world
        self.stage = stage
        self.machines = world.machines()[:2]
        self.vms = [VmId(UUID(machine.config.instanceUuid)) for machine in self.machines]
        self.restart()

    def restart(self) -> None:
        """Our process is another one: it remembers nothing."""
        session = self.stage.session(self.simulator.port, Trust(ca=self.simulator.ca), password=self.simulator.password)
        self.hypervisor = VsphereHypervisor(session, [DS], self.vms, CLOCK, self.stage.log)

    def begin(self, change: Change) -> TaskId | None:
        return self.hypervisor.submit(change, uuid4())

    def do(self, change: Change) -> None:
        task = self.begin(change)
        if task is not None:
            self.hypervisor.wait(task, soon(), untold)

    def disk(self, policy: str | None = VSAN, wish: str | None = None) -> DiskRef:
        """A disk of the first machine's."""
        ref = new_ref()
        self.do(CreateDisk(ref, MIB, "thin", {}))
        self.do(AttachDisk(self.vms[0], ref, MODE, policy=wish or policy))
        return ref

    def seen(self, disk: DiskRef) -> Followed | Unseen:
        return self.hypervisor.followed([disk])[disk.uuid]

    def stands(self, disk: DiskRef) -> Followed:
        found = self.seen(disk)
        assert isinstance(found, Followed), found
        return found

    def why_unseen(self, disk: DiskRef) -> str:
        found = self.seen(disk)
        assert isinstance(found, Unseen), found
        return found.reason

    def lies(self, disk: DiskRef, to: str) -> None:
        """Somebody lays another policy on the disk in vCenter."""
        self.simulator.policy(self.machines[0]._moId, str(disk.path), "lay", to)

    def checked(self, disk: DiskRef, status: str) -> None:
        """vCenter checks the disk, and it stands so."""
        self.simulator.policy(self.machines[0]._moId, str(disk.path), "stand", status)

    def asked(self) -> list[int]:
        return [self.simulator.calls().get(method, 0) for method in ASKING]

    def has(self, disk: DiskRef) -> bool:
        listed = self.hypervisor.devices([self.vms[0]]).of(self.vms[0]) or ()
        return any(each.uuid == disk.uuid for each in listed)


@pytest.fixture
def site(own: Callable[..., Simulator], stage: Stage) -> Iterator[Site]:
    with ExitStack() as stack:
        simulator = own("vcenter", "-strict", "-uuids")
        yield Site(simulator, stack.enter_context(outside(simulator)), stage)


# --- how a disk stands -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "stands", "reason"),
    [
        ("compliant", Compliance.COMPLIANT, ""),
        ("nonCompliant", Compliance.NOT_COMPLIANT, "VSAN.hostFailuresToTolerate"),
        ("outOfDate", Compliance.OUT_OF_DATE, "was edited in vCenter"),
        ("notApplicable", Compliance.NOT_APPLICABLE, ""),
        ("unknown", Compliance.UNKNOWN, "not checked it yet"),
        ("none", Compliance.UNKNOWN, "not checked it yet"),
        ("somethingNew", Compliance.UNKNOWN, "not checked it yet"),
    ],
)
def test_a_disk_stands_as_vcenter_says_with_the_reason(site: Site, status: str, stands: Compliance, reason: str) -> None:
    disk = site.disk()
    site.checked(disk, status)

    found = site.stands(disk)
    assert (found.policy, found.compliance) == (VSAN, stands)
    assert reason in found.reason
    assert bool(found.reason) is bool(reason)


def test_when_it_was_checked_is_told_as_vcenter_has_it(site: Site) -> None:
    assert abs(site.stands(site.disk()).at - time.time()) < 60


def test_another_policy_that_somebody_laid_on_is_seen_without_a_wait(site: Site) -> None:
    disk = site.disk()
    assert site.stands(disk).policy == VSAN

    site.lies(disk, VVOL_ID)
    assert site.stands(disk).policy == VVOL

    site.lies(disk, "")
    assert site.stands(disk).policy is None


def test_a_policy_that_has_no_name_any_more_is_told_by_its_id_and_is_none_of_ours(site: Site) -> None:
    disk = site.disk()
    site.lies(disk, "00000000-aaaa-4000-8000-000000000000")

    found = site.stands(disk)
    assert found.policy == "00000000-aaaa-4000-8000-000000000000"
    assert not found.is_under(VSAN)


def test_what_a_vsan_datastore_gives_of_itself_is_its_own_and_has_a_name_too(site: Site) -> None:
    site.simulator.datastore(DS, "type", to="vsan")
    disk = site.disk(VVOL)
    assert not site.stands(disk).own

    site.do(ChangePolicy(disk, None, site.vms[0]))

    found = site.stands(disk)
    assert (found.policy, found.own, found.is_under(None), found.is_under(VSAN)) == (VSAN, True, True, True)


# --- in bulk -----------------------------------------------------------------------------------------------------


def test_many_disks_are_two_calls(site: Site) -> None:
    disks = [site.disk() for _ in range(6)]
    absent = [new_ref() for _ in range(3)]
    before = site.asked()

    found = site.hypervisor.followed([*disks, *absent])

    assert [after - earlier for after, earlier in zip(site.asked(), before, strict=True)] == [1, 1]
    assert [isinstance(found[ref.uuid], Followed) for ref in (*disks, *absent)] == [True] * 6 + [False] * 3


def test_of_no_disk_of_a_machines_nobody_is_asked(site: Site) -> None:
    before = site.asked()

    assert site.hypervisor.followed([]) == {}
    assert "no machine has the disk" in site.why_unseen(new_ref())
    assert site.asked() == before


def test_a_batch_is_no_larger_than_what_a_server_takes() -> None:
    assert BATCH <= 1000


# --- what is not told --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ASKING)
@pytest.mark.parametrize("do", ["soap", "dropped"])
def test_a_policy_service_that_fails_makes_disks_unseen_with_the_reason(site: Site, method: str, do: str) -> None:
    disk = site.disk()
    site.simulator.next(method, do, fault="SystemError", times=9)

    assert "vCenter does not tell it now" in site.why_unseen(disk)


def test_after_a_failure_nobody_waits_for_the_policy_service_for_a_while(site: Site) -> None:
    disk = site.disk()
    site.simulator.next(ASKING[0], "dropped", times=9)
    site.why_unseen(disk)
    before = site.asked()

    assert "not asked again for" in site.why_unseen(disk)

    assert site.asked() == before


def test_who_waited_for_the_names_in_vain_does_not_wait_again_for_how_disks_stand(site: Site) -> None:
    disk = site.disk()
    site.restart()
    site.simulator.next("PbmQueryProfile", "dropped", times=9)
    with pytest.raises(HypervisorUnreachable):
        site.hypervisor.storage_policies()
    before = site.asked()

    assert "not asked again for" in site.why_unseen(disk)

    assert site.asked() == before


def test_a_fault_of_one_disk_leaves_the_others_seen(site: Site) -> None:
    disk, gone = site.disk(), site.disk()
    site.checked(gone, "gone")

    found = site.hypervisor.followed([disk, gone])

    assert isinstance(found[disk.uuid], Followed)
    assert "no such disk" in site.why_unseen(gone)


@pytest.mark.parametrize("method", ASKING)
def test_an_answer_that_nobody_foresaw_makes_disks_unseen_with_the_reason(site: Site, method: str) -> None:
    disk = site.disk()
    # The task of a slow change, in place of a list.
    site.simulator.next(method, "slow", ms=1, times=9)

    assert "the answer cannot be read" in site.why_unseen(disk)


# --- laid on at an attach ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("do", "fault"),
    [("fault", "InvalidArgument"), ("fault", "NoPermission"), ("soap", "NotSupported"), ("fault", "SystemError")],
)
def test_an_attach_that_is_refused_with_its_policy_is_made_without(site: Site, do: str, fault: str) -> None:
    ref = new_ref()
    site.do(CreateDisk(ref, MIB, "thin", {}))
    site.simulator.next("ReconfigVM_Task", do, fault=fault, times=9, match=VSAN_ID)

    site.do(AttachDisk(site.vms[0], ref, MODE, policy=VSAN))

    assert site.has(ref)
    assert site.stands(ref).policy is None


def test_a_policy_that_fits_not_keeps_no_machine_from_its_disk(site: Site) -> None:
    disk = site.disk(None, wish=MEMORY)

    assert site.has(disk)
    assert site.stands(disk).policy is None


def test_a_refused_policy_is_not_tried_with_each_attach(site: Site) -> None:
    disk = site.disk(None, wish=MEMORY)
    site.do(DetachDisk(site.vms[0], disk))
    before = site.simulator.calls()["ReconfigVM_Task"]

    site.do(AttachDisk(site.vms[0], disk, MODE, policy=MEMORY))

    assert site.simulator.calls()["ReconfigVM_Task"] == before + 1


def test_what_a_disk_is_refused_for_itself_is_not_tried_without_its_policy(site: Site) -> None:
    """Each further try could freeze the machine that has it."""
    disk = site.disk()
    before = site.simulator.calls()["ReconfigVM_Task"]

    with pytest.raises(VolumeInUse):
        site.do(AttachDisk(site.vms[1], disk, MODE, policy=VSAN))

    assert site.simulator.calls()["ReconfigVM_Task"] <= before + 1


@pytest.mark.parametrize("do", ["soap", "dropped"])
def test_an_attach_does_not_wait_for_a_policy_service_that_fails(site: Site, do: str) -> None:
    site.simulator.next("PbmQueryProfile", do, fault="SystemError", times=9)

    disk = site.disk()

    assert site.has(disk)


def test_an_attach_goes_without_a_policy_whose_id_comes_in_an_answer_that_nobody_foresaw(site: Site) -> None:
    site.restart()
    site.simulator.next("PbmRetrieveContent", "slow", ms=1, times=9)

    disk = site.disk()

    site.restart()
    assert site.has(disk)
    site.simulator.clear()
    assert site.stands(disk).policy is None


def test_many_that_are_refused_together_come_together_without(site: Site) -> None:
    refs = [new_ref() for _ in range(8)]
    for ref in refs:
        site.do(CreateDisk(ref, MIB, "thin", {}))
    site.disk()
    before = site.simulator.calls()["ReconfigVM_Task"]
    site.simulator.next("ReconfigVM_Task", "fault", fault="NoPermission", times=99, match=VSAN_ID)

    threads = [threading.Thread(target=site.do, args=(AttachDisk(site.vms[0], ref, MODE, policy=VSAN),)) for ref in refs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)

    assert all(site.has(ref) for ref in refs)
    # Those that come a moment late go in one of their own, with and without.
    assert site.simulator.calls()["ReconfigVM_Task"] - before <= 6


def test_a_slow_list_of_an_administrators_takes_no_policy_from_an_attach(site: Site) -> None:
    other = site.disk()
    site.simulator.next(ASKING[0], "dropped", times=9)
    assert "vCenter does not tell it now" in site.why_unseen(other)
    site.simulator.clear()

    disk = site.disk()

    site.restart()
    assert site.stands(disk).policy == VSAN


def test_disks_come_together_each_under_its_policy(site: Site) -> None:
    refs = {policy: new_ref() for policy in (VSAN, VVOL, None)}
    for ref in refs.values():
        site.do(CreateDisk(ref, MIB, "thin", {}))

    threads = [
        threading.Thread(target=site.do, args=(AttachDisk(site.vms[0], ref, MODE, policy=policy),))
        for policy, ref in refs.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)

    assert {policy: site.stands(ref).policy for policy, ref in refs.items()} == {VSAN: VSAN, VVOL: VVOL, None: None}


# --- laid on a machine's disk ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("do", "fault", "error"),
    [
        ("fault", "InvalidArgument", InvalidOption),
        ("soap", "NotSupported", InvalidOption),
        # What is not known here is no reason to try it for ever.
        ("fault", "SystemError", InvalidOption),
        ("soap", "SystemError", InvalidOption),
        ("fault", "NoPermission", NotPermitted),
    ],
)
def test_a_policy_that_the_server_refuses_is_an_error_and_the_old_one_stays(
    site: Site, do: str, fault: str, error: type[Exception]
) -> None:
    disk = site.disk()
    site.simulator.next("ReconfigVM_Task", do, fault=fault, times=9)

    with pytest.raises(error):
        site.do(ChangePolicy(disk, VVOL, site.vms[0]))

    site.simulator.clear()
    assert site.stands(disk).policy == VSAN


def test_a_restarted_service_follows_the_task_of_the_one_before(site: Site) -> None:
    disk = site.disk()
    site.simulator.next("ReconfigVM_Task", "slow", ms=1500)
    task = site.begin(ChangePolicy(disk, VVOL, site.vms[0]))
    assert task is not None
    site.restart()

    site.hypervisor.wait(task, soon(), untold)

    assert site.stands(disk).policy == VVOL


def test_nothing_else_of_the_disk_is_changed_by_its_policy(site: Site) -> None:
    disk = site.disk()
    before = [str(each) for each in site.machines[0].config.hardware.device if disk.path.path in str(each.backing)]

    site.do(ChangePolicy(disk, VVOL, site.vms[0]))

    after = [str(each) for each in site.machines[0].config.hardware.device if disk.path.path in str(each.backing)]
    assert [_settled(each) for each in after] == [_settled(each) for each in before]


def _settled(device: str) -> str:
    # The simulator writes its summary anew.
    return "\n".join(line for line in device.splitlines() if "summary" not in line)


# --- deaths ------------------------------------------------------------------------------------------------------


def lay(service: Service, volume: VolumeId, policy: str, vm: VmId) -> None:
    """As the use case does it: by an intent."""
    before = service.store.volume(volume)
    raised = replace(before, generation=before.generation + 1)
    intent = service.journal.begin(ChangePolicy(disk_ref(before), policy, vm), raised, None, before=before)
    service.journal.carry_out(intent, service.store.volume(volume), soon())


def test_after_a_death_behind_any_call_the_record_has_the_disks_policy(own: Callable[..., Simulator], stage: Stage) -> None:
    simulator = own("vcenter", "-strict", "-uuids")
    with outside(simulator) as world:
        service = Service(simulator, world, stage)
        volume: VolumeId = service.ask(named("db", size="8mb", policy=VSAN)).id
        disk = disk_ref(service.store.volume(volume))
        vm = VmId(UUID(world.machines()[0].config.instanceUuid))
        task = service.hypervisor.submit(AttachDisk(vm, disk, MODE, policy=VSAN), uuid4())
        assert task is not None
        service.hypervisor.wait(task, soon(), untold)
        nth, laid = 0, VVOL
        while True:
            service.restart(nth)
            try:
                lay(service, volume, laid, vm)
            except Killed:
                pass
            else:
                break
            told = f"after a death behind call {nth}, {service.session.calls[nth]!r}"
            service.restart()
            service.settle()
            assert list(service.store.open_intents()) == [], told
            seen = service.hypervisor.followed([disk])[disk.uuid]
            assert isinstance(seen, Followed), told
            assert service.store.volume(volume).options.policy == seen.policy, told
            laid = VSAN if seen.policy == VVOL else VVOL
            nth += 1
        assert nth > 3


def unanswered(service: Service, simulator: Simulator, world: Outside) -> VolumeId:
    """A machine's disk is under VVOL, and nobody knows it: the answer was lost, and the policy service tells nothing."""
    volume: VolumeId = service.ask(named("db", size="8mb", policy=VSAN)).id
    vm = VmId(UUID(world.machines()[0].config.instanceUuid))
    task = service.hypervisor.submit(AttachDisk(vm, disk_ref(service.store.volume(volume)), MODE, policy=VSAN), uuid4())
    assert task is not None
    service.hypervisor.wait(task, soon(), untold)
    simulator.next("ReconfigVM_Task", "lost")
    for method in ASKING:
        simulator.next(method, "soap", fault="SystemError", times=99)
    with pytest.raises(OutcomeUnknown):
        lay(service, volume, VVOL, vm)
    return volume


def test_a_lost_answer_is_settled_though_nobody_tells_of_policies(own: Callable[..., Simulator], stage: Stage) -> None:
    simulator = own("vcenter", "-strict", "-uuids")
    with outside(simulator) as world:
        service = Service(simulator, world, stage)
        volume = unanswered(service, simulator, world)

        service.settle()

        assert list(service.store.open_intents()) == []
        assert service.store.volume(volume).options.policy == VVOL


def test_a_death_in_a_change_keeps_nobody_for_long_from_the_volume_while_the_policy_service_is_silent(
    own: Callable[..., Simulator], stage: Stage
) -> None:
    simulator = own("vcenter", "-strict", "-uuids")
    with outside(simulator) as world:
        service = Service(simulator, world, stage)
        volume = unanswered(service, simulator, world)
        service.restart()
        simulator.next("PbmRetrieveServiceContent", "wait", ms=60000, times=99)

        begun = time.monotonic()
        service.settle()

        assert time.monotonic() - begun < ASK_S + 4
        record = service.store.volume(volume)
        assert (list(service.store.open_intents()), record.options.policy, record.policy_pending) == ([], VSAN, True)
