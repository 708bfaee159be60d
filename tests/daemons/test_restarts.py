"""The agent is restarted, killed and upgraded under a stream of calls, on a socket that systemd holds: nobody notices."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons.activator import ROOT, Activator, agent_command, own_mounts, python_path
from tests.daemons.site import Site, eventually

# Twenty restarts take 15 s on a quiet machine, and minutes on one that does other things.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(500)]
CLIENTS = 4


@pytest.fixture
def site() -> Iterator[Site]:
    root = Path(tempfile.mkdtemp(prefix="vmdkvol-site-"))
    site = Site(root)
    site.service.start()
    yield site
    site.close()
    shutil.rmtree(root)


@pytest.fixture
def agent(site: Site) -> Iterator[Activator]:
    with own_mounts() as inside:
        command = [*inside, *agent_command(site.host.agent.config)]
        with Activator(site.host.plugin, command, site.host.agent.log, python_path()) as activator:
            site.host.told("List")
            yield activator


class Stream:
    """Clients that do what an engine does, without a pause, until they are told to end. ``failed`` has what went wrong."""

    def __init__(self, site: Site, clients: int = CLIENTS) -> None:
        self._host = site.host
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(f"c{number}",)) for number in range(clients)]
        self.calls = 0
        self.failed: list[str] = []
        self.cut: list[str] = []

    def __enter__(self) -> Stream:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def goes_on(self, calls: int = 10) -> None:
        """Return when so many more calls were answered."""
        until = self.calls + calls
        eventually(lambda: self.calls >= until, "the stream of calls goes on", 60)

    def _run(self, client: str) -> None:
        turn = 0
        while not self._ended.is_set():
            turn += 1
            self._turn(f"{client}-{turn}", f"{turn:064d}")

    def _turn(self, name: str, mount_id: str) -> None:
        """One volume's life. A call that was cut off by a kill is repeated, as its user does."""
        self._call("Create", Name=name, Opts={"size": "2mb"})
        self._call("Get", Name=name)
        self._call("Mount", Name=name, ID=mount_id)
        self._call("List")
        self._call("Path", Name=name)
        self._call("Unmount", Name=name, ID=mount_id)
        self._call("Remove", Name=name)

    def _call(self, endpoint: str, **body: object) -> None:
        for repeat in range(20):
            try:
                answer = self._host.call(endpoint, **body)
            except (OSError, http.client.HTTPException) as error:
                self.cut.append(f"{endpoint} {body}: {error!r}")
                continue
            self.calls += 1
            # What was cut off had removed it: the repeat says truly that it is gone.
            gone = endpoint == "Remove" and repeat and answer["Err"].endswith("[volume-not-found]")
            if answer["Err"] and not gone:
                self.failed.append(f"{endpoint} {body}: {answer['Err']}")
            return
        self.failed.append(f"{endpoint} {body}: cut off each time")


def assert_nothing_left(site: Site) -> None:
    assert site.host.names() == []
    eventually(lambda: site.loops() == [], "every disk was given back", 60)
    assert site.files() == []


def test_twenty_restarts_under_a_stream_of_calls_fail_none(site: Site, agent: Activator) -> None:
    with Stream(site) as stream:
        for _ in range(20):
            stream.goes_on(5)
            agent.restart()
        stream.goes_on()

    assert (stream.failed, stream.cut) == ([], [])
    assert agent.starts == 21
    assert_nothing_left(site)


def test_twenty_restarts_of_the_service_under_a_stream_of_calls_fail_none(site: Site, agent: Activator) -> None:
    with Stream(site, clients=2) as stream:
        for _ in range(20):
            stream.goes_on(5)
            site.service.stop()
            site.service.start()
        stream.goes_on()

    assert (stream.failed, stream.cut) == ([], [])
    assert_nothing_left(site)


def test_a_restart_right_after_a_start_is_not_lost(site: Site, agent: Activator) -> None:
    """The worker that was forked a moment ago must hear of the stop: else the old master waits for it for 115 s."""
    began = time.monotonic()
    for pause_s in (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35):
        agent.restart()
        time.sleep(pause_s)
    agent.restart()

    assert site.host.names() == []
    assert time.monotonic() - began < 100


@pytest.mark.parametrize("victim", ["worker", "master"])
def test_kills_cut_off_only_what_is_under_way(site: Site, agent: Activator, victim: str) -> None:
    with Stream(site) as stream:
        for _ in range(6):
            stream.goes_on(5)
            eventually(lambda: agent.workers() != [], "a worker serves")
            os.kill(agent.master if victim == "master" else agent.workers()[0], signal.SIGKILL)
        stream.goes_on()

    assert stream.failed == []
    assert len(stream.cut) <= 6 * CLIENTS
    assert not agent.gave_up
    assert_nothing_left(site)


def test_an_upgrade_under_a_stream_of_calls_fails_none(site: Site, agent: Activator) -> None:
    upgrade = site.root / "upgrade"
    for package in ("vmdkvol", "guest-agent", "esx-service"):
        shutil.copytree(ROOT / package, upgrade / package, ignore=shutil.ignore_patterns("__pycache__"))
    version = upgrade / "vmdkvol" / "__init__.py"
    version.write_text(version.read_text().replace('__version__ = "', '__version__ = "9.'))

    with Stream(site) as stream:
        stream.goes_on()
        agent.env = python_path(upgrade)
        agent.restart()
        stream.goes_on(20)

    assert (stream.failed, stream.cut) == ([], [])
    assert '"version": "9.' in site.host.agent.log.read_text()
    assert_nothing_left(site)


def test_a_slow_call_under_way_is_answered_with_what_it_did(site: Site, agent: Activator) -> None:
    answers: list[dict[str, object]] = []
    options = {"size": "600mb", "diskformat": "eagerzeroedthick"}
    slow = threading.Thread(target=lambda: answers.append(site.host.call("Create", Name="slow", Opts=options)))
    slow.start()
    eventually(lambda: site.files() != [], "the disk is being made")

    agent.restart()
    slow.join()

    assert answers == [{"Err": ""}]
    assert site.host.names() == ["slow"]
    site.host.told("Remove", Name="slow")
