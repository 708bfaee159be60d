"""One mutant on trial: the state machine runs against a copy that has the defect, then the named tests do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.mutant import ROOT, By, Mutant, copy_of_the_tree, put_in
from tests.simulation.soak import STEPS

# Of one program; the state machine's runs themselves have no deadline in real time.
_LONGEST_S = 1800.0
# What a test leaves behind that a defect has ended early goes with its namespaces: mounts and processes. The shell is the
# first process in there and so the one that is left with orphans, which the tests would take for children of their own.
_NAMESPACES = (
    *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"),
    *("sh", "-c", '"$@"; exit $?', "sh"),
)
_PACKAGES = ("", "guest-agent", "esx-service")
_RULE = re.compile(r"\b(I\d+) at ")
_REPLAY = re.compile(r"^replay: .* --first (\d+) ", re.MULTILINE)
_FAILED = re.compile(r"^(?:FAILED|ERROR) (tests/.+?)(?: - .*)?$", re.MULTILINE)


class TrialFailed(Exception):
    """The defect was not tried: what ran ended in a way that says nothing about it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """``by`` None: it survived. ``said`` is the broken invariant, or the first test that failed; ``steps`` those until then."""

    by: By | None
    said: str = ""
    steps: int | None = None


def tried(mutant: Mutant, folder: Path, steps: int) -> Outcome:
    """Try ``mutant`` in a copy of the tree at ``folder``, which is made; the state machine has so many ``steps``."""
    root = copy_of_the_tree(folder)
    put_in(mutant, root)
    if mutant.by is By.MACHINE:
        found = _state_machine(root, steps)
        if found is not None:
            return found
    return _tests(root, mutant)


def _let_go_below(folder: Path) -> None:
    """Unbind the loop devices over files below ``folder``: a defect may well keep a test from doing so."""
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            bound = backing.read_text("utf-8", "replace").startswith(f"{folder}/")
        except OSError:
            # It was unbound just now.
            continue
        if bound:
            subprocess.run(["losetup", "--detach", f"/dev/{backing.parts[3]}"], check=False)


def ran_in(root: Path, arguments: Sequence[str], before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run Python over the copy at ``root``, and nothing of this tree; ``before`` is a command that runs it."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(root / package) for package in _PACKAGES),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    try:
        return subprocess.run(
            [*before, sys.executable, *arguments],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TrialFailed(f"{' '.join(arguments)} has not ended for {_LONGEST_S:g} s") from error


def _state_machine(root: Path, steps: int) -> Outcome | None:
    """Return what the state machine found, None for nothing. One process, so that the same seed is the first each time."""
    ran = ran_in(root, ["-m", "tests.simulation.soak", str(steps), "--processes", "1"])
    if ran.returncode == 0:
        return None
    rule, replay = _RULE.search(ran.stdout), _REPLAY.search(ran.stdout)
    if rule is None or replay is None:
        # A copy that does not run at all is no defect that was found, and an exception of the product's is a bad mutant.
        raise TrialFailed(f"the state machine ended with {ran.returncode}:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return Outcome(By.MACHINE, rule[1], (int(replay[1]) + 1) * STEPS)


def _tests(root: Path, mutant: Mutant) -> Outcome:
    failed = _failing(root, mutant.tests)
    if failed is None:
        return Outcome(None)
    # On a busy machine a test may fail by itself, and would then be no proof: it must pass without the defect, and fail again.
    (root / mutant.file).write_text((ROOT / mutant.file).read_text(encoding="utf-8"), encoding="utf-8")
    if _failing(root, [failed]) is not None:
        raise TrialFailed(f"{failed} fails without the defect too")
    put_in(mutant, root)
    if _failing(root, [failed]) is None:
        raise TrialFailed(f"{failed} failed once, and not again")
    return Outcome(By.TESTS, failed.partition("[")[0])


def _failing(root: Path, tests: Sequence[str]) -> str | None:
    """Return the first of the tests that fails, None if all pass."""
    base = root.parent / "pytest"
    pytest = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"--basetemp={base}", *tests]
    try:
        ran = ran_in(root, pytest, before=_NAMESPACES)
    finally:
        _let_go_below(base)
    if ran.returncode == 0:
        return None
    failed = _FAILED.search(ran.stdout)
    # 1 is pytest's "tests failed"; what could not be collected or found is another number.
    if ran.returncode != 1 or failed is None:
        raise TrialFailed(f"pytest ended with {ran.returncode}:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return failed[1]
