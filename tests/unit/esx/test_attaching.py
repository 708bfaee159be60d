"""Attach, Detach and Mark: one VM at a time, and an older request never undoes a newer one."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from tests.doubles.memory_store import MemoryStore
from tests.unit.esx.site import DS1, A, B, Site
from vmdkvol.errors import (
    BadRequest,
    CheckFailed,
    NoFreeSlot,
    NoSpace,
    OutcomeUnknown,
    SnapshotPresent,
    StaleRequest,
    StillMounted,
    StillWorking,
    TruthUnknown,
    VolumeInUse,
    VolumeLost,
    VolumeNotFound,
)
from vmdkvol.messages import Attach, CreateVolume, Detach, Done, Keep, ListAttached, Mark, RemoveVolume
from vmdkvol.names import VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.volume import Attachment, Content, State, VmgroupId, VolumeId
from vmdkvol_esx.attaching import WORK_S
from vmdkvol_esx.paths import disk_path, disk_ref
from vmdkvol_esx.ports import AttachDisk, CreateDisk, DetachDisk
from vmdkvol_esx.records import Vmgroup


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def volume(site: Site) -> VolumeId:
    return site.create("db").id


@pytest.fixture
def unhurried() -> Site:
    """A site whose seconds are long enough to be measured on a busy machine."""
    return Site(hurry=8.0)


# --- attach ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("opts", "limits"),
    [({}, (None, "normal")), ({"iops-limit": "500", "shares": "high"}, (500, "high")), ({"shares": "300"}, (None, "300"))],
    ids=str,
)
def test_a_disk_is_attached_with_its_limits(site: Site, opts: dict[str, str], limits: tuple[int | None, str]) -> None:
    volume = site.create("limited", **opts).id

    site.attach(volume)

    assert site.hypervisor.limits(site.record(volume).disk_uuid) == limits


def test_an_attachment_says_where_the_disk_is_and_what_is_on_it(site: Site, volume: VolumeId) -> None:
    found = site.attach(volume)
    record = site.record(volume)
    assert (found.disk_uuid, found.size_bytes, found.content) == (record.disk_uuid, record.size_bytes, Content.UNFORMATTED)
    assert site.hypervisor.truth().holders == {record.disk_uuid: A}


def test_each_attach_raises_the_generation_also_one_that_is_there(site: Site, volume: VolumeId) -> None:
    first, second = site.attach(volume), site.attach(volume)
    assert (second.address, second.generation) == (first.address, first.generation + 1)


def test_a_second_host_is_refused_within_ten_seconds_and_hears_the_first(unhurried: Site) -> None:
    """F30."""
    volume = unhurried.create("db").id
    unhurried.attach(volume)
    began = unhurried.clock.monotonic()
    with pytest.raises(VolumeInUse, match="on host-a, which was asked for it and has not answered") as caught:
        unhurried.attach(volume, B)
    assert unhurried.clock.monotonic() - began < 10.0
    assert caught.value.fields["holder"] == "host-a"


def test_a_second_host_gets_a_lingering_disk(site: Site, volume: VolumeId) -> None:
    """Corrections 12: the wait is outside of the lane that the Detach needs."""
    lingering = site.attach(volume)
    site.agents[A] = lambda wanted: site.ask(Detach(wanted, lingering.generation), A)
    assert site.attach(volume, B).generation > lingering.generation
    assert site.hypervisor.truth().holders == {lingering.disk_uuid: B}


def test_a_holder_that_gives_back_late_is_not_missed(unhurried: Site) -> None:
    volume = unhurried.create("db").id
    lingering = unhurried.attach(volume)

    def later(wanted: VolumeId) -> None:
        def give_back() -> None:
            unhurried.clock.sleep(3.0)
            unhurried.detach(lingering)

        unhurried.agents[A] = lambda wanted: None
        unhurried.clock.start("late agent", give_back)

    unhurried.agents[A] = later
    assert unhurried.attach(volume, B).disk_uuid == lingering.disk_uuid


def test_a_holder_is_given_its_time_also_when_the_look_took_longer(site: Site, volume: VolumeId) -> None:
    """The eight seconds are the holder's: B has waited for twenty when it is known whom to ask."""
    site.hypervisor.takes(AttachDisk, 20.0)
    site.leave(Attach(volume))
    site.agents[A] = lambda _: gives_back(site)

    site.attach(volume, B)

    assert set(site.hypervisor.truth().holders.values()) == {B}


