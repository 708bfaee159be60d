"""Rows with a hypervisor that needs its time: what runs at once, what waits for what, what we add."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from tests.bench.figures import Goal, Measured, Round, paired
from tests.bench.lines import Line, Row
from tests.bench.stage import Stage
from tests.bench.subject import Subject, timed, together
from tests.daemons.site import eventually

_AT_ONCE = 8
_OTHERS = 20
_EVERY_S = 0.02


def parallel(stage: Stage) -> Mapping[str, Measured]:
    """Wall time of eight calls at once, each for a volume of its own, over that of one call alone, two such as A/A.

    The hypervisor needs 1.56 s for a disk's creation, 0.66 to attach, 0.62 to detach, 0.6 to delete (published times),
    each change for itself. Mounts are of formatted volumes. An Unmount is answered before the disk is detached, so what
    is timed is until the disk was given back, with no linger.
    """
    subject = stage.slow()
    pool = [f"pool{number}" for number in range(_AT_ONCE + 2)]
    subject.formatted(*pool)
    taken: dict[str, list[Round]] = {"create": [], "mount": [], "unmount": [], "remove": []}
    for number in range(stage.effort.rounds):
        fresh = [stage.name("fresh") for _ in range(_AT_ONCE + 2)]
        taken["create"].append(_round(stage, fresh, lambda name: partial(subject.create, name)))
        taken["mount"].append(_round(stage, pool, lambda name: partial(subject.mount, name)))
        taken["unmount"].append(_round(stage, pool, partial(_giving_back, subject)))
        taken["remove"].append(_round(stage, fresh, lambda name: partial(subject.remove, name)))
        stage.step(number + 1, stage.effort.rounds)
    for name in pool:
        subject.remove(name)
    return {f"parallel.{verb}": paired(rounds) for verb, rounds in taken.items()}


def _round(stage: Stage, names: Sequence[str], job: Callable[[str], Callable[[], object]]) -> Round:
    parts = {"ours": names[:_AT_ONCE], "floor": names[_AT_ONCE : _AT_ONCE + 1], "again": names[_AT_ONCE + 1 :]}
    order = list(parts)
    stage.random.shuffle(order)
    taken = {side: together([job(name) for name in parts[side]]) for side in order}
    return Round(**taken)


def _giving_back(subject: Subject, name: str) -> Callable[[], object]:
    """Return the job that unmounts the volume and waits until its disk is off the host."""
    (device,) = [Path(loop.device).name for loop in subject.loops() if name in loop.file.name.split("-")]
    bound = Path(f"/sys/block/{device}/loop/backing_file")

    def give_back() -> None:
        subject.unmount(name)
        eventually(lambda: not bound.exists(), f"{name} was given back", 60)

    return give_back


def others(stage: Stage) -> Mapping[str, Measured]:
    """The slowest Get and the slowest List of other volumes while eight Mounts run, over the slowest alone.

    Each is asked every 20 ms for as long as the Mounts take, and as often alone, so that the slowest of as
    many is compared. The Mounts are of formatted volumes and need 0.66 s of the hypervisor.
    """
    subject = stage.slow()
    pool = [stage.name("busy") for _ in range(_AT_ONCE)]
    subject.formatted(*pool)
    quiet = [stage.name("quiet") for _ in range(_OTHERS)]
    together([partial(subject.create, name) for name in quiet])
    alone_s = stage.delays()["AttachDisk"] * 1.1

    def during() -> tuple[float, float]:
        ended = threading.Event()

        def mount_all() -> None:
            try:
                together([partial(subject.mount, name) for name in pool])
            finally:
                ended.set()

        mounts = threading.Thread(target=mount_all)
        mounts.start()
        slowest = _slowest(subject, quiet, ended.is_set)
        mounts.join()
        together([partial(subject.unmount, name) for name in pool])
        subject.wait_detached()
        return slowest

    def alone() -> tuple[float, float]:
        end = time.monotonic() + alone_s
        return _slowest(subject, quiet, lambda: time.monotonic() > end)

    taken = []
    for number in range(stage.effort.rounds):
        order = ["ours", "floor", "again"]
        stage.random.shuffle(order)
        taken.append({side: during() if side == "ours" else alone() for side in order})
        stage.step(number + 1, stage.effort.rounds)
    gets, lists = ([Round(*(each[side][which] for side in ("ours", "floor", "again"))) for each in taken] for which in (0, 1))
    together([partial(subject.remove, name) for name in [*pool, *quiet]])
    return {"others.get": paired(gets), "others.list": paired(lists)}


def _slowest(subject: Subject, names: Sequence[str], over: Callable[[], bool]) -> tuple[float, float]:
    """Ask for both, each on a thread of its own, until it is over; return the slowest Get and the slowest List."""
    named = itertools.cycle(names)
    gets, lists = [0.0], [0.0]

    def get() -> None:
        while not over():
            gets.append(timed(partial(subject.host.told, "Get", Name=next(named))))
            time.sleep(_EVERY_S)

    def list_all() -> None:
        while not over():
            lists.append(timed(partial(subject.host.told, "List")))
            time.sleep(_EVERY_S)

    together([get, list_all])
    return max(gets), max(lists)


def alone(stage: Stage) -> Mapping[str, Measured]:
    """Wall time of one Mount of a formatted volume, over the 0.66 s that the hypervisor needs to attach a disk.

    The floor is one sleep of that time. A Mount that asked the hypervisor twice would show it here: the floor is what
    one attach needs, not what was asked for.
    """
    subject = stage.slow()
    name = stage.name("alone")
    subject.formatted(name)
    injected = stage.delays()["AttachDisk"]

    def ours() -> float:
        seconds = timed(lambda: subject.mount(name))
        subject.unmount(name)
        subject.wait_detached()
        return seconds

    rounds = stage.compare(ours, lambda: timed(lambda: time.sleep(injected)))
    subject.remove(name)
    return {"alone.mount": paired(rounds)}


ROWS = (
    Row(
        "parallel",
        tuple(
            Line(f"parallel.{verb.lower()}", f"8 parallel {verb}, slow hypervisor", "one alone", Goal(1.3))
            for verb in ("Create", "Mount", "Unmount", "Remove")
        ),
        parallel,
        175,
        "alone",
        ("parallel.create", "parallel.mount", "parallel.unmount", "parallel.remove"),
    ),
    Row(
        "others",
        (
            Line("others.get", "Get of others while 8 Mounts run, worst", "worst alone", Goal(2)),
            Line("others.list", "List while 8 Mounts run, worst", "worst alone", Goal(2)),
        ),
        others,
        55,
        "alone",
        ("others.get", "others.list"),
    ),
    Row(
        "alone",
        (Line("alone.mount", "one Mount alone, slow hypervisor", "injected hypervisor time", Goal(1.05)),),
        alone,
        42,
        "slow",
        ("alone.mount",),
    ),
)
