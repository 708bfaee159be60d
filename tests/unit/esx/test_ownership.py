"""Who has a disk, as a total table: who lists it, and which VMs did not answer."""

from __future__ import annotations

from uuid import UUID

import pytest

from vmdkvol.volume import DiskUuid, LoopAddress, VmId
from vmdkvol_esx.ownership import Foreign, Free, HeldBy, Here, LeftBehind, Owner, Unread, decide
from vmdkvol_esx.ports import AttachedDisk, DeviceLists

DISK = DiskUuid(UUID(int=1))
OTHER_DISK = AttachedDisk(DiskUuid(UUID(int=2)), LoopAddress(1))
DEVICE = AttachedDisk(DISK, LoopAddress(7))
CALLER, OTHER, THIRD, STRANGER = (VmId(UUID(int=number)) for number in (10, 11, 12, 99))
NONE: frozenset[VmId] = frozenset()

TABLE = [
    # who lists it, who is unread, the last VM on record -> the owner
    pytest.param(set(), NONE, None, Free(), id="nobody"),
    pytest.param(set(), NONE, OTHER, Free(), id="a-record-is-no-holder"),
    pytest.param(set(), {THIRD}, None, Free(frozenset({THIRD})), id="one-silent-vm-stops-nobody"),
    pytest.param(set(), {THIRD}, OTHER, Free(frozenset({THIRD})), id="a-silent-vm-that-had-no-part"),
    pytest.param(set(), {STRANGER}, OTHER, Free(), id="a-silent-stranger-never-got-it-from-us"),
    pytest.param(set(), {STRANGER}, STRANGER, Unread(STRANGER), id="one-that-was-ours-and-the-last-is-silent"),
    pytest.param(set(), {OTHER}, OTHER, Unread(OTHER), id="the-last-one-is-silent"),
    pytest.param(set(), {OTHER, CALLER}, OTHER, Unread(OTHER), id="both-suspects-are-silent"),
    pytest.param(set(), {CALLER}, None, Unread(CALLER), id="the-caller-is-silent"),
    pytest.param(set(), {CALLER}, CALLER, Unread(CALLER), id="the-caller-was-last-and-is-silent"),
    pytest.param({CALLER}, NONE, None, Here(DEVICE), id="the-caller"),
    pytest.param({CALLER}, {OTHER}, OTHER, Here(DEVICE), id="the-caller-while-the-last-one-is-silent"),
    pytest.param({OTHER}, NONE, None, HeldBy(OTHER, DEVICE), id="another"),
    pytest.param({OTHER}, {CALLER}, CALLER, HeldBy(OTHER, DEVICE), id="another-while-the-caller-is-silent"),
    pytest.param({OTHER}, {THIRD}, CALLER, HeldBy(OTHER, DEVICE), id="another-while-a-third-is-silent"),
    pytest.param({STRANGER}, NONE, None, Foreign((STRANGER,)), id="one-that-is-not-ours"),
    pytest.param({STRANGER}, {OTHER}, OTHER, Foreign((STRANGER,)), id="not-ours-while-the-last-one-is-silent"),
    pytest.param({CALLER, OTHER}, NONE, None, Foreign((CALLER, OTHER)), id="two-of-ours"),
    pytest.param({CALLER, STRANGER}, NONE, CALLER, Foreign((CALLER, STRANGER)), id="the-caller-and-a-stranger"),
    pytest.param({OTHER, THIRD}, {CALLER}, CALLER, Foreign((OTHER, THIRD)), id="two-others"),
]


@pytest.mark.parametrize(("holders", "unread", "last", "expected"), TABLE)
def test_the_device_lists_say_who_has_it(
    holders: set[VmId], unread: frozenset[VmId], last: VmId | None, expected: Owner
) -> None:
    read = {CALLER, OTHER, THIRD, STRANGER} - set(unread)
    lists = {vm: (OTHER_DISK, DEVICE) if vm in holders else (OTHER_DISK,) for vm in read}
    found = decide(DISK, DeviceLists(lists, frozenset(unread)), {CALLER, OTHER, THIRD}, last, CALLER)
    assert found == expected


OFF = [
    # who lists it, who is unread, who is off -> the owner
    pytest.param({OTHER}, NONE, {OTHER}, LeftBehind(OTHER, DEVICE), id="off-and-read"),
    pytest.param({OTHER}, NONE, {THIRD}, HeldBy(OTHER, DEVICE), id="another-one-is-off"),
    pytest.param({CALLER}, NONE, {CALLER}, Here(DEVICE), id="the-caller-is-never-off"),
    pytest.param({OTHER, THIRD}, NONE, {OTHER, THIRD}, Foreign((OTHER, THIRD)), id="two-that-are-off"),
    pytest.param({STRANGER}, NONE, {STRANGER}, Foreign((STRANGER,)), id="off-and-not-ours"),
    pytest.param(set(), {OTHER}, {OTHER}, Unread(OTHER), id="off-and-not-read"),
    pytest.param(set(), NONE, {OTHER}, Free(), id="off-and-has-it-not"),
]


@pytest.mark.parametrize(("holders", "unread", "off", "expected"), OFF)
def test_a_machine_that_is_off_holds_nothing_back_if_its_list_was_read(
    holders: set[VmId], unread: frozenset[VmId], off: set[VmId], expected: Owner
) -> None:
    read = {CALLER, OTHER, THIRD, STRANGER} - set(unread)
    lists = {vm: (OTHER_DISK, DEVICE) if vm in holders else (OTHER_DISK,) for vm in read}
    found = decide(DISK, DeviceLists(lists, frozenset(unread)), {CALLER, OTHER, THIRD}, OTHER, CALLER, off)
    assert found == expected


def test_a_machine_that_the_lists_leave_out_is_silent() -> None:
    lists = DeviceLists({CALLER: (), THIRD: ()})
    assert decide(DISK, lists, {CALLER, OTHER, THIRD}, OTHER, CALLER) == Unread(OTHER)
    assert decide(DISK, lists, {CALLER, OTHER, THIRD}, None, CALLER) == Free(frozenset({OTHER}))
    assert (lists.of(CALLER), lists.of(OTHER)) == ((), None)


def test_without_a_caller_every_holder_is_another() -> None:
    lists = DeviceLists({CALLER: (DEVICE,)})
    assert decide(DISK, lists, {CALLER}, None, None) == HeldBy(CALLER, DEVICE)