def test_a_lost_notice_is_sent_again(unhurried: Site) -> None:
    volume = unhurried.create("db").id
    lingering = unhurried.attach(volume)

    def hears_the_second(wanted: VolumeId) -> None:
        unhurried.agents[A] = lambda wanted: unhurried.ask(Detach(wanted, lingering.generation), A)

    unhurried.agents[A] = hears_the_second
    unhurried.attach(volume, B)
    assert len(unhurried.wanted) == 2


def test_a_holder_that_says_that_it_uses_the_disk_ends_the_wait_at_once(unhurried: Site) -> None:
    """D11d: refused fast."""
    volume = unhurried.create("db").id
    unhurried.attach(volume)
    unhurried.agents[A] = lambda wanted: unhurried.ask(Keep(wanted), A)
    began = unhurried.clock.monotonic()
    for ask in (lambda: unhurried.attach(volume, B), lambda: unhurried.remove(volume, B)):
        with pytest.raises(VolumeInUse, match="mounted on host-a"):
            ask()
    assert unhurried.clock.monotonic() - began < 2.0


def test_the_word_of_a_machine_that_has_not_the_disk_ends_no_wait(unhurried: Site) -> None:
    volume = unhurried.create("db").id
    lingering = unhurried.attach(volume)

    def gives_back(wanted: VolumeId) -> None:
        unhurried.agents[A] = lambda wanted: unhurried.ask(Detach(wanted, lingering.generation), A)
        unhurried.ask(Keep(wanted), B)

    unhurried.agents[A] = gives_back
    assert unhurried.attach(volume, B).disk_uuid == lingering.disk_uuid


def test_a_word_from_before_the_wait_does_not_count(unhurried: Site) -> None:
    volume = unhurried.create("db").id
    lingering = unhurried.attach(volume)
    unhurried.ask(Keep(volume), A)
    unhurried.agents[A] = lambda wanted: unhurried.ask(Detach(wanted, lingering.generation), A)
    assert unhurried.attach(volume, B).disk_uuid == lingering.disk_uuid


def test_a_silent_agent_is_told_apart_from_a_mount(site: Site, volume: VolumeId) -> None:
    """Corrections 13."""
    site.attach(volume)
    del site.agents[A]
    with pytest.raises(VolumeInUse) as caught:
        site.attach(volume, B)
    assert "whose agent does not answer" in str(caught.value)
    assert caught.value.fields["why"] == "silent"


def test_a_disk_on_a_host_that_is_switched_off_goes_to_the_next_one(site: Site, volume: VolumeId) -> None:
    """F16: nobody there can give it back, and nobody there uses it."""
    left = site.attach(volume)
    site.hypervisor.power(A, running=False)
    assert site.attach(volume, B).generation > left.generation
    assert site.hypervisor.truth().holders == {left.disk_uuid: B}
    assert "taken from a machine that is switched off" in site.log.events("warning")
    site.check_settled()


def test_what_the_host_that_was_off_still_says_is_stale(site: Site, volume: VolumeId) -> None:
    left = site.attach(volume)
    site.hypervisor.power(A, running=False)
    site.attach(volume, B)
    site.hypervisor.power(A, running=True)
    with pytest.raises(StaleRequest):
        site.ask(Mark(volume, left.generation, Content.FORMATTING, uuid4()))
    site.detach(left)
    assert site.hypervisor.truth().holders == {left.disk_uuid: B}


