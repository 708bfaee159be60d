"""The agent's total tables: what Get says, what to do with a disk, the next step. A row for every case."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from uuid import UUID

import pytest

from vmdkvol.errors import CheckFailed, ForeignContent, StillMounted, VolumeError
from vmdkvol.options import CreateOptions
from vmdkvol.volume import Attachment, Content, DiskUuid, LoopAddress, VolumeId, renewed_uuid
from vmdkvol_guest import plan
from vmdkvol_guest.answers import Answer, Said, may_say
from vmdkvol_guest.formatting import Step, decide
from vmdkvol_guest.holders import UNUSED_S, abandoned, culprits, stale
from vmdkvol_guest.plan import Facts, next_step, pause_after
from vmdkvol_guest.ports import MountTarget, Probe

# --- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "known", "here", "anonymous", "answer"),
    [
        pytest.param(Said.VOLUME, False, False, False, Answer.FRESH, id="the-service-has-it"),
        pytest.param(Said.VOLUME, True, True, True, Answer.FRESH, id="the-service-has-it-whatever-we-know"),
        pytest.param(Said.ABSENT, False, False, False, Answer.ABSENT, id="never-heard-of"),
        pytest.param(Said.ABSENT, True, False, False, Answer.ABSENT, id="removed-elsewhere"),
        pytest.param(Said.ABSENT, True, True, False, Answer.STALE, id="the-service-lost-what-is-mounted-here"),
        pytest.param(Said.ABSENT, False, False, True, Answer.ABSENT, id="anonymous-and-absent"),
        pytest.param(Said.NOTHING, True, False, False, Answer.STALE, id="away-and-known"),
        pytest.param(Said.NOTHING, True, True, True, Answer.STALE, id="away-known-and-anonymous"),
        pytest.param(Said.NOTHING, False, False, False, Answer.HANG_UP, id="away-and-unknown"),
        pytest.param(Said.NOTHING, False, False, True, Answer.ABSENT, id="away-and-an-unknown-64-hex-name"),
    ],
)
def test_what_get_says(said: Said, known: bool, here: bool, anonymous: bool, answer: Answer) -> None:
    assert may_say(said, known=known, here=here, anonymous=anonymous) is answer


def test_absent_is_never_said_of_what_this_host_has() -> None:
    for said, anonymous in product(Said, (False, True)):
        assert may_say(said, known=True, here=True, anonymous=anonymous) is not Answer.ABSENT


def test_absent_is_never_said_for_unknown_of_a_name_that_a_person_gave() -> None:
    for known in (False, True):
        assert may_say(Said.NOTHING, known=known, here=False, anonymous=False) is not Answer.ABSENT


# --- formatting ------------------------------------------------------------------------------------------------------

OURS, OTHER = UUID(int=1), UUID(int=2)
BLANK, MADE, ELSE, XFS = Probe(None, None), Probe("ext4", OURS), Probe("ext4", OTHER), Probe("xfs", OURS)
TWO = Probe("ambivalent", None)
ATTACHMENT = Attachment(
    VolumeId(UUID(int=7)), DiskUuid(UUID(int=8)), 1 << 30, LoopAddress(1), 3, Content.UNFORMATTED, None, CreateOptions()
)

NEW, MAKING, DONE = Content.UNFORMATTED, Content.FORMATTING, Content.FORMATTED
FREE_ROWS: list[tuple[Content, UUID | None, Probe, Step | type[VolumeError]]] = [
    (NEW, None, BLANK, Step.MAKE),
    (NEW, None, MADE, ForeignContent),
    (NEW, None, ELSE, ForeignContent),
    (NEW, None, XFS, ForeignContent),
    (NEW, None, TWO, ForeignContent),
    (MAKING, OURS, BLANK, Step.REMAKE),
    (MAKING, OURS, MADE, Step.REMAKE),
    (MAKING, OURS, ELSE, ForeignContent),
    (MAKING, OURS, XFS, ForeignContent),
    (MAKING, OURS, TWO, ForeignContent),
    (MAKING, None, BLANK, Step.REMAKE),
    (MAKING, None, MADE, ForeignContent),
    (MAKING, None, TWO, ForeignContent),
    (DONE, OURS, BLANK, CheckFailed),
    (DONE, OURS, MADE, Step.KEEP),
    (DONE, OURS, ELSE, ForeignContent),
    (DONE, OURS, XFS, ForeignContent),
    (DONE, OURS, TWO, ForeignContent),
    (DONE, None, BLANK, CheckFailed),
    (DONE, None, MADE, Step.RENEW),
    (DONE, None, ELSE, Step.RENEW),
    (DONE, None, XFS, ForeignContent),
    (DONE, None, TWO, ForeignContent),
]


def judged(content: Content, recorded: UUID | None, probe: Probe, *, busy: bool) -> Step | type[VolumeError]:
    try:
        return decide(replace(ATTACHMENT, content=content, filesystem_uuid=recorded), probe, busy=busy)
    except VolumeError as error:
        return type(error)


@pytest.mark.parametrize(("content", "recorded", "probe", "verdict"), FREE_ROWS)
def test_what_to_do_with_a_free_disk(
    content: Content, recorded: UUID | None, probe: Probe, verdict: Step | type[VolumeError]
) -> None:
    assert judged(content, recorded, probe, busy=False) is verdict


@pytest.mark.parametrize(("content", "recorded", "probe", "verdict"), FREE_ROWS)
def test_a_busy_disk_is_joined_or_left_alone(
    content: Content, recorded: UUID | None, probe: Probe, verdict: Step | type[VolumeError]
) -> None:
    busy = judged(content, recorded, probe, busy=True)

    if verdict is Step.KEEP:
        assert busy is Step.JOIN
    elif content is not DONE or verdict is Step.RENEW:
        assert busy is StillMounted
    else:
        assert busy is verdict


@pytest.mark.parametrize(
    ("probe", "verdict"),
    [
        pytest.param(MADE, Step.TAKE, id="a-file-system"),
        pytest.param(ELSE, Step.TAKE, id="whatever-its-uuid"),
        pytest.param(Probe("ext4", None), Step.RENEW, id="without-a-uuid"),
        pytest.param(XFS, ForeignContent, id="of-another-kind"),
        pytest.param(TWO, ForeignContent, id="two-at-once"),
        pytest.param(Probe("dos", None), ForeignContent, id="a-partition-table"),
        pytest.param(Probe("crypto_LUKS", OURS), ForeignContent, id="encrypted"),
        pytest.param(BLANK, CheckFailed, id="blank"),
    ],
)
def test_an_adopted_disk_before_its_first_mount_is_taken_as_it_is_or_refused(
    probe: Probe, verdict: Step | type[VolumeError]
) -> None:
    adopted = replace(ATTACHMENT, content=DONE, keep_uuid=True)
    for busy in (False, True):
        try:
            found: Step | type[VolumeError] = decide(adopted, probe, busy=busy)
        except VolumeError as error:
            found = type(error)
        assert found is (StillMounted if busy and isinstance(verdict, Step) else verdict)


@pytest.mark.parametrize("probe", [BLANK, MADE, ELSE, XFS, TWO])
def test_nothing_ever_makes_a_file_system_on_an_adopted_disk(probe: Probe) -> None:
    for recorded in (None, OURS):
        try:
            step = decide(replace(ATTACHMENT, content=DONE, filesystem_uuid=recorded, keep_uuid=True), probe, busy=False)
        except VolumeError:
            continue
        assert step not in (Step.MAKE, Step.REMAKE)


def test_a_refused_adopted_disk_says_with_what_it_is_adopted() -> None:
    with pytest.raises(ForeignContent) as caught:
        decide(replace(ATTACHMENT, content=DONE, keep_uuid=True), XFS, busy=False)
    assert "fstype=xfs" in caught.value.remedy


RENEWED = Probe("ext4", renewed_uuid(ATTACHMENT.volume))


@pytest.mark.parametrize(
    ("copied", "probe", "verdict"),
    [
        pytest.param((OURS,), MADE, Step.RENEW, id="its-sources"),
        pytest.param((OURS,), RENEWED, Step.RENEW, id="its-own-and-not-recorded"),
        pytest.param((OTHER, OURS), MADE, Step.RENEW, id="its-sources-source's"),
        pytest.param((OURS,), ELSE, ForeignContent, id="somebody-elses"),
        pytest.param((OURS,), Probe("ext4", None), ForeignContent, id="without-a-uuid"),
        pytest.param((OURS,), XFS, ForeignContent, id="of-another-kind"),
        pytest.param((OURS,), BLANK, CheckFailed, id="blank"),
        pytest.param((), ELSE, Step.RENEW, id="nothing-is-known-of-its-source"),
    ],
)
def test_what_to_do_with_a_clone_before_its_first_mount(
    copied: tuple[UUID, ...], probe: Probe, verdict: Step | type[VolumeError]
) -> None:
    clone = replace(ATTACHMENT, content=DONE, copied_uuids=copied)
    try:
        found: Step | type[VolumeError] = decide(clone, probe, busy=False)
    except VolumeError as error:
        found = type(error)
    assert found is verdict


@pytest.mark.parametrize("busy", [False, True])
def test_a_formatted_disk_is_never_made_again_whatever_lies_there(busy: bool) -> None:
    for recorded, probe in product((OURS, None), (BLANK, MADE, ELSE, XFS, TWO)):
        assert judged(DONE, recorded, probe, busy=busy) not in (Step.MAKE, Step.REMAKE)


# --- holders ---------------------------------------------------------------------------------------------------------

IDS = frozenset({"a", "b"})


@pytest.mark.parametrize(
    ("activated_at", "unused_since", "now", "gone"),
    [
        pytest.param(None, 0.0, 1e9, frozenset(), id="no-activate-seen"),
        pytest.param(0.0, None, 1e9, frozenset(), id="another-namespace-has-it"),
        pytest.param(100.0, 0.0, 100.0 + UNUSED_S - 1, frozenset(), id="not-ten-minutes-since-the-activate"),
        pytest.param(0.0, 100.0, 100.0 + UNUSED_S - 1, frozenset(), id="not-ten-minutes-unused"),
        pytest.param(0.0, 100.0, 100.0 + UNUSED_S, IDS, id="both"),
    ],
)
def test_which_holders_are_stale(
    activated_at: float | None, unused_since: float | None, now: float, gone: frozenset[str]
) -> None:
    assert stale(IDS, renewed=(), activated_at=activated_at, unused_since=unused_since, now=now) == gone


def test_a_holder_that_was_mounted_again_is_never_stale() -> None:
    assert stale(IDS, renewed={"a"}, activated_at=0.0, unused_since=0.0, now=1e9) == {"b"}


def test_an_id_of_a_running_call_is_not_abandoned() -> None:
    assert abandoned(IDS, {"b", "c"}) == {"a"}


def test_processes_are_named_before_mount_ids() -> None:
    assert culprits(IDS, [MountTarget(12, "/x", "/"), MountTarget(7, "/y", "/")]) == "mounted by process 7 (at /y), 12 (at /x)"


def test_a_crowd_is_counted() -> None:
    assert culprits([f"{number:064d}" for number in range(9)], ()).endswith("and 6 more")


def test_nobody_in_sight_is_said_so() -> None:
    assert "cannot be seen" in culprits((), ())


# --- plan --------------------------------------------------------------------------------------------------------------

HERE, ABSENT, UNKNOWN = plan.Said.HERE, plan.Said.ABSENT, plan.Said.UNKNOWN
DO = plan.Step


@pytest.mark.parametrize(
    ("held", "mounted", "noted", "said", "step"),
    [
        (True, True, True, HERE, DO.STAY),
        (True, True, True, UNKNOWN, DO.STAY),
        (True, True, True, ABSENT, DO.STAY),
        (True, True, False, HERE, DO.STAY),
        (True, True, False, UNKNOWN, DO.STAY),
        (True, True, False, ABSENT, DO.STAY),
        (True, False, True, HERE, DO.ROLL_BACK),
        (True, False, True, UNKNOWN, DO.ROLL_BACK),
        (True, False, True, ABSENT, DO.ROLL_BACK),
        (True, False, False, HERE, DO.ADOPT),
        (True, False, False, UNKNOWN, DO.STAY),
        (True, False, False, ABSENT, DO.ROLL_BACK),
        (False, True, True, HERE, DO.UNMOUNT),
        (False, True, True, UNKNOWN, DO.UNMOUNT),
        (False, True, True, ABSENT, DO.UNMOUNT),
        (False, True, False, HERE, DO.UNMOUNT),
        (False, True, False, UNKNOWN, DO.UNMOUNT),
        (False, True, False, ABSENT, DO.UNMOUNT),
        (False, False, True, HERE, DO.DETACH),
        (False, False, True, UNKNOWN, DO.DETACH),
        (False, False, True, ABSENT, DO.FORGET),
        (False, False, False, HERE, DO.ADOPT),
        (False, False, False, UNKNOWN, DO.FORGET),
        (False, False, False, ABSENT, DO.FORGET),
    ],
)
def test_the_next_step(held: bool, mounted: bool, noted: bool, said: plan.Said, step: plan.Step) -> None:
    facts = Facts(held=held, arriving=False, mounted=mounted, noted=noted, said=said)

    assert next_step(facts) is step
    assert next_step(replace(facts, arriving=True)) is DO.STAY
    resting = next_step(replace(facts, resting=True))
    assert resting is (DO.STAY if step in (DO.ROLL_BACK, DO.UNMOUNT, DO.DETACH) and noted or step is DO.UNMOUNT else step)


@pytest.mark.parametrize("arriving", [False, True])
def test_a_file_system_whose_disk_has_grown_follows_it_where_it_is_held(*, arriving: bool) -> None:
    for held, mounted, noted, said in product((False, True), (False, True), (False, True), plan.Said):
        facts = Facts(held, arriving, mounted, noted, said, short=True)
        follows = held and mounted and noted
        assert next_step(facts) is (DO.GROW if follows else next_step(replace(facts, short=False)))


def test_lingering_keeps_the_disk_and_a_want_ends_it() -> None:
    lingering = Facts(held=False, arriving=False, mounted=False, noted=True, said=HERE, lingering=True)

    assert next_step(lingering) is DO.STAY
    assert next_step(replace(lingering, wanted=True)) is DO.DETACH


def test_no_holder_not_mounted_here_and_a_busy_claim_stays_attached() -> None:
    facts = Facts(held=False, arriving=False, mounted=False, noted=True, said=HERE, wanted=True, resting=True)

    assert next_step(facts) is DO.STAY


def test_a_held_volume_is_never_detached_or_unmounted() -> None:
    flags = product((False, True), repeat=6)
    for (arriving, mounted, noted, lingering, wanted, resting), said in product(flags, plan.Said):
        facts = Facts(True, arriving, mounted, noted, said, lingering, wanted, resting)
        assert next_step(facts) not in (DO.DETACH, DO.UNMOUNT, DO.FORGET)


def test_pauses_double_up_to_half_a_minute() -> None:
    pauses, last = [], None
    for _ in range(7):
        last = pause_after(last)
        pauses.append(last)

    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
