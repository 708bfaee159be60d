"""The main job in a virtual machine: a Docker host with PVSCSI, its engine, the real agent and the real service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.site import Site
from tests.system.world import Host, World, world

pytestmark = [pytest.mark.integration, pytest.mark.system]


@pytest.fixture(scope="module")
def here(image: Path, site: Site) -> Iterator[World]:
    with world(site, image, "a") as made:
        made.hosts[0].on()
        yield made


@pytest.fixture
def a(here: World) -> Host:
    return here.hosts[0]


def test_create_run_write_stop_read_remove(here: World, a: Host) -> None:
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
    here.wait_idle()
    a.docker.said("volume", "rm", "db")
    assert here.service.files() == []
    assert a.guest.block_devices() == {}


def test_the_doctor_finds_nothing_wrong_on_a_host_that_works(here: World, a: Host) -> None:
    """By the same certificate and beside the agent's own connection, which stands."""
    a.docker.create("doctored", size="100mb")
    a.docker.start("patient", "doctored")

    found = {line["check"]: line for line in json.loads(a.agent.command("doctor", "-o", "json"))}

    assert {check: line["finding"] for check, line in found.items() if line["status"] != "OK"} == {}
    assert found["service"]["finding"].endswith(f"this machine is a ({a.machine.id})")
    assert str(a.machine.id) in found["certificate"]["finding"]
    assert found["disk.EnableUUID"]["finding"] == "1 disks say their UUID"
    assert a.docker.running("patient")
    a.docker.said("rm", "-f", "patient")
    here.wait_idle()
    a.docker.said("volume", "rm", "doctored")
