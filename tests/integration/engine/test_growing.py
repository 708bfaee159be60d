"""A real engine, agent and service, and volumes that become larger: under a writer, between mounts, and when both sides die.

A mounted ext4 grows only for who has CAP_SYS_RESOURCE (field case C16); a machine without it shows that it stays as it is, and
tests/system/test_guest_side.py that it grows.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.engine.bench import Bench, Docker, bench, engine_for
from tests.integration.engine.machine import wait_until
from vmdkvol_guest.linux.enlarging import may_grow_ext4

pytestmark = [pytest.mark.integration, pytest.mark.engine]
MIB = 1 << 20
OLD, NEW = "320mb", "640mb"
GROWS = ("ext4", "xfs") if may_grow_ext4() else ("xfs",)
# A file system takes some of its disk for itself.
LEAST_MIB, MOST_MIB = 330, 640
# Writes a number, has it synced, and says so.
SYNCED = "dd of=/data/records oflag=append conv=notrunc,fsync 2>/dev/null"
WRITER = f"i=0; while true; do echo $i | {SYNCED} && echo $i > /new && mv /new /acked; i=$((i + 1)); done"
ORDER = """
import http.client, json, socket, sys
connection = http.client.HTTPConnection("localhost", timeout=60)
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(sys.argv[1])
body, path = json.dumps({"size_bytes": int(sys.argv[3])}), f"/v1/volumes/{sys.argv[2]}/resize{sys.argv[4]}"
connection.request("POST", path, body, {"Content-Type": "application/json"})
print(connection.getresponse().read().decode())
"""


@pytest.fixture(scope="module")
def site() -> Iterator[Bench]:
    with bench() as made:
        yield made
        assert made.files() == []
        made.wait_idle()


@pytest.fixture(scope="module")
def docker(site: Bench) -> Docker:
    return engine_for(site)


def order(site: Bench, volume: str, size_mib: int, query: str = "") -> dict[str, Any]:
    """Order a size as the command line does, by the REST API."""
    words = [str(site.sandbox / "run/api/web.sock"), volume, str(size_mib * MIB), query]
    told: dict[str, Any] = json.loads(site.machine.run(sys.executable, "-c", ORDER, *words).stdout)
    return told


def status(docker: Docker, volume: str) -> dict[str, Any]:
    (found,) = json.loads(docker.engine.said("volume", "inspect", volume))
    shown: dict[str, Any] = found["Status"]
    return shown


def room(docker: Docker, container: str) -> int:
    """Return the MiB that `df` shows in the container."""
    return int(docker.sh_in(container, "df -m /data | tail -1 | awk '{print $2}'"))


def grown(docker: Docker, container: str) -> bool:
    return LEAST_MIB < room(docker, container) <= MOST_MIB


@pytest.fixture
def volume(docker: Docker, request: pytest.FixtureRequest) -> Iterator[str]:
    """A volume that a container of its own name has; nothing is left of both afterwards."""
    docker.create("db", size=OLD, fstype=request.param)
    docker.start("db", "db", WRITER)
    yield "db"
    docker.remove("db")
    docker.rm("db")


@pytest.mark.parametrize("volume", GROWS, indirect=True)
def test_a_file_system_grows_under_a_writer_who_loses_nothing(site: Bench, docker: Docker, volume: str) -> None:
    wait_until(lambda: docker.sh_in(volume, "cat /acked 2>/dev/null || true") != "", "the writer writes")
    assert room(docker, volume) < LEAST_MIB
    told = order(site, volume, 640)
    assert [step["verb"] for step in told["plan"]["steps"]] == ["GrowDisk", "GrowFilesystem"]
    wait_until(lambda: grown(docker, volume), "the container has its room")
    shown = status(docker, volume)
    assert (shown["size-bytes"], shown["filesystem"], shown["options"]["size"]) == (640 * MIB, None, NEW)

    acked = int(docker.sh_in(volume, "cat /acked"))
    docker.remove(volume)
    kept = [int(line) for line in docker.sh(volume, "cat /data/records").splitlines() if line]
    assert kept[: acked + 1] == list(range(acked + 1))
    docker.start(volume, volume)


@pytest.mark.parametrize("volume", GROWS, indirect=True)
def test_c15_the_next_mount_has_the_room_and_the_old_create_is_no_conflict(site: Bench, docker: Docker, volume: str) -> None:
    docker.remove(volume)
    site.wait_idle()
    told = order(site, volume, 640)
    assert told["plan"]["steps"][1]["after"] == "at the next mount"
    assert status(docker, volume)["size-bytes"] == 640 * MIB
    docker.create(volume, size=OLD)

    docker.start(volume, volume)
    assert grown(docker, volume)


@pytest.mark.parametrize("volume", GROWS, indirect=True)
def test_whoever_dies_right_after_the_order_the_file_system_follows(site: Bench, docker: Docker, volume: str) -> None:
    order(site, volume, 640)
    site.kill9("service")
    site.kill9("vsphere")
    site.up()
    wait_until(lambda: grown(docker, volume), "the container has its room")
    assert order(site, volume, 640)["plan"]["steps"] == []


@pytest.mark.parametrize("volume", ["ext4"], indirect=True)
def test_c16_an_ext4_that_may_not_grow_says_so_and_its_container_goes_on(site: Bench, docker: Docker, volume: str) -> None:
    order(site, volume, 640)
    if may_grow_ext4():
        wait_until(lambda: grown(docker, volume), "the container has its room")
    else:
        wait_until(lambda: status(docker, volume)["filesystem"] is not None, "it is told")
        assert "cannot grow while it is mounted" in status(docker, volume)["filesystem"]["reason"]
        assert room(docker, volume) < LEAST_MIB
    assert status(docker, volume)["size-bytes"] == 640 * MIB
    before = int(docker.sh_in(volume, "cat /acked"))
    wait_until(lambda: int(docker.sh_in(volume, "cat /acked")) > before, "the writer goes on")


@pytest.mark.parametrize("volume", ["xfs"], indirect=True)
def test_what_is_refused_or_only_asked_leaves_the_size(site: Bench, docker: Docker, volume: str) -> None:
    assert order(site, volume, 319)["code"] == "invalid-size"
    assert order(site, volume, 40 << 20)["code"] == "no-space"
    assert order(site, volume, 640, "?dry_run=true")["done"] is False
    assert status(docker, volume)["size-bytes"] == 320 * MIB
    assert room(docker, volume) < LEAST_MIB
