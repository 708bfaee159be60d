"""What is remembered of the hypervisor for people, and what is not; and the reads behind one command."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from uuid import uuid4

import pytest

from tests.doubles.faulty import Faults
from tests.doubles.hand_clock import HandClock
from tests.unit.esx.site import A, B, Site
from vmdkvol.errors import HypervisorUnreachable, VolumeInUse
from vmdkvol.messages import ListVolumes
from vmdkvol.volume import VmId, VolumeId
from vmdkvol_esx.glance import HOLDERS_S, NAMES_S, SPACE_S, Glance
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.ports import AttachDisk, CreateDisk, DetachDisk, Hypervisor


class Looking:
    """A glance with a clock of its own at a site with the volume ``db``; ``reads`` counts what the hypervisor was asked."""

    def __init__(self) -> None:
        self.site = Site()
        self.record = self.site.record(self.site.create("db").id)
        self.real = self.site.hypervisor
        self.faults = Faults(self.site.clock)
        self.clock = HandClock()
        asked: Hypervisor = self.faults.around(self.real)
        self.glance = Glance(replace(self.site.verbs.parts, hypervisor=asked, clock=self.clock))

    def reads(self) -> Counter[str]:
        found = Counter(name for name, _ in self.faults.calls)
        self.faults.calls.clear()
        return found

    def by_hand(self, change: AttachDisk | DetachDisk) -> None:
        self.real.submit(change, uuid4())

    def attach(self, vm: VmId = B) -> AttachDisk:
        change = AttachDisk(vm, disk_ref(self.record), "independent_persistent")
        self.by_hand(change)
        return change

    def holder(self) -> str | None:
        found = self.glance.holders([self.record]).get(self.record.disk_uuid)
        return None if found is None else found.vm_name


@pytest.fixture
def looking() -> Looking:
    return Looking()


def test_a_burst_of_looks_is_one_read(looking: Looking) -> None:
    for _ in range(5):
        looking.holder()
        looking.glance.space([looking.record])

    assert looking.reads() == {"devices": 1, "vms": 1, "allocated": 1}


def test_what_others_change_is_seen_after_two_seconds(looking: Looking) -> None:
    looking.holder()
    looking.attach()

    looking.clock.pass_time(HOLDERS_S)

    assert looking.holder() == "host-b"


def test_what_the_service_changed_is_never_shown_as_before(looking: Looking) -> None:
    looking.holder()

    looking.glance.changed(looking.attach())
    assert looking.holder() == "host-b"

    gone = DetachDisk(B, disk_ref(looking.record))
    looking.by_hand(gone)
    looking.glance.changed(gone)
    assert looking.holder() is None


def test_a_read_that_began_before_a_change_says_nothing_about_its_disk(looking: Looking) -> None:
    mark = looking.glance.begin()
    vms, lists = looking.real.vms(), looking.real.devices(None)
    looking.glance.changed(looking.attach())

    looking.glance.saw(mark, vms, lists)

    assert looking.holder() == "host-b"


def test_an_older_read_that_ends_later_does_not_take_the_place_of_a_newer_one(looking: Looking) -> None:
    mark = looking.glance.begin()
    vms, lists = looking.real.vms(), looking.real.devices(None)
    looking.glance.changed(looking.attach())
    assert looking.holder() == "host-b"

    looking.glance.saw(mark, vms, lists)

    assert looking.holder() == "host-b"


def test_what_somebody_had_to_read_is_not_read_again_for_people(looking: Looking) -> None:
    looking.attach()
    looking.glance.saw(looking.glance.begin(), looking.real.vms(), looking.real.devices(None))

    assert looking.holder() == "host-b"
    assert looking.reads() == {}


@pytest.mark.parametrize(("diskformat", "taken"), [("thin", 0), ("zeroedthick", 7), ("eagerzeroedthick", 7)])
def test_a_disk_that_was_just_made_needs_no_look(looking: Looking, diskformat: str, taken: int) -> None:
    looking.glance.changed(CreateDisk(disk_ref(looking.record), 7, diskformat, {}))

    assert looking.holder() is None
    assert looking.glance.space([looking.record]) == {looking.record.disk_uuid: taken}
    assert looking.reads() == {}


def test_a_disk_that_was_just_made_is_looked_at_a_moment_later(looking: Looking) -> None:
    looking.glance.changed(CreateDisk(disk_ref(looking.record), 7, "zeroedthick", {}))
    looking.attach()

    looking.clock.pass_time(SPACE_S)

    assert looking.holder() == "host-b"
    assert looking.glance.space([looking.record]) == looking.real.allocated([disk_ref(looking.record)])


def test_space_that_cannot_be_read_is_not_known_and_asked_for_again(looking: Looking) -> None:
    looking.faults.fail_before("allocated", HypervisorUnreachable("away"))

    assert looking.glance.space([looking.record]) == {}
    assert looking.glance.space([looking.record]).keys() == {looking.record.disk_uuid}


def test_a_name_is_read_again_after_a_minute(looking: Looking) -> None:
    looking.holder()
    looking.reads()
    assert looking.glance.name(B) == "host-b"
    assert looking.reads() == {}

    looking.clock.pass_time(NAMES_S)

    assert looking.glance.name(B) == "host-b"
    assert looking.reads() == {"vm": 1}


def test_a_name_that_cannot_be_read_is_an_id(looking: Looking) -> None:
    looking.faults.fail_before("vm", HypervisorUnreachable("away"))

    assert looking.glance.name(A) == str(A)


# --- the reads of whole requests -----------------------------------------------------------------------------------


class Counted:
    """A site whose hypervisor is counted from now on, with the volume ``db``; its service has just started."""

    def __init__(self) -> None:
        self.site = Site(hurry=1.0)
        self.volume: VolumeId = self.site.create("db").id
        self.faults = Faults(self.site.clock)
        self.site.hypervisor = self.faults.around(self.site.hypervisor)
        self.site.restart()
        self.faults.calls.clear()

    def reads(self) -> Counter[str]:
        return Counter(name for name, _ in self.faults.calls if name not in ("submit", "wait", "write_sidecar"))


def test_an_attach_always_reads_all_lists_before_and_its_own_after() -> None:
    """Faults 5, a3 and a7: what was remembered for people decides nothing."""
    counted = Counted()
    counted.site.get("db")
    counted.faults.calls.clear()

    counted.site.attach(counted.volume)

    assert [args for name, args in counted.faults.calls if name == "devices"] == [(None,), ([A],)]


def test_a_disk_that_was_attached_by_hand_a_moment_ago_is_not_attached_again() -> None:
    counted = Counted()
    counted.site.get("db")
    record = counted.site.record(counted.volume)
    counted.site.hypervisor.submit(AttachDisk(B, disk_ref(record), "independent_persistent"), uuid4())
    counted.site.agents.clear()

    assert counted.site.get("db").attached_to is None
    with pytest.raises(VolumeInUse, match="host-b"):
        counted.site.attach(counted.volume)


def test_a_create_reads_the_datastores_alone() -> None:
    counted = Counted()
    counted.site.get("db")
    counted.faults.calls.clear()

    counted.site.create("new")

    assert counted.reads() == {"datastores": 1}


def test_a_feeding_that_misses_nothing_asks_the_hypervisor_nothing() -> None:
    counted = Counted()
    change = counted.site.ask(ListVolumes(None, 100)).change
    counted.faults.calls.clear()

    assert counted.site.ask(ListVolumes(None, 100, change)).volumes == ()
    assert counted.reads() == {}
