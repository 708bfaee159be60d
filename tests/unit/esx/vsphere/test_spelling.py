"""How paths and names are spelled: every text has an answer, and what we write is read back."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vsphere.outside import escaped
from vmdkvol.errors import MetadataDamaged
from vmdkvol_esx.vsphere import spelling

# Among others those that look like escapes.
NAMES = st.lists(st.sampled_from(["%", "%25", "2", "5", "%2f", "%2F", "%5c", "/", "\\\\"]), min_size=1).map("".join) | st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=30
)


@pytest.mark.parametrize("name", ["ds1", "a] b", "[x]", "50%25", "Datenträger 7", "a  b"])
def test_a_path_is_found_again_on_its_datastore_whatever_its_name(name: str) -> None:
    text = spelling.datastore_path(name, "vmdkvol/g/db-1.vmdk")

    assert text == f"[{name}] vmdkvol/g/db-1.vmdk"
    assert spelling.path_on(name, text) == "vmdkvol/g/db-1.vmdk"
    assert spelling.path_on(f"{name}x", text) is None


@pytest.mark.parametrize("text", ["", "ds1", "[ds1", "[ds1]", "[ds1] ", "[ds1] /", "[ds10] a.vmdk", " [ds1] a.vmdk"])
def test_what_is_no_path_on_the_datastore_is_none(text: str) -> None:
    assert spelling.path_on("ds1", text) is None


@given(NAMES)
def test_a_name_that_was_escaped_as_the_server_does_it_is_read_back(name: str) -> None:
    assert spelling.plain_name(escaped(name)) == name


@pytest.mark.parametrize(
    ("server", "people"),
    [
        ("50%25", "50%"),
        ("a%2fb", "a/b"),
        ("a%2Fb", "a/b"),
        ("%252f", "%2f"),
        ("50%2525", "50%25"),
        ("%25252F", "%252F"),
        ("%5c", "\\"),
    ],
)
def test_a_name_is_read_as_the_server_has_it(server: str, people: str) -> None:
    assert spelling.plain_name(server) == people


@given(NAMES, NAMES, NAMES)
def test_a_url_says_path_datacenter_and_datastore_and_nothing_else(file: str, datacenter: str, datastore: str) -> None:
    url = spelling.file_url(f"vmdkvol/{file}", datacenter, datastore)

    parts = urlsplit(f"https://host{url}")
    assert url.isascii()
    assert unquote(parts.path) == f"/folder/vmdkvol/{file}"
    assert parse_qs(parts.query, keep_blank_values=True) == {"dcPath": [datacenter], "dsName": [datastore]}
    assert parts.fragment == ""


def test_a_url_keeps_what_would_end_a_part_of_it() -> None:
    assert (
        spelling.file_url("vmdkvol/a b#c?d.vmdk", "F/DC 1", "50% [ü]&x=y+z")
        == "/folder/vmdkvol/a%20b%23c%3Fd.vmdk?dcPath=F%2FDC%201&dsName=50%25%20%5B%C3%BC%5D%26x%3Dy%2Bz"
    )


@pytest.mark.parametrize(
    "path",
    ["", "/a.vmdk", "a//b.vmdk", "../a.vmdk", "vmdkvol/./a.vmdk", "vmdkvol/a", "vmdkvol/a\n.vmdk", "a.vmdk/", "a\0.vmdk"],
)
def test_a_path_that_leads_out_or_is_no_descriptor_is_refused(path: str) -> None:
    with pytest.raises(MetadataDamaged):
        spelling.checked(path)


def test_a_path_inside_is_taken() -> None:
    assert spelling.checked("vmdkvol/g/ü [1] 50%.vmdk") == "vmdkvol/g/ü [1] 50%.vmdk"


def test_one_datastore_has_one_id_through_its_vcenter_and_through_its_host() -> None:
    through = {spelling.datastore_id(url) for url in ("ds:///vmfs/volumes/5f-1/", "/vmfs/volumes/5f-1", "/vmfs/volumes/5f-1/")}

    assert len(through) == 1
    assert through != {spelling.datastore_id("ds:///vmfs/volumes/5f-2/")}
