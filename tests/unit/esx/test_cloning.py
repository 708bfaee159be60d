"""Clones: of volumes that nobody writes to, with the source's bytes, size and file system."""

from __future__ import annotations

import pytest

from tests.doubles.faulty import Faults
from tests.unit.esx.site import DS1, DS2, GB, A, B, Site
from vmdkvol.errors import InvalidOption, NameConflict, NoSpace, TruthUnknown, VolumeInUse, VolumeNotFound
from vmdkvol.messages import Attach, CreateVolume, Detach, Mark
from vmdkvol.names import VolumeRef
from vmdkvol.options import CreateOptions
from vmdkvol.volume import Content, State, VolumeId, renewed_uuid
from vmdkvol_esx.ports import CloneDisk


@pytest.fixture
def site() -> Site:
    return Site(datastores=(DS1, DS2))


def source(site: Site, **opts: str) -> VolumeId:
    volume = site.create("src@ds1", **opts).id
    site.format(volume)
    return volume


def test_a_clone_has_the_sources_bytes_size_and_file_system(site: Site) -> None:
    volume = source(site, size="2gb", fstype="xfs", layout="root")
    clone = site.create("copy@ds2", clone_from="src@ds1")
    assert (clone.size_bytes, clone.options.fstype, clone.options.layout) == (2 * GB, "xfs", "root")
    assert site.hypervisor.content(site.record(clone.id).disk_uuid) == f"data of {volume}"


@pytest.mark.parametrize(("asked", "has"), [({}, "zeroedthick"), ({"diskformat": "thin"}, "thin")])
def test_a_clone_takes_room_as_its_source_does_unless_it_is_to_be_otherwise(
    site: Site, asked: dict[str, str], has: str
) -> None:
    source(site, diskformat="zeroedthick")
    clone = site.create("copy@ds1", clone_from="src@ds1", **asked)
    assert clone.options.diskformat == has


def test_a_clone_is_formatted_and_has_no_file_system_uuid_yet(site: Site) -> None:
    """Corrections 1: that asks for the full check and a new UUID before its first mount."""
    source(site)
    clone = site.record(site.create("copy@ds1", clone_from="src@ds1").id)
    assert (clone.content, clone.filesystem_uuid) == (Content.FORMATTED, None)


def test_a_clone_tells_its_host_which_file_system_it_was_copied_with(site: Site) -> None:
    uuid = site.format(site.create("src@ds1").id)
    clone = site.create("copy@ds1", clone_from="src@ds1").id
    assert site.attach(clone).copied_uuids == (uuid,)
    assert site.copy_of(site.record(clone)).copied_uuids == (uuid,)


def test_a_clone_with_a_uuid_of_its_own_was_copied_with_no_other(site: Site) -> None:
    source(site)
    clone = site.create("copy@ds1", clone_from="src@ds1").id
    attachment = site.attach(clone)
    site.ask(Mark(clone, attachment.generation, Content.FORMATTED, renewed_uuid(clone)))
    assert site.record(clone).copied_uuids == ()
    assert site.copy_of(site.record(clone)) == site.record(clone)
    site.detach(attachment)
    again = site.record(site.create("again@ds1", clone_from="copy@ds1").id)
    assert again.copied_uuids == (renewed_uuid(clone),)


def test_a_clone_of_a_clone_that_was_never_attached_has_the_first_ones_file_system(site: Site) -> None:
    uuid = site.format(site.create("src@ds1").id)
    site.create("copy@ds1", clone_from="src@ds1")
    again = site.record(site.create("again@ds1", clone_from="copy@ds1").id)
    assert (again.filesystem_uuid, again.copied_uuids) == (None, (uuid,))


def test_a_clone_of_a_clone_whose_first_mount_failed_may_have_either_file_system(site: Site) -> None:
    """Its agent may have died between the new UUID on the disk and the one in the record."""
    uuid = site.format(site.create("src@ds1").id)
    clone = site.create("copy@ds1", clone_from="src@ds1").id
    site.detach(site.attach(clone))
    again = site.record(site.create("again@ds1", clone_from="copy@ds1").id)
    assert again.copied_uuids == (uuid, renewed_uuid(clone))


def test_damage_that_is_told_of_a_clone_leaves_what_it_was_copied_with(site: Site) -> None:
    uuid = site.format(site.create("src@ds1").id)
    clone = site.create("copy@ds1", clone_from="src@ds1").id
    attachment = site.attach(clone)
    site.ask(Mark(clone, attachment.generation, Content.FORMATTED, None, "e2fsck: exit 4"))
    assert site.record(clone).copied_uuids == (uuid,)


def test_a_clone_of_a_blank_volume_is_blank(site: Site) -> None:
    site.create("src@ds1", uid="999", mode="0700")
    clone = site.create("copy@ds1", clone_from="src@ds1")
    assert (clone.content, clone.options.uid, clone.options.mode) == (Content.UNFORMATTED, 999, 0o700)


def test_the_same_clone_again_is_a_success(site: Site) -> None:
    source(site)
    first = site.create("copy@ds1", clone_from="src@ds1")
    assert site.create("copy@ds1", clone_from="src@ds1").id == first.id


def test_a_clone_of_another_source_is_a_conflict(site: Site) -> None:
    source(site)
    site.create("other@ds1")
    site.create("copy@ds1", clone_from="src@ds1")
    with pytest.raises(NameConflict, match="clone-from is src@ds1, not other@ds1"):
        site.create("copy@ds1", clone_from="other@ds1")


def test_a_missing_source_gives_the_right_spelling(site: Site) -> None:
    source(site)
    with pytest.raises(VolumeNotFound) as caught:
        site.create("copy@ds1", clone_from="src")
    assert "there is no volume src; the one on ds1 is named src@ds1" in str(caught.value)


