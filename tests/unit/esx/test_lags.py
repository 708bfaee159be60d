"""File systems that did not follow their disks: who is believed about them, and where administrators see them."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.unit.esx.admin_site import AdminSite
from tests.unit.esx.site import GB, A, B
from vmdkvol.messages import Lagging
from vmdkvol.task_messages import SiteInfo, SiteStatus
from vmdkvol.volume import Lag, VmId, VolumeId
from vmdkvol.volume_orders import InspectVolume, VolumeDetail
from vmdkvol_esx.lags import MOST_KEPT


@pytest.fixture
def site() -> AdminSite:
    return AdminSite()


@pytest.fixture
def volume(site: AdminSite) -> VolumeId:
    """A volume of 1 GiB on host B whose disk has grown to 2 GiB."""
    volume = site.create("db", size="1gb").id
    site.format(volume)
    site.attach(volume, B)
    site.resize(volume, 2 * GB)
    return volume


def lag(volume: VolumeId, reason: str = "the agent lacks the capability SYS_RESOURCE") -> Lag:
    return Lag(volume, 2 * GB, GB, reason)


def tell(site: AdminSite, *lags: Lag, vm: VmId = B) -> None:
    site.ask(Lagging(lags), vm)


def trouble(site: AdminSite) -> list[str]:
    detail: VolumeDetail = site.order(InspectVolume(volume="db"))
    return [line for line in detail.trouble if "did not grow" in line]


def seen_by_status(site: AdminSite) -> list[str]:
    info: SiteInfo = site.order(SiteStatus())
    return [line for line in info.trouble if "did not grow" in line]


def test_a_volume_tells_where_its_file_system_stayed_small_and_why(site: AdminSite, volume: VolumeId) -> None:
    tell(site, lag(volume))
    assert trouble(site) == [
        "its file system on host-b did not grow with its disk and has 1gb of 2gb: the agent lacks the capability SYS_RESOURCE"
    ]


def test_the_status_names_the_volumes(site: AdminSite, volume: VolumeId) -> None:
    tell(site, lag(volume))
    assert seen_by_status(site) == ["file systems did not grow with their disks: db; `vmdkvol volume inspect` says why"]


def test_a_size_that_was_not_read_is_not_made_up(site: AdminSite, volume: VolumeId) -> None:
    tell(site, Lag(volume, 2 * GB, None, "no answer"))
    assert trouble(site) == ["its file system on host-b did not grow with its disk of 2gb: no answer"]


def test_a_file_system_that_has_followed_is_no_trouble_any_more(site: AdminSite, volume: VolumeId) -> None:
    tell(site, lag(volume))
    tell(site)
    assert (trouble(site), seen_by_status(site)) == ([], [])


def test_a_machine_is_not_believed_about_a_volume_that_another_one_has(site: AdminSite, volume: VolumeId) -> None:
    tell(site, lag(volume, "lies"), vm=A)
    assert (trouble(site), seen_by_status(site)) == ([], [])


def test_what_was_told_ends_when_the_disk_leaves_the_machine(site: AdminSite, volume: VolumeId) -> None:
    tell(site, lag(volume))
    (attachment,) = site.attached(B)
    site.detach(attachment, B)
    assert (trouble(site), seen_by_status(site)) == ([], [])


def test_a_volume_that_there_is_not_is_no_trouble(site: AdminSite, volume: VolumeId) -> None:
    tell(site, lag(VolumeId(UUID(int=1))))
    assert seen_by_status(site) == []


def test_a_long_reason_of_a_stranger_stays_a_line(site: AdminSite, volume: VolumeId) -> None:
    tell(site, lag(volume, "x\n\x1b[2J" * 10_000))
    (line,) = trouble(site)
    assert line.isprintable()
    assert len(line) < 400


def test_a_machine_does_not_fill_the_memory(site: AdminSite, volume: VolumeId) -> None:
    tell(site, *(lag(VolumeId(UUID(int=number))) for number in range(MOST_KEPT)), lag(volume))
    assert len(site.verbs.parts.lags.volumes()) == MOST_KEPT
