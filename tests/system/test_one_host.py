"""The main job in a virtual machine: a Docker host with PVSCSI, its engine, the real agent and the real service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.system.told import bring
from tests.system.world import Host, World

pytestmark = [pytest.mark.integration, pytest.mark.system]

CYCLES = 100
# What the kernel may keep of 100 disks that are gone: bench measured 0.4 MB after 1000.
SLAB_KIB = 4096


def test_create_run_write_stop_read_remove(docker_hosts: World, a: Host) -> None:
    a.docker.create("db", size="100mb")
    a.docker.start("writer", "db", "echo kept on a VMDK >/data/note; sync; trap exit TERM; while :; do sleep 1; done")
    (disk,) = a.disks()
    said = a.docker.refused("volume", "rm", "db")
    a.docker.said("stop", "-t", "10", "writer")

    assert "in use" in said
    assert a.docker.mounted() == []
    assert a.docker.run("db", "cat /data/note; cut -d' ' -f2-3 /proc/mounts | grep /data") == "kept on a VMDK\n/data ext4"
    assert a.disks() == [disk]
    a.docker.said("rm", "writer")
    docker_hosts.wait_idle()
    a.docker.said("volume", "rm", "db")
    assert not any(name.startswith("db-") for name in docker_hosts.service.files())
    assert a.guest.block_devices() == {}


def test_the_doctor_finds_nothing_wrong_on_a_host_that_works(docker_hosts: World, a: Host) -> None:
    """By the same certificate and beside the agent's own connection, which stands."""
    a.set_clock()
    a.docker.create("doctored", size="100mb")
    a.docker.start("patient", "doctored")

    found = {line["check"]: line for line in json.loads(a.agent.command("doctor", "-o", "json"))}

    assert {check: line["finding"] for check, line in found.items() if line["status"] != "OK"} == {}
    assert found["service"]["finding"].endswith(f"this machine is a ({a.machine.id})")
    assert str(a.machine.id) in found["certificate"]["finding"]
    assert found["disk.EnableUUID"]["finding"] == "1 disks say their UUID"
    assert a.docker.running("patient")
    a.docker.said("rm", "-f", "patient")
    docker_hosts.wait_idle()
    a.docker.said("volume", "rm", "doctored")


def test_a_hundred_attaches_and_detaches_leave_nothing(a: Host) -> None:
    a.restart_agent(linger_s=0.0)
    a.docker.create("cycled", size="20mb")
    qemu = descriptors(a.guest.pid)

    said = a.guest.sh(f"python3 -S {bring(a.guest, 'plugin.py')} cycle cycled {CYCLES}", 600)

    told = json.loads(said)
    grown = {what: told["after"][what] - number for what, number in told["before"].items()}
    a.restart_agent()
    assert len(told["took_s"]) == CYCLES
    assert grown.pop("slab_kib") < SLAB_KIB
    # The worker starts threads as calls come; one for each cycle would be a leak.
    assert grown.pop("threads") < CYCLES // 4
    assert {what: by for what, by in grown.items() if by > 0} == {}
    assert descriptors(a.guest.pid) <= qemu
    assert a.disks() == []
    assert not list(a.machine.folder.glob("*.vmdk"))


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
