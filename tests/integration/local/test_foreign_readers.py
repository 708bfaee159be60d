"""Our VMDKs in the hands of qemu-img and libvmdk, and theirs in ours: the same bytes both ways."""

from __future__ import annotations

import hashlib
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import pyvmdk

from tests.contract.hypervisor_benches import BIG, MIB, VM_A, LocalBench, attached, do, new_disk
from vmdkvol.errors import MetadataDamaged
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.local import vmdk
from vmdkvol_esx.ports import AttachDisk, DetachDisk, DiskPath, DiskRef

pytestmark = pytest.mark.integration
SIZE = 8 * MIB
PATTERN = random.Random(7).randbytes(3 * MIB)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[LocalBench]:
    bench = LocalBench(tmp_path)
    yield bench
    bench.end()


def run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def identified(descriptor: Path) -> DiskRef:
    """Give a disk that another tool made an identity, as an administrator does who takes it over."""
    uuid = uuid4()
    pairs = uuid.bytes.hex(" ")
    text = descriptor.read_bytes().rstrip(b"\0")
    descriptor.write_bytes(text + f'ddb.uuid = "{pairs[:23]}-{pairs[24:]}"\n'.encode())
    return DiskRef(DiskUuid(uuid), DiskPath(BIG, f"vmdkvol/{descriptor.name}"))


@pytest.mark.parametrize("diskformat", ["thin", "zeroedthick", "eagerzeroedthick"])
@pytest.mark.parametrize("size", [SIZE, SIZE + 512], ids=["whole-mib", "odd"])
def test_others_read_what_was_written_through_the_loop_device(bench: LocalBench, diskformat: str, size: int) -> None:
    disk = attached(bench, size=size, diskformat=diskformat)
    bench.write(disk, PATTERN)
    do(bench, DetachDisk(VM_A.id, disk))
    expected = PATTERN.ljust(size, b"\0")

    raw = bench.big / "raw"
    run("qemu-img", "convert", "-f", "vmdk", "-O", "raw", bench.descriptor(disk), raw)
    handle = pyvmdk.handle()
    handle.open(str(bench.descriptor(disk)))
    handle.open_extent_data_files()

    assert raw.read_bytes() == expected
    assert handle.get_media_size() == size
    assert hashlib.sha256(handle.read_buffer(size)).digest() == hashlib.sha256(expected).digest()
    handle.close()


def test_qemu_img_names_our_disk_a_vmfs_one(bench: LocalBench) -> None:
    disk = attached(bench, size=SIZE)

    # -U: the loop device holds the file.
    told = run("qemu-img", "info", "-U", "-f", "vmdk", bench.descriptor(disk))

    assert "virtual size: 8 MiB (8388608 bytes)" in told
    assert "create type: vmfs" in told


@pytest.mark.parametrize("subformat", ["monolithicFlat", "twoGbMaxExtentFlat"])
def test_a_flat_disk_of_qemu_img_is_attached_byte_for_byte(bench: LocalBench, subformat: str) -> None:
    folder = bench.big / "vmdkvol"
    folder.mkdir()
    raw, descriptor = bench.big / "raw", folder / "theirs.vmdk"
    raw.write_bytes(PATTERN.ljust(SIZE, b"\0"))
    run("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", f"subformat={subformat}", raw, descriptor)
    disk = identified(descriptor)

    do(bench, AttachDisk(VM_A.id, disk, "independent_persistent"))

    assert bench.read(disk, SIZE + 1) == raw.read_bytes()


@pytest.mark.parametrize("subformat", ["monolithicSparse", "streamOptimized", "twoGbMaxExtentSparse"])
def test_a_sparse_disk_of_qemu_img_is_refused_with_the_reason(bench: LocalBench, subformat: str) -> None:
    folder = bench.big / "vmdkvol"
    folder.mkdir()
    run("qemu-img", "create", "-f", "vmdk", "-o", f"subformat={subformat}", folder / "theirs.vmdk", "8M")

    with pytest.raises(MetadataDamaged, match="sparse|Sparse|only flat"):
        bench.hypervisor.disk(DiskRef(DiskUuid(uuid4()), DiskPath(BIG, "vmdkvol/theirs.vmdk")))

    assert bench.hypervisor.disks(BIG) == []


def test_the_offset_of_a_flat_extent_counts_sectors(bench: LocalBench) -> None:
    """Field case C25: one reader took bytes."""
    disk = attached(bench, size=SIZE)
    do(bench, DetachDisk(VM_A.id, disk))
    shifted = bench.descriptor(disk).with_name("shifted-flat.vmdk")
    shifted.write_bytes(bytes(MIB) + PATTERN.ljust(SIZE, b"\0") + b"tail" * 128)
    text = bench.descriptor(disk).read_text()
    extent = bench.extent(disk).name
    bench.descriptor(disk).write_text(text.replace(f'VMFS "{extent}"', 'FLAT "shifted-flat.vmdk" 2048'))

    do(bench, AttachDisk(VM_A.id, disk, "independent_persistent"))

    assert bench.read(disk, SIZE + 1) == PATTERN.ljust(SIZE, b"\0")


def test_a_descriptor_that_says_more_than_the_extent_has_is_refused(bench: LocalBench) -> None:
    """Field case C25: qemu-img opens it as 16 MiB."""
    disk = attached(bench, size=SIZE)
    do(bench, DetachDisk(VM_A.id, disk))
    descriptor = bench.descriptor(disk)
    descriptor.write_text(descriptor.read_text().replace("RW 16384", "RW 32768"))
    assert "16 MiB" in run("qemu-img", "info", "-f", "vmdk", descriptor)

    with pytest.raises(MetadataDamaged, match="has 8388608 bytes, the descriptor says 16777216"):
        bench.hypervisor.disk(disk)


@pytest.mark.parametrize("kind", ["vmfs", "monolithicFlat"])
def test_both_forms_of_a_flat_descriptor_are_the_same_disk_to_all(bench: LocalBench, kind: str) -> None:
    """Why we could choose the form that ESXi writes."""
    disk = new_disk()
    folder = bench.descriptor(disk).parent
    folder.mkdir(parents=True)
    text = vmdk.write(vmdk.Descriptor(SIZE, bench.extent(disk).name, disk.uuid)).decode()
    if kind == "monolithicFlat":
        text = text.replace('"vmfs"', '"monolithicFlat"').replace("VMFS", "FLAT").replace('flat.vmdk"', 'flat.vmdk" 0')
    bench.descriptor(disk).write_text(text)
    bench.extent(disk).write_bytes(PATTERN.ljust(SIZE, b"\0"))

    assert "identical" in run("qemu-img", "compare", "-f", "vmdk", "-F", "raw", bench.descriptor(disk), bench.extent(disk))
    handle = pyvmdk.handle()
    handle.open(str(bench.descriptor(disk)))
    handle.open_extent_data_files()
    assert handle.read_buffer(len(PATTERN)) == PATTERN
    handle.close()
    do(bench, AttachDisk(VM_A.id, disk, "independent_persistent"))
    assert bench.read(disk, len(PATTERN)) == PATTERN
