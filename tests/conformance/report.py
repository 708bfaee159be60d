"""The table of a run: each case, what it promises, and how it went on each engine."""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest

from tests.conformance.case import Case
from tests.conformance.settings import Chosen
from tests.conformance.suite import CASES
from tests.integration.engine.builds import Build

_NODE = re.compile(r"test_conformance\.py::test_case\[([a-z]+)-([a-z]+-\d+)\]$")
OK, FAILED, NOT_RUN = "ok", "FAILED", "-"

_HEAD = """# Docker conformance

Each case of `make test-engine` and how it went on two Docker engines. `make test` runs those marked "first" on the first
engine, those marked "both" on both. The suite knows a plugin by nothing but its driver's name: `make test-engine DRIVER=name
OPTS="size=1gb"` tries any volume plugin whose socket lies in `/run/docker/plugins` with the cases that are marked "anyone";
the others stop and start the plugin, or look at its disks. `tests/conformance/test_suite.py` shows that the suite can fail.

Numbers are given out once. Made by `make test-engine`, not by hand: each cell is of the last run of its case as it is now.

"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one case went on one engine: ``day`` is when, ``source`` a digest of the case as it was then."""

    result: str
    seconds: float
    version: str
    day: str
    source: str

    @property
    def shown(self) -> str:
        return f"{self.seconds:.1f}" if self.result == OK else self.result


Outcomes = dict[str, Outcome]


@dataclass
class Table:
    """A pytest plugin: listens to the run, and shows the table at its end. ``memory`` keeps what earlier runs found."""

    chosen: Chosen
    page: Path | None
    memory: Path
    outcomes: Outcomes = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Before anybody edits a file under a long run.
        for case in CASES:
            digest(case)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        match = _NODE.search(report.nodeid)
        if match is None:
            return
        build = next(build for build in self.chosen.builds if build.name == match[1])
        case = next(case for case in CASES if case.id == match[2])
        known = self.outcomes.get(_key(build, case))
        result = OK if report.outcome == "passed" and (known is None or known.result == OK) else FAILED
        seconds = report.duration if report.when == "call" or known is None else known.seconds
        today = datetime.now(UTC).strftime("%Y-%m-%d")
        self.outcomes[_key(build, case)] = Outcome(result, seconds, version(build), today, digest(case))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        write = terminalreporter.write_line
        write("")
        for line in shown(self.chosen, self.outcomes):
            write(line)
        if self.page is None:
            return
        self.page.write_text(page(self.chosen.builds, remember(self.memory, self.outcomes)), encoding="utf-8")
        write(f"written: {self.page}")


def _key(build: Build, case: Case) -> str:
    return f"{build.name}-{case.id}"


@cache
def digest(case: Case) -> str:
    """Return what tells one version of a case from another: its code, not where it runs."""
    source = inspect.getsource(case.run)
    return hashlib.sha256(source[source.index("def ") :].encode()).hexdigest()[:16]


def remember(memory: Path, outcomes: Outcomes) -> Outcomes:
    """Add what a run found to what earlier ones did; return all that is about the cases and engines as they are now."""
    memory.parent.mkdir(exist_ok=True)
    with memory.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        known = {key: Outcome(**values) for key, values in json.loads(file.read() or "{}").items()}
        known |= outcomes
        file.truncate(0)
        json.dump({key: asdict(outcome) for key, outcome in known.items()}, file, indent=1)
    now = {case.id: digest(case) for case in CASES}
    return {key: outcome for key, outcome in known.items() if outcome.source == now.get(key.partition("-")[2])}


def shown(chosen: Chosen, outcomes: Outcomes) -> Iterator[str]:
    """Yield the table as the terminal shows it."""
    yield f"{'case':<12}{''.join(f'{version(build):>26}' for build in chosen.builds)}  promise"
    left_out = chosen.left_out()
    for case in CASES:
        known = [outcomes.get(_key(build, case)) for build in chosen.builds]
        cells = ["not for a foreign plugin" if case in left_out else each.shown if each else NOT_RUN for each in known]
        yield f"{case.id:<12}{''.join(f'{cell:>26}' for cell in cells)}  {case.promise}"
    passed = sum(outcome.result == OK for outcome in outcomes.values())
    yield f"{passed} passed, {len(outcomes) - passed} failed; seconds for what passed"
    if left_out:
        yield f"{len(left_out)} cases are not for a foreign plugin: each {'; or '.join(sorted(reasons(left_out)))}"


def reasons(cases: Iterable[Case]) -> set[str]:
    return {need.value for case in cases for need in case.needs}


@cache
def version(build: Build) -> str:
    """Return the engine's version as it says it."""
    said = subprocess.run([build.program("dockerd"), "--version"], capture_output=True, text=True, check=True, timeout=30)
    return "dockerd " + said.stdout.split()[2].rstrip(",")


def page(builds: Sequence[Build], outcomes: Outcomes) -> str:
    """Return the page; a case of which nothing is known has a dash."""
    versions = [
        " and ".join(sorted({each.version for key, each in outcomes.items() if _is_of(build, key)})) for build in builds
    ]
    days = sorted({outcome.day for outcome in outcomes.values()}) or ["no day"]
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    lines = [_HEAD, f"Run on {when}: {' and '.join(versions)}. Seconds are those of a machine that did other things too;\n"]
    lines.append("a dash is a case that has not run there as it is now.\n\n")
    lines.append(_line(["case", "promise", "anyone", "make test", *versions]))
    lines.append(_line(["---"] * (4 + len(versions))))
    for case in CASES:
        mine = ["" if case.needs else "anyone", case.where]
        cells = [found.shown if (found := outcomes.get(_key(build, case))) else NOT_RUN for build in builds]
        lines.append(_line([f"`{case.id}`", case.promise.replace("|", "\\|"), *mine, *cells]))
    return "".join(lines)


def _is_of(build: Build, key: str) -> bool:
    return key.startswith(f"{build.name}-")


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"


def written(text: str) -> Mapping[str, tuple[str, ...]]:
    """Return what a page says of each case: the cells after its id."""
    rows = [line.strip("|\n ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): tuple(cell.strip() for cell in row[1:]) for row in rows}
