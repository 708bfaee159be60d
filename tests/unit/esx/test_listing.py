"""Get, List and ListAttached: what there is, by exact names, in pages that fit a frame."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from tests.doubles.faulty import Faults
from tests.unit.esx.site import DS1, DS2, A, B, Site
from vmdkvol.errors import HypervisorUnreachable, TruthUnknown, VolumeNotFound
from vmdkvol.frames import MAX_FRAME
from vmdkvol.messages import CreateVolume, ListAttached, ListVolumes, VolumePage
from vmdkvol.names import VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.volume import DiskUuid, State, VolumeId, VolumeInfo
from vmdkvol.wire import answer_size
from vmdkvol_esx.glance import HOLDERS_S
from vmdkvol_esx.paths import disk_path
from vmdkvol_esx.ports import CreateDisk, DeviceLists


@pytest.fixture
def site() -> Site:
    return Site(datastores=(DS1, DS2))


def pages(site: Site, since: int | None = None, limit: int = 500) -> list[VolumePage]:
    found: list[VolumePage] = [site.ask(ListVolumes(None, limit, since))]
    while found[-1].next is not None:
        found.append(site.ask(ListVolumes(found[-1].next, limit, since)))
    return found


def volumes(found: list[VolumePage]) -> list[VolumeInfo]:
    return [volume for page in found for volume in page.volumes]


# --- get ---------------------------------------------------------------------------------------------------------


def test_get_gives_the_name_that_was_created(site: Site) -> None:
    site.create("Ünï code *@ds1")
    assert site.get("Ünï code *@ds1").name == "Ünï code *@ds1"


@pytest.mark.parametrize(
    ("created", "opts", "asked", "hint"),
    [
        pytest.param("db", {"datastore": "ds1"}, "db@ds1", "the one on ds1 is named db", id="with-its-datastore"),
        pytest.param("db@ds2", {}, "db", "the one on ds2 is named db@ds2", id="without-its-datastore"),
    ],
)
def test_another_spelling_is_not_found_and_gives_the_right_one(
    site: Site, created: str, opts: dict[str, str], asked: str, hint: str
) -> None:
    """Corrections 29: a second name would go round Docker's in-use check."""
    site.create(created, **opts)
    with pytest.raises(VolumeNotFound) as caught:
        site.get(asked)
    assert hint in str(caught.value)


def test_an_unknown_name_costs_the_hypervisor_nothing(site: Site) -> None:
    """An engine asks every driver about names that are not its own."""
    site.create("db@ds2")
    asked = Faults(site.clock)
    site.hypervisor = asked.around(site.hypervisor)
    site.restart()
    asked.calls.clear()

    for name in ("nosuch", "db", "nosuch@ds1"):
        with pytest.raises(VolumeNotFound):
            site.get(name)

    assert asked.calls == []


def test_a_datastore_that_has_it_not_is_no_spelling(site: Site) -> None:
    site.create("db", datastore="ds1")
    with pytest.raises(VolumeNotFound) as caught:
        site.get("db@ds2")
    assert "named" not in str(caught.value)


@pytest.mark.parametrize("asked", ["d*", "db%", "DB", "db ", "d_", "db@ds"])
def test_a_name_is_no_pattern(site: Site, asked: str) -> None:
    site.create("db@ds1")
    site.create("dB@ds1")
    with pytest.raises(VolumeNotFound):
        site.get(asked)


def test_get_says_who_has_it(site: Site) -> None:
    volume = site.create("db@ds1").id
    site.attach(volume, B)
    holder = site.get("db@ds1").attached_to
    assert holder is not None
    assert (holder.vm, holder.vm_name) == (B, "host-b")


def test_get_of_an_absent_name_needs_no_hypervisor(site: Site) -> None:
    def away() -> None:
        raise HypervisorUnreachable("the host is away")

    site.hypervisor.datastores = away  # type: ignore[method-assign, assignment]
    with pytest.raises(VolumeNotFound):
        site.get("db")


def test_what_cannot_be_read_is_not_said_to_be_attached_to_nobody(site: Site) -> None:
    site.create("db@ds1")

    def away(_: object) -> DeviceLists:
        raise TruthUnknown("the host is away")

    site.hypervisor.devices = away  # type: ignore[method-assign, assignment]
    # What was read a moment before is still shown (docs/decisions/0025).
    site.clock.sleep(HOLDERS_S)
    with pytest.raises(TruthUnknown):
        site.get("db@ds1")


def test_space_is_what_the_disk_takes(site: Site) -> None:
    site.create("thick@ds1", size="1gb", diskformat="zeroedthick")
    assert site.get("thick@ds1").allocated_bytes == 1 << 30


