"""Calls whose request or answer is lost, halved, doubled or late: the engine repeats them without a body (docker-facts 2.4).

Each case goes through a broken line, which the engine takes for a driver of its own; what it left is seen past it.
"""

from __future__ import annotations

from tests.conformance.case import Group
from tests.conformance.cases.engines import give_back
from tests.conformance.wire import Fault
from tests.conformance.world import World
from tests.integration.engine.engine import IMAGE

LOST = Group("lost")
LOSSES = (Fault.REQUEST_LOST, Fault.ANSWER_LOST, Fault.ANSWER_CUT)
RUN = ("run", "--rm", "--network", "none")


def made(w: World, *words: str) -> str:
    """Create a volume through the line, with nothing wrong on it yet."""
    assert w.wire
    return w.create(None, *words, driver=w.wire_driver)


@LOST.case(1, "A lost Create makes one volume or none; the repeated command succeeds.", quick=True)
def create(w: World) -> None:
    for fault in LOSSES:
        name = w.fresh("lost")
        w.wire.fail_next("Create", fault)
        w.engine.docker(*w.create_command(name, driver=w.wire_driver), check=False)
        w.wire.expect_hit()
        assert set(w.listed()) <= {name}, "the empty repeat made something else"
        assert w.create(name, driver=w.wire_driver) == name
        assert w.listed() == [name]
        assert w.sh(name, "echo y > /data/note; cat /data/note") == "y"
        w.said("volume", "rm", name)


@LOST.case(
    2, "A lost Mount starts no container on the wrong data; the second try does, and the volume can be given back.", quick=True
)
def mount(w: World) -> None:
    for fault in LOSSES:
        name = made(w)
        w.sh(name, "echo kept > /data/note")
        w.wire.fail_next("Mount", fault)
        done = w.engine.docker(*RUN, "-v", f"{name}:/data", IMAGE, "cat", "/data/note", check=False)
        w.wire.expect_hit()
        assert done.returncode == 0 or "kept" not in done.stdout
        assert w.sh(name, "cat /data/note") == "kept"
        # After a failed Mount the engine sends no Unmount: that user stays known until the engine's next start.
        give_back(w, name)
        w.said("volume", "rm", name)


@LOST.case(3, "A lost Unmount keeps the data and takes nothing from a second container.")
def unmount(w: World) -> None:
    for fault in LOSSES:
        name = made(w)
        w.container("other", "-v", f"{name}:/data")
        w.container("user", "-v", f"{name}:/data")
        w.inside("user", "echo kept > /data/note; sync")
        w.wire.fail_next("Unmount", fault)
        w.said("stop", "-t", "0", "user")
        w.wire.expect_hit()
        assert w.inside("other", "cat /data/note") == "kept"
        w.said("start", "user")
        w.said("rm", "-f", "user", "other")
        assert w.sh(name, "cat /data/note") == "kept"
        give_back(w, name)
        w.said("volume", "rm", name)


@LOST.case(4, "After a lost Remove the volume is there whole or gone; the second try ends with it gone.")
def remove(w: World) -> None:
    for fault in LOSSES:
        name, other = made(w), made(w)
        w.wire.fail_next("Remove", fault)
        w.engine.docker("volume", "rm", name, check=False)
        w.wire.expect_hit()
        assert other in w.listed(), "the empty repeat took another volume"
        if name in w.listed():
            w.said("volume", "rm", name)
        assert w.listed() == [other]
        w.create(name, driver=w.wire_driver)
        assert w.sh(name, "ls -A /data | wc -l") == "0"
        w.said("volume", "rm", name, other)


@LOST.case(5, "A lost Get makes the engine forget neither labels nor references.")
def get(w: World) -> None:
    """Any answer to the empty repeat would purge (docker-facts 2.6); a plugin hangs up and is asked again.

    Half an answer is no loss to an engine but a wrong answer, and purges whatever the plugin does then (docker-facts 2.3).
    """
    for fault in (Fault.REQUEST_LOST, Fault.ANSWER_LOST):
        name = made(w, "--label", "keep=me")
        w.said("create", "--name", "waiting", "--network", "none", "-v", f"{name}:/x", IMAGE, "true")
        w.wire.fail_next("Get", fault)
        w.engine.docker("volume", "inspect", name, check=False)
        w.wire.expect_hit()
        assert w.inspect(name)["Labels"] == {"keep": "me"}
        assert "volume is in use" in w.engine.refused("volume", "rm", name)
        w.said("rm", "waiting")
        w.said("volume", "rm", name)


