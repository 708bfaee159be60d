"""Datastores of a simulator, as vCenter and as ESXi; and a server that says of them what no simulator says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from tests.vsphere.simulators import Model, Simulator
from tests.vsphere.stage import CLOCK, Stage, soon
from vmdkvol.errors import DatastoreNotFound, HypervisorUnreachable, NotPermitted, TruthUnknown
from vmdkvol.names import DatastoreName
from vmdkvol_esx.ports import DiskPath
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.endpoint import Trust
from vmdkvol_esx.vsphere.places import Places
from vmdkvol_esx.vsphere.session import Session
from vmdkvol_esx.vsphere.sites import Node, Place

DS = DatastoreName("LocalDS_0")
OTHER = DatastoreName("LocalDS_1")


def places(shared: Simulator, stage: Stage, *names: str) -> Places:
    session = stage.session(shared.port, Trust(ca=shared.ca), password=shared.password)
    return Places(session, [DatastoreName(name) for name in names], {}, CLOCK)


class Told(Session[Service]):
    """A session whose reads answer with an inventory that the test says, after what the test does meanwhile."""

    def __init__(self, inventory: Mapping[str, Node]) -> None:
        self.inventory = inventory
        self.asked = 0
        self.meanwhile: Callable[[], object] = lambda: None

    def read(self, what: str, call: Callable[[Service], Any], *args: Any, **kwargs: Any) -> Any:
        self.asked += 1
        self.meanwhile()
        return self.inventory


def inventory(*stores: tuple[str, str], **values: Any) -> dict[str, Node]:
    """One datacenter with these datastores, each by its name and URL."""
    above = {name: SimpleNamespace(_moId=name) for name in ("root", "dc", "folder")}
    found = {
        "root": Node("Folder", {"name": "Datacenters"}),
        "dc": Node("Datacenter", {"name": "dc", "parent": above["root"]}),
        "folder": Node("Folder", {"name": "datastore", "parent": above["dc"]}),
    }
    for number, (name, url) in enumerate(stores):
        own = {"name": name, "parent": above["folder"], "summary.url": url, "summary.accessible": True} | values
        found[f"store-{number}"] = Node("Datastore", own)
    return found


def begin(begun: threading.Event, go_on: threading.Event) -> None:
    begun.set()
    assert go_on.wait(60)


def told(*stores: tuple[str, str], **values: Any) -> tuple[Told, Places]:
    session = Told(inventory(*stores, **values))
    return session, Places(session, [DS, OTHER], {}, CLOCK)


@pytest.mark.integration
@pytest.mark.vcsim_pure
class TestOnTheSimulator:
    def test_a_datastore_is_found_with_its_datacenter_and_its_room(self, shared: Simulator, stage: Stage) -> None:
        known = places(shared, stage, DS, OTHER)

        found = known.place(DS)
        state = known.states()[0]

        assert (found.name, found.dc_path) == (DS, "DC0" if shared.model == "vcenter" else "ha-datacenter")
        assert (state.name, state.writable, state.problem) == (DS, True, None)
        assert 0 < state.free_bytes <= state.capacity_bytes
        assert known.ids().keys() == {DS, OTHER}

    def test_one_that_is_not_there_is_unknown_and_one_without_a_setting_is_not_found(
        self, shared: Simulator, stage: Stage
    ) -> None:
        known = places(shared, stage, DS, "nowhere")

        with pytest.raises(TruthUnknown, match="there is no datastore 'nowhere'"):
            known.place(DatastoreName("nowhere"))
        with pytest.raises(DatastoreNotFound, match="'ds9'.*LocalDS_0, nowhere"):
            known.place(DatastoreName("ds9"))
        assert [bool(state.problem) for state in known.states()] == [False, True]

    def test_all_are_read_at_once_and_kept(self, shared: Simulator, stage: Stage) -> None:
        known = places(shared, stage, DS, OTHER)
        known.place(DS)
        before = shared.calls()["RetrievePropertiesEx"]

        known.place(DS)
        known.place(OTHER)
        known.ids()
        known.states()

        assert shared.calls()["RetrievePropertiesEx"] == before + 2


@pytest.mark.integration
@pytest.mark.vcsim_pure
@pytest.mark.parametrize("model", ["vcenter", "esxi"])
def test_a_server_that_is_away_says_nothing_and_the_next_caller_asks_again(
    own: Callable[[Model], Simulator], stage: Stage, model: Model
) -> None:
    found = own(model)
    known = places(found, stage, DS)
    found.kill()

    with pytest.raises(HypervisorUnreachable):
        known.place(DS)

    found.again()
    CLOCK.sleep(1.1)
    assert known.place(DS).name == DS


# --- what no simulator says ----------------------------------------------------------------------------------------


def test_a_renamed_datastore_is_followed_under_the_name_in_our_records() -> None:
    session, known = told((DS, "u1"), (OTHER, "u2"))
    before = known.place(DS)

    session.inventory = inventory(("renamed", "u1"), (DS, "u2"))

    assert known.place(DS) == before
    assert known.place(DS, fresh=True).name == "renamed"
    assert known.place(OTHER).name == DS


def test_what_was_known_before_a_restart_is_known_again() -> None:
    _, known = told((DS, "u1"))
    session = Told(inventory((DS, "u9"), ("renamed", "u1")))

    again = Places(session, [DS], known.ids(), CLOCK)

    assert again.place(DS).name == "renamed"
    assert again.ids() == {DS: known.ids()[DS]}


def test_one_that_took_the_name_of_another_is_not_used() -> None:
    session = Told(inventory((DS, "u9")))
    known = Places(session, [DS], {DS: uuid4()}, CLOCK)

    with pytest.raises(TruthUnknown, match="another one"):
        known.place(DS)
    [state] = known.states()
    assert (state.writable, "another one" in (state.problem or "")) == (False, True)


def test_one_that_no_host_reaches_is_not_used_and_says_so() -> None:
    _, known = told((DS, "u1"), **{"summary.accessible": False})

    with pytest.raises(TruthUnknown, match="no host"):
        known.place(DS)
    state = known.states()[0]
    assert (state.writable, "no host" in (state.problem or "")) == (False, True)
    assert known.ids() == {}


def test_on_a_read_only_one_nothing_is_written() -> None:
    mounts = [SimpleNamespace(mountInfo=SimpleNamespace(accessMode="readOnly", accessible=True))]
    _, known = told((DS, "u1"), host=mounts)

    assert isinstance(known.place(DS), Place)
    with pytest.raises(NotPermitted, match="read-only"):
        known.writable(DS)


def test_of_many_callers_one_asks() -> None:
    session, known = told((DS, "u1"))
    begun, go_on = threading.Event(), threading.Event()
    session.meanwhile = lambda: begin(begun, go_on)
    names: list[str] = []
    callers = [threading.Thread(target=lambda: names.append(known.place(DS).name)) for _ in range(8)]

    callers[0].start()
    assert begun.wait(60)
    for caller in callers[1:]:
        caller.start()
    # One that has not asked yet has what was read a moment before.
    CLOCK.sleep(0.2)
    go_on.set()
    for caller in callers:
        caller.join(60)

    assert (names, session.asked) == ([DS] * 8, 1)


def test_a_caller_waits_no_longer_than_it_may() -> None:
    session, known = told((DS, "u1"))
    begun, go_on = threading.Event(), threading.Event()
    session.meanwhile = lambda: begin(begun, go_on)
    first = threading.Thread(target=lambda: known.place(DS))
    first.start()
    assert begun.wait(60)

    with pytest.raises(HypervisorUnreachable, match="reading the datastores: no answer in this request's time"):
        known.place(DS, soon(0.05))

    go_on.set()
    first.join(60)
    assert known.place(DS).name == DS


def test_after_a_read_that_failed_the_next_one_asks_again() -> None:
    session, known = told((DS, "u1"))

    def fail() -> None:
        raise HypervisorUnreachable("away")

    session.meanwhile = fail
    with pytest.raises(HypervisorUnreachable):
        known.place(DS)

    session.meanwhile = lambda: None
    assert known.place(DS).name == DS


# --- where a path is, by the names that records have --------------------------------------------------------------


def read(*stores: tuple[str, str]) -> tuple[Told, Places]:
    session, found = told(*stores)
    found.states()
    return session, found


def test_a_path_on_one_of_ours_has_our_name_of_it() -> None:
    _, found = read((DS, "ds:///a/"), (OTHER, "ds:///b/"))

    assert found.located("store-1", f"[{OTHER}] vm/x] y.vmdk") == DiskPath(OTHER, "vm/x] y.vmdk")


def test_a_path_on_a_renamed_one_of_ours_keeps_the_name_in_our_records() -> None:
    session, found = read((DS, "ds:///a/"), (OTHER, "ds:///b/"))
    session.inventory = inventory(("renamed", "ds:///a/"), (OTHER, "ds:///b/"))
    found.states()

    assert found.located("store-0", "[renamed] vmdkvol/x.vmdk") == DiskPath(DS, "vmdkvol/x.vmdk")


def test_before_the_new_name_was_read_nobody_follows_to_it() -> None:
    _, found = read((DS, "ds:///a/"), (OTHER, "ds:///b/"))

    assert found.located("store-0", "[renamed] vmdkvol/x.vmdk") is None


def test_a_path_on_one_that_our_settings_do_not_name_has_the_servers_name_of_it() -> None:
    _, found = read((DS, "ds:///a/"), ("a%2fb [1]", "ds:///c/"))

    assert found.located("store-1", "[a%2fb [1]] x.vmdk") == DiskPath(DatastoreName("a/b [1]"), "x.vmdk")


@pytest.mark.parametrize("place", ["", "store-9"])
def test_a_path_on_none_that_is_known_is_nowhere(place: str) -> None:
    _, found = read((DS, "ds:///a/"))

    assert found.located(place, f"[{DS}] x.vmdk") is None


def test_before_the_first_read_nothing_is_anywhere() -> None:
    _, found = told((DS, "ds:///a/"))

    assert found.located("store-0", f"[{DS}] x.vmdk") is None
