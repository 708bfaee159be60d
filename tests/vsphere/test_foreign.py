"""Disks on a server's datastores that somebody else made: found, and left alone where they are part of something else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from tests.vsphere.disk_world import DS, World, world_of
from tests.vsphere.simulators import Simulator
from tests.vsphere.stage import Stage
from vmdkvol.volume import DiskUuid
from vmdkvol_esx.foreign_disks import ForeignDisk
from vmdkvol_esx.ports import DiskPath

pytestmark = [pytest.mark.integration, pytest.mark.vcsim_injected]


@pytest.fixture(params=["vcenter", "esxi"])
def world(request: pytest.FixtureRequest, own: Callable[..., Simulator], stage: Stage) -> Iterator[World]:
    with world_of(own(request.param, "-strict", "-uuids"), stage) as found:
        yield found


def put(world: World, path: str) -> DiskPath:
    """Somebody makes a disk who knows nothing of us."""
    file = world.outside.file(f"[{DS}] {path}")
    file.parent.mkdir(parents=True, exist_ok=True)
    world.outside.create(f"[{DS}] {path}")
    return DiskPath(DS, path)


def look(world: World, path: DiskPath) -> ForeignDisk:
    found = world.disks.foreign_disk(path)
    assert found is not None
    return found


def test_the_disks_of_machines_are_found_and_left_alone(world: World) -> None:
    machines = [path for path in world.disks.foreign(DS, "") if "theirs" not in path.path]
    assert machines
    assert {look(world, path).obstacle.partition(" (")[0] for path in machines} == {
        "it lies in the folder of a virtual machine"
    }


def test_a_disk_at_the_root_of_a_datastore_is_found(world: World) -> None:
    path = put(world, f"x-{uuid4().hex}.vmdk")
    assert path in world.disks.foreign(DS, "")
    assert look(world, path).obstacle == ""


def test_looking_writes_nothing(world: World) -> None:
    path = put(world, "theirs/x.vmdk")
    folder = world.outside.file(f"[{DS}] theirs")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    world.disks.foreign(DS, "theirs")
    look(world, path)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


@pytest.mark.parametrize(
    "beside", ["web.vmx", "x-000001.vmdk", "x-rdm.vmdk", "x-sesparse.vmdk", "x.vmdkvol.json", "x.vmdkvol.label"]
)
def test_a_disk_that_is_part_of_something_else_is_left_alone(world: World, beside: str) -> None:
    path = put(world, "theirs/x.vmdk")
    world.outside.file(f"[{DS}] theirs/{beside}").touch()
    assert look(world, path).obstacle


def test_a_file_that_is_no_disk_is_left_alone(world: World) -> None:
    path = put(world, "theirs/x.vmdk")
    world.outside.file(str(path)).write_bytes(b"")
    assert look(world, path).obstacle


def test_the_identity_is_the_server_s(world: World) -> None:
    path = put(world, "theirs/x.vmdk")
    told = world.outside.uuid(str(path))
    uuid = look(world, path).uuid
    assert isinstance(uuid, type(DiskUuid(uuid4())))
    assert told.replace(" ", "").replace("-", "").lower() == uuid.hex
