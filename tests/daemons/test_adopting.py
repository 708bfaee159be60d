"""A disk that somebody else made, through real daemons: adopted, mounted, released; killed at each point of both orders.

The disk is two files with a real ext4 in them. What is asserted of them is their bytes.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.daemons.site import Site, eventually
from tests.daemons.test_crash_points import Revived
from vmdkvol.addresses import UnixAddress
from vmdkvol.adoption_messages import AdoptDisk, ReleaseVolume
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.errors import Unavailable, VolumeError, VolumeInUse, VolumeNotFound
from vmdkvol.line import Line
from vmdkvol.messages import Call, Request
from vmdkvol.orders import Outcome
from vmdkvol.points import Point
from vmdkvol.volume import new_disk_uuid
from vmdkvol_esx.local import vmdk

pytestmark = pytest.mark.integration
MIB = 1 << 20
PLACE = "[ds1] theirs/x.vmdk"
ADOPT = AdoptDisk(disk=PLACE, vmgroup="_DEFAULT", name="db")
RELEASE = ReleaseVolume(volume="db")
THEIRS = UUID(int=0xF00D)
CLOCK = SystemClock()


@pytest.fixture
def files(site: Site) -> list[Path]:
    """Somebody's disk, with a file in the root of its ext4."""
    folder, content = site.datastore / "theirs", site.root / "content"
    folder.mkdir()
    content.mkdir()
    (content / "hello").write_text("theirs")
    descriptor, extent = folder / "x.vmdk", folder / "x-flat.vmdk"
    with extent.open("wb") as file:
        file.truncate(32 * MIB)
    command = ["mke2fs", "-q", "-F", "-t", "ext4", "-U", str(THEIRS), "-L", "theirs", "-d", str(content), str(extent)]
    subprocess.run(command, check=True)
    descriptor.write_bytes(vmdk.write(vmdk.Descriptor(32 * MIB, "x-flat.vmdk", new_disk_uuid(uuid4()))))
    return [descriptor, extent]


def sums(files: list[Path]) -> list[str]:
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def order(site: Site, request: Request[Outcome]) -> Outcome:
    """Give the order until it is answered: a service that dies meanwhile is started again."""
    line = Line(UnixAddress(site.root / "admin.sock"), CLOCK, agent="administrator", boot_id="boot").start()
    try:
        limit = Deadline.after(CLOCK, 90.0)
        while True:
            try:
                return line.ask(request, Call(uuid4(), Deadline.after(CLOCK, 10.0)))
            except Unavailable:
                assert not limit.passed, "the order was never answered"
    finally:
        line.close()


def filesystem(extent: Path) -> tuple[str, str]:
    """Return UUID and label."""
    tags = ("UUID", "LABEL")
    told = [
        subprocess.run(["blkid", "-p", "-o", "value", "-s", tag, extent], check=True, capture_output=True, text=True).stdout
        for tag in tags
    ]
    return told[0].strip(), told[1].strip()


def theirs_alone(site: Site) -> bool:
    return site.files() == ["theirs/x-flat.vmdk", "theirs/x.vmdk"]


def test_an_adopted_disk_is_mounted_with_what_is_on_it_and_keeps_it(site: Site, files: list[Path]) -> None:
    site.start()
    host, mount_id = site.host, uuid4().hex * 2
    order(site, ADOPT)
    assert host.names() == ["db"]

    mountpoint = Path(host.told("Mount", Name="db", ID=mount_id)["Mountpoint"])
    assert (mountpoint / "hello").read_text() == "theirs"
    (mountpoint / "new").write_text("ours")
    with pytest.raises(VolumeInUse):
        order(site, RELEASE)
    host.told("Unmount", Name="db", ID=mount_id)

    eventually(lambda: not site.loops(), "the disk is given back")
    assert filesystem(files[1]) == (str(THEIRS), "theirs")
    order(site, RELEASE)
    assert (host.names(), theirs_alone(site)) == ([], True)
    shown = subprocess.run(["debugfs", "-R", "cat /new", files[1]], check=True, capture_output=True, text=True)
    assert shown.stdout == "ours"


def test_a_disk_that_was_never_mounted_is_released_byte_for_byte(site: Site, files: list[Path]) -> None:
    site.start()
    before = sums(files)
    order(site, ADOPT)
    order(site, RELEASE)
    assert (sums(files), theirs_alone(site)) == (before, True)


def test_docker_s_remove_gives_it_back_byte_for_byte(site: Site, files: list[Path]) -> None:
    """Without a trash, at once."""
    site.start()
    before = sums(files)
    order(site, ADOPT)
    site.host.told("Remove", Name="db")
    assert (sums(files), theirs_alone(site), site.host.names()) == (before, True, [])


@pytest.mark.parametrize(
    "made",
    [
        pytest.param([], id="blank"),
        pytest.param(["mkfs.xfs", "-q"], id="xfs"),
        pytest.param(["mkswap", "-q"], id="swap"),
    ],
)
def test_a_disk_without_the_file_system_that_was_said_is_refused_and_never_formatted(
    site: Site, files: list[Path], made: list[str]
) -> None:
    size = 300 * MIB
    with files[1].open("r+b") as file:
        file.truncate(0)
        file.truncate(size)
    files[0].write_bytes(vmdk.write(vmdk.Descriptor(size, "x-flat.vmdk", new_disk_uuid(uuid4()))))
    if made:
        subprocess.run([*made, str(files[1])], check=True)
    before = sums(files)
    site.start()
    order(site, ADOPT)

    for _ in range(2):
        answer: dict[str, Any] = site.host.call("Mount", Name="db", ID=uuid4().hex * 2)
        assert "foreign-content" in answer["Err"] if made else "check-failed" in answer["Err"]

    eventually(lambda: not site.loops(), "the disk is given back")
    assert sums(files) == before


@pytest.mark.parametrize("point", [Point.ADOPT_RECORDED, Point.SIDECAR_WRITTEN], ids=str)
def test_killed_at_a_point_of_an_adoption_the_volume_is_there_once_and_mounts(
    site: Site, files: list[Path], point: Point
) -> None:
    site.service.start(point.value)
    site.host.agent.start()
    revived = Revived(site.service)
    before = sums(files)

    order(site, ADOPT)
    eventually(revived.died.is_set, f"{point} is passed")
    revived.join()

    assert (order(site, ADOPT).plan.steps, sums(files)) == ((), before)
    mount_id = uuid4().hex * 2
    mountpoint = Path(site.host.patiently("Mount", Name="db", ID=mount_id)["Mountpoint"])
    assert (mountpoint / "hello").read_text() == "theirs"
    site.host.patiently("Unmount", Name="db", ID=mount_id)
    eventually(lambda: not site.loops(), "the disk is given back")
    order(site, RELEASE)
    assert theirs_alone(site)


def test_killed_at_the_point_of_a_release_the_disk_is_nobody_s_in_the_end(site: Site, files: list[Path]) -> None:
    site.start()
    before = sums(files)
    order(site, ADOPT)
    site.service.kill()
    site.service.start(Point.RELEASE_CLEARED.value)
    revived = Revived(site.service)

    try:
        order(site, RELEASE)
    except VolumeNotFound:
        # It had happened, and its answer was lost.
        pass
    eventually(revived.died.is_set, "the point is passed")
    revived.join()

    with pytest.raises(VolumeError):
        order(site, RELEASE)
    assert (sums(files), theirs_alone(site)) == (before, True)
