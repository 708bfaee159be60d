"""Folders on a simulator's datastores; on vSAN as the documentation of the API has it."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest

from tests.vsphere.outside import outside
from tests.vsphere.simulators import Simulator
from tests.vsphere.stage import CLOCK, Stage, soon
from vmdkvol.errors import TruthUnknown, VolumeLost
from vmdkvol.names import DatastoreName
from vmdkvol_esx.vsphere.endpoint import Trust
from vmdkvol_esx.vsphere.folders import Folders
from vmdkvol_esx.vsphere.places import Places

pytestmark = [pytest.mark.integration]
DS = DatastoreName("LocalDS_0")


def folders(simulator: Simulator, stage: Stage) -> tuple[Folders, Places]:
    session = stage.session(simulator.port, Trust(ca=simulator.ca), password=simulator.password)
    return Folders(session, CLOCK), Places(session, [DS], {}, CLOCK)


@pytest.mark.vcsim_pure
def test_a_folder_is_made_with_those_above_it_once(shared: Simulator, stage: Stage) -> None:
    made, places = folders(shared, stage)
    top, before = f"top-{uuid4().hex[:8]}", shared.calls().get("MakeDirectory", 0)

    for _ in range(2):
        made.make(places.place(DS), f"{top}/a/b", soon())

    with outside(shared) as world:
        assert world.file(f"[{DS}] {top}/a/b").is_dir()
    assert shared.calls()["MakeDirectory"] == before + 1


@pytest.mark.vcsim_pure
def test_a_folder_that_was_taken_away_is_made_again_once_that_is_known(shared: Simulator, stage: Stage) -> None:
    made, places = folders(shared, stage)
    top = f"top-{uuid4().hex[:8]}"
    made.make(places.place(DS), top, soon())
    with outside(shared) as world:
        world.file(f"[{DS}] {top}").rmdir()

        made.forget(places.place(DS), top)
        made.make(places.place(DS), top, soon())

        assert world.file(f"[{DS}] {top}").is_dir()


@pytest.mark.vcsim_injected
def test_a_folder_that_is_there_already_is_fine(own: Callable[..., Simulator], stage: Stage) -> None:
    """To ESXi it is an error; what made it first was an earlier life of ours."""
    simulator = own("esxi", "-strict")
    for _ in range(2):
        made, places = folders(simulator, stage)
        made.make(places.place(DS), "vmdkvol/g", soon())
    assert simulator.calls()["MakeDirectory"] == 2


@pytest.mark.vcsim_injected
def test_on_vsan_the_top_folder_is_made_by_the_namespace_manager(own: Callable[..., Simulator], stage: Stage) -> None:
    simulator = own("vcenter", "-strict")
    simulator.datastore(DS, "type", to="vsan")
    for _ in range(2):
        made, places = folders(simulator, stage)
        made.make(places.place(DS), "vmdkvol/g", soon())

    with outside(simulator) as world:
        assert world.file(f"[{DS}] vmdkvol/g").is_dir()
    assert (simulator.calls()["CreateDirectory"], simulator.calls()["MakeDirectory"]) == (2, 2)


@pytest.mark.vcsim_injected
def test_what_was_not_made_is_not_remembered(own: Callable[..., Simulator], stage: Stage) -> None:
    simulator = own("vcenter")
    made, places = folders(simulator, stage)
    simulator.next("MakeDirectory", "soap", fault="FileNotFound")
    with pytest.raises(VolumeLost):
        made.make(places.place(DS), "vmdkvol", soon())
    simulator.next("MakeDirectory", "soap", fault="InvalidDatastore")
    with pytest.raises(TruthUnknown):
        made.make(places.place(DS), "vmdkvol", soon())

    made.make(places.place(DS), "vmdkvol", soon())

    assert simulator.calls()["MakeDirectory"] == 3
