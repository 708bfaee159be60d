"""Either side is stopped with SIGSTOP for a while and goes on: nothing is stolen meanwhile, nothing is done twice after (F62).

The five minutes themselves are in ``tests/unit/guest/test_reconcile.py``, on a clock that a test moves.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.daemons.site import Daemon, Host, Site, eventually
from vmdkvol.cli import processes

pytestmark = pytest.mark.integration
FIRST, SECOND = "a" * 64, "b" * 64


@pytest.fixture
def site() -> Iterator[Site]:
    root = Path(tempfile.mkdtemp(prefix="vmdkvol-site-"))
    site = Site(root, hosts=("vsphere", "other"), slow_limit_s=40.0, short_limit_s=40.0)
    site.service.module = "tests.daemons.lying"
    site.start()
    site.host.told("Create", Name="db", Opts={"size": "8mb"})
    yield site
    site.close()
    shutil.rmtree(root)


@contextmanager
def stopped(daemon: Daemon) -> Iterator[None]:
    """All processes of the daemon stand still meanwhile."""
    pids = [process.pid for process in processes.with_config(daemon.config)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def used(host: Host, mount_id: str) -> Path:
    path = Path(host.patiently("Mount", Name="db", ID=mount_id)["Mountpoint"])
    (path / "file").write_text("data")
    return path / "file"


def moves_on(site: Site) -> bool:
    """With both sides awake the volume goes to the other host with its data, and can be removed."""
    site.host.patiently("Unmount", Name="db", ID=FIRST)
    other = site.hosts[1]
    path = Path(other.patiently("Mount", Name="db", ID=SECOND)["Mountpoint"])
    found = (path / "file").read_text()
    assert len(site.loops()) == 1
    other.told("Unmount", Name="db", ID=SECOND)
    other.patiently("Remove", Name="db")
    eventually(lambda: site.files() == [] and site.loops() == [], "nothing is left")
    return found == "data"


def test_a_stopped_service_costs_no_container_and_no_record(site: Site) -> None:
    file = used(site.host, FIRST)
    with stopped(site.service):
        shown = site.host.told("Get", Name="db")["Volume"]["Status"]
        refused = site.hosts[1].call("Mount", Name="db", ID=SECOND)["Err"]
        file.write_text("data")

    assert (shown["stale"], shown["mounted"]) == (True, True)
    assert refused.endswith(("[still-working]", "[service-unreachable]"))
    assert moves_on(site)


def test_a_stopped_agent_keeps_its_mount_and_the_other_host_is_told(site: Site) -> None:
    used(site.host, FIRST)
    with stopped(site.host.agent):
        refused = site.hosts[1].call("Mount", Name="db", ID=SECOND)["Err"]
        removed = site.hosts[1].call("Remove", Name="db")["Err"]
        (loop,) = site.loops()

    assert refused.endswith("[volume-in-use]")
    assert "vsphere" in refused
    assert removed.endswith("[volume-in-use]")
    assert site.loops() == [loop]
    assert moves_on(site)


def work_under_way(site: Site) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{site.root}/state/service/vmdkvol.db?mode=ro", uri=True)) as database:
        (count,) = database.execute("SELECT count(*) FROM intents WHERE closed_at IS NULL").fetchone()
    return int(count)


def test_an_agent_that_is_stopped_in_a_mount_ends_it_when_it_goes_on(site: Site) -> None:
    """The service attaches the disk while the agent sleeps; another host asks for it in between."""
    used(site.host, FIRST)
    site.host.told("Unmount", Name="db", ID=FIRST)
    # The detach is work under way until its end is written down, a moment after the disk is gone.
    eventually(lambda: site.loops() == [] and work_under_way(site) == 0, "the disk was given back")
    lie = Path(f"{site.service.config}.lie")
    lie.write_text("never")
    answers: list[dict[str, Any]] = []
    caller = threading.Thread(target=lambda: answers.append(site.host.call("Mount", Name="db", ID=FIRST)))
    caller.start()
    # Its holder is noted earlier, and an agent that is stopped then has asked for nothing.
    eventually(lambda: work_under_way(site) == 1, "the service has begun the attach")
    with stopped(site.host.agent):
        lie.unlink()
        eventually(lambda: len(site.loops()) == 1, "the service has attached it")
        refused = site.hosts[1].call("Mount", Name="db", ID=SECOND)["Err"]
        assert len(site.loops()) == 1
    caller.join(60)

    assert refused.endswith(("[volume-in-use]", "[still-working]"))
    assert [answer["Err"] for answer in answers] == [""]
    assert (Path(answers[0]["Mountpoint"]) / "file").read_text() == "data"
    assert moves_on(site)


def test_gunicorn_ends_no_worker_that_stood_still(site: Site) -> None:
    """Its own heartbeat would kill the worker, and every call with it."""
    before = {process.pid for process in processes.with_config(site.host.agent.config)}
    with stopped(site.host.agent):
        threading.Event().wait(3.0)

    assert site.host.names() == ["db"]
    assert {process.pid for process in processes.with_config(site.host.agent.config)} == before
