"""Where disks go: total tables, and what holds for every machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmdkvol_esx.vsphere.machine import Controller
from vmdkvol_esx.vsphere.slots import Slot, places, room


def pvscsi(bus: int, *units: int, own: int = 7) -> Controller:
    return Controller(1000 + bus, bus, frozenset({own, *units}), ours=True)


def foreign(bus: int, *units: int) -> Controller:
    return Controller(1000 + bus, bus, frozenset({7, *units}), ours=False)


ALL = tuple(unit for unit in range(16) if unit != 7)
FULL = tuple(pvscsi(bus, *ALL) for bus in range(4))

TABLE = [
    # the controllers, how many are wanted -> where they go
    pytest.param([pvscsi(0)], 1, [Slot(1000, 0, 0)], id="the-lowest-unit"),
    pytest.param([pvscsi(0, 0)], 2, [Slot(1000, 0, 1), Slot(1000, 0, 2)], id="the-next-ones"),
    pytest.param([pvscsi(0, 0, 2)], 2, [Slot(1000, 0, 1), Slot(1000, 0, 3)], id="gaps-first"),
    pytest.param([pvscsi(0, *range(7))], 1, [Slot(1000, 0, 8)], id="never-the-controllers-own"),
    pytest.param([pvscsi(0, *range(7), own=15)], 1, [Slot(1000, 0, 7)], id="wherever-that-is"),
    pytest.param([pvscsi(0, 0), pvscsi(1)], 1, [Slot(1001, 1, 0)], id="the-least-filled"),
    pytest.param([pvscsi(1), pvscsi(0)], 1, [Slot(1000, 0, 0)], id="of-equals-the-first-bus"),
    pytest.param([pvscsi(0, 0), pvscsi(1)], 3, [Slot(1001, 1, 0), Slot(1000, 0, 1), Slot(1001, 1, 1)], id="in-turns"),
    pytest.param([], 1, [Slot(-1001, 0, 0)], id="a-machine-without-any"),
    pytest.param([foreign(0, 0)], 1, [Slot(-1001, 1, 0)], id="a-machine-with-others-only"),
    pytest.param([foreign(0, 0), pvscsi(1, 0)], 1, [Slot(1001, 1, 1)], id="others-are-left-alone"),
    pytest.param([foreign(0), foreign(2)], 1, [Slot(-1001, 1, 0)], id="on-the-lowest-bus"),
    pytest.param([foreign(bus) for bus in range(4)], 1, [], id="no-bus-is-left"),
    pytest.param([pvscsi(0, *ALL)], 1, [Slot(-1001, 1, 0)], id="a-full-one"),
    pytest.param([pvscsi(0, *ALL[1:])], 2, [Slot(1000, 0, 0), Slot(-1001, 1, 0)], id="full-with-the-first-of-two"),
    pytest.param(FULL, 1, [], id="sixty-disks"),
    pytest.param(FULL[:3], 0, [], id="nothing-wanted"),
]


@pytest.mark.parametrize(("controllers", "wanted", "slots"), TABLE)
def test_disks_go_to(controllers: list[Controller], wanted: int, slots: list[Slot]) -> None:
    assert list(places(controllers, wanted).slots) == slots


def test_a_new_controller_comes_with_its_bus_and_its_own_unit() -> None:
    assert places([foreign(0)], 1).controllers == (Controller(-1001, 1, frozenset({7}), ours=True),)


def test_one_that_is_not_needed_is_not_made() -> None:
    assert places([pvscsi(0)], 15).controllers == ()


def test_an_empty_machine_bears_sixty_disks() -> None:
    found = places([], 100)

    assert len(found.slots) == 60
    assert [each.bus for each in found.controllers] == [0, 1, 2, 3]
    assert [each.key for each in found.controllers] == [-1001, -1002, -1003, -1004]


def test_a_machine_of_a_newer_kind_bears_more() -> None:
    slots = places(FULL, 1000, disks=64).slots

    assert len(slots) == 4 * (64 - 15)
    assert {slot.unit for slot in slots} == set(range(16, 65))


CONTROLLERS = st.lists(
    st.builds(
        Controller,
        key=st.just(0),
        bus=st.integers(0, 3),
        taken=st.frozensets(st.integers(0, 15)).map(lambda units: units | {7}),
        ours=st.booleans(),
    ),
    unique_by=lambda each: each.bus,
    max_size=4,
).map(lambda found: [Controller(1000 + each.bus, each.bus, each.taken, each.ours) for each in found])


@given(CONTROLLERS, st.integers(0, 70))
def test_no_place_is_given_away_twice_and_none_is_left_while_one_lacks(controllers: list[Controller], wanted: int) -> None:
    found = places(controllers, wanted)
    taken = {(each.bus, unit) for each in controllers for unit in each.taken}
    given_away = {(slot.bus, slot.unit) for slot in found.slots}

    assert len(given_away) == len(found.slots) <= wanted
    assert not given_away & taken
    assert all(slot.unit in ALL for slot in found.slots)
    assert {slot.bus for slot in found.slots}.isdisjoint(each.bus for each in controllers if not each.ours)
    if len(found.slots) < wanted:
        room = sum(15 - len(each.taken & set(ALL)) for each in controllers if each.ours) + 15 * (4 - len(controllers))
        assert len(found.slots) == room


@pytest.mark.parametrize(("controllers", "wanted", "slots"), TABLE)
@pytest.mark.parametrize("disks", [15, 64])
def test_a_machine_has_room_for_as_many_as_find_a_place(
    controllers: list[Controller], wanted: int, slots: list[Slot], disks: int
) -> None:
    assert room(controllers, disks) == len(places(controllers, 1000, disks).slots)
