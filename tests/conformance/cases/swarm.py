"""Swarm mode on a single manager: services with volumes, scaled, updated and removed (docker-facts 4.1)."""

from __future__ import annotations

import re

from tests.conformance.case import Group, Need
from tests.conformance.world import PATIENCE_S, World
from tests.daemons.site import ROOT
from tests.integration.engine.engine import IMAGE
from tests.integration.engine.machine import wait_until

SWARM = Group("swarm")
# The scheduler's rounds are seconds apart.
SWARM_S = 2 * PATIENCE_S
RUN = "echo $(hostname) >> /data/tasks; sync; exec sleep 10000"


def joined(w: World) -> None:
    """Make the engine a manager if it is none yet, and the driver known to the scheduler, as the unit does it."""
    if w.in_swarm:
        return
    w.in_swarm = True
    w.said("swarm", "init", "--advertise-addr", "127.0.0.1", "--task-history-limit", "1")
    w.volumes()


def service(w: World, name: str, mount: str, *words: str, script: str = RUN) -> None:
    """Create a service; return when its task runs."""
    joined(w)
    # No network of Swarm's own, which wants bridges and address translation.
    options = ("--network", "host", "--restart-delay", "100ms", "--stop-grace-period", "0s", "--mount", mount)
    w.said("service", "create", "-d", "--no-resolve-image", "--name", name, *options, *words, IMAGE, "sh", "-c", script)
    running(w, name, 1)


def mount(w: World, volume: str) -> str:
    options = "".join(f",volume-opt={key}={value}" for key, value in w.options.items())
    return f"type=volume,source={volume},target=/data,volume-driver={w.driver}{options}"


def containers(w: World, name: str) -> list[str]:
    return w.said("ps", "-q", "--filter", f"label=com.docker.swarm.service.name={name}").split()


def running(w: World, name: str, count: int) -> None:
    def enough() -> bool:
        return len(containers(w, name)) == count

    try:
        wait_until(enough, f"{count} tasks of {name} run", SWARM_S)
    except AssertionError as error:
        raise AssertionError(f"{error}:\n{w.said('service', 'ps', '--no-trunc', name)}") from None


def tasks(w: World, name: str) -> int:
    """Return how many tasks have left their line on the volume; 0 while none runs that could tell."""
    found = containers(w, name)
    return w.count(found[0], "wc", "-l", "/data/tasks") if found else 0


@SWARM.case(1, "A service whose mount names driver and options gets its volume.", quick=True)
def created(w: World) -> None:
    service(w, "s", mount(w, "db"))
    assert w.listed() == ["db"]
    wait_until(lambda: tasks(w, "s") == 1, "the task has written", SWARM_S)


@SWARM.case(2, "One use of the driver makes a node report it; the unit for that does just this.")
def made_known(w: World) -> None:
    w.engine.restart()
    joined(w)
    unit = (ROOT / "packaging" / "systemd" / "vmdkvol-swarm.service").read_text()
    match = re.search(r"^ExecStart=/usr/bin/docker (.+)$", unit, re.MULTILINE)
    assert match is not None
    w.said(*match[1].replace("driver=vsphere", f"driver={w.driver}").split())
    plugins = ("node", "inspect", "self", "-f", "{{json .Description.Engine.Plugins}}")
    wait_until(lambda: f'"Type":"Volume","Name":"{w.driver}"' in w.said(*plugins), "the node reports the driver", SWARM_S)


@SWARM.case(3, "The volume's scope is what the plugin says, also to Swarm.")
def scope(w: World) -> None:
    name = w.create()
    assert w.inspect(name)["Scope"] == w.raw("Capabilities", b"{}").json["Capabilities"]["Scope"].lower()


@SWARM.case(4, "A service is scaled to three tasks on one volume, and to one; the last goes on.")
def scaled(w: World) -> None:
    service(w, "s", mount(w, "db"))
    w.said("service", "scale", "-d", "s=3")
    running(w, "s", 3)
    wait_until(lambda: tasks(w, "s") == 3, "three tasks have written", SWARM_S)
    w.said("service", "scale", "-d", "s=1")
    running(w, "s", 1)
    assert w.said("exec", containers(w, "s")[0], "sh", "-c", "echo y > /data/note; cat /data/note") == "y"


@SWARM.case(5, "An update in the order stop-first goes on with the data.")
def updated_stop_first(w: World) -> None:
    service(w, "s", mount(w, "db"), "--update-order", "stop-first")
    wait_until(lambda: tasks(w, "s") == 1, "the first task has written", SWARM_S)
    w.said("service", "update", "-d", "--force", "s")
    wait_until(lambda: len(containers(w, "s")) == 1 and tasks(w, "s") == 2, "the second task goes on with the data", SWARM_S)


