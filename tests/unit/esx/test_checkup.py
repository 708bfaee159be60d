"""What the doctor makes of what it found: OK only of what was seen to be right, and a way out of everything else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vmdkvol.errors import HypervisorUnreachable, ServiceUnreachable
from vmdkvol.findings import FAIL, OK, WARN, Finding, exit_code, of_error
from vmdkvol.names import DatastoreName
from vmdkvol_esx import checkup
from vmdkvol_esx.ports import Datastore
from vmdkvol_esx.vsphere.endpoint import Trust
from vmdkvol_esx.vsphere.examined import Granted, Host, Presented, Server
from vmdkvol_esx.vsphere.pins import Pin
from vmdkvol_esx.vsphere.role import NEEDS, TOO_MUCH, Place, needs, roles

DAY = 86400.0
GB = 1 << 30
VCENTER = Server("VMware vCenter Server 8.0.3", "8.0.3.0", vcenter=True, ahead_s=0.0, within_s=0.01)
STORE = Datastore(DatastoreName("ds1"), 1000 * GB, 500 * GB, writable=True)
HOST = Host("vm-1", "docker1", connected=True, controllers=1, enable_uuid=True, reaches=frozenset({"datastore-1"}))
STORES = {"ds1": "datastore-1"}
UUID = "502f3b1c-8d0e-4c5a-9b6f-0a1b2c3d4e5f"


def checked(finding: Finding, status: str) -> str:
    """Return the finding's text, after it has the status, and a way out exactly if it needs one."""
    assert (finding.status, bool(finding.fix)) == (status, status != OK)
    return finding.finding


@pytest.mark.parametrize(("days", "status"), [(365, OK), (31, OK), (29, WARN), (1, WARN), (0, FAIL), (-3, FAIL)])
def test_a_certificate_is_renewed_in_time(days: float, status: str) -> None:
    seen = Presented("AA:BB", 1000 * DAY)
    assert "AA:BB" in checked(checkup.certificate(seen, (1000 - days) * DAY), status)


@pytest.mark.parametrize(
    ("trust", "said"),
    [
        (Trust(), "this machine"),
        (Trust(ca="x"), "ca_file"),
        (Trust(pin=Pin("x", b"")), "pinned"),
        (Trust("x", Pin("x", b"")), "signed"),
    ],
)
def test_it_is_said_what_is_trusted(trust: Trust, said: str) -> None:
    assert said in checked(checkup.pin(trust), OK)


@pytest.mark.parametrize(
    ("version", "status"),
    [("9.1.1.0", OK), ("7.0.0.0", OK), ("6.7.3", WARN), ("6.5", WARN), ("6.0", FAIL), ("", FAIL), ("six", FAIL), ("10.0", OK)],
)
def test_an_old_server_is_told(version: str, status: str) -> None:
    checked(checkup.server(replace(VCENTER, version=version)), status)


@pytest.mark.parametrize(
    ("ahead", "within", "status"),
    [
        (0.0, 0.01, OK),
        (4.9, 0.0, OK),
        (-4.9, 0.0, OK),
        (10.0, 0.0, WARN),
        (-10.0, 0.0, WARN),
        (7200.0, 0.0, FAIL),
        (-7200.0, 0.0, FAIL),
        # What a slow answer leaves in doubt is no difference.
        (10.0, 8.0, OK),
    ],
)
def test_clocks_that_differ_are_told(ahead: float, within: float, status: str) -> None:
    checked(checkup.clock(replace(VCENTER, ahead_s=ahead, within_s=within)), status)


MACHINE = needs(Place.MACHINE, vcenter=True)
ALL = {need.privilege: True for need in MACHINE}


def test_all_privileges_are_right() -> None:
    checked(checkup.privileges("host a", MACHINE, Granted(ALL)), OK)


@pytest.mark.parametrize("need", MACHINE, ids=lambda need: need.privilege)
def test_each_missing_privilege_is_named_with_what_is_lost(need: object) -> None:
    lacking = next(each for each in MACHINE if each is need)
    status = WARN if lacking.without else FAIL

    finding = checked(checkup.privileges("host a", MACHINE, Granted(ALL | {lacking.privilege: False})), status)

    assert lacking.privilege in finding
    assert lacking.without in finding


def test_a_vital_privilege_that_is_missing_beside_another_fails() -> None:
    gone = dict.fromkeys(ALL, False)
    assert "RemoveDisk" in checked(checkup.privileges("host a", MACHINE, Granted(gone)), FAIL)


@pytest.mark.parametrize(
    "seen",
    [
        Granted(unasked="the server does not know this call"),
        Granted({}),
        Granted(dict.fromkeys(list(ALL)[1:], True)),
    ],
    ids=["no-call", "no-answer", "half-an-answer"],
)
def test_what_was_not_answered_is_not_right(seen: Granted) -> None:
    assert "cannot be asked" in checked(checkup.privileges("host a", MACHINE, seen), WARN)


