"""Rows through a real engine and the `docker` command: what a user waits for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.bench.figures import Goal, Measured, Round, paired
from tests.bench.lines import Line, Row
from tests.bench.stage import Stage
from tests.bench.subject import timed
from tests.integration.engine.engine import IMAGE

_RUN = ("run", "--rm", "--network", "none")


def run(stage: Stage) -> Mapping[str, Measured]:
    """Wall time of the command `docker run --rm -v` with a formatted volume of ours and an instant hypervisor.

    The floors are the same command without a volume, and with one of Docker's own `local` driver, in the same round and
    on the same engine. So that each Mount attaches the disk anew, the disk is given back before the round goes on. That
    comes half a second after the Unmount, and so after the command, as it does with the product's own linger. Starting
    the container is in all of them, and is most of it.
    """
    subject = stage.subject()
    docker = stage.docker("plain")
    name = stage.name("run")
    subject.formatted(name)
    docker.engine.said("volume", "create", "local-one")

    def with_volume(volume: str) -> Callable[[], float]:
        return lambda: timed(lambda: docker.engine.said(*_RUN, "-v", f"{volume}:/data", IMAGE, "true"))

    def bare() -> float:
        return timed(lambda: docker.engine.said(*_RUN, IMAGE, "true"))

    def ours() -> float:
        seconds = with_volume(name)()
        subject.wait_detached()
        return seconds

    bare()
    local = with_volume("local-one")
    sides = {"ours": ours, "bare": bare, "bare again": bare, "local": local, "local again": local}
    taken = stage.turns(stage.effort.container_rounds, sides)
    docker.rm(name, "local-one")
    against = {
        floor: [Round(each["ours"], each[floor], each[f"{floor} again"]) for each in taken] for floor in ("bare", "local")
    }
    return {"run.bare": paired(against["bare"]), "run.local": paired(against["local"])}


ROWS = (
    Row(
        "run",
        (
            Line("run.bare", "`docker run --rm -v`", "`docker run --rm`", Goal(1.10)),
            Line("run.local", "`docker run --rm -v`", "the same with the `local` driver", Goal(1.05)),
        ),
        run,
        55,
        "slow",
        ("run.bare", "run.local"),
    ),
)
