"""Disks as files in a directory: what is broken is told with the reason, and nothing outside is ever touched."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.errors import (
    HypervisorUnreachable,
    InvalidSize,
    MetadataDamaged,
    NoSpace,
    NotPermitted,
    SnapshotPresent,
    TruthUnknown,
    VolumeError,
)
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid, VmId
from vmdkvol_esx.local import extents, files
from vmdkvol_esx.local.datastore import DatastoreFiles, LocalDatastore
from vmdkvol_esx.local.hypervisor import LocalHypervisor
from vmdkvol_esx.ports import CloneDisk, CreateDisk, DeleteDisk, DiskPath, DiskRef, Vm

STORE = DatastoreName("ds")
MIB = 1 << 20
GROUP = str(UUID(int=1))


class Site:
    """A hypervisor with one datastore."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "vmdkvol" / GROUP
        self.clock = SystemClock()
        vm = Vm(VmId(UUID(int=2)), "a", running=True)
        self.hypervisor = LocalHypervisor([LocalDatastore(STORE, str(root))], [vm], self.clock)

    def new(self, path: str | None = None) -> DiskRef:
        uuid = uuid4()
        return DiskRef(DiskUuid(uuid), DiskPath(STORE, path or f"vmdkvol/{GROUP}/db-{uuid.hex[:8]}.vmdk"))

    def create(self, disk: DiskRef, diskformat: str = "thin", size: int = MIB) -> None:
        assert self.hypervisor.submit(CreateDisk(disk, size, diskformat, {}), uuid4()) is None

    def delete(self, disk: DiskRef) -> None:
        assert self.hypervisor.submit(DeleteDisk(disk), uuid4()) is None

    def made(self, diskformat: str = "thin") -> DiskRef:
        disk = self.new()
        self.create(disk, diskformat)
        return disk

    def descriptor(self, disk: DiskRef) -> Path:
        return self.root / disk.path.path

    def extent(self, disk: DiskRef) -> Path:
        return self.descriptor(disk).with_name(f"{self.descriptor(disk).stem}-flat.vmdk")

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def site(tmp_path: Path) -> Site:
    root = tmp_path / "ds"
    root.mkdir()
    return Site(root)


# --- the formats -----------------------------------------------------------------------------------------------


def data(path: Path) -> int:
    """Return how many bytes of a file were written: fallocated blocks are not."""
    with open(path, "rb") as file:
        return extents.data_bytes(file.fileno(), 0, path.stat().st_size)


@pytest.mark.parametrize(
    ("diskformat", "allocated", "written"),
    [("thin", 0, 0), ("zeroedthick", MIB, 0), ("eagerzeroedthick", MIB, MIB)],
)
def test_thin_is_sparse_zeroedthick_allocated_and_eagerzeroedthick_written(
    site: Site, diskformat: str, allocated: int, written: int
) -> None:
    extent = site.extent(site.made(diskformat))

    assert (extent.stat().st_size, extent.stat().st_blocks * 512, data(extent)) == (MIB, allocated, written)


@pytest.mark.parametrize("size", [512, 4096 + 512, 5 * MIB + 512], ids=["sector", "odd", "more-than-a-chunk"])
def test_an_odd_size_is_written_to_its_last_sector(site: Site, size: int) -> None:
    disk = site.new()
    site.create(disk, "eagerzeroedthick", size)

    assert site.extent(disk).read_bytes() == bytes(size)


def test_only_a_thin_disk_says_that_it_is_thin(site: Site) -> None:
    said = {diskformat: "ddb.thinProvisioned" in site.descriptor(site.made(diskformat)).read_text() for diskformat in
            ("thin", "zeroedthick", "eagerzeroedthick")}  # fmt: skip

    assert said == {"thin": True, "zeroedthick": False, "eagerzeroedthick": False}


# It looks into every loop device of the machine, for who has the source: other tests have some.
@pytest.mark.integration
@pytest.mark.parametrize(("diskformat", "allocated"), [("thin", 64 << 10), ("zeroedthick", MIB), ("eagerzeroedthick", MIB)])
def test_a_clone_is_as_thin_as_it_was_asked_for(site: Site, diskformat: str, allocated: int) -> None:
    source, clone = site.made(), site.new()
    with open(site.extent(source), "r+b") as extent:
        extent.seek(512 << 10)
        extent.write(b"x" * (64 << 10))

    assert site.hypervisor.submit(CloneDisk(source, clone, diskformat, {}), uuid4()) is None

    assert site.extent(clone).read_bytes() == site.extent(source).read_bytes()
    assert site.extent(clone).stat().st_blocks * 512 == allocated


