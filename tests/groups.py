"""Run every test, four groups of files at a time: ``python -m tests.groups [pytest's options]``, as `make test` does.

Engines, daemons and hurried clocks mostly wait, and groups beside each other wait at the same time; what all of them compute
is the bound, and each tells it of itself. A group is a pytest of its own, with mounts of its own, and has nothing in common
with the others; it starts as soon as there is room, the longest first. Each writes to ``.cache/tests/GROUP.log``; all of that
is printed when it has ended with a failure, and all failed tests again by name at the end. Exit 0 if every group passed, 1 if
one failed, 130 when interrupted.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tests import guards

ROOT = Path(__file__).parents[1]
LOGS = ROOT / ".cache" / "tests"
# Each test file belongs to the group with the longest path that it lies below; what no path covers, to the rest.
# In the order in which they start: what takes longest comes first.
REST = "rest"
GROUPS: Mapping[str, tuple[str, ...]] = {
    "system": ("tests/system",),
    "daemons": ("tests/daemons",),
    "conformance": ("tests/conformance",),
    # Together: the unit tests may open no device, and would look into the loop devices that the contracts make meanwhile.
    "unit": ("tests/unit", "tests/contract"),
    "vsphere": ("tests/vsphere",),
    "engine": ("tests/integration/engine",),
    "processes": ("tests/integration", "tests/scale"),
    "simulation": ("tests/simulation", "tests/mutants"),
    # The suite on plugins that are none of ours, with an engine of its own: as long as the others, and it mostly waits.
    "plugins": ("tests/conformance/test_suite.py",),
    REST: (),
    # Last: a browser wants a processor of its own, and then most of the others have ended.
    "browser": ("tests/browser",),
}
# On two processors: a group alone computes a third of its time, by what each tells. With as many as these the processors are
# never idle; a load of thirteen was tried, too.
AT_ONCE = 4
# Two virtual machines compute as much as two groups, and the time of everything in them is another one when they cannot.
AS_MANY_AS = {"system": 2}
_TOLD_EVERY_S = 60.0
_LOOK_EVERY_S = 0.2
# What an interrupted pytest may take to end what it has started.
_END_S = 120.0
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?\.py(?:::\w+(?:\[.*?\])?)?)(?: - .*)?$", re.MULTILINE)
# pytest's line of dots; a last one without an end is still growing.
_DOTS = re.compile(r"^([.FEsxX]+)(?: +\[ *\d+%\])?$", re.MULTILINE)
_COUNT = re.compile(r"(\d+) (passed|failed|skipped|xfailed|xpassed|errors?)\b")
# pytest's own: nothing was selected, which an option like -k may well mean for some groups.
_NOTHING = 5


@dataclass(frozen=True, slots=True)
class Ended:
    """A group that is through: pytest's exit code (negative: the signal that ended it) and all that it wrote.

    ``computed_s`` is the processor time of all that it started, too: what the run can end in is the sum, by the processors.
    """

    group: str
    code: int
    seconds: float
    output: str
    computed_s: float = 0.0

    @property
    def passed(self) -> bool:
        return self.code in (0, _NOTHING)

    @property
    def failed(self) -> list[str]:
        """Return the tests that failed; the group itself when it ended in another way than by a failed test."""
        names = list(dict.fromkeys(_FAILED.findall(self.output)))
        if self.passed:
            return []
        return names if names and self.code == 1 else [*names, f"{self.group}: pytest ended with {self.code}"]

    @property
    def counts(self) -> Counter[str]:
        """Return how many passed, failed and so on, by pytest's last line."""
        last = self.output.rstrip().rpartition("\n")[2]
        return Counter({what.removesuffix("s") if what == "errors" else what: int(n) for n, what in _COUNT.findall(last)})


def shared_out(files: Iterable[str], groups: Mapping[str, Sequence[str]] = GROUPS) -> dict[str, list[str]]:
    """Return the files of each group, in the groups' order; each file is in one, and a group without files is left out."""
    found: dict[str, list[str]] = {group: [] for group in groups}
    for file in sorted(files):
        fitting = [(len(path), group) for group, paths in groups.items() for path in paths if f"{file}/".startswith(f"{path}/")]
        found[max(fitting)[1] if fitting else REST].append(file)
    return {group: members for group, members in found.items() if members}


def all_files(root: Path = ROOT) -> list[str]:
    """Return every file that pytest would look into."""
    return [str(path.relative_to(root)) for path in (root / "tests").rglob("test_*.py")]


