"""The plugin and its service die, restart and are replaced under containers that write."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tests.conformance.case import Group, Need
from tests.conformance.cases import writer
from tests.conformance.cases.engines import give_back
from tests.conformance.world import PATIENCE_S, World
from tests.daemons.site import ROOT
from tests.integration.engine.engine import IMAGE
from tests.integration.engine.machine import wait_until

PLUGIN = Group("plugin")
SERVICE = Group("service")


@contextmanager
def load(w: World) -> Iterator[None]:
    """A container starts, writes and ends on a volume of its own again and again meanwhile; each of them must work."""
    name, ended = w.create("load"), threading.Event()

    def work() -> int:
        rounds = 0
        while not ended.is_set():
            rounds += 1
            assert w.sh(name, f"echo {rounds} >> /data/rounds; tail -n1 /data/rounds") == str(rounds)
        return rounds

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        time.sleep(0.3)
        try:
            yield
        finally:
            ended.set()
        assert working.result(PATIENCE_S * 2) > 0


@PLUGIN.case(1, "A container writes on while the plugin is killed -9 and comes back; nothing is lost.", Need.DAEMON, quick=True)
def killed(w: World) -> None:
    name = w.create()
    writer.start(w, name)
    w.process.kill()
    writer.goes_on(w)
    w.process.start()
    writer.goes_on(w)
    writer.stop_and_check(w, name)
    w.said("volume", "rm", name)


@PLUGIN.case(2, "The plugin is restarted under a writer and under container after container; none fails.", Need.DAEMON)
def restarted_under_load(w: World) -> None:
    name = w.create()
    writer.start(w, name)
    with load(w):
        w.process.stop()
        w.process.start()
        writer.goes_on(w)
    writer.stop_and_check(w, name)
    w.said("volume", "rm", name)


@PLUGIN.case(
    3, "Another version at another path takes over under the same load; the old code is gone.", Need.DAEMON, Need.UPGRADE
)
def upgraded_under_load(w: World) -> None:
    name = w.create()
    with upgradable(w):
        before = set(w.ours.pids(w.driver))
        writer.start(w, name)
        with load(w):
            upgrade(w, "new")
            shutil.rmtree(w.machine.root / "old")
            writer.goes_on(w)
        after = w.ours.pids(w.driver)
        assert not before & set(after), "the old version's processes are gone"
        assert all(f"{w.machine.root}/new".encode() in environment(w, pid) for pid in after), "what runs is the new version"
        writer.stop_and_check(w, name)
        w.said("volume", "rm", name)


@contextmanager
def upgradable(w: World) -> Iterator[None]:
    """Service and agent run from a copy of the code, ``old``; afterwards they run from this tree again."""
    original = w.machine.env["PYTHONPATH"]
    try:
        upgrade(w, "old", "service")
        yield
    finally:
        w.machine.env["PYTHONPATH"] = original
        w.ours.restart("service")
        w.ours.restart(w.driver)


def upgrade(w: World, version: str, *others: str) -> None:
    """Install a version beside the one that runs; stop that, and start the new one with the settings as they are."""
    place = w.machine.root / version
    for package in ("vmdkvol", "guest-agent", "esx-service"):
        shutil.copytree(ROOT / package, place / package, ignore=shutil.ignore_patterns("__pycache__"))
    places = [place, place / "guest-agent", place / "esx-service"]
    rest = [path for path in w.machine.env["PYTHONPATH"].split(":") if not (ROOT / "vmdkvol").is_relative_to(path)]
    rest = [path for path in rest if not path.startswith((str(w.machine.root), str(ROOT / "guest"), str(ROOT / "esx")))]
    w.machine.env["PYTHONPATH"] = ":".join([*map(str, places), *rest])
    for process in (w.driver, *others):
        w.ours.restart(process)


def environment(w: World, pid: int) -> bytes:
    return w.machine.path(f"/proc/{pid}/environ").read_bytes()


@PLUGIN.case(4, "A container that ends while the plugin is dead leaks nothing, and its volume can be used.", Need.DAEMON)
def ended_while_dead(w: World) -> None:
    name = w.create()
    w.container("user", "-v", f"{name}:/data", script="echo kept > /data/note; sync; sleep 10000")
    wait_until(lambda: w.inside("user", "cat /data/note") == "kept", "the container has written")
    pid = int(w.said("inspect", "-f", "{{.State.Pid}}", "user"))
    w.process.kill()
    w.machine.kill(pid)
    w.process.start()
    wait_until(lambda: w.state("user") == "exited", "the engine has seen the end", PATIENCE_S)
    w.said("rm", "user")
    assert w.sh(name, "cat /data/note") == "kept"
    w.said("volume", "rm", name)


@PLUGIN.case(5, "A start that is given while the plugin is down succeeds when it comes back.", Need.DAEMON, quick=True)
def start_while_down(w: World) -> None:
    """What cannot be dialled is tried again, with its body, for 15 s (docker-facts 2.4)."""
    name = w.create()
    w.said("create", "--name", "user", "--network", "none", "-v", f"{name}:/data", IMAGE, "sh", "-c", "echo y > /data/note")
    w.process.stop()
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(w.said, "start", "user")
        time.sleep(1)
        w.process.start()
        starting.result()
    assert w.sh(name, "cat /data/note") == "y"


@PLUGIN.case(6, "While the plugin is down `volume ls` works, containers can be stopped, and labels stay.", Need.DAEMON)
def down(w: World) -> None:
    name = w.create(None, "--label", "keep=me")
    w.container("user", "-v", f"{name}:/data")
    w.inside("user", "echo y > /data/note; sync")
    w.process.stop()
    assert w.volumes() == [name]
    w.said("stop", "-t", "0", "user")
    w.process.start()
    assert w.inspect(name)["Labels"] == {"keep": "me"}
    w.said("start", "user")
    w.said("rm", "-f", "user")
    assert w.sh(name, "cat /data/note") == "y"
    w.said("volume", "rm", name)


@PLUGIN.case(7, "Its socket vanishes and comes back: what was written before is there.", Need.DAEMON)
def socket_vanishes(w: World) -> None:
    name = w.create()
    w.sh(name, "echo y > /data/note")
    hidden = w.socket.with_name("hidden")
    w.socket.rename(hidden)
    assert name in w.volumes()
    hidden.rename(w.socket)
    assert w.sh(name, "cat /data/note") == "y"


@PLUGIN.case(
    8, "The plugin is killed -9 while eight containers start: each of them starts then, or at the second try.", Need.DAEMON
)
def killed_in_a_storm(w: World) -> None:
    names = [w.create() for _ in range(8)]
    for name in names:
        command = ("sh", "-c", f"echo {name} >> /data/note; sync; sleep 10000")
        w.said("create", "--name", f"c-{name}", "--network", "none", "-v", f"{name}:/data", IMAGE, *command)
    with ThreadPoolExecutor(8) as pool:
        starts = [pool.submit(w.engine.docker, "start", f"c-{name}", check=False) for name in names]
        wait_until(lambda: any(start.done() for start in starts), "one of them has started", PATIENCE_S)
        w.process.kill()
        w.process.start()
        failed = [name for name, start in zip(names, starts, strict=True) if start.result().returncode]
    for name in failed:
        w.said("start", f"c-{name}")
    wait_until(
        lambda: all(name in w.inside(f"c-{name}", "cat /data/note") for name in names),
        "every container has written",
        PATIENCE_S,
    )
    w.said("rm", "-f", *(f"c-{name}" for name in names))
    for name in failed:
        # The engine gave up a Mount that the killed plugin had noted, and sends no Unmount for it (corrections 5).
        give_back(w, name)
    assert [w.sh(name, "tail -n1 /data/note") for name in names] == names


@SERVICE.case(
    1, "A container writes on while the service is killed -9 and comes back; nothing is lost.", Need.SERVICE, quick=True
)
def service_killed(w: World) -> None:
    name = w.create()
    writer.start(w, name)
    w.ours.kill9("service")
    writer.goes_on(w)
    w.ours.up()
    writer.goes_on(w)
    writer.stop_and_check(w, name)


@SERVICE.case(2, "The service is restarted under a writer and under container after container; none fails.", Need.SERVICE)
def service_restarted_under_load(w: World) -> None:
    name = w.create()
    writer.start(w, name)
    with load(w):
        w.ours.restart("service")
        writer.goes_on(w)
    writer.stop_and_check(w, name)


@SERVICE.case(3, "Plugin and service are killed -9 together under a writer; nothing is lost.", Need.SERVICE, quick=True)
def both_killed(w: World) -> None:
    name = w.create()
    writer.start(w, name)
    w.ours.kill9(w.driver)
    w.ours.kill9("service")
    writer.goes_on(w)
    w.ours.up()
    writer.stop_and_check(w, name)


@SERVICE.case(
    4, "Without the service containers that run can be stopped, and volumes are still listed.", Need.SERVICE, quick=True
)
def service_away(w: World) -> None:
    name = w.create()
    w.container("user", "-v", f"{name}:/data")
    w.ours.kill9("service")
    assert w.volumes() == [name]
    w.said("rm", "-f", "user")
    assert w.volumes() == [name]
    w.ours.up()


@SERVICE.case(5, "The engine's labels and options survive the service's absence.", Need.SERVICE, quick=True)
def labels_survive(w: World) -> None:
    """A Get that says "absent" would purge labels and references (docker-facts 2.6)."""
    name = w.create(None, "--label", "keep=me")
    w.ours.kill9("service")
    w.engine.docker("volume", "inspect", name, check=False)
    w.ours.up()
    assert w.inspect(name)["Labels"] == {"keep": "me"}
    assert w.inspect(name)["Options"] == dict(w.options)


@SERVICE.case(6, "A volume can be created and mounted right after a kill -9 of the service.", Need.SERVICE)
def right_after_a_kill(w: World) -> None:
    w.ours.kill9("service")
    w.ours.up()
    assert w.sh(w.create(), "echo yes > /data/x; cat /data/x") == "yes"


@SERVICE.case(
    7, "Engine, plugin and service are killed together: --restart=always comes back on its data.", Need.SERVICE, quick=True
)
def all_killed(w: World) -> None:
    name = w.create()
    options = ("--restart", "always", "-v", f"{name}:/data")
    w.container("always", *options, script="echo run >> /data/runs; sync; sleep 10000")
    runs = ("grep", "-c", "run", "/data/runs")
    wait_until(lambda: w.count("always", *runs) == 1, "the container has written")
    w.ours.kill9(w.driver)
    w.ours.kill9("service")
    w.engine.kill9()
    w.ours.up()
    w.engine.start()
    wait_until(lambda: w.count("always", *runs) == 2, "the container runs again, on its data", PATIENCE_S)
