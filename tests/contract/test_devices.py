"""The promises of the ``Devices`` port, on the kernel in memory and on this machine's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contract.guest_benches import (
    BENCHES,
    MIB,
    OTHER_VM,
    VM,
    Bench,
    LinuxBench,
    configure,
    formatted,
    found,
    free_loop,
    in_use,
    start,
)
from tests.contract.scsi_bench import ScsiBench
from vmdkvol.clock import Deadline
from vmdkvol.errors import StillMounted, TruthUnknown, WrongDisk
from vmdkvol.volume import DiskUuid, LoopAddress, VolumeId, loop_tag
from vmdkvol_guest.ports import Device


@pytest.fixture(
    params=["memory", *(pytest.param(name, marks=pytest.mark.integration) for name in ("linux", "scsi"))],
)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    yield from start(request.param, tmp_path, BENCHES | {"scsi": ScsiBench})


@pytest.fixture
def linux(tmp_path: Path) -> Iterator[LinuxBench]:
    bench = LinuxBench(tmp_path)
    yield bench
    bench.end()


def soon(bench: Bench) -> Deadline:
    return Deadline.after(bench.clock, 0.1)


def claim(bench: Bench, device: Device) -> None:
    with bench.devices.claim(device, soon(bench)):
        pass


def test_an_attached_disk_is_found_by_its_identity(bench: Bench) -> None:
    attached = bench.plug(3 * MIB)
    device = found(bench, attached)
    assert (device.disk_uuid, device.size_bytes) == (attached.disk_uuid, 3 * MIB)


def test_a_device_that_comes_late_is_waited_for(bench: Bench) -> None:
    attached = bench.announce()
    bench.plug_later(attached)
    assert found(bench, attached).disk_uuid == attached.disk_uuid


def test_a_device_that_never_comes_is_unknown_at_the_deadline(bench: Bench) -> None:
    attached = bench.announce()
    with pytest.raises(TruthUnknown):
        bench.devices.find(attached, soon(bench))
    bench.plug_later(attached)
    found(bench, attached)


def test_another_disk_in_the_place_is_refused(bench: Bench) -> None:
    attached = bench.plug()
    with pytest.raises(WrongDisk):
        found(bench, replace(attached, disk_uuid=DiskUuid(VM)))


def test_a_disk_of_another_size_is_refused(bench: Bench) -> None:
    attached = bench.plug()
    with pytest.raises(WrongDisk):
        found(bench, replace(attached, size_bytes=attached.size_bytes + 512))


def test_an_attached_disk_is_present(bench: Bench) -> None:
    first, second = bench.plug(), bench.plug()
    assert bench.devices.present(VM, first) == found(bench, first)
    assert bench.devices.present(VM, second) == found(bench, second)


def test_a_disk_of_another_vm_is_not_present(bench: Bench) -> None:
    assert bench.devices.present(OTHER_VM, bench.plug()) is None


def test_a_disk_that_was_detached_is_not_present(bench: Bench) -> None:
    attached, other = bench.plug(), bench.plug()
    bench.unplug(attached)
    assert bench.devices.present(VM, attached) is None
    assert bench.devices.present(VM, other) is not None


def test_a_disk_that_never_came_is_not_present(bench: Bench) -> None:
    attached = bench.announce()
    assert bench.devices.present(VM, attached) is None
    bench.plug_later(attached)
    found(bench, attached)


def test_an_unused_device_can_be_claimed(bench: Bench) -> None:
    claim(bench, found(bench, bench.plug()))


def test_a_claim_ends_with_its_context(bench: Bench) -> None:
    device = found(bench, bench.plug())
    claim(bench, device)
    claim(bench, device)


def test_a_claimed_device_cannot_be_claimed_again(bench: Bench) -> None:
    device = found(bench, bench.plug())
    with bench.devices.claim(device, soon(bench)), pytest.raises(StillMounted):
        claim(bench, device)


def test_a_mounted_device_cannot_be_claimed(bench: Bench) -> None:
    _, device = in_use(bench)
    with pytest.raises(StillMounted):
        claim(bench, device)


def test_a_device_mounted_read_only_cannot_be_claimed(bench: Bench) -> None:
    attached, device = formatted(bench)
    bench.mounts.mount(device, attached.volume, "ext4", (), read_only=True)
    with pytest.raises(StillMounted):
        claim(bench, device)


def test_a_bind_of_a_subdirectory_in_another_namespace_keeps_the_device(bench: Bench) -> None:
    attached, device = in_use(bench)
    bench.hold_elsewhere(device, attached.volume)
    bench.mounts.unmount(attached.volume)
    with pytest.raises(StillMounted):
        claim(bench, device)
    bench.let_go(device)
    claim(bench, device)


def test_a_short_use_by_others_is_waited_out(bench: Bench) -> None:
    attached, device = in_use(bench)
    bench.hold_elsewhere(device, attached.volume)
    bench.mounts.unmount(attached.volume)

    def release() -> None:
        bench.clock.sleep(0.1)
        bench.let_go(device)

    worker = bench.clock.start("release", release)
    with bench.devices.claim(device, Deadline.after(bench.clock, 5.0)):
        worker.join()


def test_a_device_that_is_gone_is_no_proof(bench: Bench) -> None:
    attached = bench.plug()
    device = found(bench, attached)
    bench.unplug(attached)
    with pytest.raises(TruthUnknown):
        claim(bench, device)


def test_forgetting_twice_is_fine(bench: Bench) -> None:
    device = found(bench, bench.plug())
    bench.devices.forget(device)
    bench.devices.forget(device)


# --- what only the real kernel can show ------------------------------------------------------------------------


@pytest.mark.integration
def test_a_disk_that_moved_to_another_vm_of_this_kernel_is_refused(linux: LinuxBench) -> None:
    attached = linux.attach(linux.image(2 * MIB), OTHER_VM)
    with pytest.raises(WrongDisk):
        found(linux, attached)


@pytest.mark.integration
def test_a_loop_device_of_somebody_else_is_refused(linux: LinuxBench) -> None:
    attached = linux.plug()
    number, image = free_loop(), linux.image(2 * MIB)
    linux.loops[number] = image
    configure(number, image, str(image)[-60:])
    with pytest.raises(WrongDisk):
        found(linux, replace(attached, address=LoopAddress(number)))
    linux.unplug(attached)
    assert linux.devices.present(VM, attached) is None


@pytest.mark.integration
def test_a_device_whose_number_was_given_to_another_disk_cannot_be_claimed(linux: LinuxBench) -> None:
    attached = linux.plug()
    device = found(linux, attached)
    with pytest.raises(WrongDisk):
        claim(linux, replace(device, disk_uuid=DiskUuid(OTHER_VM)))


@pytest.mark.integration
def test_a_missing_device_node_is_made(linux: LinuxBench) -> None:
    attached = linux.plug()
    os.unlink(f"/dev/{attached.address}")
    assert found(linux, attached).disk_uuid == attached.disk_uuid


@pytest.mark.integration
def test_a_plain_opener_does_not_hinder_a_claim(linux: LinuxBench) -> None:
    """corrections 39: what a claim does not prove."""
    device = found(linux, linux.plug())
    descriptor = os.open(device.path, os.O_RDWR)
    try:
        claim(linux, device)
    finally:
        os.close(descriptor)


def test_every_tag_fits_into_a_loop_device() -> None:
    assert len(loop_tag(VM, DiskUuid(VolumeId(OTHER_VM)))) < 64