def test_a_host_that_is_switched_on_at_that_moment_keeps_its_disk(site: Site, volume: VolumeId) -> None:
    left = site.attach(volume)
    site.hypervisor.power(A, running=False)
    site.hypervisor.fail(VolumeInUse("host-a is switched on"))
    site.agents[A] = lambda wanted: site.hypervisor.power(A, running=True)
    with pytest.raises(VolumeInUse, match="host-a"):
        site.attach(volume, B)
    assert site.hypervisor.truth().holders == {left.disk_uuid: A}
    assert site.record(volume).generation == left.generation
    site.check_settled()


def test_off_is_no_proof_while_the_list_of_that_host_is_not_read(site: Site, volume: VolumeId) -> None:
    left = site.attach(volume)
    site.hypervisor.power(A, running=False)
    site.hypervisor.unread(A)
    with pytest.raises(TruthUnknown, match="may be on host-a"):
        site.attach(volume, B)
    assert site.hypervisor.truth().holders == {left.disk_uuid: A}


def test_a_snapshot_of_a_host_that_is_off_keeps_the_disk(site: Site, volume: VolumeId) -> None:
    snapped = site.create("snapped", attach_as="persistent").id
    site.attach(snapped)
    site.hypervisor.snapshot(A, "before the upgrade")
    site.hypervisor.power(A, running=False)
    with pytest.raises(SnapshotPresent, match="before the upgrade"):
        site.attach(snapped, B)


def test_an_answer_that_leaves_a_host_out_does_not_say_that_it_has_nothing(site: Site, volume: VolumeId) -> None:
    left = site.attach(volume)
    site.hypervisor.leaves_out = {A}
    with pytest.raises(TruthUnknown, match="may be on host-a"):
        site.attach(volume, B)
    with pytest.raises(TruthUnknown):
        site.detach(left)
    with pytest.raises(TruthUnknown):
        site.ask(ListAttached())
    with pytest.raises(TruthUnknown, match="may be on host-a"):
        site.remove(volume, B)
    assert site.hypervisor.truth().holders == {left.disk_uuid: A}


def test_a_short_deadline_ends_the_wait(unhurried: Site) -> None:
    volume = unhurried.create("db").id
    unhurried.attach(volume)
    began = unhurried.clock.monotonic()
    with pytest.raises((VolumeInUse, StillWorking)):
        unhurried.ask(Attach(volume), B, seconds=2.0)
    assert unhurried.clock.monotonic() - began < 7.0


def test_the_owner_is_checked_before_any_change(site: Site, volume: VolumeId) -> None:
    """D9: attaching a disk that a running VM holds can freeze it."""
    site.attach(volume)
    site.hypervisor.refuse(AssertionError("a change was submitted"))  # type: ignore[arg-type]
    with pytest.raises(VolumeInUse):
        site.attach(volume, B)


def test_a_disk_that_was_attached_by_hand_is_in_use_whatever_the_record_says(site: Site, volume: VolumeId) -> None:
    """D4: the device lists are the truth, the record is a hint where to look."""
    record = site.record(volume)
    assert record.last_vm is None
    site.hypervisor.submit(AttachDisk(B, disk_ref(record), "independent_persistent"), uuid4())
    site.hypervisor.refuse(AssertionError("a change was submitted"))  # type: ignore[arg-type]

    with pytest.raises(VolumeInUse, match="host-b"):
        site.attach(volume)


@pytest.mark.parametrize("what", ["attach", "mark"])
def test_another_vmgroups_volume_does_not_exist(site: Site, what: str) -> None:
    """I7: whoever learned an id of another tenant's can do nothing with it."""
    site.store = MemoryStore(site.clock, {B: Vmgroup(VmgroupId(uuid4()), "other", None)})
    site.restart()
    volume = site.create("db").id
    generation = site.record(volume).generation
    request = Attach(volume) if what == "attach" else Mark(volume, generation, Content.FORMATTING, uuid4())

    with pytest.raises(VolumeNotFound):
        site.ask(request, B)

    assert site.record(volume).content is Content.UNFORMATTED
    assert site.hypervisor.truth().holders == {}


