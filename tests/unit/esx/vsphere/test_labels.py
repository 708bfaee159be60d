"""Labels and framed files: what we wrote is read back, and nothing else is taken for it."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmdkvol.errors import MetadataDamaged
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.vsphere import framed, labels
from vmdkvol_esx.vsphere.labels import Label

LABEL = Label(DiskUuid(UUID("6000c29e-0123-4567-89ab-cdef01234567")), 4 << 20, "thin", {"name": 'a "b"=ü'})
FILE = labels.encode(LABEL)
WHAT = "the label of [ds1] x.vmdk"


def changed(**fields: Any) -> bytes:
    """The file of a label with other fields, and the right checksum."""
    known = json.loads(framed.content_of(FILE, WHAT)) | fields
    return framed.frame(json.dumps({name: value for name, value in known.items() if value is not ...}).encode())


@given(
    st.builds(
        Label,
        st.uuids().map(DiskUuid),
        st.integers(1, 1 << 46),
        st.text(),
        st.dictionaries(st.text(), st.text(), max_size=4),
        st.booleans(),
        st.none() | st.integers(1, 1 << 46),
    )
)
def test_a_label_is_read_back(label: Label) -> None:
    assert labels.decode(labels.encode(label), WHAT) == label


@given(st.binary(max_size=300))
def test_no_other_bytes_are_a_label(content: bytes) -> None:
    with pytest.raises(MetadataDamaged):
        labels.decode(content, WHAT)


@given(st.integers(0, len(FILE) - 1))
def test_a_part_of_a_label_is_none(length: int) -> None:
    with pytest.raises(MetadataDamaged):
        labels.decode(FILE[:length], WHAT)


@given(st.integers(0, len(FILE) - 1), st.integers(1, 255))
def test_a_label_with_one_other_byte_is_none(at: int, difference: int) -> None:
    other = FILE[:at] + bytes([FILE[at] ^ difference]) + FILE[at + 1 :]

    with pytest.raises(MetadataDamaged):
        labels.decode(other, WHAT)


@pytest.mark.parametrize(
    "fields",
    [
        {"format": "vmdkvol sidecar"},
        {"version": 2},
        {"uuid": "6000C29E-0123-4567-89AB-CDEF01234567"},
        {"uuid": 7},
        {"uuid": "x"},
        {"size_bytes": True},
        {"size_bytes": 0},
        {"size_bytes": 1.5},
        {"size_bytes": "4194304"},
        {"diskformat": None},
        {"note": []},
        {"note": {"name": 1}},
        {"deleting": "no"},
        {"deleting": ...},
        {"growing": 0},
        {"growing": True},
        {"growing": None},
        {"growing": "8388608"},
        {"more": 1},
    ],
    ids=str,
)
def test_a_whole_file_with_other_fields_is_no_label(fields: dict[str, Any]) -> None:
    with pytest.raises(MetadataDamaged, match="label of"):
        labels.decode(changed(**fields), WHAT)


def test_a_file_of_ours_that_is_no_json_is_no_label() -> None:
    for content in (b"{", b"[]", b"\xff", b"[" * 100_000):
        with pytest.raises(MetadataDamaged, match="label of"):
            labels.decode(framed.frame(content), WHAT)


@given(st.binary(max_size=500))
def test_a_framed_file_has_its_content(content: bytes) -> None:
    assert framed.content_of(framed.frame(content), WHAT) == content


def test_a_framed_file_is_read_by_people_from_its_second_line_on() -> None:
    assert framed.frame(b'{"a": 1}\n').split(b"\n", 1)[1] == b'{"a": 1}\n'


@pytest.mark.parametrize("more", [b"\n", b"x", framed.frame(b"")])
def test_a_framed_file_with_something_behind_it_is_none(more: bytes) -> None:
    with pytest.raises(MetadataDamaged):
        framed.content_of(framed.frame(b"x") + more, WHAT)


@pytest.mark.parametrize("file", [b"", b"v", b"vmdkvol-file", b"vmdkvol-file 1 5 ", FILE])
def test_the_beginning_of_a_file_of_ours_is_known(file: bytes) -> None:
    assert framed.begins_as_frame(file)


@pytest.mark.parametrize("file", [b"<html>", b"<!DOCTYPE html>", b"\x1f\x8b", b"vmdkvol-filf 1", b"vX", b"{}"])
def test_a_page_is_not_the_beginning_of_a_file_of_ours(file: bytes) -> None:
    assert not framed.begins_as_frame(file)


@pytest.mark.parametrize(
    ("path", "disk"),
    [
        ("f/db-1.vmdk", ("f/db-1.vmdk", ".vmdk")),
        ("f/db-1-flat.vmdk", ("f/db-1.vmdk", "-flat.vmdk")),
        ("f/db-1.vmdkvol.label", ("f/db-1.vmdk", ".vmdkvol.label")),
        ("f/db-1.vmdkvol.json", ("f/db-1.vmdk", ".vmdkvol.json")),
        ("f/db-1.vmdkvol.json.new", ("f/db-1.vmdk", ".vmdkvol.json.new")),
        ("f/.vmdk", None),
        (".vmdkvol.json", None),
        ("f/readme", None),
        ("f/db-1.vmdkvol.json.old", None),
    ],
)
def test_a_file_belongs_to_a_disk_by_its_ending(path: str, disk: tuple[str, str] | None) -> None:
    assert labels.disk_of(path) == disk


@pytest.mark.parametrize("ending", labels.TRACES)
def test_what_lies_beside_a_disk_belongs_to_it(ending: str) -> None:
    assert labels.disk_of(labels.beside("f/db-1.vmdk", ending)) == ("f/db-1.vmdk", ending)
