"""The rows: each figure of the table once, each described, each with a defect that it must find; one that fails stops none."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.bench.__main__ import arguments, caught
from tests.bench.around import Around
from tests.bench.counts import forks_in
from tests.bench.figures import Goal, Measured, counted
from tests.bench.inside import ROWS, Progress, chosen, run
from tests.bench.lines import QUICK, Row
from tests.bench.stage import Stage
from tests.unit.bench.runs import line, row, shown
from tests.unit.bench.runs import run as taken
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.volume import DiskUuid, VmId
from vmdkvol_esx.ports import Change, DetachDisk, DiskPath, DiskRef, TaskId

# The table of goals, line by line; what is told beside it has no goal.
GOALS = {
    "trips.create": "<= 1",
    "trips.run": "<= 2",
    "trips.second": "<= 0",
    "trips.unknown": "<= 0",
    "reads.create": "<= 1",
    "reads.run": "<= 6",
    "reads.second": "<= 0",
    "processes.mount": "<= 0",
    "processes.unmount": "<= 0",
    "processes.create": "<= 0",
    "parallel.create": "<= 1.3",
    "parallel.mount": "<= 1.3",
    "parallel.unmount": "<= 1.3",
    "parallel.remove": "<= 1.3",
    "others.get": "<= 2",
    "others.list": "<= 2",
    "alone.mount": "<= 1.05",
    "create": "<= 0.5",
    "mount": "<= 2",
    "unmount": "<= 2",
    "run.bare": "<= 1.1",
    "run.local": "<= 1.05",
    "get.cpu": "<= 1.5",
    "list": "<= 12",
    "bytes.fresh": "<= 0.02",
    "leaks": "<= 0",
    "restart.first": "<= 0.4 s",
    "restart.failed": "<= 0",
    "commits.sqlite": ">= 0.95",
    "commits.fio": ">= 0.95",
    "cold": "<= 1.5",
    "memory.agent": "<= 1.5",
    "cli.help": "<= 0.2 s",
    "cli.list": "<= 1 s",
    "memory.service": "<= 8e+07 B",
    "rights.check": "<= 5e-05 s",
    "vsphere.attach": "<= 0.015 s",
    "vsphere.calls": "<= 3",
    "vsphere.twice": "<= 0",
    "vsphere.parallel": ">= 60",
    "vsphere.batch": "<= 2",
    "vsphere.start": "<= 3 s",
    "vsphere.memory": "<= 8e+07 B",
    "tls.request": "<= 2",
    "far.memory": "<= 100000 B",
    "far.p95": "<= 2",
    "flood.p95": "<= 2",
    "guest": "<= 1.5",
    "rest.page": "<= 0.02 s",
    "page.paint": "<= 0.3 s",
    "site.start": "<= 3 s",
}
CHANGE = DetachDisk(VmId(uuid4()), DiskRef(DiskUuid(uuid4()), DiskPath("ds1", "a.vmdk")))  # type: ignore[arg-type]


def test_each_goal_stands_in_one_line() -> None:
    assert {each.key: str(each.goal) for row in ROWS for each in row.lines if each.goal is not None} == GOALS


def test_no_two_lines_or_rows_have_one_name() -> None:
    keys, names = [each.key for row in ROWS for each in row.lines], [row.name for row in ROWS]

    assert len(set(keys)) == len(keys)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("each", ROWS, ids=lambda row: row.name)
def test_a_row_says_what_is_in_its_figure_and_has_a_defect_to_find(each: Row) -> None:
    assert len(each.how.split()) > 25
    assert each.spoil
    assert each.caught
    assert set(each.caught) <= {line.key for line in each.lines}


def test_the_whole_takes_little_more_than_a_quarter_of_an_hour_on_a_quiet_machine() -> None:
    assert sum(row.seconds for row in ROWS) <= 16 * 60


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path, QUICK, random.Random(1), lambda done, total: None)


def failing(_: Stage) -> Mapping[str, Measured]:
    raise OSError("no | room\nleft")


def test_a_row_that_fails_is_an_error_and_the_rest_goes_on(stage: Stage, tmp_path: Path) -> None:
    key = line("a", goal=Goal(1))
    good = replace(row("good", key), measure=lambda _: {"a": counted(1)})
    bad = replace(row("bad", line("b", goal=Goal(1))), measure=failing)

    run([bad, good], stage, Progress(2.0), tmp_path / "results")

    found = {each["key"]: each for each in json.loads((tmp_path / "results").read_text())}
    assert (found["b"]["verdict"], found["b"]["error"]) == ("error", "error: OSError: no | room left")
    assert found["a"]["verdict"] == "met"
    assert "no | room" in (tmp_path / "errors").read_text()


def test_a_row_that_forgets_one_of_its_lines_is_an_error(stage: Stage, tmp_path: Path) -> None:
    forgetful = replace(row("r", line("a"), line("b")), measure=lambda _: {"a": counted(1)})

    run([forgetful], stage, Progress(1.0), tmp_path / "results")

    assert "error: KeyError" in [each["error"] for each in json.loads((tmp_path / "results").read_text())][-1]


def test_the_sides_of_a_round_are_each_run_once_in_an_order_that_changes(stage: Stage) -> None:
    ran: list[str] = []

    def taken(side: str) -> float:
        ran.append(side)
        return 1.0

    stage.turns(30, {side: partial(taken, side) for side in "abc"})

    orders = {tuple(ran[first : first + 3]) for first in range(0, 90, 3)}
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)
    assert len(orders) > 3


def test_rows_are_chosen_by_name_in_the_order_that_was_asked() -> None:
    assert [row.name for row in chosen(["mount", "trips"])] == ["mount", "trips"]
    assert chosen([]) == list(ROWS)


def test_an_unknown_row_is_refused_with_the_names_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments(["--rows", "mount,nosuch"])

    assert ended.value.code == 2
    assert "no row nosuch; there are trips," in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [["--renew"], ["--renew", "--rows", "get", "--quick"], ["--renew", "--rows", "get", "--spoil"]]
)
def test_only_whole_measurements_of_some_rows_are_put_into_the_pages(options: list[str]) -> None:
    with pytest.raises(SystemExit):
        arguments(options)


def test_a_spoiled_subject_that_passes_or_fails_to_run_is_not_caught() -> None:
    mount = next(row for row in ROWS if row.name == "mount")
    slow, fast = Measured(value=90, ours=9, floor=0.1, same=1.0), Measured(value=1, ours=1, floor=1, same=1.0)
    found = caught(taken(shown(mount, mount.lines[0], slow), shown(mount, mount.lines[1], fast)))

    assert (found["mount"], found["unmount"], found["leaks"]) == (True, False, False)


def test_a_spoiled_subject_is_caught_on_a_noisy_machine_too() -> None:
    mount = next(row for row in ROWS if row.name == "mount")
    noisy = Measured(value=90, ours=9, floor=0.1, same=3.0)

    assert caught(taken(shown(mount, mount.lines[0], noisy)))["mount"]


TRACE = """
7 execve("/usr/sbin/nothere", ["nothere"], 0x1 /* 3 vars */) = -1 ENOENT (No such file or directory)
7 clone3({flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD|CLONE_SYSVSEM, ...}, 88) = 9
7 vfork( <unfinished ...>
8 execve("/usr/sbin/blkid", ["/usr/sbin/blkid", "-p"], 0x1 /* 4 vars */ <unfinished ...>
7 <... vfork resumed>)                = 8
8 <... execve resumed>)               = 0
7 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD, child_tidptr=0x1) = 11
7 clone(child_stack=NULL, flags=SIGCHLD) = -1 EAGAIN (Resource temporarily unavailable)
11 execve("/bin/true", ["true"], 0x1 /* 4 vars */) = 0
7 --- SIGCHLD {si_signo=SIGCHLD} ---
"""


def test_processes_are_counted_and_threads_are_not() -> None:
    assert forks_in(TRACE) == (2, ["blkid", "true"])


def test_an_empty_trace_is_no_process() -> None:
    assert forks_in("") == (0, [])


class Disks:
    """A hypervisor that remembers what was submitted."""

    def __init__(self) -> None:
        self.submitted: list[Change] = []

    def submit(self, change: Change, operation: UUID) -> TaskId | None:
        self.submitted.append(change)
        return None

    def devices(self, vms: object) -> str:
        return "lists"


def around(disks: Disks, log: Path, delays: Mapping[str, float] | None = None, *, twice: bool = False) -> Around:
    return Around(disks, log, delays or {}, twice=twice)  # type: ignore[arg-type]


def test_each_call_of_the_hypervisor_is_one_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    counting = around(Disks(), log)

    assert counting.devices(None) == "lists"
    counting.submit(CHANGE, uuid4())

    assert log.read_text().splitlines() == ["read devices", "submit DetachDisk"]


def test_a_delayed_change_is_a_task_that_is_done_after_its_time(tmp_path: Path) -> None:
    disks, clock = Disks(), SystemClock()
    slow = around(disks, tmp_path / "log", {"DetachDisk": 0.05})
    began = clock.monotonic()

    task = slow.submit(CHANGE, uuid4())
    assert (disks.submitted, task is None) == ([], False)
    assert task is not None
    slow.wait(task, Deadline.after(clock, 5.0), lambda _: None)

    assert disks.submitted == [CHANGE]
    assert clock.monotonic() - began >= 0.05


def test_a_change_that_is_submitted_twice_is_counted_twice(tmp_path: Path) -> None:
    around(Disks(), tmp_path / "log", twice=True).submit(CHANGE, uuid4())

    assert (tmp_path / "log").read_text().splitlines() == ["submit DetachDisk"] * 2
