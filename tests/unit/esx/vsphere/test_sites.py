"""Which datastore a name means, in inventories as they come: alike names, shared stores, broken chains, renamed ones."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from vmdkvol.names import DatastoreName
from vmdkvol_esx.vsphere import spelling
from vmdkvol_esx.vsphere.sites import Node, Place, choose, places

NAME = DatastoreName("ds1")


def node(kind: str, name: str, parent: str | None, **values: Any) -> Node:
    above = {} if parent is None else {"parent": SimpleNamespace(_moId=parent)}
    return Node(kind, {"name": name} | above | values)


def store(name: str, parent: str = "stores", *, url: str | None = None, **values: Any) -> Node:
    known = {"summary.accessible": True, "summary.url": url or f"ds:///vmfs/volumes/{name}/"}
    return node("Datastore", name, parent, **{key: value for key, value in (known | values).items() if value is not ...})


def mount(mode: str, *, accessible: bool | None = True) -> Any:
    return SimpleNamespace(mountInfo=SimpleNamespace(accessMode=mode, accessible=accessible))


ABOVE = {
    "root": node("Folder", "Datacenters", None),
    "europe": node("Folder", "Europe %2f north", "root"),
    "dc": node("Datacenter", "DC 1", "europe"),
    "stores": node("Folder", "datastore", "dc"),
    "dc2": node("Datacenter", "DC2", "root"),
    "stores2": node("Folder", "datastore", "dc2"),
}


def found(**stores: Node) -> list[Place]:
    return list(places(ABOVE | stores))


def only(**values: Any) -> Place:
    [place] = found(d1=store("ds1", **values))
    return place


def test_a_datastore_knows_its_datacenter_and_the_path_to_that() -> None:
    place = only(**{"summary.capacity": 100, "summary.freeSpace": 40, "summary.type": "VMFS"})

    assert (place.ref, place.name, place.datacenter, place.dc_path) == ("d1", "ds1", "dc", "Europe %2f north/DC 1")
    assert (place.capacity_bytes, place.free_bytes, place.type, place.writable, place.problem) == (100, 40, "VMFS", True, None)
    assert place.path("vmdkvol/a.vmdk") == "[ds1] vmdkvol/a.vmdk"
    assert place.url("vmdkvol/a.vmdk") == "/folder/vmdkvol/a.vmdk?dcPath=Europe%20%252f%20north%2FDC%201&dsName=ds1"


def test_a_datastore_in_a_group_of_datastores_is_found() -> None:
    [place] = found(pod=node("Folder", "cluster", "stores"), d1=store("ds1", "pod"))

    assert (place.datacenter, place.dc_path) == ("dc", "Europe %2f north/DC 1")


def test_a_datastore_without_a_datacenter_is_none() -> None:
    assert found(d1=store("ds1", "root"), d2=store("ds2", "unknown")) == []


def test_an_inventory_that_leads_in_a_circle_has_an_end() -> None:
    circle = {"a": node("Folder", "a", "b"), "b": node("Folder", "b", "a"), "dc": node("Datacenter", "dc", "a")}

    assert list(places(circle | {"d1": store("ds1", "a")})) == []
    [place] = places(circle | {"d1": store("ds1", "dc")})
    assert place.problem is not None


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"summary.accessible": False}, "no host"),
        ({"summary.accessible": ...}, "no host"),
        ({"summary.url": ...}, "no URL"),
        ({"summary.url": ""}, "no URL"),
    ],
)
def test_what_keeps_a_datastore_from_being_used_is_told(values: dict[str, Any], problem: str) -> None:
    assert problem in (only(**values).problem or "")


def test_a_datacenter_under_a_folder_that_is_not_seen_has_no_path() -> None:
    [place] = places({**{ref: each for ref, each in ABOVE.items() if ref != "europe"}, "d1": store("ds1")})

    assert "does not see all folders" in (place.problem or "")


@pytest.mark.parametrize(
    ("values", "writable"),
    [
        ({}, True),
        ({"host": [mount("readOnly"), mount("readWrite")]}, True),
        ({"host": [mount("readWrite", accessible=None)]}, True),
        ({"host": [mount("readOnly")]}, False),
        ({"host": [mount("readOnly"), mount("readWrite", accessible=False)]}, False),
        ({"summary.maintenanceMode": "inMaintenance"}, False),
        ({"summary.maintenanceMode": "normal"}, True),
    ],
)
def test_a_datastore_is_writable_if_a_host_may_write_on_it(values: dict[str, Any], writable: bool) -> None:
    assert only(**values).writable is writable


@pytest.mark.parametrize(
    ("kind", "object_store"), [("vsan", True), ("VVOL", True), ("VMFS", False), ("NFS41", False), ("", False)]
)
def test_on_some_datastores_a_folder_is_an_object(kind: str, object_store: bool) -> None:
    assert only(**{"summary.type": kind}).object_store is object_store


# --- which one is meant ------------------------------------------------------------------------------------------


def test_a_name_means_the_only_datastore_of_it() -> None:
    one, other = store("ds1"), store("ds2")

    assert choose(NAME, None, found(d1=one, d2=other)) == found(d1=one)[0]


@pytest.mark.parametrize(("people", "server"), [("50% [x] ü", "50%25 [x] ü"), ("50%25", "50%25"), ("a] b", "a] b")])
def test_a_name_is_written_by_people_or_as_the_server_has_it(people: str, server: str) -> None:
    chosen = choose(DatastoreName(people), None, found(d1=store(server)))

    assert isinstance(chosen, Place)
    assert chosen.name == server


def test_two_of_one_name_are_refused_with_their_datacenters() -> None:
    chosen = choose(NAME, None, found(d1=store("ds1", url="u1"), d2=store("ds1", "stores2", url="u2")))

    assert chosen == "2 datastores are named 'ds1', in the datacenters DC2, Europe %2f north/DC 1"


def test_of_two_of_one_name_the_one_that_was_in_use_is_known() -> None:
    stores = found(d1=store("ds1", url="u1"), d2=store("ds1", "stores2", url="u2"))

    chosen = choose(NAME, spelling.datastore_id("u2"), stores)

    assert isinstance(chosen, Place)
    assert chosen.ref == "d2"


def test_one_that_got_another_name_is_the_same() -> None:
    chosen = choose(NAME, spelling.datastore_id("u1"), found(d1=store("renamed", url="u1")))

    assert isinstance(chosen, Place)
    assert chosen.name == "renamed"


def test_another_that_took_the_name_is_not_taken_for_it() -> None:
    renamed, taker = store("renamed", url="u1"), store("ds1", url="u2")

    both = choose(NAME, spelling.datastore_id("u1"), found(d1=renamed, d2=taker))
    alone = choose(NAME, spelling.datastore_id("u1"), found(d2=taker))

    assert isinstance(both, Place)
    assert both.ref == "d1"
    assert alone == "the datastore that is named 'ds1' now is another one than the one that was in use under this name"


def test_none_is_said_to_be_none() -> None:
    for known in (None, uuid4()):
        assert choose(NAME, known, found(d2=store("ds2"))) == "there is no datastore 'ds1'"


def test_one_that_two_datacenters_share_is_the_one_with_the_name() -> None:
    shared = {"d1": store("ds1", url="u1"), "d2": store("ds1 (1)", "stores2", url="u1")}

    chosen = choose(NAME, spelling.datastore_id("u1"), found(**shared))

    assert isinstance(chosen, Place)
    assert chosen.ref == "d1"