def test_a_mounted_source_names_its_holder(site: Site) -> None:
    site.attach(source(site), B)
    with pytest.raises(VolumeInUse, match="host-b"):
        site.create("copy@ds1", clone_from="src@ds1")
    assert [record.name for record in site.records()] == ["src@ds1"]


def test_a_source_mounted_on_the_callers_own_host_is_in_use_too(site: Site) -> None:
    site.attach(source(site), A)
    with pytest.raises(VolumeInUse, match="host-a"):
        site.create("copy@ds1", clone_from="src@ds1")


def test_a_lingering_source_is_given_back_first(site: Site) -> None:
    volume = source(site)
    attachment = site.attach(volume, B)
    site.agents[B] = lambda wanted: site.ask(Detach(wanted, attachment.generation), B)
    assert site.create("copy@ds1", clone_from="src@ds1").content is Content.FORMATTED


def test_a_source_that_may_be_on_a_silent_vm_is_not_copied(site: Site) -> None:
    volume = source(site)
    site.attach(volume, B)
    site.hypervisor.unread(B)
    with pytest.raises(TruthUnknown, match="host-b"):
        site.create("copy@ds1", clone_from="src@ds1")


def test_a_source_on_a_host_that_is_switched_off_is_copied(site: Site) -> None:
    volume = source(site)
    site.attach(volume, B)
    site.hypervisor.power(B, running=False)
    assert site.create("copy@ds1", clone_from="src@ds1").content is Content.FORMATTED
    assert site.hypervisor.truth().holders == {}


def test_while_the_copy_runs_nobody_gets_the_source(site: Site) -> None:
    volume = source(site)
    site.hypervisor.takes(CloneDisk, 30.0)
    site.leave(CreateVolume(VolumeRef.parse("copy@ds1"), CreateOptions.parse({"clone-from": "src@ds1"})))
    with pytest.raises(VolumeInUse, match="is being copied to copy@ds1"):
        site.ask(Attach(volume), B)
    with pytest.raises(VolumeInUse, match="is being copied to copy@ds1"):
        site.remove(volume)
    site.create("copy@ds1", clone_from="src@ds1")
    site.attach(volume, B)


def test_a_clone_into_a_full_datastore_leaves_nothing_each_time(site: Site) -> None:
    """Field case C12: there, the second try said OK and the volume was unusable."""
    volume = source(site)
    site.hypervisor.fill(DS2)
    for _ in range(2):
        with pytest.raises(NoSpace):
            site.create("copy@ds2", clone_from="src@ds1")
        assert len(site.hypervisor.truth().disks) == len(site.records()) == 1
    site.hypervisor.fill(DS2, leaving=GB)
    clone = site.create("copy@ds2", clone_from="src@ds1")
    assert site.hypervisor.content(site.record(clone.id).disk_uuid) == f"data of {volume}"


def test_a_failed_copy_is_not_taken_for_a_volume(site: Site) -> None:
    source(site)
    site.hypervisor.takes(CloneDisk, 2.0)
    site.hypervisor.fail(NoSpace("full"))
    with pytest.raises(NoSpace):
        site.create("copy@ds1", clone_from="src@ds1")
    assert len(site.hypervisor.truth().disks) == len(site.records()) == 1


def test_mount_options_are_checked_against_the_sources_file_system(site: Site) -> None:
    site.create("src@ds1", size="1gb", fstype="xfs")
    with pytest.raises(InvalidOption, match="data=journal"):
        site.create("copy@ds1", clone_from="src@ds1", mount_options="data=journal")


def test_another_layout_than_the_sources_is_refused(site: Site) -> None:
    source(site)
    with pytest.raises(InvalidOption, match="layout=root cannot be given"):
        site.create("copy@ds1", clone_from="src@ds1", layout="root")


def test_a_thick_clone_that_cannot_fit_is_refused(site: Site) -> None:
    site.create("src@ds1", size="1tb")
    with pytest.raises(NoSpace, match="needs more"):
        site.create("copy@ds1", clone_from="src@ds1", diskformat="zeroedthick")


def test_a_clone_outlives_its_source(site: Site) -> None:
    volume = source(site)
    clone = site.create("copy@ds1", clone_from="src@ds1")
    site.remove(volume)
    assert site.get("copy@ds1").state is State.READY
    assert site.hypervisor.content(site.record(clone.id).disk_uuid) == f"data of {volume}"


def test_two_clones_of_one_source_at_once(site: Site) -> None:
    source(site)
    site.hypervisor.takes(CloneDisk, 5.0)
    for name in ("one@ds1", "two@ds2"):
        site.leave(CreateVolume(VolumeRef.parse(name), CreateOptions.parse({"clone-from": "src@ds1"})))
    assert site.create("one@ds1", clone_from="src@ds1").id != site.create("two@ds2", clone_from="src@ds1").id


def test_a_source_that_was_attached_after_it_was_found_free_is_not_copied(site: Site) -> None:
    """I2: the intent holds the source from `begin` on, and the look at it came before."""
    volume = source(site)
    faults, errors = Faults(site.clock), []
    gate = faults.hang("begin")
    site.store = faults.around(site.store)
    site.restart()

    def clone() -> None:
        try:
            site.create("copy@ds1", clone_from="src@ds1")
        except VolumeInUse as error:
            errors.append(error.text)

    cloning = site.clock.start("clone", clone)
    assert gate.reached()
    site.attach(volume, B)
    gate.open()
    cloning.join(30.0)

    assert errors == ["volume src@ds1 was attached meanwhile"]
    assert [record.name for record in site.records()] == ["src@ds1"]
    site.check_settled()
