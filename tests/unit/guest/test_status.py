"""Status: vDVS's keys as scripts read them, ours beside them, and nothing that is not known."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from uuid import UUID

import pytest

from vmdkvol.names import DatastoreName
from vmdkvol.options import CreateOptions
from vmdkvol.volume import (
    DEFAULT_VMGROUP,
    Content,
    Holder,
    LoopAddress,
    ScsiAddress,
    State,
    VmgroupId,
    VmId,
    VolumeId,
    VolumeInfo,
)
from vmdkvol_guest.ports import Holdings
from vmdkvol_guest.status import asctime, rfc3339, status

INFO = VolumeInfo(
    VolumeId(UUID(int=1)),
    "db",
    DatastoreName("ds1"),
    DEFAULT_VMGROUP,
    20 << 30,
    3 << 20,
    State.READY,
    Content.FORMATTED,
    CreateOptions.parse({"size": "20gb", "label": "a=b", "uid": "999"}),
    1496740504.7,
    "host-a",
)
ATTACHED = replace(INFO, attached_to=Holder(VmId(UUID(int=2)), "host-b", LoopAddress(100_001)))
VDVS = {
    "access": "read-write",
    "attach-as": "independent_persistent",
    "capacity": {"size": "20GB", "allocated": "3MB"},
    "clone-from": "None",
    "created": "Tue Jun  6 09:15:04 2017",
    "created by VM": "host-a",
    "datastore": "ds1",
    "diskformat": "thin",
    "fstype": "ext4",
    "status": "detached",
}


def shown(info: VolumeInfo, holdings: Holdings | None = None) -> dict[str, object]:
    return status(info, holdings, mounted=False, stale=False)


def test_every_key_of_vdvs_is_there_as_it_was_written() -> None:
    assert {key: value for key, value in shown(INFO).items() if key in VDVS} == VDVS


def test_the_keys_of_an_attachment_are_only_there_when_attached() -> None:
    assert {"attached to VM", "attachedVMDevice"}.isdisjoint(shown(INFO))


def test_an_attached_volume_says_where() -> None:
    assert shown(ATTACHED)["status"] == "attached"
    assert shown(ATTACHED)["attached to VM"] == "host-b"
    device = {"Unit": "100001", "ControllerPciSlotNumber": "", "ControllerPciBusNumber": ""}
    assert shown(ATTACHED)["attachedVMDevice"] == device


def test_a_scsi_disk_says_its_unit() -> None:
    holder = Holder(VmId(UUID(int=2)), "vm", ScsiAddress(1, 3))

    assert shown(replace(INFO, attached_to=holder))["attachedVMDevice"]["Unit"] == "3"  # type: ignore[index]


def test_the_new_keys() -> None:
    held = Holdings(INFO.id, frozenset({"b" * 64, "a" * 64}))
    found = status(INFO, held, mounted=True, stale=True)

    assert found["id"] == str(INFO.id)
    assert (found["size-bytes"], found["allocated-bytes"]) == (20 << 30, 3 << 20)
    assert (found["state"], found["content"], found["vmgroup"]) == ("ready", "formatted", "_DEFAULT")
    assert found["holders"] == ["a" * 64, "b" * 64]
    assert (found["mounted"], found["stale"]) == (True, True)
    assert found["labels"] == {"a": "b"}


def test_the_options_are_shown_as_they_were_understood() -> None:
    options = shown(INFO)["options"]

    assert isinstance(options, dict)
    assert (options["size"], options["uid"], options["mode"]) == ("20gb", "999", "0755")


def test_a_clone_says_its_source_without_the_datastore_and_its_own_size() -> None:
    options = CreateOptions.parse({"clone-from": "source@ds2"})
    found = shown(replace(INFO, options=options))

    assert found["clone-from"] == "source"
    assert found["options"]["size"] == "20gb"  # type: ignore[index]


def test_another_vmgroup_is_shown_by_its_name_and_by_its_id_if_an_older_service_does_not_tell_that() -> None:
    other = replace(INFO, vmgroup=VmgroupId(UUID(int=9)))
    assert shown(replace(other, vmgroup_name="red"))["vmgroup"] == "red"
    assert shown(other)["vmgroup"] == str(UUID(int=9))


def test_status_is_json() -> None:
    assert json.loads(json.dumps(shown(ATTACHED)))["id"] == str(INFO.id)


@pytest.mark.parametrize("seconds", [0.0, 1.5, 1496740504.999, 4102444800.0])
def test_created_at_always_has_a_zone(seconds: float) -> None:
    assert re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", rfc3339(seconds))


def test_asctime_pads_the_day_with_a_blank() -> None:
    assert asctime(1496740504) == "Tue Jun  6 09:15:04 2017"


def test_a_policy_stands_there_as_vdvs_spelled_it() -> None:
    under = replace(INFO, options=replace(INFO.options, policy="gold"))

    assert shown(under)["vsan-policy-name"] == "gold"


def test_without_a_policy_there_is_no_key_for_one() -> None:
    assert "vsan-policy-name" not in shown(INFO)


def test_limits_stand_there_if_they_were_given() -> None:
    limited = shown(replace(INFO, options=replace(INFO.options, iops_limit=500, shares="high")))

    assert (limited["iops-limit"], limited["shares"]) == (500, "high")
    assert shown(INFO).keys() & {"iops-limit", "shares"} == set()
