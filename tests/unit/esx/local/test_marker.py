"""A datastore is known by its marker: an empty mount point in its place holds no answer, and gets no file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from vmdkvol.clock import SystemClock
from vmdkvol.errors import MetadataDamaged, TruthUnknown
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.local import marker
from vmdkvol_esx.local.datastore import LocalDatastore
from vmdkvol_esx.local.hypervisor import LocalHypervisor
from vmdkvol_esx.ports import CloneDisk, CreateDisk, DeleteDisk, DiskPath, DiskRef, Hypervisor

STORE = DatastoreName("ds")
ID = UUID(int=7)
MIB = 1 << 20


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "ds"
    root.mkdir()
    assert marker.claim(str(root), ID) == ID
    return root


@pytest.fixture
def hypervisor(root: Path) -> Hypervisor:
    return LocalHypervisor([LocalDatastore(STORE, str(root), ID)], [], SystemClock())


@pytest.fixture
def disk(hypervisor: Hypervisor) -> DiskRef:
    disk = new_disk()
    hypervisor.submit(CreateDisk(disk, MIB, "thin", {}), uuid4())
    hypervisor.write_sidecar(disk.path, b"{}")
    return disk


def new_disk() -> DiskRef:
    uuid = uuid4()
    return DiskRef(DiskUuid(uuid), DiskPath(STORE, f"vmdkvol/g/db-{uuid.hex[:8]}.vmdk"))


def unmount(root: Path) -> Path:
    """As if the datastore's file system were not mounted; return where it is."""
    away = root.rename(root.with_name("away"))
    root.mkdir()
    return away


ASKED: dict[str, Callable[[Hypervisor, DiskRef], object]] = {
    "disk": lambda hypervisor, disk: hypervisor.disk(disk),
    "disks": lambda hypervisor, disk: hypervisor.disks(STORE),
    "traces": lambda hypervisor, disk: hypervisor.traces(STORE),
    "read_sidecar": lambda hypervisor, disk: hypervisor.read_sidecar(disk.path),
    "write_sidecar": lambda hypervisor, disk: hypervisor.write_sidecar(disk.path, b"{}"),
    "create": lambda hypervisor, disk: hypervisor.submit(CreateDisk(new_disk(), MIB, "thin", {}), uuid4()),
    "delete": lambda hypervisor, disk: hypervisor.submit(DeleteDisk(disk), uuid4()),
    "clone": lambda hypervisor, disk: hypervisor.submit(CloneDisk(disk, new_disk(), "thin", {}), uuid4()),
}


@pytest.mark.parametrize("what", ASKED)
def test_an_empty_mount_point_says_nothing_and_gets_nothing(
    root: Path, hypervisor: Hypervisor, disk: DiskRef, what: str
) -> None:
    unmount(root)
    with pytest.raises(TruthUnknown, match="is the right file system mounted there"):
        ASKED[what](hypervisor, disk)
    assert list(root.iterdir()) == []


def test_another_file_system_in_its_place_is_not_taken_for_it(root: Path, hypervisor: Hypervisor, disk: DiskRef) -> None:
    unmount(root)
    marker.claim(str(root), UUID(int=8))
    with pytest.raises(TruthUnknown, match="is another datastore"):
        hypervisor.disk(disk)


def test_an_unreadable_marker_is_no_marker_of_anybody(root: Path, hypervisor: Hypervisor, disk: DiskRef) -> None:
    (root / "vmdkvol" / "datastore.id").write_bytes(b"\xff\0")
    with pytest.raises(TruthUnknown, match="not a UUID"):
        hypervisor.disk(disk)


def test_a_datastore_without_its_file_system_has_a_problem_and_no_room(root: Path, hypervisor: Hypervisor) -> None:
    unmount(root)
    (store,) = hypervisor.datastores()
    assert (store.writable, store.free_bytes, store.fresh) == (False, 0, False)
    assert "is the right file system mounted" in str(store.problem)


def test_its_disks_are_back_with_its_file_system(root: Path, hypervisor: Hypervisor, disk: DiskRef) -> None:
    away = unmount(root)
    root.rmdir()
    away.rename(root)
    assert hypervisor.disk(disk) is not None


def test_the_marker_is_made_once(root: Path) -> None:
    assert marker.claim(str(root), uuid4()) == ID


def test_a_marker_can_be_written_by_hand(root: Path, hypervisor: Hypervisor, disk: DiskRef) -> None:
    (root / "vmdkvol" / "datastore.id").write_text(f"{ID}\n")
    assert hypervisor.disk(disk) is not None


def test_what_a_killed_claim_left_is_taken_away(tmp_path: Path) -> None:
    (tmp_path / "vmdkvol").mkdir()
    (tmp_path / "vmdkvol" / ".datastore.id.0123abcd.tmp").write_bytes(b"7")
    marker.claim(str(tmp_path), ID)
    assert [path.name for path in (tmp_path / "vmdkvol").iterdir()] == ["datastore.id"]


def test_a_directory_that_is_not_there_is_not_claimed(tmp_path: Path) -> None:
    with pytest.raises(TruthUnknown):
        marker.claim(str(tmp_path / "away"), ID)
    assert list(tmp_path.iterdir()) == []


def test_our_folder_is_not_made_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "ds").mkdir()
    (tmp_path / "ds" / "vmdkvol").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MetadataDamaged):
        marker.claim(str(tmp_path / "ds"), ID)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_new_directory_is_fresh_until_it_is_claimed(tmp_path: Path) -> None:
    hypervisor = LocalHypervisor([LocalDatastore(STORE, str(tmp_path))], [], SystemClock())
    assert [store.fresh for store in hypervisor.datastores()] == [True]
    marker.claim(str(tmp_path), ID)
    assert [store.fresh for store in hypervisor.datastores()] == [False]
