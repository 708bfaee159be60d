"""The lives of containers: crash loops, recreation, parallel starts, and removing what is still needed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.conformance.case import Group
from tests.conformance.world import PATIENCE_S, World
from tests.integration.engine.engine import IMAGE
from tests.integration.engine.machine import wait_until

LIFE = Group("life")


@LIFE.case(1, "Five stops and starts keep the data.", quick=True)
def stops_and_starts(w: World) -> None:
    name = w.create()
    w.container("one", "-v", f"{name}:/data", script="echo run >> /data/runs; sleep 10000")
    wait_until(lambda: w.count("one", "grep", "-c", "run", "/data/runs") == 1, "the container has written")
    for number in range(2, 7):
        w.said("stop", "-t", "0", "one")
        w.said("start", "one")
        wait_until(lambda: w.inside("one", "grep -c run /data/runs") == str(number), "the container runs on its data")  # noqa: B023 - called at once


@LIFE.case(2, "A crash loop with --restart=on-failure runs each time on the data, and holds nothing at its end.", quick=True)
def crash_loop(w: World) -> None:
    name = w.create()
    options = ("--network", "none", "--restart", "on-failure:3", "-v", f"{name}:/data")
    w.said("run", "-d", "--name", "loop", *options, IMAGE, "sh", "-c", "echo x >> /data/runs; exit 1")
    state = ("inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "loop")
    wait_until(lambda: w.said(*state) == "3 exited", "the engine gave up after three restarts", PATIENCE_S)
    assert w.sh(name, "grep -c x /data/runs") == "4"
    w.said("rm", "loop")
    w.said("volume", "rm", name)


@LIFE.case(3, "A container whose program is missing holds nothing.")
def no_program(w: World) -> None:
    name = w.create()
    w.engine.refused("run", "--name", "broken", "--network", "none", "-v", f"{name}:/x", IMAGE, "no-such-program")
    w.said("rm", "broken")
    w.said("volume", "rm", name)
    assert w.listed() == []


@LIFE.case(4, "A container that ended by itself holds nothing.", quick=True)
def ended(w: World) -> None:
    name = w.create()
    w.container("short", "-v", f"{name}:/data", script="echo y > /data/note")
    wait_until(lambda: w.state("short") == "exited", "the container ended", PATIENCE_S)
    assert w.sh(name, "cat /data/note") == "y"
    w.said("rm", "short")
    w.said("volume", "rm", name)


@LIFE.case(5, "A container whose process was killed -9 holds nothing.")
def killed(w: World) -> None:
    name = w.create()
    w.container("victim", "-v", f"{name}:/data", script="echo y > /data/note; sync; sleep 10000")
    wait_until(lambda: w.inside("victim", "cat /data/note") == "y", "the container has written")
    w.machine.kill(int(w.said("inspect", "-f", "{{.State.Pid}}", "victim")))
    wait_until(lambda: w.state("victim") == "exited", "the engine has seen the end", PATIENCE_S)
    w.said("rm", "victim")
    assert w.sh(name, "cat /data/note") == "y"
    w.said("volume", "rm", name)


@LIFE.case(6, "`volume rm` under a running container is refused, with -f too, and the container writes on.", quick=True)
def rm_under_a_container(w: World) -> None:
    name = w.create()
    w.container("user", "-v", f"{name}:/data")
    assert "volume is in use" in w.engine.refused("volume", "rm", name)
    w.engine.refused("volume", "rm", "-f", name)
    assert w.inside("user", "echo y > /data/note; sync; cat /data/note") == "y"
    assert w.volumes() == [name]


@LIFE.case(7, "`volume rm` of a volume whose container was only created is refused.", quick=True)
def rm_of_a_created_container_s(w: World) -> None:
    name = w.create()
    w.said("create", "--name", "waiting", "--network", "none", "-v", f"{name}:/x", IMAGE, "true")
    assert "volume is in use" in w.engine.refused("volume", "rm", name)
    w.said("rm", "waiting")
    w.said("volume", "rm", name)


@LIFE.case(8, "An anonymous volume ends with its container, and no other does.", quick=True)
def anonymous(w: World) -> None:
    name = w.create()
    options = "".join(f",volume-opt={key}={value}" for key, value in w.options.items())
    mounts = ("--mount", f"type=volume,target=/x,volume-driver={w.driver}{options}", "-v", f"{name}:/data")
    both = w.said("run", "--rm", "--network", "none", *mounts, IMAGE, "sh", "-c", "echo y > /x/note; cat /x/note")
    assert both == "y"
    assert w.listed() == [name]


@LIFE.case(9, "`rm -v` takes the anonymous volumes of a container and leaves the named ones.")
def rm_v(w: World) -> None:
    name = w.create()
    options = "".join(f",volume-opt={key}={value}" for key, value in w.options.items())
    w.container("both", "--mount", f"type=volume,target=/x,volume-driver={w.driver}{options}", "-v", f"{name}:/data")
    assert len(w.listed()) == 2
    w.said("rm", "-f", "-v", "both")
    assert w.listed() == [name]


@LIFE.case(10, "Neither `volume prune` nor `system prune --volumes` takes a volume.", quick=True)
def prune(w: World) -> None:
    name = w.create()
    w.sh(name, "echo kept > /data/note")
    w.said("volume", "prune", "--force")
    w.said("system", "prune", "--force", "--volumes")
    # That takes the image too, if no container has it.
    w.engine.import_busybox()
    assert w.sh(name, "cat /data/note") == "kept"


@LIFE.case(11, "A container is recreated as `docker compose up` does, and goes on with the data.", quick=True)
def recreated(w: World) -> None:
    name = w.create(None, "--label", "com.docker.compose.project=p", "--label", "com.docker.compose.volume=db")
    run = ("--network", "none", "--stop-signal", "KILL", "-v", f"{name}:/data", IMAGE, "sh", "-c")
    script = "echo run >> /data/runs; sleep 10000"
    w.said("run", "-d", "--name", "p-db-1", *run, script)
    wait_until(lambda: w.inside("p-db-1", "cat /data/runs") == "run", "the first container runs")
    w.said("create", "--name", "new", *run, script)
    w.said("stop", "-t", "0", "p-db-1")
    w.said("rm", "p-db-1")
    w.said("rename", "new", "p-db-1")
    w.said("start", "p-db-1")
    wait_until(lambda: w.inside("p-db-1", "grep -c run /data/runs") == "2", "the second goes on with the data")
    assert w.said("volume", "ls", "-q", "--filter", "label=com.docker.compose.project=p") == name


@LIFE.case(12, "Three containers that start at once on one volume all run on it.", quick=True)
def parallel_starts(w: World) -> None:
    name = w.create()
    names = ["one", "two", "three"]
    for container in names:
        w.said("create", "--name", container, "--network", "none", "-v", f"{name}:/data", IMAGE, "sleep", "10000")
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda container: w.said("start", container), names))
    w.inside("one", "echo y > /data/note; sync")
    assert [w.inside(container, "cat /data/note") for container in names] == ["y"] * 3


@LIFE.case(13, "A container starts while the last one on its volume stops.")
def start_during_stop(w: World) -> None:
    name = w.create()
    w.container("before", "-v", f"{name}:/data", script="sleep 10000")
    # Not by the container's own script: "run" returns when that has begun, and the next line kills it.
    w.inside("before", "echo y > /data/note; sync")
    for number in range(3):
        before = "before" if not number else f"after{number - 1}"
        with ThreadPoolExecutor(2) as pool:
            stopping = pool.submit(w.said, "rm", "-f", before)
            w.container(f"after{number}", "-v", f"{name}:/data")
            stopping.result()
        assert w.inside(f"after{number}", "cat /data/note") == "y"


@LIFE.case(14, "Six containers on six volumes start and end at once.")
def six_at_once(w: World) -> None:
    names = [w.create() for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        said = list(pool.map(lambda name: w.sh(name, f"echo {name} > /data/note; cat /data/note"), names))
    assert said == names


@LIFE.case(15, "One container with eight volumes, one of them taken twice.", long=True)
def eight_volumes(w: World) -> None:
    names = [w.create() for _ in range(8)]
    mounts = [word for name in [*names, names[0]] for word in ("-v", f"{name}:/data/{name}")]
    w.container("many", *mounts[:16], "-v", f"{names[0]}:/again")
    w.inside("many", f"for d in /data/*; do echo y > $d/note; done; cat /again/note; test -s /data/{names[7]}/note")
    w.said("rm", "-f", "many")
    assert w.sh(names[7], "cat /data/note") == "y"


@LIFE.case(16, "If one of a container's volumes cannot be had, the others are given back.")
def one_of_two(w: World) -> None:
    good, gone = w.create(), w.create()
    w.said("create", "--name", "both", "--network", "none", "-v", f"{good}:/a", "-v", f"{gone}:/b", IMAGE, "true")
    w.told("Remove", Name=gone)
    w.engine.refused("start", "both")
    w.said("rm", "both")
    w.engine.docker("volume", "rm", "-f", gone, check=False)
    assert w.sh(good, "echo y > /data/note; cat /data/note") == "y"


@LIFE.case(17, "A paused container keeps its volume.")
def paused(w: World) -> None:
    name = w.create()
    w.container("still", "-v", f"{name}:/data")
    w.said("pause", "still")
    assert w.sh(name, "echo y > /data/note; cat /data/note") == "y"
    w.said("unpause", "still")
    assert w.inside("still", "cat /data/note") == "y"


@LIFE.case(18, "`docker restart` under a second container takes nothing from either.")
def restart_beside(w: World) -> None:
    name = w.create()
    w.container("one", "-v", f"{name}:/data")
    w.container("two", "-v", f"{name}:/data")
    for number in range(3):
        w.said("restart", "-t", "0", "one")
        assert w.inside("two", f"echo {number} >> /data/note; sync; tail -n1 /data/note") == str(number)
    assert w.inside("one", "tail -n1 /data/note") == "2"
