"""Disks that somebody put into a directory: found, looked at, and never touched; nothing outside is ever opened."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from vmdkvol.clock import SystemClock
from vmdkvol.errors import BadRequest, NotFound, TruthUnknown
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.foreign_disks import MOST, ForeignDisk
from vmdkvol_esx.local import vmdk
from vmdkvol_esx.local.datastore import LocalDatastore
from vmdkvol_esx.local.hypervisor import LocalHypervisor
from vmdkvol_esx.ports import DiskPath

STORE = DatastoreName("ds")
KIB = 1 << 10


class Site:
    """A directory with what somebody put there."""

    def __init__(self, root: Path) -> None:
        self.root = root / "ds"
        self.root.mkdir()
        self.hypervisor = LocalHypervisor([LocalDatastore(STORE, str(self.root))], [], SystemClock())

    def put(self, path: str, *, extent: str | None = None, text: Callable[[bytes], bytes] = bytes) -> Path:
        """A flat disk of 64 KiB; ``text`` changes its descriptor."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        name = extent or vmdk.extent_name(file.name)
        file.write_bytes(text(vmdk.write(vmdk.Descriptor(64 * KIB, name, DiskUuid(uuid4())))))
        (file.parent / name).write_bytes(b"\1" * 64 * KIB)
        return file

    def at(self, path: str) -> ForeignDisk:
        found = self.hypervisor.foreign_disk(DiskPath(STORE, path))
        assert found is not None
        return found

    def found(self, folder: str = "") -> list[str]:
        return [path.path for path in self.hypervisor.foreign(STORE, folder)]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_whole_disk_is_told_with_its_identity_and_size(site: Site) -> None:
    site.put("a/x.vmdk")
    found = site.at("a/x.vmdk")
    assert (found.size_bytes, found.allocated_bytes, found.thin, found.obstacle) == (64 * KIB, 64 * KIB, False, "")
    assert found.uuid is not None


def test_looking_changes_no_byte_and_no_time(site: Site) -> None:
    site.put("a/x.vmdk")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(site.root.rglob("*.vmdk"))}
    site.found()
    site.at("a/x.vmdk")
    assert {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(site.root.rglob("*")) if path.is_file()
    } == before


def test_a_disk_without_an_identity_is_left_alone(site: Site) -> None:
    site.put("x.vmdk", text=lambda text: b"\n".join(line for line in text.split(b"\n") if not line.startswith(b"ddb.uuid")))
    assert "ddb.uuid" in site.at("x.vmdk").obstacle


def test_a_snapshot_s_child_is_left_alone(site: Site) -> None:
    site.put("x.vmdk", text=lambda text: text.replace(b"parentCID=ffffffff", b"parentCID=12345678"))
    assert "snapshot" in site.at("x.vmdk").obstacle


def test_a_raw_device_is_left_alone(site: Site) -> None:
    site.put("x.vmdk", text=lambda text: text.replace(b'createType="vmfs"', b'createType="vmfsRawDeviceMap"'))
    assert "vmfsRawDeviceMap" in site.at("x.vmdk").obstacle


def test_a_disk_in_a_virtual_machine_s_folder_is_left_alone(site: Site) -> None:
    site.put("web/web.vmdk")
    (site.root / "web" / "web.vmx").touch()
    assert "virtual machine (web.vmx)" in site.at("web/web.vmdk").obstacle


def test_two_descriptors_of_one_extent_are_both_left_alone(site: Site) -> None:
    site.put("x.vmdk")
    site.put("y.vmdk", extent="x-flat.vmdk")
    assert "y.vmdk" in site.at("x.vmdk").obstacle
    assert "x.vmdk" in site.at("y.vmdk").obstacle


def test_an_extent_with_another_name_is_left_alone(site: Site) -> None:
    site.put("a/x.vmdk")
    os.link(site.root / "a" / "x-flat.vmdk", site.root / "another")
    assert "hard link" in site.at("a/x.vmdk").obstacle


