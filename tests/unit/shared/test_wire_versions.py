"""A peer of the version before reads strictly: what is newer than it is left out, what it leaves out has its default."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.unit.shared.test_wire_messages import arrived
from tests.unit.shared.test_wire_values import INFO
from vmdkvol import wire
from vmdkvol.errors import BadFrame, InvalidOption
from vmdkvol.messages import NEWEST_VERSION, OLDEST_VERSION, REQUESTS, CreateVolume, GetVolume, ListVolumes, VolumePage
from vmdkvol.names import DatastoreName, VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.volume import DOING_SINCE, Attachment, Content, DiskUuid, Doing, LoopAddress, VmId, VolumeId, VolumeInfo, Work
from vmdkvol_esx.ports import AttachDisk, DiskPath, DiskRef

ID = UUID(int=5)
WORKING = replace(INFO, work=Work(Doing.CREATE, 43, 1_764_000_000.0, 240))
# What version 1 knew; written down, since its code is gone.
V1_INFO = {
    "id",
    "name",
    "datastore",
    "vmgroup",
    "size_bytes",
    "allocated_bytes",
    "state",
    "content",
    "options",
    "created_at",
    "created_by",
    "attached_to",
}


def received(info: VolumeInfo, version: int) -> VolumeInfo:
    return wire.read_answer(GetVolume(VolumeRef.parse("db")), arrived(wire.write_answer(ID, info, version)).body)


def test_a_guest_of_version_1_gets_the_volume_without_its_work() -> None:
    assert wire.dump(WORKING, 1).keys() == V1_INFO


def test_a_guest_of_version_1_gets_a_page_without_work() -> None:
    frame = arrived(wire.write_answer(ID, VolumePage((WORKING,), None, 1), 1))
    assert frame.body["volumes"][0].keys() == V1_INFO


def test_a_guest_of_version_2_gets_the_work() -> None:
    assert received(WORKING, 2) == WORKING


def test_what_has_no_work_is_written_as_version_1_wrote_it() -> None:
    """So that an older agent reads the catalogue of a newer one, and a newer one the answers that are stored."""
    assert wire.dump(INFO).keys() == V1_INFO


UNDER_A_POLICY = CreateOptions.parse({"size": "1gb", "policy": "gold"})


def test_a_guest_of_version_1_gets_a_volume_under_a_policy_as_one_without() -> None:
    options = wire.dump(replace(INFO, options=UNDER_A_POLICY), 1)["options"]

    assert ("policy" in options, options["given"]) == (False, ["size_bytes"])


def test_a_guest_of_version_2_gets_the_policy() -> None:
    info = replace(INFO, options=UNDER_A_POLICY)
    assert received(info, 2) == info


def test_what_has_no_policy_is_written_as_version_1_wrote_it() -> None:
    assert "policy" not in wire.dump(CreateOptions.parse({"size": "1gb"}))


def test_a_service_of_version_1_is_never_asked_for_a_policy_that_it_would_not_see() -> None:
    with pytest.raises(InvalidOption, match="does not know option policy"):
        wire.write_request(CreateVolume(VolumeRef.parse("db"), UNDER_A_POLICY), ID, 1.0, 1)


LIMITED = CreateOptions.parse({"size": "1gb", "iops-limit": "500", "shares": "high"})


def test_a_guest_of_version_1_gets_a_limited_volume_as_one_without_limits() -> None:
    options = wire.dump(replace(INFO, options=LIMITED), 1)["options"]

    assert (options.keys() & {"iops_limit", "shares"}, options["given"]) == (set(), ["size_bytes"])


def test_a_guest_of_version_2_gets_the_limits() -> None:
    info = replace(INFO, options=LIMITED)
    assert received(info, 2) == info


def test_an_attach_without_limits_is_written_as_the_version_before_wrote_it() -> None:
    plain = AttachDisk(VmId(ID), DiskRef(DiskUuid(ID), DiskPath(DatastoreName("ds1"), "a.vmdk")), "persistent")

    assert wire.dump(plain).keys() == {"vm", "disk", "mode"}
    assert wire.load(AttachDisk, wire.dump(replace(plain, iops_limit=500, shares="low"))).iops_limit == 500


def test_a_volume_of_version_1_is_read() -> None:
    assert received(WORKING, 1) == replace(WORKING, work=None)


@pytest.mark.parametrize("version", [2, 3])
def test_a_guest_that_does_not_know_that_disks_grow_hears_of_no_work(version: int) -> None:
    growing = replace(INFO, work=Work(Doing.GROW, 10, 0.0))

    assert received(growing, version) == replace(INFO, work=None)
    assert received(growing, 4) == growing


def test_a_guest_of_the_version_before_policies_hears_of_no_work() -> None:
    laid = replace(INFO, work=Work(Doing.POLICY, 10, 0.0))

    assert received(laid, 4) == replace(INFO, work=None)
    assert received(laid, 5) == laid


def test_the_name_of_the_vmgroup_is_left_out_for_an_agent_of_the_version_before_and_where_there_is_none() -> None:
    named = replace(INFO, vmgroup_name="red")

    assert (received(named, 5), received(named, 6)) == (INFO, named)
    assert "vmgroup_name" not in wire.dump(INFO)


def test_every_doing_that_came_later_has_a_version_that_we_speak() -> None:
    assert all(2 < since <= NEWEST_VERSION for since in DOING_SINCE.values())


def test_a_service_of_version_1_is_not_asked_for_what_it_does_not_know() -> None:
    frame = arrived(wire.write_request(ListVolumes(preparing=True), ID, 1.0, 1))
    assert frame.body.keys() == {"after", "limit", "since"}


def test_a_service_of_version_2_is_asked_for_it() -> None:
    request = ListVolumes(preparing=True)
    assert wire.read_request(arrived(wire.write_request(request, ID, 1.0, 2))) == request


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"doing": "explode", "percent": 1, "since": 0.0, "left_s": None}, id="unknown-work"),
        pytest.param({"doing": "create", "percent": "1", "since": 0.0, "left_s": None}, id="percent-as-text"),
        pytest.param({"doing": "create", "percent": 1, "since": 0.0, "left_s": None, "more": 1}, id="more"),
    ],
)
def test_work_is_read_strictly(body: dict[str, Any]) -> None:
    frame = arrived(wire.write_answer(ID, INFO))
    with pytest.raises(BadFrame):
        wire.load(VolumeInfo, frame.body | {"work": body})


@pytest.mark.parametrize("kind", [*REQUESTS, VolumeInfo, VolumePage, Attachment])
def test_every_newer_field_has_a_default_and_a_version_that_we_speak(kind: type) -> None:
    assert is_dataclass(kind)
    for each in fields(kind):
        since = each.metadata.get("since", OLDEST_VERSION)
        assert OLDEST_VERSION <= since <= NEWEST_VERSION
        assert since == OLDEST_VERSION or each.default is not MISSING


def test_what_a_clone_was_copied_with_is_left_out_for_an_agent_of_version_one_and_where_there_is_nothing() -> None:
    plain = Attachment(
        VolumeId(uuid4()), DiskUuid(uuid4()), 1 << 30, LoopAddress(1), 3, Content.FORMATTED, None, CreateOptions.parse({})
    )
    clone = replace(plain, copied_uuids=(uuid4(),))

    def read(version: int) -> Attachment:
        return wire.load(Attachment, json.loads(json.dumps(wire.dump(clone, version))))

    assert read(2) == clone
    assert read(1) == plain
    assert "copied_uuids" not in wire.dump(plain)


def test_that_a_file_system_keeps_its_uuid_is_left_out_for_an_agent_of_version_four_and_where_it_does_not() -> None:
    plain = Attachment(
        VolumeId(uuid4()), DiskUuid(uuid4()), 1 << 30, LoopAddress(1), 3, Content.FORMATTED, None, CreateOptions.parse({})
    )
    adopted = replace(plain, keep_uuid=True)

    def read(version: int) -> Attachment:
        return wire.load(Attachment, json.loads(json.dumps(wire.dump(adopted, version))))

    assert read(5) == adopted
    assert read(4) == plain
    assert "keep_uuid" not in wire.dump(plain)
