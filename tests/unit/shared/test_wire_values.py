"""``dump`` and ``load``: the one strict reader of values, for the channel, the sidecar, the database and the notebook."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmdkvol.errors import BadFrame, InvalidName, InvalidOption, InvalidSize, VolumeError
from vmdkvol.messages import CreateVolume, ListVolumes, Mark
from vmdkvol.names import DatastoreName, VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.volume import (
    DEFAULT_VMGROUP,
    Attachment,
    Content,
    DiskUuid,
    Holder,
    LoopAddress,
    ScsiAddress,
    State,
    VmId,
    VolumeId,
    VolumeInfo,
)
from vmdkvol.wire import dump, load

ID = UUID("6d3f0a7e-3c67-4d8b-9e1a-0c2b4a5d6e7f")
VM = VmId(UUID("00112233-4455-6677-8899-aabbccddeeff"))
OPTIONS = CreateOptions.parse({"size": "20gb", "label": "b=2,a=1", "mount-options": "noatime", "datastore": "ds (1)"})
INFO = VolumeInfo(
    id=VolumeId(ID),
    name="größe@ds",
    datastore=DatastoreName("ds"),
    vmgroup=DEFAULT_VMGROUP,
    size_bytes=20 << 30,
    allocated_bytes=0,
    state=State.READY,
    content=Content.FORMATTED,
    options=OPTIONS,
    created_at=1764081706.25,
    created_by="vsphere",
    attached_to=Holder(VM, "vsphere", ScsiAddress(1, 8)),
)
ATTACHMENT = Attachment(
    volume=VolumeId(ID),
    disk_uuid=DiskUuid(ID),
    size_bytes=512,
    address=LoopAddress(100000),
    generation=3,
    content=Content.FORMATTING,
    filesystem_uuid=None,
    options=CreateOptions.parse({"clone-from": "a@b"}),
)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(INFO, id="volume-info"),
        pytest.param(ATTACHMENT, id="attachment"),
        pytest.param(CreateVolume(VolumeRef.parse("db@ds"), OPTIONS), id="create"),
        pytest.param(Mark(VolumeId(ID), 1, Content.FORMATTED, ID), id="mark"),
        pytest.param(ListVolumes(), id="list-from-the-start"),
        pytest.param(ListVolumes(after=VolumeId(ID), limit=5, since=0), id="list-on"),
        pytest.param(CreateOptions(), id="default-options"),
    ],
)
def test_a_value_comes_back_through_json_as_it_went(value: Any) -> None:
    assert load(type(value), json.loads(json.dumps(dump(value)))) == value


def changed(**changes: Any) -> dict[str, Any]:
    return {**dump(INFO), **changes}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(changed(size_bytes="3"), id="text-as-number"),
        pytest.param(changed(size_bytes=3.0), id="float-as-integer"),
        pytest.param(changed(size_bytes=True), id="true-as-number"),
        pytest.param(changed(size_bytes=None), id="null-as-number"),
        pytest.param(changed(created_at="now"), id="text-as-time"),
        pytest.param(changed(created_at=True), id="true-as-time"),
        pytest.param(changed(name=5), id="number-as-text"),
        pytest.param(changed(name=None), id="null-as-text"),
        pytest.param(changed(id="x"), id="no-uuid"),
        pytest.param(changed(id=str(ID).upper()), id="uuid-in-capitals"),
        pytest.param(changed(id="{" + str(ID) + "}"), id="uuid-in-braces"),
        pytest.param(changed(id=ID.hex), id="uuid-without-hyphens"),
        pytest.param(changed(id=ID.int), id="uuid-as-number"),
        pytest.param(changed(state="READY"), id="enum-by-name"),
        pytest.param(changed(state=None), id="enum-null"),
        pytest.param(changed(attached_to={}), id="empty-holder"),
        pytest.param(changed(attached_to={"vm": str(VM), "vm_name": "x", "address": {"number": 1}}), id="address-without-type"),
        pytest.param(
            changed(attached_to={"vm": str(VM), "vm_name": "x", "address": {"type": "Usb", "number": 1}}),
            id="address-of-an-unknown-type",
        ),
        pytest.param(changed(extra=1), id="unknown-key"),
        pytest.param({key: value for key, value in dump(INFO).items() if key != "id"}, id="missing-key"),
        pytest.param([], id="a-list"),
        pytest.param(None, id="null"),
        pytest.param("x", id="a-text"),
        pytest.param(5, id="a-number"),
        pytest.param(changed(options=None), id="null-options"),
        pytest.param(changed(options={**dump(OPTIONS), "given": "size"}), id="text-as-set"),
        pytest.param(changed(options={**dump(OPTIONS), "labels": [["a", "b", "c"]]}), id="three-items-as-pair"),
        pytest.param(changed(options={**dump(OPTIONS), "uid": -0.5}), id="fraction-as-uid"),
    ],
)
def test_what_is_not_exactly_such_a_value_is_a_bad_frame(data: Any) -> None:
    with pytest.raises(BadFrame) as refused:
        load(VolumeInfo, data)

    assert len(str(refused.value)) <= 300


@pytest.mark.parametrize(
    ("change", "error"),
    [
        pytest.param({"fstype": "../x"}, InvalidOption, id="T12-fstype"),
        pytest.param({"mkfs_options": ["-F"]}, InvalidOption, id="T12-mkfs"),
        pytest.param({"mount_options": ["suid"]}, InvalidOption, id="mount"),
        pytest.param({"size_bytes": 0}, InvalidSize, id="size"),
        pytest.param({"size_bytes": 2**80}, InvalidSize, id="giant-size"),
        pytest.param({"datastore": "../.."}, InvalidName, id="datastore"),
        pytest.param({"clone_from": "a/b"}, InvalidName, id="clone-from"),
        pytest.param({"given": ["nothing"]}, InvalidOption, id="given"),
    ],
)
def test_options_that_came_as_fields_pass_the_same_tests_as_text(change: dict[str, Any], error: type[VolumeError]) -> None:
    body = {"ref": "db", "options": {**dump(CreateOptions()), **change}}

    with pytest.raises(error):
        load(CreateVolume, body)


@pytest.mark.parametrize("name", ["", "a/b", "..", "a\x00b", "x" * 101])
def test_a_name_that_came_over_the_wire_passes_the_same_test_as_a_typed_one(name: str) -> None:
    with pytest.raises(InvalidName):
        load(CreateVolume, {"ref": name, "options": dump(CreateOptions())})


def test_sets_are_written_in_order_so_that_equal_values_have_equal_bytes() -> None:
    assert dump(CreateOptions(given=frozenset({"uid", "gid", "mode"})))["given"] == ["gid", "mode", "uid"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([field.name for field in fields(VolumeInfo)]), JSON)
def test_any_json_in_a_field_is_read_back_equal_or_refused(field: str, value: Any) -> None:
    try:
        info = load(VolumeInfo, changed(**{field: value}))
    except VolumeError:
        return
    assert load(VolumeInfo, dump(info)) == info
