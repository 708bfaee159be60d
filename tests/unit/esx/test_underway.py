"""What is known of work under way: never backwards, told twice a second at most, to whoever waits for that volume alone."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from tests.doubles.hand_clock import HandClock
from tests.reference import example_record
from vmdkvol.volume import Doing, VmgroupId, VmId, VolumeId, Work
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.ports import (
    AttachDisk,
    Change,
    ChangePolicy,
    CloneDisk,
    CreateDisk,
    DeleteDisk,
    DetachDisk,
    GrowDisk,
    Progress,
)
from vmdkvol_esx.records import Intent
from vmdkvol_esx.underway import Subject, Underway

RECORD = example_record()
DISK = disk_ref(RECORD)
VM = VmId(UUID(int=0xA))
CREATE = CreateDisk(DISK, RECORD.size_bytes, "eagerzeroedthick", {})
NAMED = (RECORD.vmgroup, RECORD.name)
KNOWN = (RECORD.vmgroup, RECORD.id)


def intent(change: Change = CREATE) -> Intent:
    return Intent(uuid4(), RECORD.id, change, VM, 1000.0)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def underway(clock: HandClock) -> Underway:
    return Underway(clock)


@pytest.fixture
def progress(underway: Underway) -> Progress:
    return underway.started(intent(), RECORD)


def test_before_it_begins_nothing_is_under_way(underway: Underway) -> None:
    assert underway.of(RECORD.id) is None


def test_work_has_the_time_of_its_intent_which_outlives_the_process(underway: Underway, progress: Progress) -> None:
    assert underway.of(RECORD.id) == Work(Doing.CREATE, 0, 1000.0)


@pytest.mark.parametrize(
    ("change", "doing"),
    [
        (CREATE, Doing.CREATE),
        (CloneDisk(DISK, DISK, "thin", {}), Doing.CLONE),
        (DeleteDisk(DISK), Doing.DELETE),
        (AttachDisk(VM, DISK, "persistent"), Doing.ATTACH),
        (DetachDisk(VM, DISK), Doing.DETACH),
        (GrowDisk(DISK, 1 << 30), Doing.GROW),
        (ChangePolicy(DISK, "gold"), Doing.POLICY),
    ],
)
def test_every_change_has_its_kind(underway: Underway, change: Change, doing: Doing) -> None:
    underway.started(intent(change), RECORD)
    work = underway.of(RECORD.id)
    assert work is not None
    assert work.doing is doing


def test_it_never_goes_backwards(underway: Underway, progress: Progress) -> None:
    progress(43)
    progress(40)
    work = underway.of(RECORD.id)
    assert work is not None
    assert work.percent == 43


def test_the_same_work_that_is_followed_again_keeps_what_is_known(underway: Underway) -> None:
    same = intent()
    underway.started(same, RECORD)(43)
    underway.started(same, RECORD)(10)
    work = underway.of(RECORD.id)
    assert work is not None
    assert work.percent == 43


def test_other_work_begins_anew(underway: Underway, progress: Progress) -> None:
    progress(43)
    underway.started(intent(AttachDisk(VM, DISK, "persistent")), RECORD)
    assert underway.of(RECORD.id) == Work(Doing.ATTACH, 0, 1000.0)


def test_a_late_word_of_older_work_changes_nothing(underway: Underway, progress: Progress) -> None:
    underway.started(intent(AttachDisk(VM, DISK, "persistent")), RECORD)
    progress(99)
    assert underway.of(RECORD.id) == Work(Doing.ATTACH, 0, 1000.0)


def test_a_late_word_of_ended_work_changes_nothing(underway: Underway, progress: Progress) -> None:
    underway.ended(RECORD.id)
    progress(99)
    assert underway.of(RECORD.id) is None


def test_the_end_of_what_never_began_is_fine(underway: Underway) -> None:
    underway.ended(VolumeId(uuid4()))
    assert underway.of(RECORD.id) is None


# --- how long it still takes -------------------------------------------------------------------------------------


def left(underway: Underway) -> int | None:
    work = underway.of(RECORD.id)
    assert work is not None
    return work.left_s


def test_one_word_is_no_pace(underway: Underway, progress: Progress, clock: HandClock) -> None:
    progress(10)
    clock.pass_time(60.0)
    assert left(underway) is None


def test_the_pace_so_far_says_how_long_it_still_takes(underway: Underway, progress: Progress, clock: HandClock) -> None:
    progress(10)
    clock.pass_time(60.0)
    progress(40)
    assert left(underway) == 120


def test_the_pace_counts_from_what_this_process_saw(underway: Underway, progress: Progress, clock: HandClock) -> None:
    """After a restart a task is found at 70 %: how long that took is not known."""
    clock.pass_time(500.0)
    progress(70)
    clock.pass_time(10.0)
    progress(80)
    assert left(underway) == 20


def test_time_that_passes_without_news_counts(underway: Underway, progress: Progress, clock: HandClock) -> None:
    progress(10)
    clock.pass_time(60.0)
    progress(40)
    clock.pass_time(50.0)
    assert left(underway) == 70


def test_what_takes_longer_than_its_pace_has_nothing_left_and_not_less(
    underway: Underway, progress: Progress, clock: HandClock
) -> None:
    progress(10)
    clock.pass_time(60.0)
    progress(40)
    clock.pass_time(500.0)
    assert left(underway) == 0


def test_a_wall_clock_that_jumps_changes_no_guess(underway: Underway, progress: Progress, clock: HandClock) -> None:
    progress(10)
    clock.pass_time(60.0)
    clock.jump(86400.0)
    progress(40)
    assert left(underway) == 120


# --- who is told -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", [KNOWN, NAMED], ids=["by-id", "by-name"])
def test_whoever_waits_for_the_volume_hears_it(underway: Underway, progress: Progress, subject: Subject) -> None:
    heard: list[int] = []
    with underway.watched(subject, heard.append):
        progress(1)
    assert heard == [1]


def test_whoever_came_before_the_work_hears_it(underway: Underway) -> None:
    """A create waits by name: the volume has no id yet."""
    heard: list[int] = []
    with underway.watched(NAMED, heard.append):
        underway.started(intent(), RECORD)(7)
    assert heard == [7]


def test_whoever_joins_hears_at_once_how_far_it_is(underway: Underway, progress: Progress) -> None:
    progress(43)
    heard: list[int] = []
    with underway.watched(KNOWN, heard.append):
        assert heard == [43]


def test_whoever_joins_what_is_not_known_to_have_begun_hears_nothing(underway: Underway, progress: Progress) -> None:
    heard: list[int] = []
    with underway.watched(KNOWN, heard.append):
        assert heard == []


def test_nobody_hears_more_than_twice_a_second(underway: Underway, progress: Progress, clock: HandClock) -> None:
    heard: list[int] = []
    with underway.watched(KNOWN, heard.append):
        for percent in range(1, 100):
            progress(percent)
            clock.pass_time(0.125)
    assert heard == list(range(1, 100, 4))


def test_the_same_percent_again_is_no_news(underway: Underway, progress: Progress, clock: HandClock) -> None:
    heard: list[int] = []
    with underway.watched(KNOWN, heard.append):
        for _ in range(5):
            progress(3)
            clock.pass_time(10.0)
    assert heard == [3]


def test_what_was_not_told_is_known_all_the_same(underway: Underway, progress: Progress) -> None:
    progress(1)
    progress(2)
    work = underway.of(RECORD.id)
    assert work is not None
    assert work.percent == 2


def test_whoever_left_hears_nothing(underway: Underway, progress: Progress) -> None:
    heard: list[int] = []
    with underway.watched(KNOWN, heard.append):
        pass
    progress(50)
    assert heard == []


def test_who_waits_for_another_volume_hears_nothing(underway: Underway, progress: Progress) -> None:
    heard: list[int] = []
    other = replace(RECORD, id=VolumeId(uuid4()), name="other")
    with underway.watched((other.vmgroup, other.id), heard.append), underway.watched((other.vmgroup, other.name), heard.append):
        progress(50)
    assert heard == []


def test_two_that_wait_for_one_volume_both_hear_it(underway: Underway, progress: Progress) -> None:
    first: list[int] = []
    second: list[int] = []
    with underway.watched(KNOWN, first.append), underway.watched(NAMED, second.append):
        progress(50)
    assert (first, second) == ([50], [50])


@pytest.mark.parametrize("which", [RECORD.id, RECORD.name], ids=["by-id", "by-name"])
def test_another_vmgroup_hears_nothing_of_it(underway: Underway, progress: Progress, which: VolumeId | str) -> None:
    """I7: not even that there is such a volume, by a percent or in a text."""
    progress(43)
    other = (VmgroupId(uuid4()), which)
    heard: list[int] = []
    with underway.watched(other, heard.append):
        progress(50)
    assert heard == []
    assert underway.find(other) is None
