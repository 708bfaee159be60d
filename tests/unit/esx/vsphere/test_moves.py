"""A detach is refused when its disk lies elsewhere by now; what is not certain, and what a copy says, refuses nothing."""

from __future__ import annotations

from uuid import UUID

import pytest

from vmdkvol.errors import StaleRequest
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid, ScsiAddress, VmId
from vmdkvol_esx.ports import AttachDisk, DetachDisk, DiskPath, DiskRef
from vmdkvol_esx.vsphere.machine import Fitted, Machine
from vmdkvol_esx.vsphere.moves import was_moved

VM, UUID_OURS, UUID_OTHER = VmId(UUID(int=1)), DiskUuid(UUID(int=2)), DiskUuid(UUID(int=3))
HERE, THERE = DiskPath(DatastoreName("ds1"), "vmdkvol/a/db.vmdk"), DiskPath(DatastoreName("ds2"), "vm/vm_1.vmdk")
DETACH = DetachDisk(VM, DiskRef(UUID_OURS, HERE))


def machine(*disks: tuple[DiskUuid | None, DiskPath]) -> Machine:
    fitted = (Fitted(2000 + at, ScsiAddress(0, at), str(path), uuid, place="x") for at, (uuid, path) in enumerate(disks))
    return Machine("vm-1", VM, "web", running=True, connected=True, disks=tuple(fitted))


def located(_: str, text: str) -> DiskPath | None:
    return next(path for path in (HERE, THERE) if str(path) == text)


@pytest.mark.parametrize(
    "disks",
    [
        [],
        [(UUID_OURS, HERE)],
        [(UUID_OTHER, THERE)],
        [(None, THERE)],
        [(UUID_OURS, THERE), (UUID_OURS, HERE)],
    ],
)
def test_a_disk_that_is_at_its_place_or_not_there_was_not_moved(disks: list[tuple[DiskUuid | None, DiskPath]]) -> None:
    assert was_moved(DETACH, machine(*disks), located) is None


def test_a_disk_at_another_place_was_moved() -> None:
    error = was_moved(DETACH, machine((UUID_OURS, THERE)), located)

    assert isinstance(error, StaleRequest)
    assert str(THERE) in error.text


def test_a_place_that_is_not_known_for_certain_refuses_nothing() -> None:
    assert was_moved(DETACH, machine((UUID_OURS, THERE)), lambda place, text: None) is None


def test_an_attach_does_not_ask_where_its_disk_was() -> None:
    assert was_moved(AttachDisk(VM, DETACH.disk, "persistent"), machine((UUID_OURS, THERE)), located) is None