@LOST.case(6, "After a lost List `volume ls` still shows every volume.", quick=True)
def list_(w: World) -> None:
    names = [made(w), made(w)]
    for fault in LOSSES:
        w.wire.fail_next("List", fault)
        assert sorted(w.said("volume", "ls", "-q").splitlines()) == sorted(names)
        w.wire.expect_hit()


@LOST.case(7, "Each call comes twice: create, run, stop and remove do what they do once.", quick=True)
def doubled(w: World) -> None:
    assert w.wire
    for endpoint in ("Create", "Mount", "Unmount", "Get", "Remove"):
        w.wire.fail_next(endpoint, Fault.DOUBLED)
    name = made(w)
    assert w.listed() == [name]
    assert w.sh(name, "echo kept > /data/note; cat /data/note") == "kept"
    w.wire.fail_next("Mount", Fault.DOUBLED)
    assert w.sh(name, "cat /data/note") == "kept"
    # Its second Remove finds nothing, which may be an error or not; gone it is, and nothing holds it.
    w.engine.docker("volume", "rm", name, check=False)
    assert w.listed() == []
    w.wire.expect_hit()


@LOST.case(8, "A doubled Mount and Unmount take nothing from a second container.")
def doubled_beside(w: World) -> None:
    name = made(w)
    w.container("other", "-v", f"{name}:/data")
    w.wire.fail_next("Mount", Fault.DOUBLED)
    w.wire.fail_next("Unmount", Fault.DOUBLED)
    assert w.sh(name, "echo kept > /data/note; sync; cat /data/note") == "kept"
    w.wire.expect_hit()
    assert w.inside("other", "echo more >> /data/note; sync; cat /data/note") == "kept\nmore"


@LOST.case(9, "Answers that come two seconds late change nothing.")
def late(w: World) -> None:
    assert w.wire
    for endpoint in ("Create", "Mount", "Unmount", "Remove"):
        w.wire.fail_next(endpoint, Fault.LATE)
    name = made(w)
    assert w.sh(name, "echo kept > /data/note; cat /data/note") == "kept"
    assert w.sh(name, "cat /data/note") == "kept"
    w.said("volume", "rm", name)
    w.wire.expect_hit()
    assert w.listed() == []


@LOST.case(10, "A lost Mount of the second container on a volume takes nothing from the first.")
def mount_beside(w: World) -> None:
    name = made(w)
    w.container("first", "-v", f"{name}:/data")
    for fault in LOSSES:
        w.wire.fail_next("Mount", fault)
        w.engine.docker(*RUN, "-v", f"{name}:/data", IMAGE, "true", check=False)
        w.wire.expect_hit()
        assert w.inside("first", "echo y >> /data/note; sync; tail -n1 /data/note") == "y"
    w.said("rm", "-f", "first")
    give_back(w, name)


@LOST.case(11, "A `docker cp` whose Mount is lost takes nothing from the running container.")
def cp(w: World) -> None:
    """The engine of Debian 12 then sends Unmount with the running container's ID, and none at its stop (docker-facts 2.7)."""
    name = made(w)
    w.container("user", "-v", f"{name}:/data")
    w.wire.fail_next("Mount", Fault.ANSWER_LOST)
    w.engine.docker("cp", "/etc/hostname", "user:/data/copied", check=False)
    w.wire.expect_hit()
    assert w.inside("user", "echo y > /data/note; sync; cat /data/note") == "y"
    w.said("rm", "-f", "user")
    assert w.sh(name, "cat /data/note") == "y"
    give_back(w, name)


@LOST.case(12, "The empty repeat of each lost call did reach the plugin: the cases above are about something.")
def the_engine_does_repeat(w: World) -> None:
    name = made(w)
    w.wire.fail_next("Mount", Fault.ANSWER_LOST)
    w.engine.docker(*RUN, "-v", f"{name}:/data", IMAGE, "true", check=False)
    bodies = [bool(seen.body.strip()) for seen in w.wire.seen("Mount")]
    assert bodies[:2] == [True, False], f"the engine sent {w.wire.seen('Mount')}"
    give_back(w, name)