def test_another_vmgroup_does_not_wait_for_a_volume_that_is_made_nor_sees_it_settled(site: Site) -> None:
    """I7: a wait would tell that there is such a volume, and so would its text."""
    site.store = MemoryStore(site.clock, {B: Vmgroup(VmgroupId(uuid4()), "other", None)})
    site.restart()
    site.hypervisor.takes(CreateDisk, 5000.0)
    site.leave(CreateVolume(VolumeRef.parse("db"), CreateOptions.parse({})))
    (intent,) = site.store.open_intents()

    began = site.clock.monotonic()

    with pytest.raises(VolumeNotFound):
        site.ask(Attach(intent.volume), B)
    with pytest.raises(VolumeNotFound):
        site.ask(Mark(intent.volume, 1, Content.FORMATTED, uuid4()), B)
    assert site.ask(Detach(intent.volume, 1), B) == Done()
    assert site.ask(RemoveVolume(intent.volume), B) == Done()

    assert [each.id for each in site.store.open_intents()] == [intent.id]
    # The disk is being made for ten times as long.
    assert site.clock.monotonic() - began < 500.0


def test_a_silent_vm_that_may_have_the_disk_stops_the_attach(site: Site, volume: VolumeId) -> None:
    site.attach(volume)
    site.hypervisor.unread(A)
    with pytest.raises(TruthUnknown, match="may be on host-a"):
        site.attach(volume, B)


def test_a_silent_vm_that_had_no_part_stops_nothing(site: Site, volume: VolumeId) -> None:
    """Corrections 38."""
    site.hypervisor.unread(A)
    assert site.attach(volume, B).volume == volume


def test_a_vm_that_gave_the_disk_back_is_no_suspect_any_more(site: Site, volume: VolumeId) -> None:
    site.detach(site.attach(volume))
    site.hypervisor.unread(A)
    assert site.attach(volume, B).volume == volume


def test_an_unknown_volume_is_not_found(site: Site) -> None:
    with pytest.raises(VolumeNotFound):
        site.attach(VolumeId(uuid4()))


def test_a_removed_volume_is_not_found() -> None:
    site = Site(retention_s=100.0)
    volume = site.create("db").id
    site.remove(volume)
    with pytest.raises(VolumeNotFound):
        site.attach(volume)


@pytest.mark.parametrize(("state", "error"), [(State.LOST, VolumeLost), (State.DAMAGED, CheckFailed)])
def test_a_volume_at_risk_is_not_attached(site: Site, volume: VolumeId, state: State, error: type[Exception]) -> None:
    record = site.record(volume)
    site.store.update(replace(record, state=state), expect=record.generation)
    with pytest.raises(error, match="volume db|of volume db"):
        site.attach(volume)


def test_a_full_vm_says_so_and_nothing_is_open(site: Site) -> None:
    for number in range(60):
        site.attach(site.create(f"v{number}").id)
    with pytest.raises(NoFreeSlot):
        site.attach(site.create("one-more").id)
    site.check_settled()


def test_a_missing_disk_is_no_attach(site: Site, volume: VolumeId) -> None:
    site.hypervisor.lose(disk_path(site.record(volume)))
    with pytest.raises(VolumeLost):
        site.attach(volume)
    assert not site.store.open_intents()


@pytest.mark.parametrize("seconds", [0.0, 3.0])
def test_a_failed_attach_leaves_the_record_as_it_was(site: Site, volume: VolumeId, seconds: float) -> None:
    before = site.record(volume)
    site.hypervisor.takes(AttachDisk, seconds)
    site.hypervisor.fail(NoFreeSlot("full"))
    with pytest.raises(NoFreeSlot):
        site.attach(volume)
    assert site.record(volume) == before


