"""Which policy goes along with a change of a machine: of an attach it is a wish, of nothing else is it left out."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from tests.doubles.hand_clock import HandClock
from tests.vsphere.lines import Lines
from tests.vsphere.stage import soon
from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import (
    BadRequest,
    Busy,
    HypervisorUnreachable,
    InvalidOption,
    NotPermitted,
    OutcomeUnknown,
    PolicyNotFound,
    VolumeError,
    VolumeInUse,
)
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid, VmId
from vmdkvol_esx.ports import AttachDisk, DetachDisk, DiskPath, DiskRef
from vmdkvol_esx.vsphere.batches import EnlargeDisk, LayPolicy
from vmdkvol_esx.vsphere.faults import Meaning
from vmdkvol_esx.vsphere.policies import Policies
from vmdkvol_esx.vsphere.profiles import ASK_S, REFUSED_S, REST_S, Profiles, Rest, refusals_told

VM = VmId(UUID(int=1))
DISK = DiskRef(DiskUuid(UUID(int=2)), DiskPath(DatastoreName("ds1"), "vmdkvol/db.vmdk"))
GOLD = AttachDisk(VM, DISK, "persistent", policy="gold")


class Book(Policies):
    """Knows gold; ``trouble`` is raised in place of any answer."""

    def __init__(self) -> None:
        self.trouble: VolumeError | None = None
        self.vcenter = True
        self.asked: list[float] = []
        # What is remembered of gold, and whether that is old.
        self.gold: str | None = None
        self.old = False

    def id(self, name: str, deadline: Deadline) -> str:
        self.asked.append(deadline.left_s)
        if self.trouble is not None:
            raise self.trouble
        if name != "gold":
            raise PolicyNotFound(name)
        return "id-of-gold"

    def remembered(self, name: str, within_s: float | None = None) -> str | None:
        return None if name != "gold" or (self.old and within_s is not None) else self.gold

    def are_there(self, _: Deadline) -> bool:
        return self.vcenter


class Desk:
    def __init__(self) -> None:
        self.clock: HandClock = HandClock()
        clock: Clock = self.clock
        self.book = Book()
        self.rest = Rest(clock)
        self.profiles = Profiles(self.book, self.rest, clock, Lines())

    def of(self, move: AttachDisk | DetachDisk | EnlargeDisk | LayPolicy) -> str | None:
        return self.profiles.of(move, soon(1000))

    def dropped(self, meaning: Meaning, move: AttachDisk | LayPolicy = GOLD, *, shared: bool = False) -> bool:
        self.of(move)
        return self.profiles.dropped(move, OutcomeUnknown("refused", meaning=meaning.name), shared=shared)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_an_attach_asks_for_the_policy_of_its_name(desk: Desk) -> None:
    assert desk.of(GOLD) == "id-of-gold"
    assert desk.of(replace(GOLD, policy="")) == ""
    assert desk.of(replace(GOLD, policy=None)) is None


@pytest.mark.parametrize("move", [DetachDisk(VM, DISK), EnlargeDisk(VM, DISK, 4096)])
def test_what_brings_no_disk_says_nothing_of_policies(desk: Desk, move: DetachDisk | EnlargeDisk) -> None:
    assert desk.of(move) is None
    assert desk.book.asked == []


@pytest.mark.parametrize("trouble", [HypervisorUnreachable("away"), NotPermitted("no"), PolicyNotFound("gone")])
def test_an_attach_goes_without_what_cannot_be_told(desk: Desk, trouble: VolumeError) -> None:
    desk.book.trouble = trouble
    assert desk.of(GOLD) is None


@pytest.mark.parametrize("trouble", [HypervisorUnreachable("away"), NotPermitted("no"), PolicyNotFound("gone")])
def test_a_change_of_the_policy_alone_is_refused(desk: Desk, trouble: VolumeError) -> None:
    desk.book.trouble = trouble
    with pytest.raises(type(trouble)):
        desk.of(LayPolicy(VM, DISK, "gold"))


def test_on_a_single_host_an_attach_says_nothing_and_a_change_is_refused(desk: Desk) -> None:
    desk.book.vcenter = False
    assert desk.of(replace(GOLD, policy="")) is None
    with pytest.raises(BadRequest):
        desk.of(LayPolicy(VM, DISK, None))


@pytest.mark.parametrize("move", [GOLD, LayPolicy(VM, DISK, "gold")])
def test_nobody_waits_for_the_id_for_long(desk: Desk, move: AttachDisk | LayPolicy) -> None:
    desk.of(move)
    assert desk.book.asked[0] <= ASK_S


def test_a_change_uses_what_is_remembered_of_its_policy(desk: Desk) -> None:
    desk.book.gold, desk.book.trouble = "remembered", HypervisorUnreachable("away")
    assert desk.of(LayPolicy(VM, DISK, "gold")) == "remembered"


def test_after_no_answer_nobody_asks_for_a_while(desk: Desk) -> None:
    desk.book.trouble = HypervisorUnreachable("away")
    desk.of(GOLD)
    desk.book.trouble, desk.book.asked = None, []

    assert (desk.of(GOLD), desk.book.asked) == (None, [])
    with pytest.raises(HypervisorUnreachable, match="not asked again"):
        desk.of(LayPolicy(VM, DISK, "gold"))

    desk.clock.pass_time(REST_S + 1)
    assert desk.of(GOLD) == "id-of-gold"


def test_attaches_that_meet_the_rest_do_not_lengthen_it(desk: Desk) -> None:
    desk.book.trouble = HypervisorUnreachable("away")
    desk.of(GOLD)
    desk.clock.pass_time(REST_S - 1)
    desk.of(GOLD)
    desk.book.trouble = None

    desk.clock.pass_time(2)

    assert desk.of(GOLD) == "id-of-gold"


def test_what_is_remembered_goes_along_whether_or_not_the_service_has_its_rest(desk: Desk) -> None:
    desk.book.gold = "remembered"
    desk.profiles.of(replace(GOLD, policy="lead"), soon(1000))
    desk.rest.begin(HypervisorUnreachable("a list of an administrator's was slow"))
    desk.book.asked = []

    assert (desk.of(GOLD), desk.book.asked) == ("remembered", [])


@pytest.mark.parametrize("resting", [True, False])
def test_what_is_remembered_for_long_is_better_than_none_while_nobody_answers(desk: Desk, resting: bool) -> None:
    desk.book.gold, desk.book.old = "remembered", True
    assert desk.of(GOLD) == "id-of-gold"

    desk.book.trouble = HypervisorUnreachable("away")
    if resting:
        desk.of(GOLD)
    assert desk.of(GOLD) == "remembered"


def test_a_policy_that_is_gone_is_not_named_from_memory(desk: Desk) -> None:
    desk.book.gold, desk.book.old, desk.book.trouble = "remembered", True, PolicyNotFound("gone")
    assert desk.of(GOLD) is None


def test_an_answer_is_no_reason_for_a_rest(desk: Desk) -> None:
    desk.of(replace(GOLD, policy="lead"))
    assert desk.of(GOLD) == "id-of-gold"


# --- whether it went along ---------------------------------------------------------------------------------------


def test_of_an_attach_with_its_policy_it_is_told_that_it_went_along(desk: Desk) -> None:
    assert not desk.profiles.carried(DISK.uuid)
    desk.of(GOLD)
    assert desk.profiles.carried(DISK.uuid)


@pytest.mark.parametrize("trouble", ["unknown", "refused", "detached", "again-without"])
def test_of_every_other_one_it_is_not(desk: Desk, trouble: str) -> None:
    desk.of(GOLD)
    if trouble == "unknown":
        desk.book.trouble = PolicyNotFound("gone")
        desk.of(GOLD)
    elif trouble == "refused":
        desk.dropped(Meaning.FORBIDDEN)
        desk.of(GOLD)
    elif trouble == "detached":
        desk.of(DetachDisk(VM, DISK))
    else:
        desk.of(replace(GOLD, policy=None))
    assert not desk.profiles.carried(DISK.uuid)


def test_the_change_of_a_policy_is_no_attach(desk: Desk) -> None:
    desk.of(LayPolicy(VM, DISK, "gold"))
    assert not desk.profiles.carried(DISK.uuid)


# --- refused by a reconfigure ------------------------------------------------------------------------------------

OF_THE_POLICY = {Meaning.BAD_REQUEST, Meaning.FORBIDDEN, Meaning.NO_SUCH_CALL, Meaning.LICENCE, Meaning.OTHER}
# A policy that reserves space, and one that the device does not go with.
OF_ONE_DISK = {Meaning.FULL, Meaning.BAD_SPEC}
MAY_BE_THE_POLICY = OF_THE_POLICY | OF_ONE_DISK
OTHER = replace(GOLD, disk=DiskRef(DiskUuid(UUID(int=3)), DISK.path))


@pytest.mark.parametrize("meaning", list(Meaning))
def test_without_its_policy_only_what_may_have_failed_for_it_is_tried(desk: Desk, meaning: Meaning) -> None:
    assert desk.dropped(meaning) is (meaning in MAY_BE_THE_POLICY)


def test_it_is_tried_without_once_and_then_the_error_is_told(desk: Desk) -> None:
    assert desk.dropped(Meaning.FORBIDDEN)
    assert desk.of(GOLD) is None
    assert not desk.dropped(Meaning.FORBIDDEN)


@pytest.mark.parametrize("meaning", list(Meaning))
def test_what_went_with_others_goes_with_them_once_more_and_without_where_it_may_be_a_policy(
    desk: Desk, meaning: Meaning
) -> None:
    may = meaning in OF_THE_POLICY
    assert desk.dropped(meaning, shared=True) is may
    assert desk.of(GOLD) == (None if may else "id-of-gold")


@pytest.mark.parametrize("shared", [True, False])
def test_if_that_fails_too_it_was_not_for_a_policy_and_each_goes_alone_with_its_own(desk: Desk, shared: bool) -> None:
    desk.dropped(Meaning.OTHER, shared=True)
    assert not desk.dropped(Meaning.OTHER, shared=shared)
    assert desk.of(GOLD) == "id-of-gold"


def test_while_somebody_else_works_on_the_machine_it_still_goes_without(desk: Desk) -> None:
    desk.dropped(Meaning.OTHER, shared=True)
    assert not desk.dropped(Meaning.BUSY, shared=True)
    assert desk.of(GOLD) is None


def test_what_came_without_after_it_had_failed_with_others_is_asked_for_at_the_next_attach(desk: Desk) -> None:
    desk.dropped(Meaning.OTHER, shared=True)
    desk.of(GOLD)
    desk.profiles.came(GOLD)
    assert not desk.profiles.carried(DISK.uuid)
    assert (desk.of(GOLD), desk.of(OTHER)) == ("id-of-gold", "id-of-gold")


@pytest.mark.parametrize("meaning", sorted(MAY_BE_THE_POLICY))
def test_a_disk_that_came_without_saves_the_datastores_others_the_same_refusal(desk: Desk, meaning: Meaning) -> None:
    desk.dropped(meaning)
    desk.of(GOLD)
    desk.profiles.came(GOLD)

    elsewhere = replace(OTHER, disk=DiskRef(OTHER.disk.uuid, DiskPath(DatastoreName("ds2"), "vmdkvol/db.vmdk")))
    assert desk.of(OTHER) == (None if meaning in OF_THE_POLICY else "id-of-gold")
    assert desk.of(elsewhere) == "id-of-gold"
    desk.clock.pass_time(REFUSED_S + 1)
    assert desk.of(OTHER) == "id-of-gold"


def test_one_that_failed_without_its_policy_too_costs_no_other_its_own(desk: Desk) -> None:
    desk.dropped(Meaning.OTHER)
    desk.dropped(Meaning.OTHER)
    desk.clock.pass_time(REFUSED_S + 1)
    desk.of(GOLD)
    desk.profiles.came(GOLD)
    assert desk.of(OTHER) == "id-of-gold"


@pytest.mark.parametrize("move", [replace(GOLD, policy=None), LayPolicy(VM, DISK, "gold")])
def test_what_asks_for_no_policy_or_for_nothing_else_is_not_tried_without(desk: Desk, move: AttachDisk | LayPolicy) -> None:
    assert not desk.dropped(Meaning.OTHER, move)


def test_another_policy_and_another_disk_are_not_refused_with_it(desk: Desk) -> None:
    other = DiskRef(DiskUuid(UUID(int=3)), DISK.path)
    desk.dropped(Meaning.OTHER, replace(GOLD, policy="lead"))
    assert desk.of(GOLD) == "id-of-gold"
    desk.dropped(Meaning.OTHER)
    assert (desk.of(GOLD), desk.of(replace(GOLD, disk=other))) == (None, "id-of-gold")


def test_after_a_while_it_is_asked_for_again(desk: Desk) -> None:
    desk.dropped(Meaning.OTHER)
    desk.clock.pass_time(REFUSED_S + 1)
    assert desk.of(GOLD) == "id-of-gold"


@pytest.mark.parametrize("meaning", [Meaning.BAD_REQUEST, Meaning.NO_SUCH_CALL, Meaning.OTHER])
def test_what_is_not_known_of_a_policy_is_a_refusal_and_no_doubt(meaning: Meaning) -> None:
    with pytest.raises(InvalidOption, match="'gold' is not laid on"), refusals_told(DISK, "gold"):
        raise OutcomeUnknown("it fits not", meaning=meaning.name)


@pytest.mark.parametrize(
    "error",
    [Busy("b", meaning="BUSY"), VolumeInUse("held", meaning="HELD"), OutcomeUnknown("lost", meaning="LOST"), NotPermitted("p")],
)
def test_every_other_error_stays_what_it_is(error: VolumeError) -> None:
    with pytest.raises(type(error)), refusals_told(DISK, "gold"):
        raise error
