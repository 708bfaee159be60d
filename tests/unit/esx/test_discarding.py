"""Volumes into the trash and for good out of it by an order, and what keeps them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from tests.unit.esx.admin_site import AdminSite
from tests.unit.esx.site import DS1, DS2, A, B
from vmdkvol.admin_errors import ProofNeeded
from vmdkvol.errors import (
    CheckFailed,
    Conflict,
    MetadataDamaged,
    NoSpace,
    NotPermitted,
    StaleRequest,
    TruthUnknown,
    VolumeInUse,
    VolumeLost,
    VolumeNotFound,
)
from vmdkvol.messages import Attach
from vmdkvol.orders import Actor, Outcome, Role
from vmdkvol.orphan_messages import ListOrphans, Mending, MendOrphan, Orphan, OrphanKind
from vmdkvol.volume import State, VolumeId
from vmdkvol.volume_orders import DestroyVolume, RestoreVolume, TrashVolume
from vmdkvol_esx.paths import disk_path, disk_ref
from vmdkvol_esx.ports import AttachDisk


@pytest.fixture
def site() -> AdminSite:
    return AdminSite()


@pytest.fixture
def volume(site: AdminSite) -> VolumeId:
    volume = site.create("db", size="1gb").id
    site.format(volume)
    return volume


def trash(site: AdminSite, volume: object = "db", **more: Any) -> Outcome:
    outcome: Outcome = site.order(TrashVolume(volume=str(volume), **more))
    return outcome


OPERATOR = Actor("olga", Role.OPERATOR, "192.0.2.7")


def destroy(site: AdminSite, volume: object = "db", word: str = "db", **more: Any) -> Outcome:
    outcome: Outcome = site.order(DestroyVolume(volume=str(volume), i_know=word, **more))
    return outcome


def put(site: AdminSite, volume: VolumeId, state: State) -> None:
    record = site.record(volume)
    site.store.update(replace(record, state=state), expect=record.generation)


def nothing_is_left(site: AdminSite) -> bool:
    truth = site.hypervisor.truth()
    return not site.records() and not truth.disks and not truth.sidecars and not site.store.open_intents()


# --- into the trash ----------------------------------------------------------------------------------------------


def test_a_trashed_volume_is_kept_and_its_name_is_free(site: AdminSite, volume: VolumeId) -> None:
    told = trash(site)
    record = site.record(volume)
    assert (record.state, told.revision, told.plan.loses) == (State.TRASHED, record.generation, None)
    assert site.copy_of(record).state is State.TRASHED
    assert site.create("db").id != volume


def test_trashed_again_it_holds_already(site: AdminSite, volume: VolumeId) -> None:
    trash(site, volume)
    before = site.record(volume)
    assert trash(site, volume).plan.steps == ()
    assert site.record(volume) == before


def test_without_retention_the_plan_says_what_is_lost_and_it_is_gone() -> None:
    site = AdminSite(retention_s=0.0)
    volume = site.create("db", size="1gb").id
    assert trash(site, dry_run=True).plan.loses == "all that is on volume db (1gb)"
    told = trash(site)
    assert (told.done, told.revision, told.subject) == (True, None, str(volume))
    assert nothing_is_left(site)


def test_a_dry_run_makes_the_plan_and_changes_nothing(site: AdminSite, volume: VolumeId) -> None:
    before = site.record(volume)
    dry = trash(site, dry_run=True)
    assert (site.record(volume), dry.done) == (before, False)
    assert trash(site).plan == dry.plan


def test_a_mounted_volume_stays(site: AdminSite, volume: VolumeId) -> None:
    site.attach(volume, B)
    with pytest.raises(VolumeInUse, match="host-b"):
        trash(site)
    assert site.record(volume).state is State.READY


def test_a_volume_that_lingers_is_asked_for_and_goes(site: AdminSite, volume: VolumeId) -> None:
    held = site.attach(volume)
    site.agents[A] = lambda _: site.detach(held)
    told = trash(site, expect=held.generation)
    assert [step.verb for step in told.plan.steps] == ["detach-volume", "trash-volume"]
    assert site.record(volume).state is State.TRASHED


def test_a_volume_on_a_machine_that_does_not_answer_stays(site: AdminSite, volume: VolumeId) -> None:
    site.attach(volume)
    site.hypervisor.unread(A)
    with pytest.raises(TruthUnknown):
        trash(site)
    assert site.record(volume).state is State.READY


def test_a_disk_that_somebody_else_uses_stays(site: AdminSite, volume: VolumeId) -> None:
    site.hypervisor.strangers[site.record(volume).disk_uuid] = "backup"
    for dry_run in (True, False):
        with pytest.raises(VolumeInUse, match="backup"):
            trash(site, dry_run=dry_run)
    assert site.record(volume).state is State.READY


def test_an_order_for_an_older_revision_is_refused(site: AdminSite, volume: VolumeId) -> None:
    with pytest.raises(StaleRequest):
        trash(site, expect=site.record(volume).generation - 1)
    assert site.record(volume).state is State.READY


def test_on_a_full_datastore_nothing_changes(site: AdminSite, volume: VolumeId) -> None:
    site.hypervisor.sidecars_fail = NoSpace("full")
    with pytest.raises(NoSpace):
        trash(site)
    assert site.record(volume).state is State.READY


@pytest.mark.parametrize(("state", "error"), [(State.LOST, VolumeLost), (State.DAMAGED, CheckFailed)])
def test_a_lost_or_damaged_volume_has_its_own_order(
    site: AdminSite, volume: VolumeId, state: State, error: type[Exception]
) -> None:
    put(site, volume, state)
    with pytest.raises(error):
        trash(site)
    assert site.record(volume).state is state


def test_a_volume_in_doubt_stays(site: AdminSite, volume: VolumeId) -> None:
    record = site.record(volume)
    site.verbs.parts.doubts.newer_sidecar(record, record.generation + 5)
    with pytest.raises(MetadataDamaged):
        trash(site)


def test_no_such_volume_is_said(site: AdminSite) -> None:
    for order in (trash, destroy):
        with pytest.raises(VolumeNotFound):
            order(site, "nothing")


# --- for good ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["", "DB", "db ", "yes", "x" * 10_000, "*"])
def test_without_its_name_nothing_is_destroyed(site: AdminSite, volume: VolumeId, word: str) -> None:
    trash(site)
    with pytest.raises(ProofNeeded):
        destroy(site, volume, word)
    assert site.hypervisor.content(site.record(volume).disk_uuid) == f"data of {volume}"


def test_with_its_name_it_is_gone_at_once(site: AdminSite, volume: VolumeId) -> None:
    trash(site)
    told = destroy(site)
    assert (told.plan.loses, told.done) == ("all that is on volume db (1gb), for good", True)
    assert nothing_is_left(site)


def test_a_dry_run_needs_no_word_and_destroys_nothing(site: AdminSite, volume: VolumeId) -> None:
    trash(site)
    before = site.record(volume)
    dry = destroy(site, word="", dry_run=True)
    assert site.record(volume) == before
    assert destroy(site).plan == dry.plan


def test_a_live_volume_is_not_destroyed(site: AdminSite, volume: VolumeId) -> None:
    with pytest.raises(Conflict, match="only what is in the trash"):
        destroy(site)
    assert site.record(volume).state is State.READY


def test_of_two_of_one_name_none_is_destroyed_until_its_id_says_which(site: AdminSite, volume: VolumeId) -> None:
    trash(site)
    live = site.create("db").id
    with pytest.raises(Conflict, match=f"2 volumes have the name 'db': {live} of '_DEFAULT', {volume} of '_DEFAULT', trashed"):
        destroy(site, "db")
    assert {record.id for record in site.records()} == {volume, live}
    destroy(site, volume)
    assert [record.id for record in site.records()] == [live]


def test_of_an_adopted_volume_the_plan_says_that_its_disk_stays(site: AdminSite, volume: VolumeId) -> None:
    record = site.record(volume)
    adopted = replace(
        record, adopted=str(disk_path(record)), state=State.TRASHED, trashed_at=1.0, generation=record.generation + 1
    )
    site.store.update(adopted, expect=record.generation)
    (step,) = destroy(site, dry_run=True).plan.steps
    assert step.after == f"its disk stays at {disk_path(record)}"


def test_a_damaged_volume_is_destroyed_by_the_word(site: AdminSite, volume: VolumeId) -> None:
    put(site, volume, State.DAMAGED)
    destroy(site)
    assert nothing_is_left(site)


@pytest.mark.parametrize("state", [State.DAMAGED, State.TRASHED])
def test_what_a_machine_has_is_not_destroyed(site: AdminSite, volume: VolumeId, state: State) -> None:
    site.attach(volume)
    put(site, volume, state)
    with pytest.raises(VolumeInUse, match="host-a"):
        destroy(site)
    assert site.hypervisor.content(site.record(volume).disk_uuid) == f"data of {volume}"


def test_what_a_silent_machine_may_have_is_not_destroyed(site: AdminSite, volume: VolumeId) -> None:
    site.attach(volume)
    put(site, volume, State.TRASHED)
    site.hypervisor.unread(A)
    with pytest.raises(TruthUnknown):
        destroy(site)
    assert site.record(volume).state is State.TRASHED


def test_a_restore_before_it_keeps_the_volume(site: AdminSite, volume: VolumeId) -> None:
    trash(site)
    revision = site.record(volume).generation
    site.order(RestoreVolume(volume=str(volume)))
    with pytest.raises(StaleRequest):
        destroy(site, volume, expect=revision)
    site.ask(Attach(volume))


# --- lost --------------------------------------------------------------------------------------------------------


@pytest.fixture
def lost(site: AdminSite, volume: VolumeId) -> VolumeId:
    site.hypervisor.lose(disk_path(site.record(volume)))
    put(site, volume, State.LOST)
    return volume


def test_a_lost_volume_is_forgotten_with_its_copy(site: AdminSite, lost: VolumeId) -> None:
    destroy(site)
    assert nothing_is_left(site)
    site.create("db")


def test_a_lost_volume_whose_disk_is_there_again_is_kept(site: AdminSite, volume: VolumeId) -> None:
    put(site, volume, State.LOST)
    for dry_run in (True, False):
        with pytest.raises(Conflict, match="there again"):
            destroy(site, dry_run=dry_run)
    assert site.record(volume).state is State.LOST


def test_while_its_datastore_is_away_nothing_is_forgotten(site: AdminSite, lost: VolumeId) -> None:
    site.hypervisor.unreadable(disk_path(site.record(lost)).datastore)
    with pytest.raises(TruthUnknown):
        destroy(site)
    assert site.record(lost).state is State.LOST


def test_a_lost_volume_is_forgotten_as_an_orphan_too(site: AdminSite, lost: VolumeId) -> None:
    with pytest.raises(ProofNeeded):
        site.order(MendOrphan(where=str(lost), action=Mending.FORGET))
    site.order(MendOrphan(where=str(lost), action=Mending.FORGET, i_know=str(lost)))
    assert nothing_is_left(site)


def test_a_volume_that_is_not_lost_is_not_forgotten(site: AdminSite, volume: VolumeId) -> None:
    with pytest.raises(Conflict, match="not lost"):
        site.order(MendOrphan(where=str(volume), action=Mending.FORGET, i_know=str(volume)))
    trash(site)
    with pytest.raises(Conflict, match="not lost"):
        site.order(MendOrphan(where=str(volume), action=Mending.FORGET, i_know=str(volume)))
    assert site.record(volume).state is State.TRASHED


@pytest.mark.parametrize("dry_run", [False, True])
def test_an_operator_removes_no_volume_where_the_trash_keeps_nothing(dry_run: bool) -> None:
    site = AdminSite(retention_s=0.0)
    volume = site.create("db", size="1gb").id
    with pytest.raises(NotPermitted, match="needs the role admin, and olga has operator"):
        trash(site, by=OPERATOR, dry_run=dry_run)
    assert site.record(volume).state is State.READY


def test_an_operator_removes_a_volume_into_the_trash(site: AdminSite, volume: VolumeId) -> None:
    assert trash(site, by=OPERATOR).done
    assert site.record(volume).state is State.TRASHED


# --- a datastore that the service has not any more ----------------------------------------------------------------


def forget(site: AdminSite, where: object, word: str = "", **more: Any) -> Outcome:
    told: Outcome = site.order(MendOrphan(where=str(where), action=Mending.FORGET, i_know=word, **more))
    return told


def orphans(site: AdminSite) -> list[Orphan]:
    return list(site.order(ListOrphans()).orphans)


@pytest.fixture
def two() -> AdminSite:
    return AdminSite(datastores=(DS1, DS2))


@pytest.mark.parametrize("trashed", [False, True])
def test_a_volume_of_a_datastore_that_was_taken_away_is_told_and_forgotten(two: AdminSite, *, trashed: bool) -> None:
    """Its name, its quota and its vmgroup were held for ever: it is not lost, since nothing there can be looked at."""
    volume = two.create("db@ds2").id
    two.format(volume)
    if trashed:
        two.remove(volume)
    away = two.hypervisor.take_away(DS2)
    two.restart()
    for _ in range(3):
        two.housekeeping.scan()

    (told,) = orphans(two)
    assert (told.kind, told.where, told.actions) == (OrphanKind.LOST, str(volume), (Mending.FORGET,))
    assert told.command == f"vmdkvol orphans mend {volume} forget --dry-run"
    plan = forget(two, volume, dry_run=True).plan
    assert plan.loses == "the record of volume db@ds2; its disk is an orphan should ds2 come back"
    with pytest.raises(ProofNeeded):
        forget(two, volume)
    forget(two, volume, "db@ds2")

    assert (two.records(), orphans(two)) == ([], [])
    two.hypervisor.bring_back(away)
    (back,) = orphans(two)
    assert (back.kind, back.volume, back.actions[0]) == (OrphanKind.DISK, "db@ds2", Mending.ADOPT)


def test_a_volume_that_a_machine_has_is_not_forgotten_with_its_datastore(two: AdminSite) -> None:
    """The machine was moved to a datastore that the settings do not name."""
    volume = two.create("db@ds2").id
    two.attach(volume)
    two.hypervisor.take_away(DS2)
    (told,) = orphans(two)
    assert (told.actions, told.command) == ((), "")
    assert "host-a has the disk" in told.detail
    with pytest.raises(VolumeInUse):
        forget(two, volume, "db@ds2")
    assert two.record(volume).state is State.READY


def test_with_its_datastore_back_a_volume_is_not_forgotten(two: AdminSite) -> None:
    volume = two.create("db@ds2").id
    away = two.hypervisor.take_away(DS2)
    two.hypervisor.bring_back(away)
    with pytest.raises(Conflict, match="not lost"):
        forget(two, volume, "db@ds2")
    assert two.record(volume).state is State.READY


def test_a_datastore_that_cannot_be_read_is_not_one_that_was_taken_away(two: AdminSite) -> None:
    volume = two.create("db@ds2").id
    two.hypervisor.unreadable(DS2)
    with pytest.raises(Conflict, match="not lost"):
        forget(two, volume, "db@ds2")


# --- nothing before the word --------------------------------------------------------------------------------------


def test_without_the_word_no_disk_is_taken_off_a_machine(site: AdminSite, volume: VolumeId) -> None:
    trash(site)
    site.hypervisor.submit(AttachDisk(B, disk_ref(site.record(volume)), "persistent"), uuid4())
    site.hypervisor.power(B, running=False)
    with pytest.raises(ProofNeeded):
        site.order(DestroyVolume(volume=str(volume), i_know="another"))
    assert list(site.hypervisor.truth().holders.values()) == [B]
