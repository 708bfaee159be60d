"""Two hosts, one volume, at once; and many at once. As if one had come after the other (F53, F54, F55)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.unit.esx.site import A, B, Site
from vmdkvol.errors import NameConflict, StaleRequest, VolumeError, VolumeInUse, VolumeNotFound
from vmdkvol.messages import Detach, ListAttached
from vmdkvol.volume import Attachment, State, VmId, VolumeId, VolumeInfo
from vmdkvol_esx.ports import AttachDisk, CreateDisk, DeleteDisk, DetachDisk


def at_once(site: Site, works: Sequence[Callable[[], object]]) -> list[object]:
    """Run all at the same time; return what each returned, or the VolumeError that it raised."""
    results: list[object] = [None] * len(works)

    def run(index: int) -> None:
        try:
            results[index] = works[index]()
        except VolumeError as error:
            results[index] = error

    workers = [site.clock.start(f"host-{index}", lambda index=index: run(index)) for index in range(len(works))]  # type: ignore[misc]
    for worker in workers:
        worker.join(60.0)
        assert not worker.is_alive()
    return results


@pytest.fixture(params=[0.0, 2.0], ids=["at-once", "tasks"])
def site(request: pytest.FixtureRequest) -> Site:
    site = Site()
    for change in (CreateDisk, DeleteDisk, AttachDisk, DetachDisk):
        site.hypervisor.takes(change, request.param)
    return site


def test_one_name_created_by_two_hosts_is_one_volume(site: Site) -> None:
    """F53."""
    results = at_once(site, [lambda: site.create("db", A, size="1gb"), lambda: site.create("db", B, size="1gb")])
    assert len({result.id for result in results if isinstance(result, VolumeInfo)}) == 1
    assert not [result for result in results if isinstance(result, VolumeError)]
    assert len(site.hypervisor.truth().disks) == 1


def test_one_name_with_two_sizes_is_one_volume_and_one_conflict(site: Site) -> None:
    """F53: the loser never touches the winner's disk."""
    results = at_once(site, [lambda: site.create("db", A, size="1gb"), lambda: site.create("db", B, size="2gb")])
    (made,) = [result for result in results if isinstance(result, VolumeInfo)]
    assert [type(result) for result in results if isinstance(result, VolumeError)] == [NameConflict]
    assert site.get("db").size_bytes == made.size_bytes
    site.check_settled()


def test_fifty_creates_at_once_are_fifty_volumes(site: Site) -> None:
    """F54."""
    results = at_once(site, [lambda number=number: site.create(f"v{number}") for number in range(50)])  # type: ignore[misc]
    assert len({result.id for result in results if isinstance(result, VolumeInfo)}) == 50
    site.check_settled()


def test_fifty_creates_of_ten_names_are_ten_volumes(site: Site) -> None:
    results = at_once(site, [lambda number=number: site.create(f"v{number % 10}") for number in range(50)])  # type: ignore[misc]
    assert not [result for result in results if isinstance(result, VolumeError)]
    assert len(site.records()) == len(site.hypervisor.truth().disks) == 10


def test_two_hosts_attach_and_one_wins(site: Site) -> None:
    """F30."""
    volume = site.create("db").id
    results = at_once(site, [lambda: site.attach(volume, A), lambda: site.attach(volume, B)])
    (won,) = [result for result in results if isinstance(result, Attachment)]
    (lost,) = [result for result in results if isinstance(result, VolumeInUse)]
    holder = site.hypervisor.truth().holders[won.disk_uuid]
    assert lost.fields["holder"] == {A: "host-a", B: "host-b"}[holder]
    site.check_settled()


def test_a_disk_that_two_hosts_pass_to_and_fro_is_on_one_at_a_time(site: Site) -> None:
    volume = site.create("db").id

    def gives_back(vm: VmId) -> Callable[[VolumeId], None]:
        def give(wanted: VolumeId) -> None:
            for told in site.ask(ListAttached(), vm).attachments:
                try:
                    site.ask(Detach(wanted, told.generation), vm)
                except StaleRequest:
                    continue

        return give

    site.agents.update({A: gives_back(A), B: gives_back(B)})

    def mounts(vm: VmId) -> None:
        for _ in range(5):
            try:
                site.attach(volume, vm)
            except VolumeInUse:
                continue

    at_once(site, [lambda: mounts(A), lambda: mounts(B)])
    site.check_settled()


def test_remove_against_attach_ends_with_one_of_them(site: Site) -> None:
    """F55, I1: never a removed volume on a VM."""
    volume = site.create("db").id
    results = at_once(site, [lambda: site.remove(volume, A), lambda: site.attach(volume, B)])
    site.calm_down()
    if isinstance(results[0], VolumeError):
        assert isinstance(results[0], VolumeInUse)
        assert [record.state for record in site.records()] == [State.READY]
    else:
        assert isinstance(results[1], VolumeNotFound)
        assert not site.hypervisor.truth().disks
    site.check_settled()


def test_two_removes_are_one(site: Site) -> None:
    volume = site.create("db").id
    results = at_once(site, [lambda: site.remove(volume, A), lambda: site.remove(volume, B)])
    assert not [result for result in results if isinstance(result, VolumeError)]
    assert not site.hypervisor.truth().disks


def test_remove_against_clone_ends_with_a_whole_clone_or_none(site: Site) -> None:
    """F55."""
    volume = site.create("src").id
    site.format(volume)
    results = at_once(site, [lambda: site.remove(volume, A), lambda: site.create("copy", B, clone_from="src")])
    site.calm_down()
    copies = [record for record in site.records() if record.name == "copy"]
    if isinstance(results[1], VolumeError):
        assert not copies
    else:
        assert site.hypervisor.content(copies[0].disk_uuid) == f"data of {volume}"
    site.check_settled()


def test_a_slow_volume_does_not_delay_another(site: Site) -> None:
    other = site.create("other").id
    slow = site.create("slow").id
    site.hypervisor.takes(DeleteDisk, 30.0)
    worker = site.clock.start("slow", lambda: site.remove(slow))
    began = site.clock.monotonic()
    site.attach(other)
    assert site.clock.monotonic() - began < 25.0
    worker.join(60.0)


def test_housekeeping_beside_work_disturbs_nothing(site: Site) -> None:
    def scans() -> None:
        for _ in range(10):
            site.housekeeping.scan()

    def lives(number: int) -> None:
        info = site.create(f"v{number}")
        site.detach(site.attach(info.id))
        site.remove(info.id)

    results = at_once(site, [scans, *(lambda number=number: lives(number) for number in range(8))])
    assert not [result for result in results if isinstance(result, VolumeError)]
    site.calm_down()
    assert not site.hypervisor.truth().disks
    assert "volume lost" not in site.log.events("error")