def test_a_lost_answer_to_an_attach_that_was_done_is_a_success(site: Site, volume: VolumeId) -> None:
    site.hypervisor.lose_answer(done=True)
    assert site.attach(volume).volume == volume


def test_an_attach_whose_answer_was_lost_does_not_land_after_it_was_undone(site: Site, volume: VolumeId) -> None:
    """I2: seen on no VM while its task runs, it would come to A after B was told that the disk is free."""
    # Long enough on a busy machine, too: A is answered while it runs.
    site.hypervisor.takes(AttachDisk, 100.0)
    site.hypervisor.lose_answer(done=True)
    site.agents[A] = lambda _: gives_back(site)
    with pytest.raises(OutcomeUnknown):
        site.attach(volume, A)

    site.attach(volume, B)

    assert set(site.hypervisor.truth().holders.values()) == {B}
    site.check_settled()


def gives_back(site: Site) -> None:
    for told in site.ask(ListAttached(), A).attachments:
        site.detach(told, A)


def test_a_lost_answer_to_an_attach_that_never_came_can_be_repeated(site: Site, volume: VolumeId) -> None:
    site.hypervisor.lose_answer(done=False)
    with pytest.raises(OutcomeUnknown):
        site.attach(volume)
    assert site.attach(volume).volume == volume


def test_a_slow_attach_goes_on_and_the_repeat_joins(site: Site, volume: VolumeId) -> None:
    site.hypervisor.takes(AttachDisk, 20.0)
    site.leave(Attach(volume))
    assert site.attach(volume).generation == 2


def test_an_attach_that_ends_after_its_own_deadline_is_found_by_the_next() -> None:
    site = Site(hurry=400.0)
    volume = site.create("db").id
    site.hypervisor.takes(AttachDisk, 1.5 * WORK_S)
    with pytest.raises(StillWorking):
        site.attach(volume)
    assert site.attach(volume).volume == volume
    site.check_settled()


# --- detach ------------------------------------------------------------------------------------------------------


def test_a_detached_disk_is_on_no_vm(site: Site, volume: VolumeId) -> None:
    site.detach(site.attach(volume))
    assert site.hypervisor.truth().holders == {}


def test_a_repeated_detach_is_a_success(site: Site, volume: VolumeId) -> None:
    attachment = site.attach(volume)
    site.detach(attachment)
    site.detach(attachment)


def test_a_detach_of_a_volume_that_is_gone_is_a_success(site: Site) -> None:
    site.ask(Detach(VolumeId(uuid4()), 1))


def test_an_older_detach_is_refused(site: Site, volume: VolumeId) -> None:
    """F32: a Detach that comes late must not pull the disk of a newer Mount."""
    old = site.attach(volume)
    site.attach(volume)
    with pytest.raises(StaleRequest):
        site.detach(old)
    assert site.hypervisor.truth().holders == {old.disk_uuid: A}


def test_a_late_detach_of_another_host_pulls_nothing(site: Site, volume: VolumeId) -> None:
    old = site.attach(volume)
    site.detach(old)
    new = site.attach(volume, B)
    site.detach(replace(new, generation=old.generation))
    assert site.hypervisor.truth().holders == {old.disk_uuid: B}


def test_a_mounted_disk_stays_and_the_same_detach_works_later(site: Site, volume: VolumeId) -> None:
    attachment = site.attach(volume)
    site.hypervisor.guest_uses(attachment.disk_uuid)
    with pytest.raises(StillMounted):
        site.detach(attachment)
    assert site.hypervisor.truth().holders == {attachment.disk_uuid: A}
    site.hypervisor.guest_uses(attachment.disk_uuid, using=False)
    site.detach(attachment)
    assert site.hypervisor.truth().holders == {}


