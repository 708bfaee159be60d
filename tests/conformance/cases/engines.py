"""The engine is restarted, killed, kept away from the plugin: labels, references and data survive (docker-facts 2.6, 2.7)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.conformance.case import Group, Need
from tests.conformance.cases import writer
from tests.conformance.world import PATIENCE_S, World
from tests.integration.engine.engine import IMAGE
from tests.integration.engine.machine import wait_until

ENGINES = Group("engine")


def give_back(w: World, volume: str) -> None:
    """Send the Unmounts that a killed engine never sent, where the plugin shows them: what an operator may do."""
    status = w.told("Get", Name=volume)["Volume"].get("Status") or {}
    for holder in status.get("holders", ()):
        said = w.call("Remove", Name=volume).error
        assert w.bench is None or f"held by Docker's mount {holder[:12]}" in said, said
        w.told("Unmount", Name=volume, ID=holder)


@ENGINES.case(1, "Over a restart of the engine volumes, labels, options and references are kept.", quick=True)
def restart(w: World) -> None:
    name = w.create(None, "--label", "keep=me")
    w.said("create", "--name", "waiting", "--network", "none", "-v", f"{name}:/x", IMAGE, "true")
    w.engine.restart()
    assert w.volumes() == [name]
    assert w.inspect(name)["Labels"] == {"keep": "me"}
    assert (w.inspect(name)["Options"] or {}) == dict(w.options)
    assert "volume is in use" in w.engine.refused("volume", "rm", name)


@ENGINES.case(2, "A container with --restart=always comes back on its data after a restart of the engine.", quick=True)
def restart_always(w: World) -> None:
    name = w.create()
    always = ("--restart", "always", "-v", f"{name}:/data")
    w.container("always", *always, script="echo run >> /data/runs; sleep 10000")
    wait_until(lambda: runs(w) == 1, "the container has written")
    w.engine.restart()
    wait_until(lambda: runs(w) == 2, "the container runs again, on its data", PATIENCE_S)


def runs(w: World) -> int:
    return w.count("always", "grep", "-c", "run", "/data/runs")


@ENGINES.case(3, "The engine's stop gives every volume back.", quick=True)
def stop_gives_back(w: World) -> None:
    name = w.create()
    w.container("user", "-v", f"{name}:/data")
    w.inside("user", "echo y > /data/note; sync")
    w.engine.restart()
    assert w.sh(name, "cat /data/note") == "y"
    w.said("rm", "user")
    w.said("volume", "rm", name)


@ENGINES.case(4, "With live-restore a container writes on over a restart of the engine, and nothing is lost.", quick=True)
def live_restore(w: World) -> None:
    name = w.create()
    w.engine.restart(live_restore=True)
    writer.start(w, name)
    w.engine.restart(live_restore=True)
    writer.goes_on(w)
    writer.stop_and_check(w, name)
    w.engine.restart()


@ENGINES.case(5, "With live-restore a container writes on while the engine is killed -9, and nothing is lost.", quick=True)
def live_restore_kill(w: World) -> None:
    name = w.create()
    w.engine.restart(live_restore=True)
    writer.start(w, name)
    w.engine.kill9()
    w.engine.start(live_restore=True)
    writer.goes_on(w)
    writer.stop_and_check(w, name)
    w.engine.restart()


@ENGINES.case(6, "With live-restore a `docker cp` after the engine's restart takes nothing away.", quick=True)
def live_restore_cp(w: World) -> None:
    """The engine of Debian 12 counts from nothing then: it sends the one Unmount at the copy (docker-facts 2.7)."""
    name = w.create()
    w.engine.restart(live_restore=True)
    writer.start(w, name)
    w.engine.restart(live_restore=True)
    w.said("cp", "/etc/hostname", "writer:/data/copied")
    writer.goes_on(w)
    writer.stop_and_check(w, name)
    assert w.sh(name, "test -s /data/copied && echo copied") == "copied"
    w.engine.restart()
    give_back(w, name)


@ENGINES.case(7, "A container that ends while the engine is away leaves its data, and can start again.")
def ended_while_away(w: World) -> None:
    name = w.create()
    w.engine.restart(live_restore=True)
    w.container("user", "-v", f"{name}:/data", script="echo run >> /data/runs; sync; sleep 10000")
    wait_until(lambda: w.inside("user", "cat /data/runs") == "run", "the container has written")
    pid = int(w.said("inspect", "-f", "{{.State.Pid}}", "user"))
    w.engine.kill9()
    w.machine.kill(pid)
    w.engine.start(live_restore=True)
    wait_until(lambda: w.state("user") == "exited", "the engine has seen the end", PATIENCE_S)
    w.said("start", "user")
    wait_until(lambda: w.inside("user", "grep -c run /data/runs") == "2", "it runs again on its data")
    w.said("rm", "-f", "user")
    w.engine.restart()
    give_back(w, name)


@ENGINES.case(8, "After a kill -9 of the engine nothing that was synced is lost, and the volume can be used.", quick=True)
def kill(w: World) -> None:
    """Without live-restore the new engine ends the containers, and sends no Unmount (docker-facts 2.7)."""
    name = w.create()
    writer.start(w, name)
    last = writer.told(w)
    w.engine.kill9()
    w.engine.start()
    w.said("rm", "-f", "writer")
    writer.assert_nothing_lost(w, name, last)
    assert w.volumes() == [name]
    give_back(w, name)


_LONG = "10009"


@ENGINES.case(9, "The engine is killed -9 while six containers start: afterwards every volume works.")
def kill_in_a_storm(w: World) -> None:
    names = [w.create() for _ in range(6)]
    for name in names:
        w.said("create", "--name", f"c-{name}", "--network", "none", "-v", f"{name}:/data", IMAGE, "sleep", _LONG)
    with ThreadPoolExecutor(6) as pool:
        starts = [pool.submit(w.engine.docker, "start", f"c-{name}", check=False) for name in names]
        wait_until(lambda: any(start.done() for start in starts), "one of them has started", PATIENCE_S)
        w.engine.kill9()
    w.engine.start()
    w.said("rm", "-f", *(f"c-{name}" for name in names))
    _end_half_started(w)
    assert sorted(w.volumes()) == sorted(names)
    assert [w.sh(name, "echo y > /data/note; cat /data/note") for name in names] == ["y"] * 6
    for name in names:
        give_back(w, name)


def _end_half_started(w: World) -> None:
    """End what the killed engine had started and the new one knows nothing of, as an administrator must.

    The engine died before it wrote down that the container runs; the next one takes it for one that was never started, and
    `docker rm -f` leaves it running (seen on 20.10.24). It uses its volume, and the plugin rightly gives no disk away.
    """
    for process in [*w.machine.processes("sleep\0" + _LONG), *w.machine.processes("runc\0init")]:
        w.machine.kill(process)


@ENGINES.case(10, "A container with --restart=always comes back on its data after a kill -9 of the engine.", quick=True)
def restart_always_after_a_kill(w: World) -> None:
    """It mounts with the old ID (docker-facts 2.7)."""
    name = w.create()
    always = ("--restart", "always", "-v", f"{name}:/data")
    w.container("always", *always, script="echo run >> /data/runs; sleep 10000")
    wait_until(lambda: runs(w) == 1, "the container runs", PATIENCE_S)
    w.engine.kill9()
    w.engine.start()
    wait_until(lambda: runs(w) == 2, "the container runs again, on its data", PATIENCE_S)
    w.said("rm", "-f", "always")
    give_back(w, name)


@ENGINES.case(11, "The engine starts while the plugin is down, which comes later: labels and references are kept.", Need.DAEMON)
def plugin_late(w: World) -> None:
    """The engine asks for every volume when it starts; "absent" would purge (docker-facts 1.2)."""
    name = w.create(None, "--label", "keep=me")
    w.said("create", "--name", "waiting", "--network", "none", "-v", f"{name}:/x", IMAGE, "true")
    w.process.kill()
    with ThreadPoolExecutor(1) as pool:
        tries = unanswered(w)
        restarting = pool.submit(w.engine.restart)
        # Without a plugin the engine's start waits for one.
        wait_until(lambda: restarting.done() or unanswered(w) > tries, "the engine asks for the volume", PATIENCE_S)
        w.process.start()
        restarting.result()
    assert w.inspect(name)["Labels"] == {"keep": "me"}
    assert "volume is in use" in w.engine.refused("volume", "rm", name)


@ENGINES.case(12, "The same with the plugin there, and its service down.", Need.SERVICE, quick=True)
def service_late(w: World) -> None:
    name = w.create(None, "--label", "keep=me")
    w.said("create", "--name", "waiting", "--network", "none", "-v", f"{name}:/x", IMAGE, "true")
    w.ours.kill9("service")
    w.engine.restart()
    w.ours.up()
    assert w.inspect(name)["Labels"] == {"keep": "me"}
    assert "volume is in use" in w.engine.refused("volume", "rm", name)


def unanswered(w: World) -> int:
    """Return how often the engine has called a plugin that was not there, and will again."""
    return w.engine.log().count("Unable to ")


@ENGINES.case(13, "With nothing running, the plugin's disks are given back after the engine's stop.", Need.DISKS)
def disks_given_back(w: World) -> None:
    name = w.create()
    w.container("user", "-v", f"{name}:/data")
    assert w.ours.loops() != {}
    w.engine.restart()
    w.ours.wait_idle()
