"""A thin clone shares its blocks where the datastore's file system can."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.contract.hypervisor_benches import BIG, MIB, VM_A, LocalBench, attached, do, new_disk
from vmdkvol.clock import SystemClock
from vmdkvol_esx.local.datastore import LocalDatastore
from vmdkvol_esx.local.hypervisor import LocalHypervisor
from vmdkvol_esx.ports import CloneDisk, CreateDisk, DetachDisk

pytestmark = pytest.mark.integration


@pytest.fixture
def xfs(tmp_path: Path) -> Iterator[Path]:
    """An empty xfs, on a disk of ours."""
    bench, target = LocalBench(tmp_path), tmp_path / "xfs"
    target.mkdir()
    disk = attached(bench, size=320 * MIB)
    subprocess.run(["mkfs.xfs", "-q", "-K", bench.device(disk)], check=True)
    subprocess.run(["mount", bench.device(disk), target], check=True)
    yield target
    subprocess.run(["umount", target], check=True)
    do(bench, DetachDisk(VM_A.id, disk))
    bench.end()


@pytest.mark.parametrize(("diskformat", "shared"), [("thin", True), ("zeroedthick", False)])
def test_only_a_thin_clone_on_xfs_shares_its_sources_blocks(xfs: Path, diskformat: str, shared: bool) -> None:
    hypervisor = LocalHypervisor([LocalDatastore(BIG, str(xfs))], [VM_A], SystemClock())
    source, clone = new_disk(), new_disk()
    hypervisor.submit(CreateDisk(source, 16 * MIB, "thin", {}), uuid4())
    extents = [xfs / f"{disk.path.path.removesuffix('.vmdk')}-flat.vmdk" for disk in (source, clone)]
    with open(extents[0], "r+b") as extent:
        extent.write(os.urandom(16 * MIB))
        os.fsync(extent.fileno())
    before = hypervisor.datastores()[0].free_bytes

    assert hypervisor.submit(CloneDisk(source, clone, diskformat, {}), uuid4()) is None

    used = before - hypervisor.datastores()[0].free_bytes
    assert extents[0].read_bytes() == extents[1].read_bytes()
    assert (used < MIB) == shared