def test_a_disk_in_a_snapshot_stays(site: Site) -> None:
    """F19: the text names the snapshot."""
    volume = site.create("db", attach_as="persistent").id
    attachment = site.attach(volume)
    site.hypervisor.snapshot(A, "before-upgrade")
    with pytest.raises(SnapshotPresent, match="'before-upgrade' of host-a contains volume db"):
        site.detach(attachment)
    assert not site.store.open_intents()


def test_a_list_that_cannot_be_read_is_no_detach(site: Site, volume: VolumeId) -> None:
    attachment = site.attach(volume)
    site.hypervisor.unread(A)
    with pytest.raises(TruthUnknown):
        site.detach(attachment)


@pytest.mark.parametrize("done", [True, False])
def test_a_lost_answer_to_a_detach_is_settled(site: Site, volume: VolumeId, done: bool) -> None:
    attachment = site.attach(volume)
    site.hypervisor.lose_answer(done=done)
    try:
        site.detach(attachment)
    except OutcomeUnknown:
        site.detach(attachment)
    assert site.hypervisor.truth().holders == {}


def test_a_slow_detach_goes_on(site: Site, volume: VolumeId) -> None:
    attachment = site.attach(volume)
    site.hypervisor.takes(DetachDisk, 20.0)
    site.leave(Detach(volume, attachment.generation))
    site.detach(attachment)
    assert site.hypervisor.truth().holders == {}


def test_open_work_tells_no_generation_before_its_end(site: Site, volume: VolumeId) -> None:
    attachment = site.attach(volume)
    site.hypervisor.takes(DetachDisk, 20.0)
    site.leave(Detach(volume, attachment.generation))
    (told,) = site.ask(ListAttached()).attachments
    assert told.generation == attachment.generation


# --- mark --------------------------------------------------------------------------------------------------------

UUID_1, UUID_2 = UUID(int=101), UUID(int=102)


def mark(site: Site, attachment: Attachment, content: Content, uuid: UUID | None, damage: str | None = None) -> None:
    site.ask(Mark(attachment.volume, attachment.generation, content, uuid, damage))


def test_a_mark_is_in_record_and_sidecar_when_it_is_answered(site: Site, volume: VolumeId) -> None:
    mark(site, site.attach(volume), Content.FORMATTING, UUID_1)
    record = site.record(volume)
    assert (record.content, record.filesystem_uuid) == (Content.FORMATTING, UUID_1)
    assert site.copy_of(record) == record


def test_a_mark_leaves_the_generation(site: Site, volume: VolumeId) -> None:
    attachment = site.attach(volume)
    mark(site, attachment, Content.FORMATTING, UUID_1)
    mark(site, attachment, Content.FORMATTED, UUID_1)
    site.detach(attachment)


def test_a_repeated_mark_is_a_success(site: Site, volume: VolumeId) -> None:
    attachment = site.attach(volume)
    mark(site, attachment, Content.FORMATTING, UUID_1)
    mark(site, attachment, Content.FORMATTING, UUID_1)


def test_a_mark_whose_sidecar_fails_is_not_answered_and_its_repeat_writes_it(site: Site, volume: VolumeId) -> None:
    """C6: mkfs waits for both copies."""
    attachment = site.attach(volume)

    site.hypervisor.sidecars_fail = NoSpace("no room for the sidecar")
    with pytest.raises(NoSpace):
        mark(site, attachment, Content.FORMATTING, UUID_1)
    site.hypervisor.sidecars_fail = None
    mark(site, attachment, Content.FORMATTING, UUID_1)
    assert site.copy_of(site.record(volume)).content is Content.FORMATTING


