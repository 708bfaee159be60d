"""A disk is taken from a machine on proof or on a person's word, never else; what its last holder says then is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from tests.unit.esx.admin_site import AdminSite
from tests.unit.esx.site import A, B
from vmdkvol.admin_errors import ProofNeeded
from vmdkvol.errors import (
    Busy,
    MetadataDamaged,
    SnapshotPresent,
    StaleRequest,
    StillMounted,
    TruthUnknown,
    VolumeInUse,
    VolumeNotFound,
)
from vmdkvol.messages import Detach, Mark
from vmdkvol.orders import Outcome
from vmdkvol.volume import Attachment, Content, State, VmId, VolumeId
from vmdkvol.volume_orders import DetachVolume, InspectVolume
from vmdkvol_esx.paths import disk_ref
from vmdkvol_esx.ports import AttachDisk, DetachDisk

WORD = "host-a"


@pytest.fixture
def site() -> AdminSite:
    return AdminSite()


@pytest.fixture
def volume(site: AdminSite) -> VolumeId:
    volume = site.create("db").id
    site.format(volume)
    return volume


@pytest.fixture
def held(site: AdminSite, volume: VolumeId) -> Attachment:
    return site.attach(volume)


def detach(site: AdminSite, volume: VolumeId, **more: Any) -> Outcome:
    outcome: Outcome = site.order(DetachVolume(volume=str(volume), **more))
    return outcome


def force(site: AdminSite, volume: VolumeId, word: str = "", **more: Any) -> Outcome:
    return detach(site, volume, force=True, i_know=word, **more)


def holders(site: AdminSite) -> list[VmId]:
    return list(site.hypervisor.truth().holders.values())


def must_check(site: AdminSite, volume: VolumeId) -> bool:
    found = site.order(InspectVolume(volume=str(volume)))
    return bool(found.row.must_check)


# --- never without proof or word ---------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["", "host-b", "HOST-A", " host-a", "host", "*", "yes", str(B), "x" * 100_000, "\n"])
def test_from_a_running_machine_nothing_is_taken_without_its_name(site: AdminSite, held: Attachment, word: str) -> None:
    before = site.record(held.volume)
    with pytest.raises(ProofNeeded, match="host-a") as told:
        force(site, held.volume, word)
    assert len(str(told.value)) <= 300
    assert (holders(site), site.record(held.volume)) == ([A], before)


def test_a_dry_run_needs_the_word_too(site: AdminSite, held: Attachment) -> None:
    with pytest.raises(ProofNeeded):
        force(site, held.volume, dry_run=True)


def test_from_a_machine_that_does_not_answer_nothing_is_taken_without_its_name(site: AdminSite, held: Attachment) -> None:
    """Isolated or suspended it may write this moment: silence proves nothing."""
    site.hypervisor.unread(A)
    before = site.record(held.volume)
    with pytest.raises(ProofNeeded, match="does not answer"):
        force(site, held.volume)
    assert site.record(held.volume) == before


def test_the_word_for_another_volume_s_machine_counts_for_nothing(site: AdminSite, held: Attachment) -> None:
    other = site.create("other").id
    site.attach(other, B)
    with pytest.raises(ProofNeeded):
        force(site, other, WORD)
    assert sorted(map(str, holders(site))) == sorted(map(str, (A, B)))


def test_what_somebody_attached_by_hand_elsewhere_needs_that_machine_s_name(site: AdminSite, held: Attachment) -> None:
    ref = disk_ref(site.record(held.volume))
    site.hypervisor.submit(DetachDisk(A, ref), uuid4())
    site.hypervisor.submit(AttachDisk(B, ref, "persistent"), uuid4())
    with pytest.raises(ProofNeeded, match="host-b"):
        force(site, held.volume, WORD)
    assert holders(site) == [B]


def test_with_a_snapshot_nothing_is_taken(site: AdminSite) -> None:
    volume = site.create("snapped", attach_as="persistent").id
    site.attach(volume)
    site.hypervisor.snapshot(A, "before-upgrade")
    with pytest.raises(SnapshotPresent):
        force(site, volume, WORD)
    assert holders(site) == [A]


def test_what_the_hypervisor_itself_refuses_stays(site: AdminSite, held: Attachment) -> None:
    site.hypervisor.guest_uses(held.disk_uuid)
    before = site.record(held.volume)
    with pytest.raises(StillMounted):
        force(site, held.volume, WORD)
    assert (holders(site), site.record(held.volume)) == ([A], before)
    site.check_settled()


def test_a_volume_in_doubt_is_left_alone(site: AdminSite, held: Attachment) -> None:
    record = site.record(held.volume)
    site.verbs.parts.doubts.newer_sidecar(record, record.generation + 9)
    with pytest.raises(MetadataDamaged):
        force(site, held.volume, WORD)
    assert holders(site) == [A]


def test_an_order_for_an_older_revision_takes_nothing(site: AdminSite, held: Attachment) -> None:
    with pytest.raises(StaleRequest):
        force(site, held.volume, WORD, expect=held.generation - 1)
    assert holders(site) == [A]


def test_no_such_volume_is_said(site: AdminSite) -> None:
    with pytest.raises(VolumeNotFound):
        force(site, VolumeId(uuid4()), WORD)


def test_a_volume_that_is_being_made_is_not_detached(site: AdminSite, volume: VolumeId) -> None:
    record = site.record(volume)
    site.store.update(replace(record, state=State.PREPARING), expect=record.generation)
    with pytest.raises(Busy):
        force(site, volume)


# --- with the word -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", [WORD, str(A)])
def test_with_its_name_the_disk_leaves_a_running_machine(site: AdminSite, held: Attachment, word: str) -> None:
    told = force(site, held.volume, word)
    assert (holders(site), told.done) == ([], True)
    assert "host-a has not written" in (told.plan.loses or "")
    assert site.record(held.volume).last_vm is None
    site.check_settled()


def test_the_plan_of_a_dry_run_is_that_of_the_real_run(site: AdminSite, held: Attachment) -> None:
    before = site.record(held.volume)
    dry = force(site, held.volume, WORD, dry_run=True)
    assert (site.record(held.volume), holders(site), dry.done) == (before, [A], False)
    assert force(site, held.volume, WORD).plan == dry.plan


def test_what_the_old_holder_still_asks_is_refused(site: AdminSite, held: Attachment) -> None:
    force(site, held.volume, WORD)
    after = site.record(held.volume)
    with pytest.raises(StaleRequest):
        site.ask(Mark(held.volume, held.generation, Content.FORMATTED, held.filesystem_uuid))
    attached = site.attach(held.volume, B)
    site.ask(Detach(held.volume, held.generation), A)
    assert holders(site) == [B]
    assert attached.generation > after.generation > held.generation


def test_the_next_mount_checks_the_whole_file_system(site: AdminSite, held: Attachment) -> None:
    """As of a clone: formatted, with no UUID on record but those that it may have."""
    uuid = held.filesystem_uuid
    assert not must_check(site, held.volume)
    force(site, held.volume, WORD)
    assert must_check(site, held.volume)
    attached = site.attach(held.volume, B)
    assert (attached.content, attached.filesystem_uuid, attached.copied_uuids) == (Content.FORMATTED, None, (uuid,))
    assert site.copy_of(site.record(held.volume)).copied_uuids == (uuid,)


def test_the_check_stays_due_until_it_was_done(site: AdminSite, held: Attachment) -> None:
    force(site, held.volume, WORD)
    second = site.attach(held.volume, B)
    force(site, held.volume, "host-b")
    assert must_check(site, held.volume)
    third = site.attach(held.volume)
    assert third.copied_uuids == second.copied_uuids
    new = uuid4()
    site.ask(Mark(held.volume, third.generation, Content.FORMATTED, new))
    assert not must_check(site, held.volume)
    assert site.record(held.volume).filesystem_uuid == new


def test_a_disk_that_never_had_a_file_system_has_nothing_to_check(site: AdminSite) -> None:
    volume = site.create("empty").id
    site.attach(volume)
    force(site, volume, WORD)
    assert not must_check(site, volume)
    assert site.record(volume).content is Content.UNFORMATTED


def test_an_unfinished_mkfs_is_made_anew_and_not_kept(site: AdminSite) -> None:
    volume = site.create("half").id
    attached = site.attach(volume)
    uuid = uuid4()
    site.ask(Mark(volume, attached.generation, Content.FORMATTING, uuid))
    force(site, volume, WORD)
    assert (site.record(volume).content, site.record(volume).filesystem_uuid) == (Content.FORMATTING, uuid)
    with pytest.raises(StaleRequest):
        site.ask(Mark(volume, attached.generation, Content.FORMATTED, uuid))


def test_forced_again_it_holds_already(site: AdminSite, held: Attachment) -> None:
    force(site, held.volume, WORD)
    before = site.record(held.volume)
    told = force(site, held.volume, WORD)
    assert (told.plan.steps, told.done, site.record(held.volume)) == ((), True, before)


def test_a_machine_that_does_not_answer_is_fenced_off_by_the_word(site: AdminSite, held: Attachment) -> None:
    """F38: the word raises the generation; the disk's own lock still keeps a second writer off."""
    site.hypervisor.unread(A)
    force(site, held.volume, WORD)
    assert site.record(held.volume).last_vm is None
    assert holders(site) == [A]
    with pytest.raises(VolumeInUse):
        site.attach(held.volume, B)
    site.check()


