"""What one reconfigure does of what waits: a total table of a machine and one change, and how several go together."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmdkvol.errors import InvalidSize, SnapshotPresent, StaleRequest, TruthUnknown, VolumeError, VolumeInUse
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid, ScsiAddress, VmId
from vmdkvol_esx.ports import AttachDisk, DetachDisk, DiskPath, DiskRef
from vmdkvol_esx.vsphere.batches import MAX_CHANGES, EnlargeDisk, LayPolicy, Move, Plan, plan
from vmdkvol_esx.vsphere.machine import Controller, Fitted, Machine
from vmdkvol_esx.vsphere.slots import Slot

VM = VmId(UUID(int=1))


def disk(number: int) -> DiskRef:
    return DiskRef(DiskUuid(UUID(int=number)), DiskPath(DatastoreName("ds1"), f"vmdkvol/g/db-{number}.vmdk"))


def fitted(
    number: int, *, path: str | None = None, delta: bool = False, readable: bool = True, size_bytes: int = 4096
) -> Fitted:
    uuid = disk(number).uuid if readable else None
    return Fitted(2000 + number, ScsiAddress(0, number), path or str(disk(number).path), uuid, delta, size_bytes=size_bytes)


def machine(*disks: Fitted, free: int = 15) -> Machine:
    taken = frozenset({7, *[unit for unit in range(16) if unit != 7][: 15 - free]})
    controllers = (Controller(1000, 0, taken, ours=True), *(Controller(1000 + n, n, frozenset({7}), False) for n in (1, 2, 3)))
    return Machine("vm-1", VM, "host-a", running=True, connected=True, controllers=controllers, disks=disks)


def attach(number: int) -> AttachDisk:
    return AttachDisk(VM, disk(number), "independent_persistent")


def detach(number: int, *, only_off: bool = False) -> DetachDisk:
    return DetachDisk(VM, disk(number), only_off)


def enlarge(number: int, size_bytes: int = 8192, was_bytes: int | None = None) -> EnlargeDisk:
    return EnlargeDisk(VM, disk(number), size_bytes, was_bytes)


def lay(number: int, policy: str | None = "gold") -> LayPolicy:
    return LayPolicy(VM, disk(number), policy)


HERE = machine(fitted(1))
UNTOLD = machine(fitted(1, size_bytes=0))
OFF = replace(HERE, running=False)
MOVED = machine(fitted(1, path="[ds2] vmdkvol/g/db-1.vmdk"))
DELTA = machine(fitted(1, delta=True))
EMPTY = machine()
UNKNOWN_HERE = machine(fitted(1, readable=False))
UNKNOWN_ELSEWHERE = machine(fitted(2, readable=False))
TWICE = machine(fitted(1), fitted(1, path="[ds2] vmdkvol/g/db-1.vmdk"))
TWO_COPIES = machine(*(fitted(1, path=f"[ds{n}] vmdkvol/g/db-1.vmdk") for n in (2, 3)))

SINGLE = [
    # the machine, the change -> carried out, done already, or refused with
    pytest.param(EMPTY, attach(1), "taken", id="attach"),
    pytest.param(HERE, attach(1), "done", id="attach-here-already"),
    pytest.param(MOVED, attach(1), "done", id="attach-here-though-its-file-was-moved"),
    pytest.param(DELTA, attach(1), "done", id="attach-here-in-a-snapshot"),
    pytest.param(UNKNOWN_HERE, attach(1), TruthUnknown, id="attach-where-its-path-is-unread"),
    pytest.param(UNKNOWN_ELSEWHERE, attach(1), "taken", id="attach-beside-an-unread-one"),
    pytest.param(TWICE, attach(1), "done", id="attach-here-and-a-copy"),
    pytest.param(TWO_COPIES, attach(1), TruthUnknown, id="attach-where-two-copies-are"),
    pytest.param(replace(EMPTY, connected=False), attach(1), TruthUnknown, id="attach-disconnected"),
    pytest.param(replace(HERE, connected=False), attach(1), TruthUnknown, id="attach-disconnected-though-listed"),
    pytest.param(replace(EMPTY, running=False), attach(1), "taken", id="attach-off"),
    pytest.param(HERE, lay(1), "taken", id="lay"),
    pytest.param(HERE, lay(1, None), "taken", id="lay-none"),
    pytest.param(OFF, lay(1), "taken", id="lay-off"),
    pytest.param(MOVED, lay(1), "taken", id="lay-on-what-was-moved"),
    pytest.param(EMPTY, lay(1), StaleRequest, id="lay-absent"),
    pytest.param(UNKNOWN_HERE, lay(1), TruthUnknown, id="lay-where-its-path-is-unread"),
    pytest.param(TWO_COPIES, lay(1), TruthUnknown, id="lay-where-two-copies-are"),
    pytest.param(replace(HERE, connected=False), lay(1), TruthUnknown, id="lay-disconnected"),
    pytest.param(HERE, enlarge(1), "taken", id="enlarge"),
    pytest.param(HERE, enlarge(1, 4096), "done", id="enlarge-so-large-already"),
    pytest.param(HERE, enlarge(1, 4095), InvalidSize, id="enlarge-to-less"),
    pytest.param(HERE, enlarge(1, was_bytes=9999), "taken", id="enlarge-by-what-the-list-tells"),
    pytest.param(UNTOLD, enlarge(1, was_bytes=4096), "taken", id="enlarge-by-what-is-known-where-the-list-tells-nothing"),
    pytest.param(UNTOLD, enlarge(1, 4096, was_bytes=4096), "done", id="enlarge-so-large-already-as-is-known"),
    pytest.param(UNTOLD, enlarge(1), TruthUnknown, id="enlarge-of-a-size-that-nobody-tells"),
    pytest.param(EMPTY, enlarge(1), StaleRequest, id="enlarge-absent"),
    pytest.param(DELTA, enlarge(1), SnapshotPresent, id="enlarge-in-a-snapshot"),
    pytest.param(DELTA, enlarge(1, 4096), "done", id="enlarge-in-a-snapshot-so-large-already"),
    pytest.param(UNKNOWN_HERE, enlarge(1), TruthUnknown, id="enlarge-where-its-path-is-unread"),
    pytest.param(TWO_COPIES, enlarge(1), TruthUnknown, id="enlarge-where-two-copies-are"),
    pytest.param(replace(HERE, connected=False), enlarge(1), TruthUnknown, id="enlarge-disconnected"),
    pytest.param(HERE, detach(1), "taken", id="detach"),
    pytest.param(EMPTY, detach(1), "done", id="detach-absent"),
    pytest.param(MOVED, detach(1), "taken", id="detach-moved"),
    pytest.param(DELTA, detach(1), SnapshotPresent, id="detach-in-a-snapshot"),
    pytest.param(UNKNOWN_HERE, detach(1), TruthUnknown, id="detach-where-its-path-is-unread"),
    pytest.param(UNKNOWN_ELSEWHERE, detach(1), TruthUnknown, id="detach-beside-an-unread-one"),
    pytest.param(machine(fitted(1), fitted(2, readable=False)), detach(1), "taken", id="detach-known-beside-unread"),
    pytest.param(TWICE, detach(1), "taken", id="detach-with-a-copy-there"),
    pytest.param(TWO_COPIES, detach(1), TruthUnknown, id="detach-where-two-copies-are"),
    pytest.param(replace(HERE, connected=False), detach(1), TruthUnknown, id="detach-disconnected"),
    pytest.param(replace(EMPTY, connected=False), detach(1), TruthUnknown, id="detach-absent-disconnected"),
    pytest.param(HERE, detach(1, only_off=True), VolumeInUse, id="only-off-running"),
    pytest.param(OFF, detach(1, only_off=True), "taken", id="only-off-off"),
    pytest.param(EMPTY, detach(1, only_off=True), "done", id="only-off-absent"),
    pytest.param(replace(OFF, connected=False), detach(1, only_off=True), TruthUnknown, id="only-off-disconnected"),
    pytest.param(replace(DELTA, running=False), detach(1, only_off=True), SnapshotPresent, id="only-off-in-a-snapshot"),
]


@pytest.mark.parametrize(("on", "move", "expected"), SINGLE)
def test_one_change_is(on: Machine, move: Move, expected: str | type[VolumeError]) -> None:
    found = plan(on, [move])

    assert outcomes(found) == {0: expected}


def outcomes(found: Plan) -> dict[int, object]:
    named = {"taken": found.taken, "done": found.done, "full": found.full}
    told: dict[int, object] = {number: word for word, numbers in named.items() for number in numbers}
    return told | {number: type(error) for number, error in found.refused.items()}


def test_the_copy_stays_and_the_one_at_our_path_goes() -> None:
    assert plan(TWICE, [detach(1)]).detach[0].path == str(disk(1).path)


def test_a_refusal_names_machine_and_snapshot() -> None:
    named = replace(DELTA, snapshot="before upgrade")

    [error] = plan(named, [detach(1)]).refused.values()

    assert "snapshot 'before upgrade' of host-a contains [ds1] vmdkvol/g/db-1.vmdk" in str(error)
    assert error.fields == {"snapshot": "before upgrade"}


def test_a_snapshot_without_a_known_name_has_a_name_all_the_same() -> None:
    [error] = plan(DELTA, [detach(1)]).refused.values()

    assert error.fields == {"snapshot": "?"}


def test_a_running_holder_is_named() -> None:
    [error] = plan(HERE, [detach(1, only_off=True)]).refused.values()

    assert error.fields == {"holder": "host-a"}


def test_what_came_together_goes_together() -> None:
    found = plan(machine(fitted(1), fitted(2)), [attach(3), detach(1), attach(4), detach(2)])

    assert found.detach.keys() == {1, 3}
    assert found.attach == {0: Slot(1000, 0, 0), 2: Slot(1000, 0, 1)}


def test_sixteen_go_and_the_others_wait() -> None:
    found = plan(machine(free=15), [attach(number) for number in range(1, 30)])
    again = plan(replace(machine(), controllers=()), [attach(number) for number in range(1, 30)])

    assert len(found.taken) == 15
    assert again.taken == frozenset(range(MAX_CHANGES))


def test_detaches_are_not_held_up_by_attaches_before_them() -> None:
    moves: list[Move] = [*(attach(number) for number in range(10, 40)), *(detach(number) for number in range(1, 5))]

    found = plan(machine(*(fitted(number) for number in range(1, 5))), moves)

    assert found.detach.keys() == {30, 31, 32, 33}
    assert found.attach.keys() == set(range(12))


def test_two_changes_of_one_disk_keep_their_order_and_are_never_in_one_reconfigure() -> None:
    found = plan(HERE, [detach(1), attach(1), attach(2)])

    assert outcomes(found) == {0: "taken", 2: "taken"}


def test_a_change_of_a_disk_that_waits_does_not_overtake_it() -> None:
    moves: list[Move] = [*(attach(number) for number in range(2, 20)), attach(1), detach(1)]

    found = plan(replace(EMPTY, controllers=()), moves)

    # The disk is not there, so a detach alone would be done already.
    assert found.taken == frozenset(range(16))
    assert found.done == frozenset()


def test_a_full_machine_takes_none() -> None:
    assert outcomes(plan(machine(free=0), [attach(1), attach(2)])) == {0: "full", 1: "full"}


def test_the_last_place_goes_to_the_first() -> None:
    assert outcomes(plan(machine(free=1), [attach(1), attach(2)])) == {0: "taken", 1: "full"}


def test_on_a_full_machine_an_attach_waits_for_the_places_that_a_detach_frees() -> None:
    found = plan(machine(fitted(1), free=0), [attach(2), detach(1)])

    assert outcomes(found) == {1: "taken"}


def test_a_refused_change_does_not_stop_the_others() -> None:
    found = plan(machine(fitted(1, delta=True)), [detach(1), attach(2), detach(3)])

    assert outcomes(found) == {0: SnapshotPresent, 1: "taken", 2: "done"}


def test_nothing_waits_and_nothing_is_done() -> None:
    assert plan(HERE, []) == Plan()


NUMBERS = st.integers(1, 8)
MACHINES = st.builds(
    Machine,
    ref=st.just("vm-1"),
    id=st.just(VM),
    name=st.just("host-a"),
    running=st.booleans(),
    connected=st.sampled_from([True, True, True, False]),
    controllers=st.sampled_from([EMPTY.controllers, (), machine(free=2).controllers, machine(free=0).controllers]),
    disks=st.lists(
        st.builds(
            fitted,
            NUMBERS,
            path=st.sampled_from([None, "[ds2] moved/x.vmdk"]),
            delta=st.booleans(),
            readable=st.sampled_from([True, True, True, False]),
        ),
        max_size=6,
    ).map(tuple),
)
MOVES = st.lists(st.one_of(st.builds(attach, NUMBERS), st.builds(detach, NUMBERS, only_off=st.booleans())), max_size=40)


@given(MACHINES, MOVES)
def test_whatever_comes_together(on: Machine, moves: list[Move]) -> None:
    found = plan(on, moves)
    outcome = [found.taken, found.done, frozenset(found.refused), found.full]
    here = {each.uuid for each in on.disks}
    slots = [(slot.bus, slot.unit) for slot in found.attach.values()]

    # Each has one outcome at most, and somebody has one: the queue goes on.
    assert sum(len(each) for each in outcome) == len(frozenset().union(*outcome))
    assert bool(moves) is bool(frozenset().union(*outcome))
    assert len(found.taken) <= MAX_CHANGES
    assert len({moves[number].disk.uuid for number in found.taken}) == len(found.taken)
    assert len(set(slots)) == len(slots)
    assert on.connected or not (found.taken | found.done | found.full)
    for number in found.attach:
        assert moves[number].disk.uuid not in here
    for number, leaving in found.detach.items():
        move = moves[number]
        assert isinstance(move, DetachDisk)
        assert leaving.uuid == move.disk.uuid
        assert not leaving.delta
        assert not (move.only_off and on.running)
    for number in found.done:
        assert isinstance(moves[number], AttachDisk) is (moves[number].disk.uuid in here)