BLANK, MAKING, MADE = Content.UNFORMATTED, Content.FORMATTING, Content.FORMATTED
REFUSED = [
    pytest.param([], (MADE, UUID_1), StaleRequest, id="formatted-without-formatting"),
    pytest.param([], (MAKING, None), BadRequest, id="formatting-without-a-uuid"),
    pytest.param([(MAKING, UUID_1)], (MADE, UUID_2), StaleRequest, id="another-uuid-than-announced"),
    pytest.param([(MAKING, UUID_1)], (MADE, None), BadRequest, id="formatted-without-a-uuid"),
    pytest.param([(MAKING, UUID_1), (MADE, UUID_1)], (BLANK, None), StaleRequest, id="formatted-is-final"),
    pytest.param([(MAKING, UUID_1), (MADE, UUID_1)], (MAKING, UUID_2), StaleRequest, id="no-second-mkfs"),
    pytest.param([(MAKING, UUID_1), (MADE, UUID_1)], (MADE, UUID_2), StaleRequest, id="another-file-system"),
]


@pytest.mark.parametrize(("before", "asked", "error"), REFUSED)
def test_content_goes_forward_only(
    site: Site,
    volume: VolumeId,
    before: list[tuple[Content, UUID | None]],
    asked: tuple[Content, UUID | None],
    error: type[Exception],
) -> None:
    """I1: nothing marks a disk blank that was handed to a container once."""
    attachment = site.attach(volume)
    for content, uuid in before:
        mark(site, attachment, content, uuid)
    known = site.record(volume)
    with pytest.raises(error):
        mark(site, attachment, *asked)
    assert site.record(volume) == known


def test_a_blanked_disk_goes_back_to_unformatted(site: Site, volume: VolumeId) -> None:
    attachment = site.attach(volume)
    mark(site, attachment, MAKING, UUID_1)
    mark(site, attachment, BLANK, None)
    assert site.record(volume).filesystem_uuid is None


def test_a_clone_gets_its_own_uuid_once(site: Site) -> None:
    site.format(site.create("src").id)
    attachment = site.attach(site.create("copy", clone_from="src").id)
    mark(site, attachment, MADE, UUID_1)
    with pytest.raises(StaleRequest):
        mark(site, attachment, MADE, UUID_2)


def test_damage_keeps_the_content_and_stops_the_next_attach(site: Site, volume: VolumeId) -> None:
    site.format(volume)
    attachment = site.attach(volume)
    mark(site, attachment, attachment.content, attachment.filesystem_uuid, damage="e2fsck: exit 4")
    assert (site.record(volume).state, site.record(volume).content) == (State.DAMAGED, MADE)
    site.detach(attachment)
    with pytest.raises(CheckFailed):
        site.attach(volume)


def test_damage_on_a_clone_before_its_first_mount_can_be_told(site: Site) -> None:
    site.format(site.create("src").id)
    attachment = site.attach(site.create("copy", clone_from="src").id)
    mark(site, attachment, MADE, None, damage="e2fsck: exit 4")
    assert site.record(attachment.volume).state is State.DAMAGED


def test_an_older_mark_is_refused(site: Site, volume: VolumeId) -> None:
    old = site.attach(volume)
    site.attach(volume)
    with pytest.raises(StaleRequest):
        mark(site, old, MAKING, UUID_1)


def test_a_host_that_has_not_the_disk_marks_nothing(site: Site, volume: VolumeId) -> None:
    attachment = site.attach(volume, A)
    with pytest.raises(StaleRequest):
        site.ask(Mark(volume, attachment.generation, MAKING, UUID_1), B)


def test_another_datastores_trouble_is_no_concern(site: Site, volume: VolumeId) -> None:
    site.hypervisor.fill(DS1)
    mark(site, site.attach(volume), MAKING, UUID_1)


def test_nothing_is_remembered_of_volumes_that_nobody_waits_for(site: Site) -> None:
    for count in range(3):
        volume = site.create(f"db{count}").id
        site.ask(Attach(volume))

    assert vars(site.verbs.handover)["_changes"] == {}
