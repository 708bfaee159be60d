"""The suite itself: it takes a plugin that is none of ours, and each deliberate fault of such a plugin fails a case."""

from __future__ import annotations

import http.client
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance import directory_driver
from tests.conformance.case import Case, Need, carry_out
from tests.conformance.settings import chosen
from tests.conformance.suite import CASES, possible
from tests.conformance.wire import post
from tests.conformance.world import World
from tests.integration.engine.bench import PLUGINS
from tests.integration.engine.engine import Engine
from tests.integration.engine.machine import Machine, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.engine, pytest.mark.timeout(300)]
BY_ID = {case.id: case for case in CASES}
# The faults, and the case that each is caught by at the latest.
CAUGHT = {
    "empty-body-ok": "calls-07",
    "empty-get-answered": "lost-05",
    "null-volume": "calls-07",
    "empty-mountpoint": "mounts-01",
    "no-zone": "calls-04",
    "list-differs": "calls-03",
    "path-differs": "calls-03",
    "list-doubles": "names-01",
    "status-list": "calls-06",
    "forgets": "mounts-01",
    "create-empties": "create-03",
    "create-exists": "create-03",
    "remove-mounted": "mounts-10",
    "remove-keeps": "mounts-13",
    "remove-unknown-ok": "names-16",
    "first-unmount-wins": "mounts-03",
    "counts": "mounts-04",
    "one-directory": "mounts-08",
    "lower-case": "names-08",
    "html-errors": "calls-14",
    "two-lines": "calls-14",
}
# What depends on the plugin more than on the engine; with --full it is every case that can be.
AT_THE_SOCKET = {"names", "create", "calls", "mounts", "lost"}


@dataclass
class DirectoryDriver:
    """The plugin of ``directory_driver``, as a process in a machine."""

    machine: Machine
    name: str
    fault: str = ""
    pid: int = 0

    @property
    def socket(self) -> Path:
        return self.machine.path(f"{PLUGINS}/{self.name}.sock")

    def start(self) -> None:
        if self.pid and self.machine.alive(self.pid):
            return
        program = [sys.executable, directory_driver.__file__, f"{PLUGINS}/{self.name}.sock"]
        root = self.machine.root / f"volumes-{self.name}"
        self.pid = self.machine.spawn([*program, str(root), self.fault], self.machine.root / f"{self.name}.log")
        wait_until(self._serves, f"{self.name} serves")

    def _serves(self) -> bool:
        try:
            return post(self.socket, "/VolumeDriver.List", b"{}")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def kill(self) -> None:
        self.machine.kill(self.pid)

    def stop(self) -> None:
        self.kill()
        self.socket.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    root = Path(tempfile.mkdtemp(prefix="vmdkvol-dir-"))
    root.chmod(0o711)
    try:
        with Machine(root) as machine:
            made = Engine(machine)
            made.start()
            made.import_busybox()
            yield made
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="module")
def right(engine: Engine) -> Iterator[World]:
    driver = DirectoryDriver(engine.machine, "dirs")
    driver.start()
    world = World(engine.machine, engine, driver.name, driver.socket, daemon=driver)
    yield world
    world.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        full = chosen(metafunc.config).full
        cases = [case for case in possible(frozenset({Need.DAEMON})) if full or case.group in AT_THE_SOCKET]
        metafunc.parametrize("case", cases, ids=[case.id for case in cases])


def test_a_small_plugin_of_directories_keeps_every_promise(right: World, case: Case) -> None:
    carry_out(right, case)


@pytest.mark.parametrize("fault", directory_driver.FAULTS)
def test_a_wrong_plugin_fails_the_case_that_is_about_it(engine: Engine, fault: str) -> None:
    driver = DirectoryDriver(engine.machine, f"wrong-{fault}", fault)
    driver.start()
    world = World(engine.machine, engine, driver.name, driver.socket, daemon=driver)
    try:
        with pytest.raises(AssertionError):
            BY_ID[CAUGHT[fault]].run(world)
    finally:
        world.close()
        containers = engine.said("ps", "-aq").split()
        if containers:
            engine.said("rm", "-f", *containers)
        volumes = engine.said("volume", "ls", "-q").splitlines()
        if volumes:
            # An engine that starts waits 15 s for each volume that it knows and whose plugin is gone (docker-facts 1.3).
            engine.docker("volume", "rm", "-f", "--", *volumes, check=False)
        driver.kill()
        driver.socket.unlink(missing_ok=True)
        # An engine waits 15 s for each driver that it has met and that is gone (docker-facts 2.1).
        if engine.said("info", "-f", "{{json .Plugins.Volume}}").find("wrong-") > 0:
            engine.restart()
