"""Rows without noise: calls of the hypervisor, processes that are started, bytes, what is left after many cycles."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from tests.bench.figures import Goal, Measured, Unit, counted, once
from tests.bench.lines import NO_FLOOR, Line, Row
from tests.bench.stage import Stage
from tests.bench.subject import Subject, together
from tests.daemons.held import grown_since, held, settled
from vmdkvol_esx.glance import SPACE_S

_GIB = 1 << 30
# Longer than the service remembers what it read for people (`vmdkvol_esx.glance`).
_FORGOTTEN_S = SPACE_S + 1.0


def round_trips(stage: Stage) -> Mapping[str, Measured]:
    """Changes that the service submits to the hypervisor (`Hypervisor.submit`) during one command of a real engine, and what
    it reads (`devices`, `vms` and the rest of the port). On vSphere each of both is a round trip or more: a command's are
    the sum of its two lines.

    Before each command nothing was asked for so long that nothing is remembered but the names of the VMs. The goals of the
    reads are the fewest that the decisions need, two more for a first look of people's: `create` reads the datastores;
    `run` reads all lists before the attach, the host's list after it and before the detach. The writing of sidecars is
    listed beside. For an unknown name all counts, since an engine asks every driver about names that are not its own. `run`
    waits until the disk was given back, so its detach is in it.
    """
    subject = stage.counted()
    docker = stage.docker("counted")
    subject.formatted("trips")
    # An engine activates its plugin at the first use, and an agent that is activated looks at everything.
    docker.engine.refused("volume", "inspect", "no-such-volume")

    def during(command: Callable[[], object], *, finished: bool = False) -> Counter[str]:
        time.sleep(_FORGOTTEN_S)
        subject.calls()
        command()
        if finished:
            subject.wait_detached()
        return Counter(subject.calls())

    made = during(lambda: docker.create("trips2", size="1gb"))
    run = during(lambda: docker.sh("trips", "true"), finished=True)
    docker.start("first", "trips")
    second = during(lambda: docker.sh("trips", "true"))
    docker.remove("first")
    subject.wait_detached()
    unknown = during(lambda: docker.engine.refused("volume", "inspect", "no-such-volume"))
    docker.rm("trips", "trips2")
    return {
        "trips.create": counted(_changes(made), _listed_calls(made)),
        "trips.run": counted(_changes(run), _listed_calls(run)),
        "trips.second": counted(_changes(second), _listed_calls(second)),
        "trips.unknown": counted(sum(unknown.values()), _listed_calls(unknown)),
        "reads.create": counted(_reads(made)),
        "reads.run": counted(_reads(run)),
        "reads.second": counted(_reads(second)),
    }


def _changes(calls: Counter[str]) -> int:
    return sum(number for call, number in calls.items() if call.startswith("submit "))


def _reads(calls: Counter[str]) -> int:
    return sum(number for call, number in calls.items() if call.startswith("read "))


def _listed_calls(calls: Counter[str]) -> str:
    return ", ".join(f"{number} {call.partition(' ')[2]}" for call, number in sorted(calls.items())) or "nothing"


def processes(stage: Stage) -> Mapping[str, Measured]:
    """Processes that agent and service start (fork, vfork, clone without CLONE_THREAD), counted by strace.

    strace is attached to both while the calls are made, and sees every system call of its kind. Mount and Unmount are those
    of a volume that was unmounted in order before; what the first Mount starts is told beside. After a crash there
    are those of the check.
    """
    subject = stage.subject()
    name = stage.name()
    made, _ = _started(stage, subject, lambda: subject.create(name))
    _, first = _started(stage, subject, lambda: subject.mount(name))
    subject.unmount(name)
    subject.wait_detached()
    mount, by_mount = _started(stage, subject, lambda: subject.mount(name))
    unmount, by_unmount = _started(stage, subject, partial(_unmount, subject, name))
    subject.remove(name)
    return {
        "processes.mount": counted(mount, f"{_listed(by_mount)}; at the first Mount: {_listed(first)}"),
        "processes.unmount": counted(unmount, _listed(by_unmount)),
        "processes.create": counted(made),
    }


def _unmount(subject: Subject, name: str) -> None:
    subject.unmount(name)
    subject.wait_detached()


def _listed(programs: list[str]) -> str:
    return ", ".join(programs) or "none"


def _started(stage: Stage, subject: Subject, work: Callable[[], object]) -> tuple[int, list[str]]:
    """Return how many processes were started during ``work``, and which programs they ran, in order."""
    trace = stage.root / "trace"
    pids = [word for pid in [*subject.agent_pids(), *subject.service_pids()] for word in ("-p", str(pid))]
    command = ["strace", "-f", "-o", str(trace), "-e", "trace=fork,vfork,clone,clone3,execve", *pids]
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert tracer.stderr is not None
    attached = 0
    for line in tracer.stderr:
        attached += b"attached" in line
        if attached == len(pids) // 2:
            break
    try:
        work()
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=30)
    return forks_in(trace.read_text())


def forks_in(trace: str) -> tuple[int, list[str]]:
    """Return the processes that a trace of strace shows being started, threads left out, and the programs that ran."""
    number, programs = 0, []
    for line in trace.splitlines():
        call = re.match(r"\d+ +(?:<\.\.\. )?(fork|vfork|clone3?|execve)\b", line)
        if call is None or "unfinished" in line:
            number += call is not None and _forks(line)
            programs += [found[1] for found in [re.search(r'execve\("([^"]+)"', line)] if found]
            continue
        if call[1] == "execve":
            programs += [found[1] for found in [re.search(r'execve\("([^"]+)".* = 0$', line)] if found]
        elif "resumed" not in line:
            number += _forks(line)
    return number, [path.rpartition("/")[2] for path in programs]


def _forks(line: str) -> bool:
    """Tell whether a line, whole or cut off before its result, is the start of a process and not of a thread."""
    return "CLONE_THREAD" not in line and "execve" not in line and " = -1 " not in line


def fresh_bytes(stage: Stage) -> Mapping[str, Measured]:
    """Bytes that the extent of a thin 100 GiB volume takes on the datastore after its first Mount and Unmount.

    The floor is `mkfs.ext4` with its defaults on a sparse file of that size. Both are written back before they are
    counted (`st_blocks`).
    """
    subject = stage.subject()
    name = stage.name("fresh")
    subject.create(name, size="100gb")
    subject.mount(name)
    subject.unmount(name)
    subject.wait_detached()
    (extent,) = subject.datastore.rglob(f"*{name}*-flat.vmdk")
    plain = stage.directory("plain") / "disk"
    with plain.open("xb") as file:
        file.truncate(100 * _GIB)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(plain)], check=True, capture_output=True)
    measured = once(_allocated(extent), _allocated(plain))
    plain.unlink()
    subject.remove(name)
    return {"bytes.fresh": measured}


def _allocated(path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        return os.fstat(descriptor).st_blocks * 512
    finally:
        os.close(descriptor)


def leaks(stage: Stage) -> Mapping[str, Measured]:
    """What is there after 300 cycles of Create, Mount, Unmount and Remove and was not there before, summed up.

    Of agent (master and worker) and service: descriptors, inotify instances, threads. Of the machine: loop devices and
    mounts of ours. On disk: entries of the run directory and the datastore. Before: after 16 cycles at once, which fill
    the pools of threads and the caches. A thing that is counted less often afterwards makes up for no other.
    """
    subject = stage.subject()
    together([lambda: _cycle(stage, subject)] * 16)
    subject.wait_detached()
    time.sleep(stage.effort.rest_s)
    before = settled(subject)
    for number in range(stage.effort.cycles):
        _cycle(stage, subject)
        stage.step(number + 1, stage.effort.cycles)
    subject.wait_detached()
    time.sleep(stage.effort.rest_s)
    end = time.monotonic() + 5.0
    grown = grown_since(before, held(subject))
    while any(grown.values()) and time.monotonic() < end:
        # What ends a moment after its call, such as the thread that gives a number back.
        time.sleep(0.2)
        grown = grown_since(before, held(subject))
    notes = ", ".join(f"{what} {number}" for what, number in grown.items())
    return {"leaks": counted(sum(grown.values()), notes)}


def _cycle(stage: Stage, subject: Subject) -> None:
    name = stage.name()
    subject.create(name, size="8mb")
    subject.mount(name)
    subject.unmount(name)
    subject.remove(name)


ROWS = (
    Row(
        "trips",
        (
            Line("trips.create", "hypervisor changes: `volume create`", NO_FLOOR, Goal(1), Unit.COUNT),
            Line("trips.run", "hypervisor changes: `run --rm -v`", NO_FLOOR, Goal(2), Unit.COUNT),
            Line("trips.second", "hypervisor changes: second container", NO_FLOOR, Goal(0), Unit.COUNT),
            Line("trips.unknown", "hypervisor changes and reads: unknown name", NO_FLOOR, Goal(0), Unit.COUNT),
            Line("reads.create", "hypervisor reads: `volume create`", NO_FLOOR, Goal(1), Unit.COUNT),
            Line("reads.run", "hypervisor reads: `run --rm -v`", NO_FLOOR, Goal(6), Unit.COUNT),
            Line("reads.second", "hypervisor reads: second container", NO_FLOOR, Goal(0), Unit.COUNT),
        ),
        round_trips,
        36,
        "twice",
        ("trips.create", "trips.run"),
    ),
    Row(
        "processes",
        (
            Line("processes.mount", "processes started by a Mount of a clean volume", NO_FLOOR, Goal(0), Unit.COUNT),
            Line("processes.unmount", "processes started by an Unmount", NO_FLOOR, Goal(0), Unit.COUNT),
            Line("processes.create", "processes started by a Create", NO_FLOOR, Goal(0), Unit.COUNT),
        ),
        processes,
        6,
        "processes",
        ("processes.mount", "processes.unmount", "processes.create"),
    ),
    Row(
        "bytes",
        (Line("bytes.fresh", "bytes of a fresh ext4 in a thin 100 GiB disk", "plain mkfs.ext4", Goal(0.02), Unit.BYTES),),
        fresh_bytes,
        4,
        "bloat",
        ("bytes.fresh",),
    ),
    Row(
        "leaks",
        (Line("leaks", "leaks after 300 cycles", NO_FLOOR, Goal(0), Unit.COUNT),),
        leaks,
        48,
        "leaks",
        ("leaks",),
    ),
)
