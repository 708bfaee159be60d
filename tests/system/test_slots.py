"""A virtual machine's places for disks: all of them used, and another disk in the place of the right one."""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.system.docker import FOREVER, wait_until
from tests.system.machine import SLOTS, Plugged, free_slot
from tests.system.told import bring
from tests.system.world import Host, World
from vmdkvol.volume import DiskUuid, new_disk_uuid

pytestmark = [pytest.mark.integration, pytest.mark.system]

MIB = 1 << 20


def call(host: Host, endpoint: str, **body: Any) -> dict[str, Any]:
    """Call the plugin as the engine does."""
    words = f"call {endpoint} {shlex.quote(json.dumps(body))}"
    answer: dict[str, Any] = json.loads(host.guest.sh(f"python3 -S {bring(host.guest, 'plugin.py')} {words}", 180))
    return answer


@pytest.fixture
def strangers(docker_hosts: World, a: Host) -> Iterator[list[Plugged]]:
    """Disks of somebody else's, at all places but one of the first host."""
    there: list[Plugged] = []
    for _ in range(len(SLOTS) - 1):
        slot = free_slot(tuple(there))
        assert slot is not None
        there.append(a.guest.plug(docker_hosts.site.vmdk(1), slot))
    wait_until(lambda: len(a.guest.block_devices()) == len(there), "the guest has seen all of them", 240, 1.0)
    yield there
    for disk in a.machine.disks():
        a.guest.unplug(disk)


def test_a_machine_with_sixty_disks_gets_no_other_and_says_so(a: Host, strangers: list[Plugged]) -> None:
    for name in ("last", "more"):
        a.docker.create(name, size="20mb")
    a.docker.start("sixtieth", "last", f"echo fits >/data/note; {FOREVER}")
    assert len(a.guest.block_devices()) == len(SLOTS)

    said = a.docker.refused("run", "--rm", "--network", "none", "-v", "more:/data", "busybox", "true")
    assert "[no-free-slot]" in said
    a.guest.unplug(strangers.pop())
    assert a.docker.run("more", "echo fits too >/data/note; cat /data/note") == "fits too"
    assert a.docker.said("exec", "sixtieth", "cat", "/data/note") == "fits"
    a.docker.said("rm", "-f", "sixtieth")


def swapped(host: Host, disk: Plugged, file: Path, says: DiskUuid | None) -> None:
    """Put another disk where the hypervisor still lists ``disk``; it says this UUID of itself, or none."""
    qmp = host.guest.qmp
    since = qmp.told()
    qmp.do("device_del", {"id": disk.device})
    qmp.wait("DEVICE_DELETED", since, device=disk.device)
    qmp.do("blockdev-del", {"node-name": disk.node})
    named = {"driver": "file", "filename": str(file)}
    qmp.do("blockdev-add", {"driver": "vmdk", "node-name": disk.node, "file": named})
    place = {"bus": f"scsi{disk.address.bus}.0", "scsi-id": disk.address.unit, "lun": 0}
    identity = {} if says is None else {"serial": says.hex, "wwn": says.int >> 64}
    qmp.do("device_add", {"driver": "scsi-hd", "id": disk.device, "drive": disk.node, **place, **identity})


@pytest.fixture
def lingering(a: Host) -> Iterator[Host]:
    """The first host, with an agent that keeps a disk for long after its last user."""
    a.restart_agent(linger_s=600.0)
    yield a
    a.restart_agent()


def test_another_disk_in_the_place_of_the_right_one_is_refused_and_not_touched(docker_hosts: World, lingering: Host) -> None:
    a = lingering
    a.docker.create("right", size="20mb")
    a.guest.sh(f"echo mine >{mount(a)['Mountpoint']}/note")
    # Of the same size, so that nothing but identity and content tells them apart; what says nothing sits where it should.
    blank, other = docker_hosts.site.vmdk(20), docker_hosts.site.vmdk(20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(flat(other))], check=True)
    before = digest(blank), digest(other)

    codes = []
    for file, says in ((blank, None), (other, None), (other, new_disk_uuid(uuid4()))):
        assert unmount(a) == ""
        (disk,) = a.machine.disks()
        swapped(a, disk, file, says)
        codes.append(mount(a)["Err"].rpartition("[")[2])
        # The next Mount brings the right one.
        wait_until(lambda: not a.disks(), "what was refused was given back", 60)
        again = mount(a)
        assert again["Err"] == ""
        assert a.guest.sh(f"cat {again['Mountpoint']}/note") == "mine\n"

    assert codes == ["check-failed]", "foreign-content]", "wrong-disk]"]
    assert (digest(blank), digest(other)) == before
    assert unmount(a) == ""


def mount(host: Host) -> dict[str, Any]:
    return call(host, "Mount", Name="right", ID="f" * 64)


def unmount(host: Host) -> str:
    return str(call(host, "Unmount", Name="right", ID="f" * 64)["Err"])


def flat(file: Path) -> Path:
    return file.with_name(f"{file.stem}-flat.vmdk")


def digest(file: Path) -> str:
    return hashlib.sha256(flat(file).read_bytes()).hexdigest()
