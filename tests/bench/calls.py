"""Rows of single calls on the plugin's socket, with an instant hypervisor: what agent and service cost by themselves."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.bench.figures import Goal, Measured, Round, paired
from tests.bench.floors import Floor
from tests.bench.lines import Line, Row
from tests.bench.stage import Stage
from tests.bench.subject import Subject, cpu_s, ran, timed
from vmdkvol_guest.linux.filesystems import _EXT4_FEATURES as FEATURES


def create(stage: Stage) -> Mapping[str, Measured]:
    """Wall time of a Create of a 1 GiB volume on the plugin's socket.

    The floor is `truncate` and `mkfs.ext4` with defaults, as two commands. Ours writes record, VMDK and sidecar durably
    (the floor flushes nothing), and makes no file system: that is made at the first Mount, so Create and first Mount
    together are told beside, against the same with `losetup` and `mount`. A call's client, some 0.3 ms, is in ours.
    Removing and unmounting are in no figure.
    """
    subject = stage.subject()
    place = stage.directory("create")
    bare = stage.compare(lambda: _create(stage, subject), lambda: _by_commands(place, mounted=False))
    used = stage.compare(lambda: _create(stage, subject, mounted=True), lambda: _by_commands(place, mounted=True))
    return {"create": paired(bare), "create.used": paired(used)}


def _create(stage: Stage, subject: Subject, *, mounted: bool = False) -> float:
    name = stage.name()
    seconds = timed(lambda: subject.create(name))
    if mounted:
        seconds += timed(lambda: subject.mount(name))
        subject.unmount(name)
        subject.wait_detached()
    subject.remove(name)
    return seconds


def _by_commands(place: Path, *, mounted: bool) -> float:
    disk, point = place / "disk", place / "mnt"
    point.mkdir(exist_ok=True)
    seconds = timed(lambda: (ran("truncate", "-s", "1G", str(disk)), ran("mkfs.ext4", "-q", "-F", str(disk))))
    if mounted:
        device: list[str] = []
        seconds += timed(lambda: device.append(ran("losetup", "--find", "--show", "--direct-io=on", str(disk)).strip()))
        seconds += timed(lambda: ran("mount", device[0], str(point)))
        ran("umount", str(point))
        ran("losetup", "-d", device[0])
    disk.unlink()
    return seconds


def mount_and_unmount(stage: Stage) -> Mapping[str, Measured]:
    """Wall time of a Mount, and of an Unmount, of a volume with a clean file system that is attached nowhere.

    The floor is a copy of the same extent: lock, LOOP_CONFIGURE, mkdir, mount(2), stat; and syncfs, umount2, rmdir.
    Ours has HTTP, the question to the service, what both write down durably before and after, and the proof that the
    device is the right one. The detach after the linger is in neither.
    """
    subject = stage.subject()
    name = stage.name("mounted")
    subject.formatted(name)
    place = stage.directory("mount")
    (extent,) = subject.datastore.rglob(f"*{name}*-flat.vmdk")
    ran("cp", "--sparse=always", str(extent), str(place / "disk"))
    floor = Floor(place / "disk", place / "mnt")
    sides = {"ours": lambda: _ours(subject, name), "floor": lambda: _floor(floor), "again": lambda: _floor(floor)}
    taken: list[dict[str, tuple[float, float]]] = []
    for number in range(stage.effort.rounds):
        order = list(sides)
        stage.random.shuffle(order)
        taken.append({side: sides[side]() for side in order})
        stage.step(number + 1, stage.effort.rounds)
    subject.remove(name)
    mounts, unmounts = (
        [Round(*(each[side][which] for side in ("ours", "floor", "again"))) for each in taken] for which in (0, 1)
    )
    return {"mount": paired(mounts), "unmount": paired(unmounts)}


def _ours(subject: Subject, name: str) -> tuple[float, float]:
    seconds = timed(lambda: subject.mount(name)), timed(lambda: subject.unmount(name))
    subject.wait_detached()
    return seconds


def _floor(floor: Floor) -> tuple[float, float]:
    seconds = timed(floor.mount), timed(floor.unmount)
    floor.detach()
    return seconds


def cpu_per_get(stage: Stage) -> Mapping[str, Measured]:
    """CPU of the agent (master and worker, their own process clocks) for each Get of an existing volume.

    The floor is a Flask application that answers the same from a constant, under gunicorn with the agent's settings:
    gthread, as many threads, no keep-alive. Each round is 200 calls, one after the other, each on a new connection. The
    client is in neither. The service's share of the same calls is told beside, as it would run elsewhere.
    """
    subject, flask = stage.subject(), stage.flask()
    name = stage.name()
    subject.create(name)
    service: list[float] = []

    def ours() -> float:
        pids, others = subject.agent_pids(), subject.service_pids()
        before = cpu_s(others)
        spent = _cpu(stage, pids, lambda: subject.host.told("Get", Name=name))
        service.append((cpu_s(others) - before) / stage.effort.calls)
        return spent

    rounds = stage.compare(ours, lambda: _cpu(stage, flask.pids, lambda: flask.host.told("Get", Name=name)))
    subject.remove(name)
    both = [Round(each.ours + share, each.floor, each.again) for each, share in zip(rounds, service, strict=True)]
    return {"get.cpu": paired(rounds), "get.cpu.both": paired(both)}


def _cpu(stage: Stage, pids: list[int], call: Callable[[], object]) -> float:
    call()
    before = cpu_s(pids)
    for _ in range(stage.effort.calls):
        call()
    return (cpu_s(pids) - before) / stage.effort.calls


def commits_by_hand(place: Path) -> tuple[Path, str]:
    """Make and mount a 1 GiB ext4 by hand, on the datastores' file system, with the options that a volume has.

    Return where its data goes, and its device; ``undo_by_hand`` takes it away.
    """
    disk, point = place / "disk", place / "mnt"
    point.mkdir()
    ran("truncate", "-s", "1G", str(disk))
    lazy = "nodiscard,lazy_itable_init=1,lazy_journal_init=1"
    device = ran("losetup", "--find", "--show", "--direct-io=on", str(disk)).strip()
    ran("mkfs.ext4", "-q", "-m", "0", "-O", FEATURES, "-E", lazy, device)
    ran("mount", "-o", "nosuid,nodev,errors=remount-ro", device, str(point))
    data = point / "data"
    data.mkdir()
    return data, device


def undo_by_hand(place: Path, device: str) -> None:
    """Take away what ``commits_by_hand`` made."""
    ran("umount", str(place / "mnt"))
    ran("losetup", "-d", device)
    shutil.rmtree(place)


_COMMANDS = "truncate, mkfs.ext4 (commands)"
ROWS = (
    Row(
        "create",
        (
            Line("create", "Create", _COMMANDS, Goal(0.5)),
            Line("create.used", "Create and first Mount", "truncate, mkfs, losetup, mount (commands)", None),
        ),
        create,
        15,
        "slow",
        ("create",),
    ),
    Row(
        "mount",
        (
            Line("mount", "Mount of a formatted volume", "bare system calls", Goal(2)),
            Line("unmount", "Unmount", "bare system calls", Goal(2)),
        ),
        mount_and_unmount,
        10,
        "slow",
        ("mount", "unmount"),
    ),
    Row(
        "get",
        (
            Line("get.cpu", "CPU per Get, of the agent", "bare Flask + gunicorn", Goal(1.5)),
            Line("get.cpu.both", "CPU per Get, of agent and service", "bare Flask + gunicorn", None),
        ),
        cpu_per_get,
        20,
        "busy",
        ("get.cpu",),
    ),
)