@SWARM.case(
    6, "An update in the order start-first on one node: old and new share the volume for a moment, and nothing is lost."
)
def updated_start_first(w: World) -> None:
    service(w, "s", mount(w, "db"), "--update-order", "start-first")
    wait_until(lambda: tasks(w, "s") == 1, "the first task has written", SWARM_S)
    w.said("service", "update", "-d", "--force", "s")
    wait_until(lambda: len(containers(w, "s")) == 1 and tasks(w, "s") == 2, "the second task goes on with the data", SWARM_S)


@SWARM.case(7, "A killed task is started again on its data.", long=True)
def task_killed(w: World) -> None:
    service(w, "s", mount(w, "db"))
    wait_until(lambda: tasks(w, "s") == 1, "the first task has written", SWARM_S)
    w.said("kill", containers(w, "s")[0])
    wait_until(lambda: len(containers(w, "s")) == 1 and tasks(w, "s") == 2, "the next task goes on with the data", SWARM_S)


@SWARM.case(8, "With `{{.Task.Slot}}` in the name each task has a volume of its own.", long=True)
def by_slot(w: World) -> None:
    joined(w)
    service(w, "s", mount(w, "data-{{.Task.Slot}}"))
    w.said("service", "scale", "-d", "s=2")
    running(w, "s", 2)
    assert w.listed() == ["data-1", "data-2"]
    wait_until(lambda: tasks(w, "s") == 1, "each task is alone on its volume", SWARM_S)


@SWARM.case(9, "`service rm` gives the volume back and keeps it; then it can be removed.", long=True)
def service_removed(w: World) -> None:
    service(w, "s", mount(w, "db"))
    w.said("service", "rm", "s")
    wait_until(lambda: w.said("ps", "-aq") == "", "the task's container is gone", SWARM_S)
    assert w.volumes() == ["db"]
    assert w.sh("db", "grep -c . /data/tasks") == "1"
    w.said("volume", "rm", "db")


@SWARM.case(10, "A node that is drained gives the volume back, and takes it again when it is active.", long=True)
def drained(w: World) -> None:
    service(w, "s", mount(w, "db"))
    wait_until(lambda: tasks(w, "s") == 1, "the first task has written", SWARM_S)
    node = w.said("info", "-f", "{{.Swarm.NodeID}}")
    w.said("node", "update", "--availability", "drain", node)
    wait_until(lambda: containers(w, "s") == [], "the node is empty", SWARM_S)
    w.said("node", "update", "--availability", "active", node)
    running(w, "s", 1)
    wait_until(lambda: tasks(w, "s") == 2, "the next task goes on with the data", SWARM_S)


@SWARM.case(11, "A service in mode global runs on the volume.", long=True)
def global_mode(w: World) -> None:
    service(w, "s", mount(w, "db"), "--mode", "global")
    wait_until(lambda: tasks(w, "s") == 1, "the task has written", SWARM_S)


@SWARM.case(12, "A service that wants a volume which another host has fails fast, and the task says who has it.", Need.HOSTS)
def held_elsewhere(w: World) -> None:
    """What an update in the order start-first meets when its new task comes to another node: waiting can never help."""
    w.create("db")
    w.second.engine.said(*w.create_command("db", driver=w.second.driver))
    w.second.start("user", "db")
    joined(w)
    words = ("--network", "host", "--restart-condition", "none", "--mount", mount(w, "db"))
    w.said("service", "create", "-d", "--no-resolve-image", "--name", "s", *words, IMAGE, "sh", "-c", RUN)
    show = ("service", "ps", "--no-trunc", "--format", "{{.Error}}", "s")
    wait_until(lambda: "[volume-in-use]" in w.said(*show), "the task says why it does not run", SWARM_S)
    assert f"mounted on {w.second.driver}" in w.said(*show)
    assert w.second.sh_in("user", "echo unharmed > /data/x; cat /data/x") == "unharmed"


@SWARM.case(13, "A service goes on after a restart of the manager's engine.", long=True)
def manager_restarted(w: World) -> None:
    service(w, "s", mount(w, "db"))
    wait_until(lambda: tasks(w, "s") == 1, "the first task has written", SWARM_S)
    w.engine.restart()
    w.volumes()
    running(w, "s", 1)
    wait_until(lambda: tasks(w, "s") == 2, "the next task goes on with the data", SWARM_S)
