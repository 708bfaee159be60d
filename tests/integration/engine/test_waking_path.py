"""On a real engine: commands while the agent restarts fail none, and what Docker does in bursts moves no disk.

A disk that was detached and attached again is another one to the kernel: its ``diskseq`` tells.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.engine.bench import Bench, Docker, bench, engine_for
from tests.integration.engine.held import HeldAgent
from tests.integration.engine.machine import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.engine, pytest.mark.timeout(600)]
# Longer than any of these tests, so that no disk leaves because its time was over.
LINGER_S = 300.0
SHORT_LINGER_S = 10.0
# By hand: 20 of them.
RESTARTS = 6
RUN = ("run", "--rm", "--network", "none")


@dataclass(frozen=True)
class World:
    site: Bench
    agent: HeldAgent
    first: Docker
    second: Docker

    def changes(self, volume: str) -> list[str]:
        """Return what the service did with the volume's disk, in order."""
        log = (self.site.sandbox / "logs" / "service.log").read_text(errors="replace")
        found = (re.search(r"\b(attached|detached)\b", line) for line in log.splitlines() if f"{volume}" in line)
        return [match.group() for match in found if match]

    def disk(self, volume: str) -> tuple[str, int]:
        """Return the volume's loop device and the kernel's number of its being there."""
        name = str(self.site.inspected(volume)["device"])
        return name, int(Path(f"/sys/block/{name}/diskseq").read_text())


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with bench("vsphere", "vsphere-b", linger_s=LINGER_S) as site:
        agent = HeldAgent(site, "vsphere")
        yield World(site, agent, engine_for(site, "a", "vsphere"), engine_for(site, "b", "vsphere-b"))
        assert site.files() == []
        site.wait_idle()


@pytest.fixture
def db(world: World, request: pytest.FixtureRequest) -> Iterator[str]:
    """A volume of the test's own name, which lingers on the first host."""
    name = "v" + str(abs(hash(request.node.name)))
    world.first.create(name, size="20mb")
    world.first.sh(name, "echo kept > /data/note")
    yield name
    world.first.rm(name)


class Commands:
    """Clients that give commands without a pause until they are told to end; ``failed`` has what went wrong."""

    def __init__(self, docker: Docker, used: str) -> None:
        self._docker = docker
        self._used = used
        self._ended = threading.Event()
        loops = (self._runs, self._lists, self._creates)
        self._threads = [threading.Thread(target=loop) for loop in loops]
        self.done = dict.fromkeys(("run", "ls", "create", "rm"), 0)
        self.failed: list[str] = []

    def __enter__(self) -> Commands:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def goes_on(self) -> None:
        """Return when a command of each kind has ended since."""
        before = dict(self.done)
        wait_until(lambda: all(self.done[kind] > before[kind] for kind in before), f"commands go on {self.failed}", 120)

    def _runs(self) -> None:
        while not self._ended.is_set():
            said = self._tell("run", *RUN, "-v", f"{self._used}:/data", "busybox", "cat", "/data/note")
            if said != "kept\n":
                self.failed.append(f"run printed {said!r}")

    def _lists(self) -> None:
        while not self._ended.is_set():
            if self._used not in self._tell("ls", "volume", "ls", "-q").split():
                self.failed.append("volume ls does not show the volume")

    def _creates(self) -> None:
        while not self._ended.is_set():
            self._tell("create", "volume", "create", "-d", self._docker.driver, "-o", "size=2mb", "passing")
            self._tell("rm", "volume", "rm", "passing")

    def _tell(self, kind: str, *argv: str) -> str:
        done = self._docker.engine.docker(*argv, check=False, timeout_s=150)
        if done.returncode:
            self.failed.append(f"{' '.join(argv)}: {done.stderr}")
        self.done[kind] += 1
        return done.stdout


