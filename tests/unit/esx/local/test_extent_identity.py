"""A flat extent carries no identity but the attribute that we give it: files that were swapped by hand are seen."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from uuid import uuid4

import pytest

from tests.unit.esx.local.test_datastore import MIB, Site
from vmdkvol.errors import MetadataDamaged
from vmdkvol_esx.ports import CloneDisk, DiskRef

ATTRIBUTE = "user.vmdkvol.disk"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def extent(site: Site, disk: DiskRef) -> Path:
    return site.root / disk.path.path.replace(".vmdk", "-flat.vmdk")


def swap(site: Site, one: DiskRef, other: DiskRef) -> None:
    first, second, aside = extent(site, one), extent(site, other), site.root / "aside"
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


@pytest.fixture
def swapped(site: Site) -> tuple[DiskRef, DiskRef]:
    one, other = site.made(), site.made()
    extent(site, one).write_bytes(b"1" * MIB)
    extent(site, other).write_bytes(b"2" * MIB)
    swap(site, one, other)
    return one, other


def test_a_disk_with_another_s_extent_is_damaged(site: Site, swapped: tuple[DiskRef, DiskRef]) -> None:
    with pytest.raises(MetadataDamaged, match=f"holds disk .*{swapped[1].uuid}.*setfattr"):
        site.hypervisor.disk(swapped[0])


def test_a_disk_with_another_s_extent_is_not_deleted(site: Site, swapped: tuple[DiskRef, DiskRef]) -> None:
    for disk in swapped:
        with pytest.raises(MetadataDamaged):
            site.delete(disk)

    assert {path.read_bytes()[:1] for path in site.root.rglob("*-flat.vmdk")} == {b"1", b"2"}


def test_a_disk_with_another_s_extent_is_not_cloned(site: Site, swapped: tuple[DiskRef, DiskRef]) -> None:
    with pytest.raises(MetadataDamaged):
        site.hypervisor.submit(CloneDisk(swapped[0], site.new(), "thin", {}), uuid4())


def test_the_list_leaves_it_out_and_goes_on(site: Site, swapped: tuple[DiskRef, DiskRef]) -> None:
    third = site.made()
    assert [disk.ref for disk in site.hypervisor.disks(third.path.datastore)] == [third]


def test_swapped_back_all_is_well(site: Site, swapped: tuple[DiskRef, DiskRef]) -> None:
    swap(site, *swapped)

    site.delete(swapped[0])

    assert [path.read_bytes()[:1] for path in site.root.rglob("*-flat.vmdk")] == [b"2"]


def test_an_extent_that_says_nothing_is_taken_as_it_is(site: Site) -> None:
    """Made by another tool, or copied by one that leaves attributes behind."""
    disk = site.made()
    os.removexattr(extent(site, disk), ATTRIBUTE)

    assert site.hypervisor.disk(disk) is not None
    site.delete(disk)


def test_a_copy_of_the_whole_disk_is_that_disk(site: Site) -> None:
    disk = site.made()
    path = extent(site, disk)
    shutil.copy2(path, site.root / "copy")
    os.replace(site.root / "copy", path)

    assert site.hypervisor.disk(disk) is not None


def test_a_clone_has_an_identity_of_its_own(site: Site) -> None:
    source, clone = site.made(), site.new()
    site.hypervisor.submit(CloneDisk(source, clone, "thin", {}), uuid4())

    assert os.getxattr(extent(site, clone), ATTRIBUTE) == str(clone.uuid).encode()
