"""Growths of local disks that end in the middle: what is left of them, and what the next one makes of that."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.hypervisor_benches import MIB, LocalBench, do, made
from vmdkvol_esx.ports import GrowDisk

pytestmark = pytest.mark.integration
OLD, NEW = 4 * MIB, 8 * MIB


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[LocalBench]:
    bench = LocalBench(tmp_path)
    yield bench
    bench.end()


def test_a_thick_disk_gets_the_blocks_that_a_killed_growth_did_not_reserve(bench: LocalBench) -> None:
    disk = made(bench, size=OLD, diskformat="zeroedthick")
    # Killed between the two: longer, and nothing reserved.
    os.truncate(bench.extent(disk), NEW)

    do(bench, GrowDisk(disk, NEW))

    assert os.stat(bench.extent(disk)).st_blocks * 512 >= NEW


@pytest.mark.parametrize("left_bytes", [NEW, NEW + MIB])
def test_of_what_a_killed_growth_left_no_more_is_reserved_than_the_disk_has(bench: LocalBench, left_bytes: int) -> None:
    disk = made(bench, size=OLD, diskformat="zeroedthick")
    os.truncate(bench.extent(disk), left_bytes)

    do(bench, GrowDisk(disk, OLD + MIB))

    found = os.stat(bench.extent(disk))
    assert (found.st_size, found.st_blocks * 512) == (left_bytes, OLD + MIB)
