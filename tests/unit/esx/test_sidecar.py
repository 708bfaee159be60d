"""The second copy of a record is read back as it was written, or not at all."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from uuid import UUID

import pytest

from tests.unit.esx.test_settling import READY
from vmdkvol.errors import MetadataDamaged
from vmdkvol.options import CreateOptions
from vmdkvol.volume import Content, State, VmId
from vmdkvol_esx import sidecar
from vmdkvol_esx.records import VolumeRecord

RECORD = replace(
    READY,
    name="данные * ключ@ds1",
    state=State.TRASHED,
    content=Content.FORMATTED,
    filesystem_uuid=UUID(int=77),
    options=CreateOptions.parse({"size": "20gb", "label": "a=b,c=", "mount-options": "noatime,commit=5", "mode": "0750"}),
    generation=12,
    last_vm=VmId(UUID(int=5)),
    trashed_at=1.25,
)
WHOLE = sidecar.encode(RECORD)


def _changed(**values: object) -> bytes:
    return json.dumps({**json.loads(WHOLE), **values}).encode()


def test_a_record_comes_back_with_every_field() -> None:
    assert sidecar.decode(WHOLE) == RECORD


def test_a_sidecar_can_be_read_by_a_person() -> None:
    assert b'\n "generation": 12,\n' in WHOLE


def test_layout_does_not_change_what_a_sidecar_says() -> None:
    assert sidecar.decode(json.dumps(json.loads(WHOLE)).encode()) == RECORD


DAMAGED = [
    pytest.param(b"", id="empty"),
    pytest.param(b"\0" * len(WHOLE), id="zeros"),
    pytest.param(WHOLE[:-40], id="truncated"),
    pytest.param(WHOLE[:200] + b"\0" * 100 + WHOLE[300:], id="a-hole"),
    pytest.param(WHOLE + WHOLE, id="twice"),
    pytest.param(b"[" * 100_000, id="deep"),
    pytest.param(b"{}", id="no-keys"),
    pytest.param(b"[]", id="a-list"),
    pytest.param(WHOLE.replace(b"generation", b"generatiom"), id="another-key"),
    pytest.param(WHOLE.replace(b'"generation": 12', b'"generation": 13', 1), id="the-outer-generation"),
    pytest.param(WHOLE.replace(b'"trashed"', b'"ready"'), id="a-flipped-state"),
    pytest.param(WHOLE.replace(b'"formatted"', b'"unformatted"'), id="a-flipped-content"),
    pytest.param(_changed(version=sidecar.VERSION + 1), id="newer"),
    pytest.param(_changed(version="1"), id="version-as-text"),
    pytest.param(_changed(version=True), id="version-as-truth"),
    pytest.param(_changed(version=0), id="version-of-nothing"),
    pytest.param(_changed(extra=1), id="an-extra-key"),
    pytest.param(_changed(record=None), id="no-record"),
    pytest.param(_changed(sha256="0" * 64), id="another-checksum"),
    pytest.param(b" " * (sidecar.MAX_BYTES + 1), id="giant"),
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_sidecar_is_refused(content: bytes) -> None:
    with pytest.raises(MetadataDamaged):
        sidecar.decode(content)


@pytest.mark.parametrize("position", range(0, len(WHOLE), 37))
def test_a_flipped_bit_never_changes_the_record(position: int) -> None:
    flipped = WHOLE[:position] + bytes([WHOLE[position] ^ 1]) + WHOLE[position + 1 :]
    try:
        found = sidecar.decode(flipped)
    except MetadataDamaged:
        return
    assert found == RECORD


def test_a_valid_checksum_does_not_excuse_a_wrong_type() -> None:
    record = {**json.loads(WHOLE)["record"], "size_bytes": "big"}
    with pytest.raises(MetadataDamaged, match="cannot be read"):
        sidecar.decode(_changed(record=record, sha256=sidecar._checksum(record)))


def test_a_newer_version_says_so() -> None:
    with pytest.raises(MetadataDamaged) as caught:
        sidecar.decode(_changed(version=sidecar.VERSION + 1))
    assert sidecar.is_newer(caught.value)


def test_what_says_no_more_than_the_first_version_is_read_by_it() -> None:
    assert json.loads(WHOLE)["version"] == 1


def test_what_an_older_service_does_not_know_is_newer_to_it_and_not_damaged() -> None:
    pending = replace(RECORD, policy_pending=True)
    written = sidecar.encode(pending)
    assert (json.loads(written)["version"], sidecar.decode(written)) == (2, pending)


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        pytest.param(
            VolumeRecord,
            "id vmgroup name datastore path disk_uuid size_bytes state content filesystem_uuid options generation created_at "
            "created_by last_vm trashed_at copied_uuids adopted",
            id="record",
        ),
        pytest.param(
            CreateOptions,
            "size_bytes diskformat attach_as access fstype clone_from datastore mkfs_options mount_options uid "
            "gid mode layout labels given policy iops_limit shares",
            id="options",
        ),
    ],
)
def test_each_field_that_is_added_has_a_version_of_its_own(kind: type, first: str) -> None:
    """One without is refused by the version before, as damaged; it would be written over. So it is listed, and never here."""
    names = {each.name for each in fields(kind)}
    assert names - set(first.split()) == names & sidecar.ADDED.keys()
