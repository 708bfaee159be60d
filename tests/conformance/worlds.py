"""How a world is made: our own plugin with its service, or one that is there already."""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.case import Need
from tests.conformance.world import World
from tests.integration.engine.bench import PLUGINS, Bench, Docker, bench, engine_for
from tests.integration.engine.builds import Build
from tests.integration.engine.engine import Engine
from tests.integration.engine.machine import Machine, wait_until

OWN_DRIVER = "vsphere"
SECOND_DRIVER = "vsphere-b"
OWN_OPTIONS = {"size": "100mb"}
EVERYTHING = frozenset(Need)


@dataclass
class OwnAgent:
    """Our plugin's process, in a sandbox."""

    site: Bench

    def kill(self) -> None:
        self.site.kill9(OWN_DRIVER)

    def stop(self) -> None:
        for pid in self.site.pids(OWN_DRIVER)[:1]:
            self.site.machine.kill(pid, signal.SIGTERM, 60)
        wait_until(lambda: not self.site.pids(OWN_DRIVER), "the agent is gone")

    def start(self) -> None:
        self.site.up()


@contextlib.contextmanager
def own(build: Build) -> Iterator[World]:
    """Yield our plugin, its service and an engine; afterwards no disk is left attached and no file of a volume."""
    with bench(OWN_DRIVER) as site:
        docker = engine_for(site, build=build)

        def second() -> Docker:
            site.hosts = (OWN_DRIVER, SECOND_DRIVER)
            site.up()
            return engine_for(site, "b", SECOND_DRIVER, build=build)

        socket = site.machine.path(f"{PLUGINS}/{OWN_DRIVER}.sock")
        agent = OwnAgent(site)
        world = World(site.machine, docker.engine, OWN_DRIVER, socket, OWN_OPTIONS, agent, site, second)
        try:
            yield world
        finally:
            world.close()
        site.wait_idle()
        assert site.files() == []


def trouble(driver: str) -> str:
    """Return why the plugin of this name cannot be tried here, and what to do; "" if it can."""
    if _socket(driver) is None:
        return f"there is no socket {PLUGINS}/{driver}.sock: start the plugin first"
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        root = next(line for line in table if line.split()[4] == "/")
    if "shared:" not in root.split(" - ")[0]:
        return "what the plugin mounts would not be seen by the engine: run `mount --make-rshared /` here first"
    return ""


@contextlib.contextmanager
def foreign(build: Build, driver: str, options: Mapping[str, str]) -> Iterator[World]:
    """Yield an engine that uses the plugin of this machine: its socket, and the mounts that it makes."""
    socket = _socket(driver)
    assert socket is not None, trouble(driver)
    root = Path(tempfile.mkdtemp(prefix="vmdkvol-con-"))
    root.chmod(0o711)
    try:
        with Machine(root, own_run=False) as machine:
            engine = Engine(machine, build=build)
            engine.start()
            engine.import_busybox()
            world = World(machine, engine, driver, socket, options)
            try:
                yield world
            finally:
                world.close()
                engine.stop()
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _socket(driver: str) -> Path | None:
    """Return the first of the sockets that an engine looks for (docker-facts 2.1)."""
    places = (Path(PLUGINS) / f"{driver}.sock", Path(PLUGINS) / driver / f"{driver}.sock")
    return next((path for path in places if path.is_socket()), None)
