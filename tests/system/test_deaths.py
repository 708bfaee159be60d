"""Docker hosts that die, freeze and lose disks while they write: what was flushed is there, and the living keep theirs."""

from __future__ import annotations

import json
import random
import time

import pytest

from tests.system import ready
from tests.system.container_images import BUSYBOX
from tests.system.docker import FOREVER, wait_until
from tests.system.told import bring, forget_told, last_told, lost
from tests.system.world import Host, World

pytestmark = [pytest.mark.integration, pytest.mark.system]

# Of each stream, before the host dies: enough for every kind of write to be under way.
TOLD = 40
FROZEN_S = 60.0
PYTHON = ("-v", "/usr:/usr:ro")


def start_writer(host: Host, volume: str) -> None:
    """Start a container that writes records on the volume, and return when it has told some of each kind."""
    forget_told(host.machine)
    program = bring(host.guest, "records.py")
    options = (*PYTHON, "-v", f"{program}:/records.py:ro", "--device", f"/dev/{ready.acks_device(host.guest)}:/dev/acks")
    host.docker.start("writer", volume, "exec /usr/bin/python3 -S /records.py write /data/records /dev/acks", *options)

    def enough() -> bool:
        told = last_told(host.machine)
        return len(told) == 5 and min(told.values()) >= TOLD

    wait_until(enough, f"the writer on {host.name} has told {TOLD} records of each stream", 180)


def found(host: Host, volume: str) -> dict[str, int]:
    """Return the last record of each stream, read by a container of the host."""
    program = bring(host.guest, "records.py")
    words = ("run", "--rm", "--network", "none", "-v", f"{volume}:/data", *PYTHON, "-v", f"{program}:/records.py:ro")
    said = host.docker.said(*words, BUSYBOX, "/usr/bin/python3", "-S", "/records.py", "check", "/data/records")
    last: dict[str, int] = json.loads(said)
    return last


@pytest.mark.parametrize(("dies", "lives", "fstype"), [("a", "b", "ext4"), ("b", "a", "xfs")])
def test_all_that_a_killed_host_had_flushed_the_other_host_finds(
    docker_hosts: World, a: Host, b: Host, dies: str, lives: str, fstype: str
) -> None:
    hosts = {"a": a, "b": b}
    victim, heir = hosts[dies], hosts[lives]
    victim.docker.create(f"log-{fstype}", size="300mb", fstype=fstype)
    start_writer(victim, f"log-{fstype}")
    (disk,) = victim.disks()

    time.sleep(random.uniform(0, 1))
    victim.guest.cut_power()

    told = last_told(victim.machine)
    assert lost(told, found(heir, f"log-{fstype}")) == {}
    assert (victim.disks(), heir.disks()) == ([], [disk])


def test_a_host_that_is_reset_has_its_container_and_all_its_data_again(a: Host) -> None:
    a.docker.create("log", size="300mb")
    start_writer(a, "log")
    a.docker.start("counter", "log", f"echo boot >>/data/boots; sync; {FOREVER}", "--restart", "always")
    (disk,) = a.disks()
    # The guest's own root has no journal: it is not what is looked at here.
    a.guest.sh("sync -f /var/lib/docker")

    a.guest.reset()
    assert a.disks() == [disk]
    told = last_told(a.machine)
    a.up()
    a.docker.begin()
    a.docker.wait_up()

    wait_until(lambda: a.docker.running("counter"), f"the container is back:\n{a.docker.log()}", 120)
    assert a.docker.said("exec", "counter", "cat", "/data/boots") == "boot\nboot"
    assert lost(told, found(a, "log")) == {}
    assert a.disks() == [disk]


def test_nothing_is_taken_from_a_frozen_host_and_it_goes_on(a: Host, b: Host) -> None:
    a.docker.create("held", size="300mb")
    start_writer(a, "held")
    (disk,) = a.disks()

    a.guest.freeze()
    try:
        frozen = time.monotonic()
        told = last_told(a.machine)
        said = [refused_on(b, "held")]
        # The minute is somebody else's meanwhile.
        a_disk_that_is_pulled_from_under_its_container_harms_nothing_else(b)
        time.sleep(max(0.0, FROZEN_S - (time.monotonic() - frozen)))
        said += [refused_on(b, "held")]
        assert (a.disks(), b.disks()) == ([disk], [])
    finally:
        a.guest.resume()

    assert all("[volume-in-use]" in text for text in said), said
    wait_until(lambda: last_told(a.machine)["w0"] > told["w0"] + 20, "the writer goes on", 120)
    a.docker.said("rm", "-f", "writer")
    assert lost(last_told(a.machine), found(a, "held")) == {}


def refused_on(host: Host, volume: str) -> str:
    return host.docker.refused("run", "--rm", "--network", "none", "-v", f"{volume}:/data", BUSYBOX, "true")


def a_disk_that_is_pulled_from_under_its_container_harms_nothing_else(host: Host) -> None:
    host.docker.create("pulled", size="100mb")
    host.docker.create("other", size="100mb")
    host.docker.start("loser", "pulled", f"echo flushed >/data/note; sync; {FOREVER}")
    host.docker.start("keeper", "other")
    (pulled,) = [disk for disk in host.machine.disks() if disk.path is not None and "/pulled-" in disk.path.path]

    host.guest.unplug(pulled)

    said = host.docker.refused("exec", "loser", "sh", "-c", "echo more | dd of=/data/more conv=fsync")
    assert "/data" in said, said
    assert host.docker.said("exec", "keeper", "sh", "-c", "echo fine >/data/x; sync; cat /data/x") == "fine"
    host.docker.said("rm", "-f", "loser", timeout_s=60)
    # It was only pulled: the next container has it again, with what was flushed.
    assert host.docker.run("pulled", "cat /data/note") == "flushed"
    assert host.docker.said("exec", "keeper", "cat", "/data/x") == "fine"
    host.docker.said("rm", "-f", "keeper")
    wait_until(lambda: not host.disks(), "both disks are given back", 60)