def test_restarts_of_the_agent_fail_no_command(world: World, db: str) -> None:
    starts, disk = world.agent.starts, world.disk(db)
    with Commands(world.first, db) as commands:
        for _ in range(RESTARTS):
            commands.goes_on()
            world.agent.restart()
        commands.goes_on()

    print(commands.done)
    assert commands.failed == []
    assert world.agent.starts == starts + RESTARTS
    assert world.disk(db) == disk


def second_container(docker: Docker, volume: str) -> None:
    docker.start("one", volume)
    docker.start("two", volume)
    docker.remove("one")
    assert docker.sh_in("two", "cat /data/note") == "kept"
    docker.remove("two")


def restarts(docker: Docker, volume: str) -> None:
    docker.start("one", volume)
    docker.engine.said("restart", "one")
    docker.engine.said("stop", "one")
    docker.engine.said("start", "one")
    docker.remove("one")


def crash_loop(docker: Docker, volume: str) -> None:
    options = ("-d", "--name", "one", "--restart", "always", "--network", "none", "-v", f"{volume}:/data")
    docker.engine.said("run", *options, "busybox", "sh", "-c", "echo x >> /data/starts; exit 1")
    wait_until(lambda: int(docker.engine.said("inspect", "-f", "{{.RestartCount}}", "one")) >= 4, "four crashes", 90)
    docker.remove("one")
    assert int(docker.sh(volume, "wc -l < /data/starts")) >= 4


def copies(docker: Docker, volume: str) -> None:
    note = str(docker.engine.machine.root / "note")
    docker.start("one", volume)
    docker.engine.said("cp", "one:/data/note", note)
    docker.engine.said("cp", note, "one:/data/again")
    assert docker.sh_in("one", "cat /data/again") == "kept"
    docker.remove("one")


@pytest.mark.parametrize("life", [second_container, restarts, crash_loop, copies])
def test_what_docker_does_in_bursts_moves_no_disk(world: World, db: str, life: object) -> None:
    before, changes = world.disk(db), world.changes(db)
    assert callable(life)

    life(world.first, db)

    assert world.disk(db) == before
    assert "detached" not in world.changes(db)[len(changes) :]


def test_copying_an_image_s_files_up_attaches_once(world: World) -> None:
    docker = world.first
    docker.create("fresh", size="20mb")

    first = docker.engine.said(*RUN, "-v", "fresh:/etc", "busybox", "ls", "/etc")
    disk = world.disk("fresh")

    assert docker.engine.said(*RUN, "-v", "fresh:/etc", "busybox", "ls", "/etc") == first
    assert world.disk("fresh") == disk
    assert "detached" not in world.changes("fresh")
    docker.rm("fresh")


def test_another_host_gets_a_lingering_disk_long_before_its_time_is_over(world: World, db: str) -> None:
    """Also from an agent that has just restarted."""
    began = time.monotonic()
    world.second.create(db)
    assert world.second.sh(db, "cat /data/note; echo more > /data/note") == "kept"
    assert world.first.sh(db, "cat /data/note") == "more"
    world.agent.restart()
    assert world.second.sh(db, "cat /data/note") == "more"

    assert world.changes(db).count("detached") == 3
    assert time.monotonic() - began < LINGER_S / 2


def test_the_linger_s_end_stays_where_it_was_over_any_number_of_restarts(world: World, db: str) -> None:
    """If each start began a new one, restarts that come sooner than its end would keep the disk for ever."""
    world.agent.set("linger_s", SHORT_LINGER_S)
    world.agent.restart()
    try:
        world.first.sh(db, "true")
        began, restarts_ = time.monotonic(), 0
        while world.site.volume(db)["attached_to"]:
            assert time.monotonic() - began < 12 * SHORT_LINGER_S, f"still attached after {restarts_} restarts"
            world.agent.restart()
            restarts_ += 1
            time.sleep(SHORT_LINGER_S / 3)
        assert restarts_ >= 2
    finally:
        world.agent.set("linger_s", LINGER_S)
        world.agent.restart()
