"""Service or agent is killed at each named point of create, mount, unmount and remove, and started again by hand.

The user repeats what failed, as Docker does with a broken connection. Afterwards the data is whole, and nothing is left.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from uuid import uuid4

import pytest

from tests.daemons.site import Daemon, Site, eventually
from vmdkvol.points import Point

pytestmark = pytest.mark.integration

# Passed by each of create, attach, detach and delete; the number says which passage.
_EVERY_CHANGE = (Point.CHANGE_SUBMITTED, Point.CHANGE_DONE, Point.CHANGE_FINISHED)
# The local hypervisor is done within `submit`, so no task is noted (corrections 27).
_NEVER_HERE = frozenset({Point.CHANGE_NOTED})
# Passed by what administrators order, and by what follows: test_growing.py and test_orders.py have them.
_ORDERS = (
    *("esx.resize.", "guest.growth.", "esx.restore.", "esx.rename.", "esx.move.", "esx.set."),
    *("esx.sever.", "esx.forget.", "esx.mend.", "esx.commission.", "esx.adopt.", "esx.release.", "esx.policy."),
)
ORDERED = [point for point in Point if point.value.startswith(_ORDERS)]
_CASES = [(point, 1) for point in Point if point not in _NEVER_HERE and point not in ORDERED]
_CASES += [(point, time) for point in _EVERY_CHANGE for time in (2, 3, 4, 5)]
# Written at create, at both marks of the format, and before a removal.
_CASES += [(Point.SIDECAR_WRITTEN, time) for time in (2, 3)]


class Revived:
    """Restarts a daemon, unarmed, as soon as it has died."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.died = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        assert self._daemon.process is not None
        self._daemon.process.wait()
        self.died.set()
        self._daemon.wait_dead()
        self._daemon.start()

    def join(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive(), "the daemon did not come back"


def write(mountpoint: str, text: str) -> None:
    with (Path(mountpoint) / "data").open("a") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def use_a_volume(site: Site, name: str) -> str:
    """Create, mount, write, unmount, mount again, write, unmount, remove; return what was read at the second mount."""
    host = site.host
    first, second = uuid4().hex * 2, uuid4().hex * 2
    host.patiently("Create", Name=name, Opts={"size": "8mb"})
    write(host.patiently("Mount", Name=name, ID=first)["Mountpoint"], "first")
    host.patiently("Unmount", Name=name, ID=first)
    eventually(lambda: site.loops() == [], "the unused disk was given back")
    mountpoint = host.patiently("Mount", Name=name, ID=second)["Mountpoint"]
    found = (Path(mountpoint) / "data").read_text()
    write(mountpoint, "second")
    host.patiently("Unmount", Name=name, ID=second)
    removed(site, name)
    return found


def removed(site: Site, name: str) -> None:
    """A repeat of a Remove whose answer was lost may find nothing: that is what the user wanted."""
    answer = {"Err": "not tried"}
    while answer["Err"] and "[volume-not-found]" not in answer["Err"]:
        try:
            answer = site.host.call("Remove", Name=name)
        except OSError:
            continue


def assert_nothing_left(site: Site) -> None:
    eventually(lambda: site.loops() == [] and site.mounted() == [], "no disk is attached or mounted")
    eventually(lambda: site.files() == [], f"no file is left: {site.files()}")
    assert site.host.names() == []
    with sqlite3.connect(f"file:{site.root}/state/service/vmdkvol.db?mode=ro", uri=True) as database:
        assert database.execute("SELECT count(*) FROM volumes").fetchone() == (0,)
        assert database.execute("SELECT count(*) FROM intents WHERE closed_at IS NULL").fetchone() == (0,)


@pytest.mark.parametrize(("point", "time"), _CASES, ids=lambda value: str(value))
def test_killed_at_a_point_nothing_is_lost_and_nothing_is_left(site: Site, point: Point, time: int) -> None:
    daemon, other = site.service, site.host.agent
    if point.value.startswith("guest."):
        daemon, other = other, daemon
    other.start(wait=False)
    daemon.start(point.value, time)
    revived = Revived(daemon)

    found = use_a_volume(site, f"v-{point.value}-{time}")

    if not revived.died.is_set():
        daemon.kill()
        revived.join()
        pytest.fail(f"{point} was never passed for the {time}. time")
    revived.join()
    assert found == "first"
    assert_nothing_left(site)
