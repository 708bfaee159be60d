"""One volume, two Docker hosts: its data moves with it, and only one of them has it."""

from __future__ import annotations

import pytest

from tests.system.docker import FOREVER
from tests.system.world import Host, World

pytestmark = [pytest.mark.integration, pytest.mark.system]


def test_what_one_host_wrote_the_other_reads_and_never_both_have_it(docker_hosts: World, a: Host, b: Host) -> None:
    a.docker.create("moving", size="100mb")
    a.docker.start("first", "moving", f"echo from a >/data/note; sync; {FOREVER}")
    (disk,) = a.disks()

    said = b.docker.refused("run", "--rm", "--network", "none", "-v", "moving:/data", "busybox", "true")

    assert "[volume-in-use]" in said
    assert "is mounted on a," in said
    assert (a.disks(), b.disks()) == ([disk], [])
    a.docker.said("rm", "-f", "first")
    assert b.docker.run("moving", "cat /data/note; echo from b >>/data/note") == "from a"
    assert (a.disks(), b.disks()) == ([], [disk])
    assert a.docker.run("moving", "cat /data/note") == "from a\nfrom b"
    assert b.guest.block_devices() == {}
    docker_hosts.wait_idle()
    b.docker.said("volume", "rm", "moving")
    assert not any(name.startswith("moving-") for name in docker_hosts.service.files())