# --- with proof --------------------------------------------------------------------------------------------------


def test_from_a_machine_that_is_off_it_is_taken_without_a_word(site: AdminSite, held: Attachment) -> None:
    site.hypervisor.power(A, running=False)
    told = force(site, held.volume)
    assert (holders(site), told.plan.loses, must_check(site, held.volume)) == ([], None, True)


def test_a_machine_that_is_switched_on_at_that_moment_keeps_it(site: AdminSite, held: Attachment) -> None:
    site.hypervisor.power(A, running=False)
    site.restart(lambda point: site.hypervisor.power(A, running=True) if point.value == "esx.sever.begun" else None)
    before = site.record(held.volume)
    with pytest.raises(VolumeInUse):
        force(site, held.volume)
    assert (holders(site), site.record(held.volume)) == ([A], before)


def test_of_a_machine_that_is_gone_only_the_fence_is_needed(site: AdminSite, held: Attachment) -> None:
    site.hypervisor.submit(DetachDisk(A, disk_ref(site.record(held.volume))), uuid4())
    site.hypervisor.destroy_vm(A)
    told = force(site, held.volume)
    assert (told.done, site.record(held.volume).last_vm, must_check(site, held.volume)) == (True, None, True)
    assert site.record(held.volume).generation == held.generation + 1


