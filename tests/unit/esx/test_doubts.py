"""F40: an old database that was put back is recognised by newer sidecars, and those volumes are left alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest

from tests.unit.esx.site import A, B, Site
from vmdkvol.errors import MetadataDamaged, VolumeInUse
from vmdkvol.messages import Attach, Detach, Mark
from vmdkvol.volume import Content, VolumeId
from vmdkvol_esx import sidecar
from vmdkvol_esx.paths import disk_path


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def old(site: Site) -> VolumeId:
    """A volume whose record is older than its disk, found out by a scan."""
    volume = site.create("db").id
    put_back(site, volume)
    site.housekeeping.scan()
    return volume


def put_back(site: Site, volume: VolumeId) -> None:
    newer = replace(site.record(volume), generation=99, content=Content.FORMATTED, filesystem_uuid=UUID(int=1))
    site.hypervisor.write_sidecar(disk_path(newer), sidecar.encode(newer))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda site, volume: site.attach(volume), id="attach"),
        pytest.param(lambda site, volume: site.remove(volume), id="remove"),
        pytest.param(lambda site, volume: site.create("copy", A, clone_from="db"), id="clone"),
        pytest.param(lambda site, volume: site.ask(Mark(volume, 1, Content.FORMATTING, UUID(int=3))), id="mark"),
    ],
)
def test_f40_an_older_record_is_changed_by_nobody(
    site: Site, old: VolumeId, change: Callable[[Site, VolumeId], object]
) -> None:
    before = site.records(), site.hypervisor.truth()

    with pytest.raises(MetadataDamaged, match=r"is older than its sidecar \(99\).*vmdkvol-esxd rebuild"):
        change(site, old)

    assert (site.records(), site.hypervisor.truth()) == before


def test_f40_other_volumes_work_on(site: Site, old: VolumeId) -> None:
    other = site.create("other").id
    site.attach(other)
    site.remove(site.create("third").id)


def test_f40_get_and_list_go_on(site: Site, old: VolumeId) -> None:
    assert site.get("db").id == old


def test_f40_a_disk_that_is_attached_can_leave(site: Site) -> None:
    volume = site.create("db").id
    attached = site.attach(volume)
    put_back(site, volume)
    site.housekeeping.scan()

    site.ask(Detach(volume, attached.generation), A)

    assert not any(site.hypervisor.devices(None).lists.values())
    with pytest.raises(MetadataDamaged):
        site.ask(Attach(volume), B)


def test_f40_the_doubt_ends_with_its_reason(site: Site, old: VolumeId) -> None:
    record = site.record(old)
    site.hypervisor.write_sidecar(disk_path(record), sidecar.encode(record))
    site.housekeeping.scan()

    assert site.attach(old)


def test_f40_it_is_told_once(site: Site, old: VolumeId) -> None:
    site.housekeeping.scan()
    assert site.log.events("error").count("sidecar is newer than the record") == 1


def test_a_disk_that_somebody_uses_by_hand_is_not_removed(site: Site) -> None:
    """I1: the name would be free, and the bytes deleted as soon as the user lets go."""
    volume = site.create("db").id
    site.hypervisor.strangers[site.record(volume).disk_uuid] = "/dev/loop3, which is mounted at /mnt"
    before = site.records(), site.hypervisor.truth()

    with pytest.raises(VolumeInUse, match="mounted at /mnt"):
        site.remove(volume)

    assert (site.records(), site.hypervisor.truth()) == before
    site.hypervisor.strangers.clear()
    site.remove(volume)
    assert site.records() == []
