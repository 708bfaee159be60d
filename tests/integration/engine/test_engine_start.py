"""An engine that starts waits for us no longer than it must: what it asks is counted, and how late it is answered.

It asks for every volume that it ever knew, and mounts for each container that is to run again, before it answers anybody.
The times are printed beside those of an engine without any plugin; no time that only tells how busy the machine is is judged.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.engine.bench import PLUGINS, Bench, Docker, bench, engine_for
from tests.integration.engine.counting import Called, Counting, counts, slowest_s
from tests.integration.engine.engine import IMAGE, Engine
from tests.integration.engine.held import HeldAgent
from tests.integration.engine.machine import Machine
from tests.scale.filling import fill, name_of
from vmdkvol.line import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.engine, pytest.mark.timeout(600)]
KNOWN, USED = 1000, 4
HELD = "/run/held/vsphere.sock"
# For a machine that does other things; an answer that waits for the service's own limit would be a minute later.
SLACK_S = 15.0


@dataclass
class World:
    """``none`` knows no volume of ours, ``many`` knows ``KNOWN``, ``floor`` has an empty directory of plugins."""

    site: Bench
    agent: HeldAgent
    calls: Counting
    none: Docker
    many: Docker
    floor: Docker

    def start(self, docker: Docker) -> tuple[float, list[Called]]:
        """Start the engine; return the seconds until it answers, and what it called."""
        self.calls.taken()
        begun = time.monotonic()
        docker.engine.start()
        return time.monotonic() - begun, self.calls.taken()

    def stop(self) -> None:
        for docker in (self.none, self.many, self.floor):
            docker.engine.stop()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    root = Path(tempfile.mkdtemp(prefix="vmdkvol-flo-"))
    try:
        with bench(linger_s=60.0) as site, Machine(root) as apart:
            site.kill9("service")
            fill(site.sandbox / "state/service/vmdkvol.db", site.sandbox / "datastores/ds1", KNOWN)
            agent = HeldAgent(site, "vsphere", HELD)
            agent.start_service()
            with Counting(site.machine.path(f"{PLUGINS}/vsphere.sock"), site.machine.path(HELD)) as calls:
                bare = Engine(apart, "floor")
                bare.start()
                bare.import_busybox()
                made = World(site, agent, calls, engine_for(site, "n"), engine_for(site, "m"), Docker(bare, "local"))
                known(made.many, [name_of(number) for number in range(1, KNOWN + 1)])
                known(made.floor, [f"own{number}" for number in range(USED)])
                use(made.many, [name_of(number) for number in range(1, USED + 1)])
                use(made.floor, [f"own{number}" for number in range(USED)])
                yield made
    finally:
        shutil.rmtree(root, ignore_errors=True)


class Api(http.client.HTTPConnection):
    """The engine's own interface: a thousand commands would take a minute."""

    def __init__(self, docker: Docker) -> None:
        super().__init__("engine", timeout=60)
        self._path = docker.engine.machine.path(docker.engine.host.removeprefix("unix://"))

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def known(docker: Docker, names: list[str]) -> None:
    """Afterwards the engine has a record of each volume, with a label, and will ask for it at each start."""

    def create(name: str) -> None:
        api = Api(docker)
        body = json.dumps({"Name": name, "Driver": docker.driver, "Labels": {"keep": "me"}})
        api.request("POST", "/volumes/create", body, {"Content-Type": "application/json"})
        assert api.getresponse().status == 201
        api.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(create, names))


def use(docker: Docker, names: list[str]) -> None:
    options = ("run", "-d", "--restart", "always", "--network", "none", "--stop-signal", "KILL")
    for number, name in enumerate(names):
        docker.engine.said(*options, "--name", f"c{number}", "-v", f"{name}:/x", IMAGE, "sleep", "100000")


def running(docker: Docker) -> int:
    return len(docker.engine.said("ps", "-q").split())


def assert_asked_once_each(calls: list[Called]) -> None:
    """One Get for each volume, two more and a Mount for each container; every call was answered, no Get with an error."""
    assert counts(calls) == {"Activate": 1, "Capabilities": 1, "Get": KNOWN + 2 * USED, "Mount": USED}
    assert [call for call in calls if call.status != 200] == []
    assert [call for call in calls if call.error and call.endpoint != "Mount"] == []


def told(case: str, floor_s: float, none_s: float, many_s: float, calls: list[Called]) -> None:
    slowest = ", ".join(f"{endpoint} {slowest_s(calls, endpoint):.2f}" for endpoint in sorted(counts(calls)))
    line = (
        f"{case}: no plugin {floor_s:.2f} s, 0 known {none_s:.2f} s, {KNOWN} known {many_s:.2f} s; slowest answer, s: {slowest}"
    )
    print(f"{line}; load {os.getloadavg()[0]:.1f}")


def assert_labels_are_kept(docker: Docker) -> None:
    names = [name_of(1), name_of(USED), name_of(KNOWN)]
    assert docker.engine.said("volume", "inspect", "-f", "{{.Labels.keep}}", *names).split() == ["me"] * 3


def test_an_engine_starts_beside_an_agent_that_serves_and_beside_one_that_starts_itself(world: World) -> None:
    for case in ("all is up", "the agent starts too"):
        world.stop()
        floor_s, _ = world.start(world.floor)
        none_s, none_calls = world.start(world.none)
        if case != "all is up":
            world.agent.restart(wait=False)
        many_s, calls = world.start(world.many)
        told(case, floor_s, none_s, many_s, calls)

        assert none_calls == []
        assert_asked_once_each(calls)
        assert not any(call.error for call in calls)
        assert running(world.many) == running(world.floor) == USED
    assert_labels_are_kept(world.many)


def test_a_service_that_is_down_costs_an_engine_s_start_one_wait_and_not_one_for_each_volume(world: World) -> None:
    world.stop()
    world.site.kill9("service")
    try:
        floor_s, _ = world.start(world.floor)
        none_s, none_calls = world.start(world.none)
        many_s, calls = world.start(world.many)
        told("the service is down", floor_s, none_s, many_s, calls)
    finally:
        world.agent.start_service()

    assert none_calls == []
    assert_asked_once_each(calls)
    assert slowest_s(calls, "Activate", "Capabilities", "Get") <= SLACK_S
    # What has to be attached waits for the service as a restart needs it, all of them together.
    assert slowest_s(calls, "Mount") <= PATIENCE_S + SLACK_S
    assert all(call.error for call in calls if call.endpoint == "Mount")
    assert_labels_are_kept(world.many)


def test_a_service_that_hangs_costs_the_start_of_an_engine_with_nothing_to_mount_no_wait_for_it(world: World) -> None:
    """From what the agent knows: a Get that asked waits half a second, and the others then ask no more."""
    world.many.remove(*(f"c{number}" for number in range(USED)))
    world.stop()
    absent = world.site.pids("service")
    world.site.machine.run("kill", "-STOP", *map(str, absent))
    try:
        floor_s, _ = world.start(world.floor)
        none_s, none_calls = world.start(world.none)
        many_s, calls = world.start(world.many)
        told("the service hangs, no containers", floor_s, none_s, many_s, calls)
    finally:
        world.site.machine.run("kill", "-CONT", *map(str, absent))

    assert none_calls == []
    assert counts(calls) == {"Activate": 1, "Capabilities": 1, "Get": KNOWN}
    assert [call for call in calls if call.status != 200 or call.error] == []
    assert slowest_s(calls, "Activate", "Capabilities", "Get") <= SLACK_S
    assert_labels_are_kept(world.many)