def test_files_are_for_root_only(site: Site) -> None:
    disk = site.made()
    site.hypervisor.write_sidecar(disk.path, b"{}")

    assert {path.stat().st_mode & 0o777 for path in site.folder.iterdir()} == {0o600}
    assert site.folder.stat().st_mode & 0o777 == 0o700


# --- what is broken --------------------------------------------------------------------------------------------


def _cut(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])


def _put(path: Path, make: Callable[[Path], None]) -> None:
    path.unlink()
    make(path)


BROKEN: dict[str, Callable[[Site, DiskRef], object]] = {
    "descriptor-missing": lambda site, disk: site.descriptor(disk).unlink(),
    "descriptor-empty": lambda site, disk: site.descriptor(disk).write_bytes(b""),
    "descriptor-cut": lambda site, disk: _cut(site.descriptor(disk), 300),
    "descriptor-zeroed": lambda site, disk: site.descriptor(disk).write_bytes(bytes(512)),
    "descriptor-random": lambda site, disk: site.descriptor(disk).write_bytes(os.urandom(512)),
    "descriptor-giant": lambda site, disk: os.truncate(site.descriptor(disk), 1 << 40),
    "descriptor-is-a-directory": lambda site, disk: _put(site.descriptor(disk), os.mkdir),
    "descriptor-is-a-pipe": lambda site, disk: _put(site.descriptor(disk), os.mkfifo),
    "extent-missing": lambda site, disk: site.extent(disk).unlink(),
    "extent-short": lambda site, disk: os.truncate(site.extent(disk), MIB - 1),
    "extent-empty": lambda site, disk: os.truncate(site.extent(disk), 0),
    "extent-is-a-directory": lambda site, disk: _put(site.extent(disk), os.mkdir),
    "extent-is-a-pipe": lambda site, disk: _put(site.extent(disk), os.mkfifo),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_disk_is_damaged_and_never_absent(site: Site, broken: str) -> None:
    disk, good = site.made(), site.made()
    BROKEN[broken](site, disk)

    with pytest.raises(MetadataDamaged, match=disk.path.path.rpartition("/")[2].removesuffix(".vmdk")):
        site.hypervisor.disk(disk)

    assert [found.ref for found in site.hypervisor.disks(STORE)] == [good]


@pytest.mark.parametrize("broken", [name for name in BROKEN if name not in ("extent-missing", "extent-short", "extent-empty")])
def test_a_disk_that_cannot_be_identified_is_not_deleted(site: Site, broken: str) -> None:
    disk = site.made()
    BROKEN[broken](site, disk)
    before = site.names()

    with pytest.raises(MetadataDamaged):
        site.delete(disk)

    assert site.names() == before


@pytest.mark.parametrize("broken", ["extent-missing", "extent-short", "extent-empty"])
def test_a_disk_without_its_bytes_can_be_deleted(site: Site, broken: str) -> None:
    disk = site.made()
    BROKEN[broken](site, disk)

    site.delete(disk)

    assert site.names() == []


@pytest.mark.parametrize("broken", BROKEN)
def test_a_create_never_writes_over_a_broken_disk(site: Site, broken: str) -> None:
    disk = site.made()
    site.extent(disk).write_bytes(b"x" * MIB)
    BROKEN[broken](site, disk)
    before = site.names()

    with pytest.raises(MetadataDamaged):
        site.create(disk)

    assert site.names() == before


def test_the_child_of_a_snapshot_is_named_as_such(site: Site) -> None:
    disk = site.made()
    text = site.descriptor(disk).read_text()
    site.descriptor(disk).write_text(text.replace("parentCID=ffffffff", "parentCID=12345678"))

    with pytest.raises(SnapshotPresent):
        site.hypervisor.disk(disk)


def test_a_disk_without_identity_is_nobodys(site: Site) -> None:
    disk = site.made()
    lines = site.descriptor(disk).read_text().splitlines(keepends=True)
    site.descriptor(disk).write_text("".join(line for line in lines if not line.startswith("ddb.uuid")))

    with pytest.raises(MetadataDamaged, match=r"no ddb\.uuid"):
        site.hypervisor.disk(disk)
    assert site.hypervisor.disks(STORE) == []


# --- out of the directory --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["../x.vmdk", "/etc/x.vmdk", "vmdkvol/../../x.vmdk", "vmdkvol/./x.vmdk", "vmdkvol//x.vmdk", "x.vmdk/", "", ".vmdk",
     "vmdkvol/x", "vmdkvol/a\nb.vmdk", 'vmdkvol/a"b.vmdk', "vmdkvol/\0.vmdk", f"vmdkvol/{'x' * 300}.vmdk"],
)  # fmt: skip
def test_a_path_that_is_not_inside_the_datastore_is_refused(site: Site, path: str) -> None:
    disk = DiskRef(DiskUuid(uuid4()), DiskPath(STORE, path))

    works: tuple[Callable[[], object], ...] = (
        lambda: site.create(disk),
        lambda: site.delete(disk),
        lambda: site.hypervisor.disk(disk),
        lambda: site.hypervisor.read_sidecar(disk.path),
        lambda: site.hypervisor.write_sidecar(disk.path, b""),
    )
    for work in works:
        with pytest.raises(MetadataDamaged):
            work()

    assert [path for path in site.root.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("link", ["folder", "descriptor", "extent", "sidecar"])
def test_a_link_inside_the_datastore_leads_nowhere(site: Site, tmp_path: Path, link: str) -> None:
    disk = site.made()
    site.hypervisor.write_sidecar(disk.path, b"{}")
    sidecar = site.descriptor(disk).with_suffix(".vmdkvol.json")
    inside = {"folder": site.folder, "descriptor": site.descriptor(disk), "extent": site.extent(disk), "sidecar": sidecar}[link]
    outside = tmp_path / "outside"
    inside.rename(outside)
    inside.symlink_to(outside)

    work = partial(site.hypervisor.read_sidecar, disk.path) if link == "sidecar" else partial(site.hypervisor.disk, disk)
    with pytest.raises(MetadataDamaged, match="a link"):
        work()


def test_writing_a_sidecar_replaces_a_link_and_not_its_target(site: Site, tmp_path: Path) -> None:
    disk, outside = site.made(), tmp_path / "outside"
    outside.write_bytes(b"precious")
    site.descriptor(disk).with_suffix(".vmdkvol.json").symlink_to(outside)

    site.hypervisor.write_sidecar(disk.path, b"{}")

    assert (outside.read_bytes(), site.hypervisor.read_sidecar(disk.path)) == (b"precious", b"{}")


def test_a_disk_whose_deletion_was_killed_leaves_a_trace_until_it_is_finished(site: Site) -> None:
    disk = site.made()
    site.descriptor(disk).rename(f"{site.descriptor(disk)}.deleting")
    site.extent(disk).unlink()

    assert list(site.hypervisor.traces(STORE)) == [disk.path]
    with pytest.raises(MetadataDamaged, match="deletion has begun"):
        site.hypervisor.disk(disk)
    site.delete(disk)
    assert list(site.hypervisor.traces(STORE)) == []


def test_a_disk_that_was_not_made_to_its_end_leaves_no_trace(site: Site) -> None:
    disk = site.made()
    site.descriptor(disk).rename(f"{site.descriptor(disk)}.creating")
    site.extent(disk).rename(f"{site.extent(disk)}.creating")

    assert list(site.hypervisor.traces(STORE)) == []


def test_deleting_takes_links_away_and_not_their_targets(site: Site, tmp_path: Path) -> None:
    disk, outside = site.made(), tmp_path / "outside"
    outside.write_bytes(b"precious")
    site.descriptor(disk).with_suffix(".vmdkvol.json").symlink_to(outside)

    site.delete(disk)

    assert (outside.read_bytes(), site.names()) == (b"precious", [])


def test_a_datastore_that_is_not_there_is_unknown_and_takes_nothing(site: Site) -> None:
    disk = site.made()
    site.root.rename(site.root.with_name("unmounted"))

    works: tuple[Callable[[], object], ...] = (
        lambda: site.hypervisor.disk(disk),
        lambda: site.hypervisor.disks(STORE),
        lambda: site.create(site.new()),
        lambda: site.delete(disk),
        lambda: site.hypervisor.read_sidecar(disk.path),
    )
    for work in works:
        with pytest.raises(TruthUnknown):
            work()
    [state] = site.hypervisor.datastores()
    assert (state.capacity_bytes, state.writable, site.root.exists()) == (0, False, False)


# --- sidecars --------------------------------------------------------------------------------------------------


def test_what_a_killed_writer_of_the_sidecar_left_goes_with_the_disk(site: Site) -> None:
    disk = site.made()
    (site.folder / f".{site.descriptor(disk).stem}.vmdkvol.json.0a1b2c3d.tmp").write_bytes(b"{half")

    assert site.hypervisor.read_sidecar(disk.path) is None
    site.delete(disk)

    assert site.names() == []


def test_a_giant_sidecar_is_damaged(site: Site) -> None:
    disk = site.made()
    with open(site.descriptor(disk).with_suffix(".vmdkvol.json"), "wb") as sidecar:
        sidecar.truncate(1 << 40)

    with pytest.raises(MetadataDamaged, match="sidecar"):
        site.hypervisor.read_sidecar(disk.path)


# --- errors of the system --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, NoSpace),
        (errno.EDQUOT, NoSpace),
        (errno.EROFS, NotPermitted),
        (errno.EACCES, NotPermitted),
        (errno.EFBIG, InvalidSize),
        (errno.ELOOP, MetadataDamaged),
        (errno.EIO, TruthUnknown),
        (errno.EMFILE, TruthUnknown),
        (errno.ESTALE, TruthUnknown),
    ],
)
def test_an_error_of_the_file_system_says_what_it_means(number: int, kind: type[VolumeError]) -> None:
    with pytest.raises(kind, match=f"disk x: {os.strerror(number)}"), files.translated("disk x"):
        raise OSError(number, os.strerror(number))


