"""What no simulator shows of machines: two with one id, one that says nothing of itself, lists that a version vouches for."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from pyVmomi import vim

from tests.unit.esx.vsphere.told_site import Device, ToldSite, controller, disk_device, vm_id
from tests.vsphere.stage import soon
from vmdkvol.errors import HypervisorUnreachable, TruthUnknown
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid, ScsiAddress
from vmdkvol_esx.ports import AttachedDisk, DiskPath, DiskRef
from vmdkvol_esx.vsphere.devices import our_path
from vmdkvol_esx.vsphere.faults import Failed, Meaning, Trouble
from vmdkvol_esx.vsphere.machine import Controller, Machine, nameless
from vmdkvol_esx.vsphere.slots import DISKS


@pytest.fixture
def site() -> ToldSite:
    return ToldSite()


def attached(number: int, snapshot: str | None = None) -> AttachedDisk:
    return AttachedDisk(DiskUuid(vm_id(number)), ScsiAddress(0, number), snapshot)


# --- lists that are kept ---------------------------------------------------------------------------------------


def test_a_thousand_lists_are_read_once_and_then_those_that_changed(site: ToldSite) -> None:
    for number in range(1, 1001):
        site.vm(number, disk_device(number))
    machines = site.machines(1)
    assert len(machines.devices(None).lists) == 1000
    assert site.whole() == 1000

    site.vm(7, version="2")
    site.vm(1001, disk_device(1001))

    assert vm_id(7) not in machines.devices(None).lists
    assert site.whole() == 2
    machines.devices(None)
    assert site.whole() == 0


def test_of_a_server_that_gives_no_version_every_list_is_read_each_time(site: ToldSite) -> None:
    site.vm(1, disk_device(1), version="")
    machines = site.machines(1)
    machines.devices(None)
    site.vm(1, version="")

    assert machines.devices(None).lists == {vm_id(1): ()}


def test_a_list_that_was_read_while_the_configuration_changed_is_not_kept(site: ToldSite) -> None:
    """The server may put the old list and the new version into one answer."""
    values = site.vm(1, version="1")
    machines = site.machines(1)
    site.before_read = [lambda: None, lambda: values.update({"config.changeVersion": "2"})]
    assert machines.devices(None).lists == {vm_id(1): ()}

    values["config.hardware.device"] = [controller(), disk_device(1)]

    assert machines.devices(None).lists == {vm_id(1): (attached(1),)}


def test_power_connection_and_name_are_of_now_though_the_list_is_kept(site: ToldSite) -> None:
    values = site.vm(1, disk_device(1))
    machines = site.machines(1)
    machines.devices(None)
    values["runtime.connectionState"] = "disconnected"

    found = machines.devices(None)

    assert found.of(vm_id(1)) is None
    assert found.unread == {vm_id(1)}


def test_an_identity_that_the_list_did_not_give_is_asked_for_each_time(site: ToldSite) -> None:
    site.vm(1, disk_device(1, uuid=None))
    machines = site.machines(1)
    for _ in range(2):
        assert machines.devices(None).unread == {vm_id(1)}
        assert site.whole() == 1


def test_a_machine_that_comes_again_with_another_id_is_not_taken_for_the_old_one(site: ToldSite) -> None:
    site.vm(1, disk_device(1))
    machines = site.machines(1)
    machines.devices(None)
    site.vms["vm-1"]["config.instanceUuid"] = str(vm_id(9))
    site.vms["vm-1"]["config.changeVersion"] = "2"

    assert machines.devices([vm_id(1)]).lists == {vm_id(1): ()}
    assert machines.devices(None).lists == {vm_id(9): (attached(1),)}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda site: None, True),
        (lambda site: site.clock.pass_time(1.9), True),
        (lambda site: site.clock.pass_time(2.1), False),
        (lambda site: site.vms["vm-1"].update({"config.changeVersion": "2"}), True),
        (lambda site: site.seen.changed(site.seen.one(vm_id(1), soon())), False),
    ],
    ids=["at-once", "just-in-time", "too-late", "not-asked-again", "changed-by-us"],
)
def test_a_machine_is_told_without_asking_only_as_it_was_lately(
    site: ToldSite, change: Callable[[ToldSite], None], told: bool
) -> None:
    site.vm(1, disk_device(1))
    site.seen = machines = site.machines(1)
    assert machines.lately(vm_id(1)) is None
    machines.devices(None)
    change(site)
    site.reads.clear()

    found = machines.lately(vm_id(1))

    assert (found is not None, site.reads) == (told, [])


@pytest.mark.parametrize(
    "values",
    [
        {"config.changeVersion": ""},
        {"runtime.connectionState": "disconnected"},
        {"config.hardware.device": [controller(), disk_device(1, uuid=None)]},
    ],
    ids=["no-version", "out-of-reach", "unread-disk"],
)
def test_a_machine_that_is_not_to_be_trusted_is_not_told_without_asking(site: ToldSite, values: dict[str, Any]) -> None:
    site.vm(1, **values)
    machines = site.machines(1)
    machines.devices(None)

    assert machines.lately(vm_id(1)) is None


# --- who is there ----------------------------------------------------------------------------------------------


def test_two_machines_with_one_id_are_unread_and_count_as_running(site: ToldSite) -> None:
    site.vm(1, disk_device(1), **{"runtime.powerState": "poweredOff"})
    site.vms["vm-2"] = dict(site.vms["vm-1"], name="copy of host-1")
    machines = site.machines(1)

    assert machines.devices(None).unread == {vm_id(1)}
    assert [each.running for each in machines.vms()] == [True]
    with pytest.raises(TruthUnknown, match="two virtual machines have the id"):
        machines.one(vm_id(1), soon())
    assert any("host-1 and copy of host-1 have one id" in line for line in site.log.lines)


def test_that_two_have_one_id_is_said_once(site: ToldSite) -> None:
    site.vm(1)
    site.vms["vm-2"] = dict(site.vms["vm-1"])
    machines = site.machines(1)

    for _ in range(5):
        machines.vms()

    assert len([line for line in site.log.lines if "have one id" in line]) == 1


def test_nobody_is_surely_absent_while_one_does_not_say_who_it_is(site: ToldSite) -> None:
    site.vm(1)
    site.vms["vm-2"] = {"name": "?", "runtime.connectionState": "inaccessible"}
    machines = site.machines(1, 2)

    assert machines.devices(None).unread == {vm_id(2)}
    assert [(each.id, each.running) for each in machines.vms()] == [(vm_id(1), True), (vm_id(2), True)]
    assert machines.devices([vm_id(2)]).of(vm_id(2)) is None
    for ask in (lambda: machines.vm(vm_id(2)), lambda: machines.one(vm_id(2), soon())):
        with pytest.raises(TruthUnknown, match="does not say who it is"):
            ask()


@pytest.mark.parametrize("fault", [None, vim.fault.NoPermission(privilegeId="System.View")], ids=["told", "withheld"])
def test_one_that_is_not_seen_any_more_and_did_not_go_is_unread(site: ToldSite, fault: object) -> None:
    """An account whose rights were taken away sees a smaller site: a disk on what it does not see is not free."""
    site.vm(1)
    site.vm(2, disk_device(2))
    machines = site.machines(1, 2)
    machines.devices(None)
    site.unseen = {"vm-2"}
    site.withheld = {} if fault is None else {"vm-2": fault}

    found = machines.devices(None)

    assert (set(found.unread), list(found.lists)) == ({vm_id(2)}, [vm_id(1)])
    assert [each.id for each in found.vms] == [each.id for each in machines.vms()] == [vm_id(1), vm_id(2)]


@pytest.mark.parametrize("strict", [False, True])
def test_one_that_went_is_absent_and_is_not_looked_for_again(site: ToldSite, strict: bool) -> None:
    site.vm(1)
    site.vm(2, disk_device(2))
    machines = site.machines(1, 2)
    machines.devices(None)
    del site.vms["vm-2"]
    site.strict = strict

    assert machines.devices(None).unread == set()
    reads = len(site.reads)
    assert machines.devices(None).unread == set()
    assert len(site.reads) == reads + 1


def test_one_that_was_never_seen_is_absent(site: ToldSite) -> None:
    site.vm(1)
    assert site.machines(1, 2).devices(None).unread == set()


def test_one_that_said_who_it_was_is_still_that_one_when_its_files_are_out_of_reach(site: ToldSite) -> None:
    site.vm(2, disk_device(2))
    machines = site.machines(2)
    machines.devices(None)
    site.vms["vm-2"] = {"name": "host-2", "runtime.connectionState": "inaccessible", "runtime.powerState": "poweredOff"}

    assert machines.devices(None).unread == {vm_id(2)}
    assert [(each.id, each.running) for each in machines.vms()] == [(vm_id(2), True)]
    found = machines.vm(vm_id(2))
    assert found is not None
    assert found.running


def test_its_vcenter_may_know_who_it_is_though_its_configuration_is_out_of_reach(site: ToldSite) -> None:
    site.vms["vm-2"] = {
        "name": "host-2",
        "runtime.connectionState": "inaccessible",
        "summary.config.instanceUuid": str(vm_id(2)),
    }

    assert site.machines(2).devices(None).unread == {vm_id(2)}


def test_a_machine_that_withholds_its_devices_is_unread_and_the_others_are_read(site: ToldSite) -> None:
    site.vm(1, disk_device(1))
    site.vm(2, **{"summary.config.instanceUuid": str(vm_id(2))})
    site.withheld["vm-2"] = vim.fault.NoPermission(object=vim.VirtualMachine("vm-2"), privilegeId="System.Read")
    machines = site.machines(1, 2)

    for found in (machines.devices(None), machines.devices([vm_id(1), vm_id(2)])):
        assert found.of(vm_id(1)) == (attached(1),)
        assert found.unread == {vm_id(2)}


def test_what_a_machine_tells_beside_what_it_withholds_is_not_to_be_trusted(site: ToldSite) -> None:
    site.vm(1, disk_device(1), **{"runtime.powerState": "poweredOff"})
    site.withheld["vm-1"] = vim.fault.NoPermission(object=vim.VirtualMachine("vm-1"), privilegeId="System.Read")
    site.talkative = True
    machines = site.machines(1)

    assert machines.devices(None).unread == {vm_id(1)}
    assert [each.running for each in machines.vms()] == [True]
    with pytest.raises(TruthUnknown, match="does not say which disks it has"):
        machines.one(vm_id(1), soon())


@pytest.mark.parametrize("gone", [1, 2])
def test_a_view_that_is_gone_is_made_anew_once(site: ToldSite, gone: int) -> None:
    site.vm(1)
    site.view_gone = gone
    machines = site.machines(1)

    if gone == 1:
        assert [each.id for each in machines.vms()] == [vm_id(1)]
    else:
        with pytest.raises(TruthUnknown):
            machines.vms()


@pytest.mark.parametrize(("meaning", "known"), [(Meaning.OTHER, True), (Meaning.ABSENT, True), (Meaning.LOST, False)])
def test_an_identity_that_cannot_be_asked_for_is_no_unreadable_one(site: ToldSite, meaning: Meaning, known: bool) -> None:
    def identify(*_: object) -> DiskUuid | None:
        raise Failed(Trouble(meaning, ""))

    site.vm(1, disk_device(1, uuid=None))
    machines = site.machines(1, identify=identify)

    if known:
        assert machines.devices(None).unread == {vm_id(1)}
    else:
        with pytest.raises(HypervisorUnreachable):
            machines.devices(None)


def test_an_ended_session_is_no_machine_that_withholds_something(site: ToldSite) -> None:
    site.vm(1, disk_device(1))
    site.withheld["vm-1"] = vim.fault.NotAuthenticated(object=vim.VirtualMachine("vm-1"), privilegeId="System.Read")
    machines = site.machines(1)

    with pytest.raises(Exception, match="the session has ended"):
        machines.devices(None)


@pytest.mark.parametrize("strict", [False, True], ids=["is-left-out", "fails-the-whole-read"])
def test_a_machine_that_goes_while_the_lists_are_read_is_gone(site: ToldSite, strict: bool) -> None:
    site.vm(1, disk_device(1))
    site.vm(2, disk_device(2))
    site.strict = strict
    site.before_read = [lambda: None, lambda: site.vms.pop("vm-2")]

    found = site.machines(1, 2).devices(None)

    assert (found.lists, found.unread) == ({vm_id(1): (attached(1),)}, frozenset())


def test_machines_that_come_and_go_for_ever_are_not_read_for_ever(site: ToldSite) -> None:
    site.vm(1)

    def flicker() -> None:
        site.vm(2)
        site.before_read = [lambda: site.vms.pop("vm-2"), flicker]

    site.before_read = [flicker]

    with pytest.raises(TruthUnknown, match="come and go"):
        site.machines(1).devices(None)


# --- devices ---------------------------------------------------------------------------------------------------


def test_a_disks_identity_is_that_of_the_root_of_its_chain_and_its_snapshot_has_a_name(site: ToldSite) -> None:
    root = disk_device(1).backing
    middle = disk_device(77, parent=root).backing
    tree = vim.vm.SnapshotTree(
        snapshot=vim.vm.Snapshot("snapshot-1"),
        name="before",
        childSnapshotList=[vim.vm.SnapshotTree(snapshot=vim.vm.Snapshot("snapshot-2"), name="after", childSnapshotList=[])],
    )
    delta = disk_device(1, uuid=str(vm_id(78)), path="[ds1] vmdkvol/db-1-000002.vmdk", parent=middle)
    site.vm(1, delta, **{"snapshot.currentSnapshot": vim.vm.Snapshot("snapshot-2"), "snapshot.rootSnapshotList": [tree]})

    assert site.machines(1).devices(None).of(vm_id(1)) == (attached(1, "after"),)


def test_a_delta_without_a_known_snapshot_is_one_all_the_same(site: ToldSite) -> None:
    site.vm(1, disk_device(1, parent=disk_device(1).backing))

    assert site.machines(1).devices(None).of(vm_id(1)) == (attached(1, "?"),)


def test_what_has_no_identity_and_is_not_in_our_folder_is_told_apart(site: ToldSite) -> None:
    """It is none of ours, and may be a disk that somebody wants to adopt: also of a machine that is out of reach."""
    site.vm(1, disk_device(1), disk_device(2, path="[ds1] host-1/host-1.vmdk", uuid=None))
    site.vm(2, disk_device(3, path="[ds1] theirs/x.vmdk", uuid=None), **{"runtime.connectionState": "disconnected"})

    told = site.machines(1).devices(None)

    assert told.of(vm_id(1)) == (attached(1),)
    assert told.nameless == {vm_id(1): (None,), vm_id(2): (None,)}


def test_of_what_has_no_identity_the_place_is_said() -> None:
    path = DiskPath(DatastoreName("ds1"), "theirs/x.vmdk")
    machine = Machine("vm-1", vm_id(1), "host-1", True, True, nameless=(("datastore-7", "[called] theirs/x.vmdk"),))

    told = nameless({vm_id(1): machine}, lambda place, text: path if place == "datastore-7" else None)

    assert told == {vm_id(1): (path,)}


def test_a_holder_is_named_by_identity_and_by_path_where_there_is_no_other_way(site: ToldSite) -> None:
    site.vm(1, disk_device(1, path="[ds2] moved/db.vmdk"))
    site.vm(2, disk_device(2, uuid=None))
    machines = site.machines()

    def holder(number: int) -> str | None:
        path = DiskPath(DatastoreName("ds1"), f"vmdkvol/db-{number}.vmdk")
        return machines.holder_of(DiskRef(DiskUuid(vm_id(number)), path))

    assert (holder(1), holder(2), holder(3)) == ("host-1", "host-2", None)


def test_two_machines_with_one_context_id_are_nobody(site: ToldSite) -> None:
    for number in (1, 2):
        site.vm(number, Device.VirtualVMCIDevice(key=12000, id=-(2**31)))
    machines = site.machines(1, 2)

    for _ in range(2):
        assert machines.with_context_id(2**31) is None
    site.vms["vm-2"]["runtime.powerState"] = "poweredOff"
    assert machines.with_context_id(2**31) == vm_id(1)


def test_a_context_id_is_looked_up_among_all_once_and_then_at_its_machine(site: ToldSite) -> None:
    for number in range(1, 41):
        site.vm(number, Device.VirtualVMCIDevice(key=12000, id=number + 100))
    machines = site.machines(*range(1, 41))
    assert machines.with_context_id(101) == vm_id(1)
    site.whole()
    assert [machines.with_context_id(number + 100) for number in range(1, 41)] == [vm_id(number) for number in range(1, 41)]
    assert site.whole() == 40


def test_a_context_id_that_went_to_another_machine_is_the_others(site: ToldSite) -> None:
    for number in (1, 2):
        site.vm(number, Device.VirtualVMCIDevice(key=12000, id=number))
    machines = site.machines(1, 2)
    assert machines.with_context_id(1) == vm_id(1)
    site.vms["vm-1"]["runtime.powerState"] = "poweredOff"
    site.vm(2, Device.VirtualVMCIDevice(key=12000, id=1))
    assert machines.with_context_id(1) == vm_id(2)
    site.vms["vm-2"]["runtime.powerState"] = "poweredOff"
    assert machines.with_context_id(1) is None


def test_an_id_that_two_machines_have_is_told_twice(site: ToldSite) -> None:
    for number in (1, 2):
        site.vm(number)
    site.vms["vm-2"]["config.instanceUuid"] = site.vms["vm-1"]["config.instanceUuid"]
    assert [vm.id for vm in site.machines(1).all()] == [vm_id(1), vm_id(1)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[ds1] vmdkvol/g/db.vmdk", ("ds1", "vmdkvol/g/db.vmdk")),
        ("[a] b] vmdkvol/g/db.vmdk", ("a] b", "vmdkvol/g/db.vmdk")),
        ("[50%25 [x]] vmdkvol/db.vmdk", ("50% [x]", "vmdkvol/db.vmdk")),
        ("[ds1] host/vmdkvol/db.vmdk", None),
        ("[ds1] vmdkvolx/db.vmdk", None),
        ("vmdkvol/db.vmdk", None),
        ("", None),
    ],
)
def test_our_folder_is_known_by_its_place(text: str, found: tuple[str, str] | None) -> None:
    path = our_path(text)

    assert (None if path is None else (path.datastore, path.path)) == found


def test_controllers_are_told_with_all_that_sits_on_them(site: ToldSite) -> None:
    cdrom = Device.VirtualCdrom(key=3000, controllerKey=1000, unitNumber=3)
    shared = Device.ParaVirtualSCSIController(key=1001, busNumber=1, sharedBus="virtualSharing", scsiCtlrUnitNumber=15)
    lsi = Device.VirtualLsiLogicController(key=1002, busNumber=2, sharedBus="noSharing")
    site.vm(1, disk_device(1), cdrom, shared, lsi)

    found = site.machines(1).one(vm_id(1), soon())

    assert found is not None
    assert found.controllers == (
        Controller(1000, 0, frozenset({1, 3, 7}), ours=True),
        Controller(1001, 1, frozenset({15}), ours=False),
        Controller(1002, 2, frozenset({7}), ours=False),
    )


@pytest.mark.parametrize(("told", "bears"), [(64, 64), (None, DISKS), (3, DISKS)])
def test_what_a_controller_bears_is_asked_once_for_each_generation(site: ToldSite, told: int | None, bears: int) -> None:
    asked: list[Any] = []

    def option(key: str, _: Any) -> Any:
        asked.append(key)
        if told is None:
            return SimpleNamespace(hardwareOptions=SimpleNamespace(virtualDeviceOption=[]))
        most = vim.option.IntOption(valueIsReadonly=False, min=0, max=told, defaultValue=0)
        kind = Device.ParaVirtualSCSIControllerOption(numSCSIDisks=most)
        return SimpleNamespace(hardwareOptions=SimpleNamespace(virtualDeviceOption=[kind]))

    for number in (1, 2):
        site.vm(number, environmentBrowser=SimpleNamespace(QueryConfigOption=option))
    machines = site.machines(1, 2)

    for number in (1, 2, 1):
        machine = machines.one(vm_id(number), soon())
        assert machine is not None
        assert machines.disks_per_controller(machine, soon()) == bears
    assert asked == ["vmx-19"]