def test_on_no_machine_by_the_hypervisor_s_word_it_needs_no_other(site: AdminSite, held: Attachment) -> None:
    site.hypervisor.submit(DetachDisk(A, disk_ref(site.record(held.volume))), uuid4())
    assert force(site, held.volume).done
    assert must_check(site, held.volume)


def test_a_volume_that_nobody_had_is_left_as_it_is(site: AdminSite, volume: VolumeId) -> None:
    before = site.record(volume)
    assert force(site, volume).plan.steps == ()
    assert site.record(volume) == before


# --- asked back --------------------------------------------------------------------------------------------------


def test_a_disk_that_only_lingers_is_given_back(site: AdminSite, held: Attachment) -> None:
    site.agents[A] = lambda volume: site.detach(held)
    told = detach(site, held.volume, expect=held.generation)
    assert (holders(site), told.done) == ([], True)
    assert [step.verb for step in told.plan.steps] == ["detach-volume"]
    assert not must_check(site, held.volume)


def test_a_disk_in_use_stays(site: AdminSite, held: Attachment) -> None:
    with pytest.raises(VolumeInUse, match="host-a"):
        detach(site, held.volume)
    assert holders(site) == [A]


def test_a_dry_run_asks_nobody(site: AdminSite, held: Attachment) -> None:
    told = detach(site, held.volume, dry_run=True)
    assert (site.wanted, len(told.plan.steps), told.done) == ([], 1, False)


def test_a_silent_machine_is_not_taken_for_one_without_the_disk(site: AdminSite, held: Attachment) -> None:
    site.hypervisor.unread(A)
    with pytest.raises(TruthUnknown):
        detach(site, held.volume)


def test_on_no_machine_there_is_nothing_to_do(site: AdminSite, volume: VolumeId) -> None:
    assert detach(site, volume).plan.steps == ()