@pytest.mark.parametrize(
    ("seen", "status"),
    [
        (Granted(dict.fromkeys(TOO_MUCH, False)), OK),
        (Granted(dict.fromkeys(TOO_MUCH, False) | {TOO_MUCH[-1]: True}), WARN),
        (Granted(unasked="no"), WARN),
        (Granted({}), WARN),
    ],
    ids=["role", "administrator", "no-call", "no-answer"],
)
def test_an_administrators_account_is_told(seen: Granted, status: str) -> None:
    checked(checkup.too_much(seen), status)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, OK),
        ({"problem": "no host can reach it"}, FAIL),
        ({"writable": False}, FAIL),
        ({"free_bytes": 40 * GB}, WARN),
        ({"capacity_bytes": 2 * GB, "free_bytes": GB - 1}, WARN),
        ({"capacity_bytes": 2 * GB, "free_bytes": GB}, OK),
    ],
    ids=str,
)
def test_a_datastore_is_there_writable_and_has_room(change: dict[str, object], status: str) -> None:
    checked(checkup.datastore(replace(STORE, **change)), status)  # type: ignore[arg-type]


def test_a_datastore_that_the_server_does_not_speak_of_fails() -> None:
    lines = checkup.by_name(["ds1", "ds2"], {"ds1": STORE})
    assert [line.status for line in lines] == [OK, FAIL]


@pytest.mark.parametrize(
    ("vcenter", "names", "status"), [(True, ["gold"], OK), (True, [], WARN), (False, [], OK)], ids=["some", "none", "esxi"]
)
def test_policies_are_a_vcenters(vcenter: bool, names: list[str], status: str) -> None:
    checked(checkup.policies(replace(VCENTER, vcenter=vcenter), names), status)


@pytest.mark.parametrize(
    ("seen", "status", "fix"),
    [
        (HOST, OK, ""),
        (Host(None), FAIL, "vc.uuid"),
        (Host(None, meant="4c4c4544"), FAIL, 'id = "4c4c4544"'),
        (replace(HOST, connected=False), FAIL, "ESXi host"),
        (replace(HOST, enable_uuid=False), FAIL, "disk.EnableUUID"),
        (replace(HOST, enable_uuid=None), WARN, "parameters"),
        (replace(HOST, controllers=0), WARN, "first attach adds one"),
        (replace(HOST, reaches=frozenset()), WARN, "cannot be attached there"),
        (replace(HOST, reaches=None), OK, ""),
    ],
    ids=["right", "nobody", "bios", "away", "hidden", "unknown", "no-controller", "no-datastore", "datastores-unknown"],
)
def test_a_host_is_a_machine_whose_guest_can_find_its_disks(seen: Host, status: str, fix: str) -> None:
    finding = checkup.host("docker1", UUID, seen, STORES)

    checked(finding, status)
    assert fix in finding.fix


@pytest.mark.parametrize(("free", "status"), [(10 * GB, OK), (GB - 1, WARN), (1 << 20, FAIL)])
@pytest.mark.parametrize("size", [None, 1 << 20])
def test_the_database_has_room(free: int, status: str, size: int | None) -> None:
    checked(checkup.database("/x/vmdkvol.db", size, 3, free), status)


def test_a_doctor_that_does_not_reach_the_service_sends_nobody_to_a_doctor_of_the_same_place() -> None:
    fix = of_error("service", ServiceUnreachable("away")).fix
    assert "systemctl status vmdkvol-esxd" in fix
    assert "`vmdkvol doctor`" not in fix


def test_an_error_is_a_line_with_its_remedy() -> None:
    finding = of_error("login", HypervisorUnreachable("wrong password", remedy="write the right one"))
    assert finding == Finding(FAIL, "login", "wrong password", "write the right one")


@pytest.mark.parametrize(
    ("statuses", "code"), [([OK], 0), ([OK, WARN], 1), ([WARN, FAIL, OK], 2), ([], 2)], ids=["ok", "warn", "fail", "nothing"]
)
def test_the_exit_code_is_the_worst(statuses: list[str], code: int) -> None:
    assert exit_code([Finding(status, "x", "y") for status in statuses]) == code


# --- the role ------------------------------------------------------------------------------------------------------


def test_no_privilege_stands_there_twice_for_one_place() -> None:
    keys = [(need.place, need.privilege) for need in NEEDS]
    assert len(set(keys)) == len(keys)


def test_each_privilege_says_which_call_needs_it_and_why() -> None:
    assert all(need.call and need.why.endswith(".") for need in NEEDS)


@pytest.mark.parametrize(
    "never",
    ["AdvancedConfig", "Interact.", "GuestOperations.", "Provisioning.", "Authorization.", "Host.", "Datastore.Move", "State."],
)
def test_what_the_role_never_has(never: str) -> None:
    assert [need.privilege for need in NEEDS if never in need.privilege] == []


def test_an_administrators_privileges_are_none_of_the_role() -> None:
    assert not {need.privilege for need in NEEDS} & set(TOO_MUCH)


def test_a_single_host_has_no_roles_for_what_it_does_not_have() -> None:
    found = {role.name: role.privileges for role in roles(vcenter=False)}
    assert set(found) == {"vmdkvol-root", "vmdkvol-datastore", "vmdkvol-machine"}
    assert "StorageProfile.View" not in found["vmdkvol-root"]


def test_only_object_stores_get_the_privilege_for_their_folders() -> None:
    having = [role.name for role in roles(vcenter=True) if "Datastore.Config" in role.privileges]
    assert having == ["vmdkvol-object-store"]