class Running:
    """A group's pytest, from its start on."""

    def __init__(self, group: str, files: Sequence[str], options: Sequence[str], logs: Path) -> None:
        self.group = group
        self.log = logs / f"{group}.log"
        self._began = time.monotonic()
        # A namespace that is made while another group has something mounted would keep it in use for as long as it lives:
        # every engine of these tests has one.
        alone = ["unshare", "--mount", "--propagation", "private"]
        command = [*alone, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, *files]
        with self.log.open("w", encoding="utf-8") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, guards.BESIDE: "1"},
            )

    def ended(self) -> Ended | None:
        """Return how it ended, None while it runs."""
        before = _computed_s()
        code = self._process.poll()
        if code is None:
            return None
        seconds = time.monotonic() - self._began
        # What a process that has ended computed, with all that it waited for, is counted as soon as one asks for its end.
        return Ended(self.group, code, seconds, self.log.read_text("utf-8", "replace"), _computed_s() - before)

    def progress(self) -> str:
        done = sum(map(len, _DOTS.findall(self.log.read_text("utf-8", "replace"))))
        return f"{self.group} {done} tests"

    def interrupt(self, *, heard: bool) -> None:
        """End it and all that it started. ``heard``: the terminal has told it already, and twice would be too much."""
        if not heard and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _computed_s() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def is_room(running: Sequence[str], group: str) -> bool:
    """Tell whether the group may begin beside those that run; alone each may."""
    return not running or sum(AS_MANY_AS.get(each, 1) for each in (*running, group)) <= AT_ONCE


def each_ended(shares: Mapping[str, Sequence[str]], options: Sequence[str], logs: Path) -> Iterator[Ended]:
    """Run the groups in their order, as many as there is room for at a time; yield each at its end."""
    waiting = list(shares.items())
    running: list[Running] = []
    told = time.monotonic()
    heard = True
    try:
        while waiting or running:
            while waiting and is_room([each.group for each in running], waiting[0][0]):
                running.append(Running(*waiting.pop(0), options, logs))
                say(f"   {running[-1].group} begins")
            ended = [(each, end) for each in running if (end := each.ended()) is not None]
            for each, end in ended:
                running.remove(each)
                yield end
            if time.monotonic() - told > _TOLD_EVERY_S:
                told = time.monotonic()
                say(f"   {', '.join(each.progress() for each in running)}")
            time.sleep(_LOOK_EVERY_S)
    except Terminated:
        heard = False
        raise
    finally:
        for each in running:
            each.interrupt(heard=heard)


class Terminated(KeyboardInterrupt):
    """SIGTERM, which came to this process alone."""


def _terminated(number: int, frame: FrameType | None) -> None:
    raise Terminated


def say(text: str) -> None:
    print(text, flush=True)


def report(end: Ended) -> None:
    """Say how a group ended; all of its output if it failed."""
    if not end.passed:
        say(end.output.rstrip())
    counts = ", ".join(f"{n} {what}" for what, n in end.counts.items()) or "nothing selected"
    times = f"{end.seconds:.0f} s, {end.computed_s:.0f} s of a processor"
    say(f"== {end.group}: {counts} in {times}{'' if end.passed else ' -- FAILED, see above'}")


def main(options: Sequence[str] = (), shares: Mapping[str, Sequence[str]] | None = None, logs: Path = LOGS) -> int:
    """Run every test; see the module. ``shares`` are other groups than those of this tree."""
    logs.mkdir(parents=True, exist_ok=True)
    began, machine = time.monotonic(), guards.machine()
    all_ended: list[Ended] = []
    former = signal.signal(signal.SIGTERM, _terminated)
    # Where it was ignored, as in a shell's background, the groups would inherit that and could not be told to end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for end in each_ended(shared_out(all_files()) if shares is None else shares, options, logs):
            report(end)
            all_ended.append(end)
    except KeyboardInterrupt:
        say(f"interrupted; what the groups wrote lies in {logs}")
        return 130
    finally:
        signal.signal(signal.SIGTERM, former)
    failed = [name for end in all_ended for name in end.failed]
    # Only there is nobody else on the machine.
    left = guards.settled(guards.machine, machine) if shares is None and os.environ.get("CI") else frozenset()
    failed += [f"left on the machine by the whole run: {name}" for name in sorted(left)]
    if all(end.code == _NOTHING for end in all_ended):
        failed.append("no test was selected")
    total = sum((end.counts for end in all_ended), Counter[str]())
    times = f"{time.monotonic() - began:.0f} s, {sum(end.computed_s for end in all_ended):.0f} s of a processor"
    say(f"== all: {', '.join(f'{n} {what}' for what, n in total.items())} in {times}")
    for name in failed:
        say(f"FAILED {name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
