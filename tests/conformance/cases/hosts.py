"""Two hosts of one plugin, an engine on each: one disk has one user at a time, and moves with its data."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.conformance.case import Group, Need
from tests.conformance.world import World
from tests.integration.engine.bench import Docker
from tests.integration.engine.engine import IMAGE
from tests.integration.engine.machine import wait_until

HOSTS = Group("hosts")


def both(w: World, name: str = "db") -> tuple[Docker, Docker]:
    """Create a volume that each host's engine knows under its own driver, as on two machines; return the hosts."""
    first, second = w.docker, w.second
    w.create(name)
    second.engine.said(*w.create_command(name, driver=second.driver))
    return first, second


@HOSTS.case(1, "The second host is told who has the volume, and its container does not start.", Need.HOSTS)
def told(w: World) -> None:
    first, second = both(w)
    first.start("user", "db")
    said = second.fails("db")
    assert f"mounted on {first.driver}" in said
    assert "[volume-in-use]" in said
    assert first.sh_in("user", "echo unharmed > /data/x; cat /data/x") == "unharmed"


@HOSTS.case(2, "After the stop the volume moves at once, with its data, owner and mode.", Need.HOSTS, quick=True)
def moves(w: World) -> None:
    """What only lingers on the first host is given back (design D11b); field case C10."""
    first, second = both(w)
    first.sh("db", "echo from the first > /data/x; chown 999:999 /data; chmod 700 /data")
    look = "cat /data/x; stat -c '%u:%g %a' /data"
    assert second.sh("db", f"{look}; echo from the second >> /data/x") == "from the first\n999:999 700"
    assert first.sh("db", "tail -n1 /data/x") == "from the second"


@HOSTS.case(3, "A volume moves back and forth, and each side sees all that the other wrote.", Need.HOSTS)
def back_and_forth(w: World) -> None:
    hosts = both(w)
    for round_ in range(4):
        hosts[round_ % 2].sh("db", f"echo {round_} >> /data/x")
    assert hosts[0].sh("db", "tr '\\n' ' ' < /data/x").split() == ["0", "1", "2", "3"]


@HOSTS.case(4, "A volume is removed on one host while it only lingers on the other.", Need.HOSTS, quick=True)
def removed_while_it_lingers(w: World) -> None:
    """Corrections 13."""
    first, second = both(w)
    first.sh("db", "true")
    second.rm("db")
    assert "db" not in second.volumes()


@HOSTS.case(
    5, "A volume that is mounted on one host cannot be removed on the other, which is told why.", Need.HOSTS, quick=True
)
def not_removed_while_mounted(w: World) -> None:
    first, second = both(w)
    first.start("user", "db")
    said = second.engine.refused("volume", "rm", "db")
    assert "[volume-in-use]" in said
    assert first.driver in said
    assert w.ours.volume("db")["attached_to"] == first.driver


@HOSTS.case(6, "Of two hosts that start at once one runs, and the other is told.", Need.HOSTS, quick=True)
def at_once(w: World) -> None:
    hosts = both(w)
    options = ["run", "-d", "--name", "user", "--network", "none", "--stop-signal", "KILL", "-v", "db:/data", IMAGE, "sh", "-c"]
    script = "echo {} >> /data/who; sync; sleep 10000"
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda host: host.engine.docker(*options, script.format(host.driver), check=False), hosts))
    ran, refused = sorted(zip(done, hosts, strict=True), key=lambda each: each[0].returncode)
    assert (ran[0].returncode, refused[0].returncode != 0) == (0, True), [each.stderr for each in done]
    assert "[volume-in-use]" in refused[0].stderr
    wait_until(lambda: ran[1].sh_in("user", "cat /data/who") == ran[1].driver, "the one that runs is alone on the disk")


@HOSTS.case(7, "The administrator's list shows who has the volume.", Need.HOSTS)
def shown(w: World) -> None:
    _, second = both(w)
    second.start("user", "db")
    assert w.ours.volume("db")["attached_to"] == second.driver
    assert w.ours.inspected("db")["device"].startswith("loop")


@HOSTS.case(8, "What one host makes, labels and all, the other can use by its name and driver.", Need.HOSTS)
def made_on_the_other(w: World) -> None:
    second = w.second
    w.create("db", "--label", "mine=yes")
    w.sh("db", "echo y > /data/note")
    second.create("db")
    assert second.sh("db", "cat /data/note") == "y"
    assert w.inspect("db")["Labels"] == {"mine": "yes"}