def test_an_error_in_the_middle_of_a_create_leaves_nothing(site: Site) -> None:
    # ext4 takes no file of more than 16 TiB.
    with pytest.raises(InvalidSize, match="File too large"):
        site.create(site.new(), "thin", 60 << 40)

    assert site.names() == []


def test_a_thick_disk_larger_than_its_datastore_is_refused_before_it_is_begun(site: Site) -> None:
    task = site.hypervisor.submit(CreateDisk(site.new(), 8 << 40, "zeroedthick", {}), uuid4())
    assert task is not None

    with pytest.raises(NoSpace, match="needs 8tb, its datastore has [0-9.]+[kmgt]b free"):
        site.hypervisor.wait(task, Deadline.after(site.clock, 10), lambda percent: None)

    assert site.names() == []


@pytest.mark.integration
def test_a_stop_ends_a_long_create_and_leaves_nothing(site: Site) -> None:
    disk = site.new()
    task = site.hypervisor.submit(CreateDisk(disk, 256 * MIB, "eagerzeroedthick", {}), uuid4())
    assert task is not None

    site.hypervisor.stop(Deadline.after(site.clock, 20))

    with pytest.raises(HypervisorUnreachable, match="nothing"):
        site.hypervisor.wait(task, Deadline.after(site.clock, 5), lambda percent: None)
    assert site.names() == []
    with pytest.raises(HypervisorUnreachable):
        site.hypervisor.submit(CreateDisk(site.new(), 256 * MIB, "eagerzeroedthick", {}), uuid4())


def test_the_same_long_create_is_joined(site: Site) -> None:
    change = CreateDisk(site.new(), 48 * MIB, "eagerzeroedthick", {})

    first, second = site.hypervisor.submit(change, uuid4()), site.hypervisor.submit(change, uuid4())

    assert first == second
    assert first is not None
    site.hypervisor.wait(first, Deadline.after(site.clock, 20), lambda percent: None)


def test_a_descriptor_that_is_written_anew_stays_its_owners(site: Site) -> None:
    disk = site.made()
    descriptor = site.descriptor(disk)
    descriptor.chmod(0o2664)
    if os.geteuid() == 0:
        os.chown(descriptor, 1234, 4321)
        descriptor.chmod(0o2664)
    before, text = descriptor.stat(), descriptor.read_text()

    DatastoreFiles(LocalDatastore(STORE, str(site.root))).resized(disk, 2 * MIB)

    after = descriptor.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    assert (descriptor.read_text() != text, after.st_ino != before.st_ino) == (True, True)
