"""A real engine, agent and service, and disks that take longer to make than an answer may: with both made short.

The disk needs fifteen seconds, an answer comes after two: what 300 s and 110 s are in ``tests/simulation/test_long_work.py``.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.engine.bench import Bench, Docker, bench, engine_for
from tests.integration.engine.engine import IMAGE
from tests.integration.engine.machine import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.engine]
LIMIT_S = 2.0
# At so many MiB in a second.
PACE, SIZE = 20.0, "300mb"
TOLD = re.compile(r"volume (\w+): still being (created|cloned), (\d+) % done")
EAGER = {"size": SIZE, "diskformat": "eagerzeroedthick"}
# Much longer than it takes; the machine may be busy.
PATIENCE_S = 180.0


def slow(made: Bench) -> None:
    with (made.sandbox / "agent.toml").open("a") as file:
        file.write(f"slow_limit_s = {LIMIT_S}\n")
    (made.sandbox / "service.toml").write_text(f"copy_mib_s = {PACE}\nhousekeeping_s = 1.0\ndrain_s = 0.5\n")


@pytest.fixture(scope="module")
def site() -> Iterator[Bench]:
    with bench(prepare=slow) as made:
        yield made
        assert made.files() == []
        made.wait_idle()


@pytest.fixture(scope="module")
def docker(site: Bench) -> Docker:
    return engine_for(site)


def refused_in_time(docker: Docker, name: str, **options: str) -> None:
    """Create a volume that takes longer than Docker is let wait: the answer comes at our limit, and says how far it is."""
    began = time.monotonic()
    said = docker.refuses_to_create(name, **options)
    assert TOLD.search(said), said
    assert said.rstrip().endswith("[still-working]")
    # Of our limit, and not of the disk; without one the engine itself would wait 120 s.
    assert time.monotonic() - began < LIMIT_S + 30.0


def repeated(docker: Docker, volume: str, script: str) -> str:
    """Run ``script`` in a container, as often as it is told that the mount goes on: on a busy machine two seconds are few."""
    done: list[subprocess.CompletedProcess[str]] = []

    def ran() -> bool:
        command = ("run", "--rm", "--network", "none", "-v", f"{volume}:/data", IMAGE, "sh", "-c", script)
        done.append(docker.engine.docker(*command, check=False))
        return "it goes on in the background" not in done[-1].stderr

    wait_until(ran, f"{volume} is mounted", PATIENCE_S)
    assert done[-1].returncode == 0, done[-1].stderr
    return done[-1].stdout


def status(docker: Docker, name: str) -> dict[str, Any]:
    (found,) = json.loads(docker.engine.said("volume", "inspect", name))
    shown: dict[str, Any] = found["Status"]
    return shown


def percents(said: str) -> list[int]:
    return [int(percent) for percent in re.findall(r"(\d+) % done", said)]


def test_what_everybody_is_told_while_it_is_made_and_when_it_is_ready(site: Bench, docker: Docker) -> None:
    refused_in_time(docker, "big", **EAGER)

    shown = status(docker, "big")
    assert shown["state"] == "preparing"
    assert 0 < shown["progress"]["percent"] < 100
    # docker-facts 2.5: with Get showing it, the engine's own repeat sends no Create at all, and does not wait.
    docker.create("big", **EAGER)
    (row,) = json.loads(site.vmdkvol("volume", "ls", "-o", "json"))
    assert (row["state"], row["percent"] >= shown["progress"]["percent"]) == ("preparing", True)
    assert "big" not in docker.volumes()
    said = docker.engine.refused("volume", "rm", "big")
    assert "cannot be removed yet: still being created, " in said
    host = site.host()
    assert "[name-conflict]" in host.call("Create", Name="big", Opts={"size": "10mb"})["Err"]

    told = site.vmdkvol("volume", "wait", "big", timeout_s=PATIENCE_S)

    assert percents(told) == sorted(percents(told))
    assert told.splitlines()[-1] == "volume big: ready"
    ready = status(docker, "big")
    assert (ready["state"], ready["progress"]) == ("ready", None)
    assert docker.volumes() == ["big"]
    host.told("Create", Name="big", Opts=EAGER)
    docker.rm("big")


def test_a_container_waits_for_it_and_an_agent_that_is_killed_finds_it_again(site: Bench, docker: Docker) -> None:
    refused_in_time(docker, "big", **EAGER)
    site.kill9("vsphere")
    site.up()
    said = [docker.fails("big")]
    assert TOLD.search(said[0]), said

    def runs() -> bool:
        done = docker.engine.docker("run", "--rm", "--network", "none", "-v", "big:/data", "busybox", "true", check=False)
        said.append(done.stderr)
        return done.returncode == 0

    wait_until(runs, "the container runs once the volume is ready", PATIENCE_S)
    assert percents(" ".join(said)) == sorted(percents(" ".join(said)))
    site.wait_idle()
    docker.rm("big")


@pytest.fixture(scope="module")
def source(site: Bench, docker: Docker) -> Iterator[str]:
    docker.create("src", size="400mb")
    repeated(docker, "src", "dd if=/dev/urandom of=/data/file bs=1M count=200 2>/dev/null; sync; md5sum /data/file > /data/sum")
    site.wait_idle()
    yield "src"
    docker.rm("src")


@pytest.mark.parametrize("end", ["kill -9", "stop"])
def test_a_service_that_ends_in_the_middle_leaves_no_file_and_the_name_is_free(
    site: Bench, docker: Docker, source: str, end: str
) -> None:
    before = site.files()
    # Thick: a thin clone may be shared at once where the file system can.
    refused_in_time(docker, "copy", clone_from=source, diskformat="zeroedthick")
    assert len(site.files()) > len(before)
    if end == "stop":
        site.restart("service")
    else:
        site.kill9("service")
        assert len(site.files()) > len(before)
        site.up()

    assert site.files() == before
    assert site.volumes() == [source]
    assert "[volume-not-found]" in site.vmdkvol("volume", "wait", "copy", code=4)


def test_after_that_the_same_clone_is_made_with_the_data_of_its_source(site: Bench, docker: Docker, source: str) -> None:
    # As a user does, who repeats a command that failed: told that it takes long; or it is being made already, from a call that
    # the line sent again, and the engine says OK; or the call that it joined fails for the service that was killed under it.
    options = ["-o", f"clone-from={source}", "-o", "diskformat=zeroedthick"]
    said: list[str] = []

    def taken() -> bool:
        done = docker.engine.docker("volume", "create", "-d", docker.driver, *options, "copy", check=False)
        said.append(done.stderr)
        return done.returncode == 0 or TOLD.search(done.stderr) is not None

    wait_until(taken, "the clone is being made", PATIENCE_S)
    site.vmdkvol("volume", "wait", "copy", timeout_s=PATIENCE_S)
    assert "OK" in repeated(docker, "copy", "md5sum -c /data/sum")
    site.wait_idle()
    docker.rm("copy")