# --- list --------------------------------------------------------------------------------------------------------


def test_a_list_has_every_live_volume_once(site: Site) -> None:
    ids = {site.create(f"v{number}@ds1").id for number in range(25)}
    found = [volume.id for volume in volumes(pages(site, limit=7))]
    assert sorted(found) == sorted(ids)


def test_pages_fit_into_frames(site: Site) -> None:
    labels = ",".join(f"{'k' * 60}{number}={'ü' * 100}" for number in range(30))
    names = {site.create(f"{'ü' * 90}{number}@ds1", label=labels).name for number in range(40)}
    found = pages(site)
    assert len(found) > 1
    assert max(answer_size(page) for page in found) <= MAX_FRAME
    assert {volume.name for volume in volumes(found)} == names


@pytest.mark.parametrize("limit", [-1, 0, 1, 10**9])
def test_any_limit_ends(site: Site, limit: int) -> None:
    for number in range(3):
        site.create(f"v{number}@ds1")
    assert len(volumes(pages(site, limit=limit))) == 3


def test_an_unreadable_disk_does_not_take_the_list_away(site: Site) -> None:
    site.create("a@ds1")
    site.create("b@ds2")
    site.hypervisor.unreadable(DS2)
    assert {volume.name for volume in volumes(pages(site))} == {"a@ds1", "b@ds2"}


def test_a_lost_volume_is_listed_as_lost(site: Site) -> None:
    record = site.record(site.create("db@ds1").id)
    site.hypervisor.lose(disk_path(record))
    site.housekeeping.scan()
    site.housekeeping.scan()
    assert [volume.state for volume in volumes(pages(site))] == [State.LOST]


def test_since_tells_only_what_changed(site: Site) -> None:
    site.create("old@ds1")
    change = pages(site)[0].change
    new = site.create("new@ds1")
    found = pages(site, since=change)
    assert ([volume.id for volume in volumes(found)], found[0].complete) == ([new.id], False)


@pytest.mark.parametrize("retention_s", [0.0, 1000.0])
def test_since_tells_what_was_removed(retention_s: float) -> None:
    """The trash has the record still; for a guest the volume is gone all the same."""
    site = Site(retention_s=retention_s)
    volume = site.create("db").id
    change = pages(site)[0].change
    site.remove(volume)
    (page,) = pages(site, since=change)
    assert (page.volumes, page.removed) == ((), (volume,))


def test_since_an_unknown_number_tells_everything(site: Site) -> None:
    volume = site.create("db@ds1").id
    (page,) = pages(site, since=1)
    assert ([found.id for found in page.volumes], page.complete) == ([volume], True)


def test_many_removed_ids_become_a_whole_list(site: Site) -> None:
    change = pages(site)[0].change
    kept = site.create("kept@ds1").id
    record = site.record(kept)
    for number in range(251):
        gone = replace(record, id=VolumeId(uuid4()), name=str(number), path=str(number), disk_uuid=DiskUuid(uuid4()))
        site.store.restore(gone)
        site.store.delete(gone.id, expect=gone.generation)
    (page,) = pages(site, since=change)
    assert ([found.id for found in page.volumes], page.removed, page.complete) == ([kept], (), True)


def test_preparing_is_not_told_as_removed(site: Site) -> None:
    change = pages(site)[0].change
    site.hypervisor.takes(CreateDisk, 30.0)
    site.leave(CreateVolume(VolumeRef.parse("db@ds1"), CreateOptions.parse({})))
    (page,) = pages(site, since=change)
    assert (page.volumes, page.removed) == ((), ())


# --- what is attached --------------------------------------------------------------------------------------------


def test_the_hypervisor_says_what_is_attached(site: Site) -> None:
    first, second = site.attach(site.create("a@ds1").id), site.attach(site.create("b@ds1").id)
    site.attach(site.create("c@ds1").id, B)
    assert set(site.ask(ListAttached()).attachments) == {first, second}


def test_a_list_that_was_not_read_is_not_empty(site: Site) -> None:
    site.hypervisor.unread(A)
    with pytest.raises(TruthUnknown):
        site.ask(ListAttached())


def test_a_disk_without_a_record_is_reported_and_not_told(site: Site) -> None:
    volume = site.create("db@ds1").id
    site.attach(volume)
    site.store.delete(volume, expect=site.record(volume).generation)
    assert site.ask(ListAttached()).attachments == ()
    assert "disk without a record" in site.log.events("warning")


def test_a_vm_that_does_not_exist_has_nothing(site: Site) -> None:
    assert site.verbs.listing.attached(VolumeId(uuid4()), ListAttached()).attachments == ()  # type: ignore[arg-type]