def test_an_extent_that_is_a_link_is_not_followed(site: Site, tmp_path: Path) -> None:
    site.put("x.vmdk")
    secret = tmp_path / "secret"
    secret.write_bytes(b"\0" * 64 * KIB)
    (site.root / "x-flat.vmdk").unlink()
    (site.root / "x-flat.vmdk").symlink_to(secret)
    assert "link" in site.at("x.vmdk").obstacle


@pytest.mark.parametrize("offset", [0, 16 * KIB])
def test_an_extent_that_goes_on_behind_the_disk_is_left_alone(site: Site, offset: int) -> None:
    """One partition of a raw file: the next begins where this disk ends, and a resize would swallow it."""
    file = site.put("a/x.vmdk")
    descriptor = vmdk.read(file.read_bytes(), "x")
    file.write_bytes(vmdk.write(replace(descriptor, size_bytes=32 * KIB, offset_bytes=offset)))
    assert "goes on behind the disk" in site.at("a/x.vmdk").obstacle


def test_an_extent_that_begins_before_the_disk_and_ends_with_it_is_one(site: Site) -> None:
    file = site.put("a/x.vmdk")
    file.write_bytes(vmdk.write(replace(vmdk.read(file.read_bytes(), "x"), size_bytes=32 * KIB, offset_bytes=32 * KIB)))
    assert site.at("a/x.vmdk").obstacle == ""


def test_an_extent_that_is_too_short_is_damage(site: Site) -> None:
    site.put("x.vmdk")
    os.truncate(site.root / "x-flat.vmdk", KIB)
    assert "1024 bytes" in site.at("x.vmdk").obstacle


def test_an_extent_that_is_not_there_is_damage(site: Site) -> None:
    site.put("x.vmdk")
    (site.root / "x-flat.vmdk").unlink()
    assert "missing" in site.at("x.vmdk").obstacle


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"KDMV", b"COWD", b"not a descriptor\n", b"\xff" * 70_000])
def test_what_is_no_descriptor_is_told_and_left_alone(site: Site, content: bytes) -> None:
    (site.root / "x.vmdk").write_bytes(content)
    assert site.at("x.vmdk").obstacle


def test_a_fifo_in_a_disk_s_place_stops_nobody(site: Site) -> None:
    os.mkfifo(site.root / "x.vmdk")
    assert "not a regular file" in site.at("x.vmdk").obstacle


@pytest.mark.parametrize(
    "path", ["../x.vmdk", "a/../../x.vmdk", "/etc/x.vmdk", "a//x.vmdk", "./x.vmdk", "x", ".vmdk", 'a"b.vmdk']
)
def test_a_path_that_is_none_is_never_opened(site: Site, tmp_path: Path, path: str) -> None:
    (tmp_path / "x.vmdk").write_bytes(b"secret")
    assert site.at(path).obstacle


def test_a_folder_that_is_a_link_is_not_followed(site: Site, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.vmdk").write_bytes(b"secret")
    (site.root / "a").symlink_to(outside)
    assert site.found() == []
    assert "link" in site.at("a/x.vmdk").obstacle


@pytest.mark.parametrize("folder", ["..", "a/..", "/etc", "a//b", "a/", "."])
def test_a_folder_out_of_the_datastore_is_refused(site: Site, folder: str) -> None:
    with pytest.raises(BadRequest):
        site.found(folder)


def test_a_folder_that_is_not_there_is_not_empty(site: Site) -> None:
    with pytest.raises(NotFound):
        site.found("nowhere")


def test_a_directory_that_is_not_there_is_not_empty(site: Site) -> None:
    site.root.rename(site.root.with_name("moved"))
    with pytest.raises(TruthUnknown):
        site.found()


def test_links_our_own_folder_and_parts_of_disks_are_not_listed(site: Site) -> None:
    site.put("a/x.vmdk")
    site.put("vmdkvol/g/ours.vmdk")
    (site.root / "link.vmdk").symlink_to(site.root / "a" / "x.vmdk")
    (site.root / "folder.vmdk").mkdir()
    assert site.found() == ["a/x.vmdk"]


def test_more_disks_than_anybody_waits_for_are_refused(site: Site) -> None:
    for number in range(MOST + 1):
        (site.root / f"{number}.vmdk").touch()
    with pytest.raises(BadRequest, match="more than"):
        site.found()
