"""What the simulation found in the product once, each fault put back into a copy: it is found again. More: tests/mutants."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.simulation.runs import Broken, run_plan
from tests.simulation.steps import of_seed
from tests.simulation.world import World

ROOT = Path(__file__).parents[2]
PACKAGES = ("vmdkvol", "guest-agent", "esx-service")
AGENT, ESX = "guest-agent/vmdkvol_guest", "esx-service/vmdkvol_esx"


@dataclass(frozen=True, slots=True)
class Defect:
    """In ``file``, ``good`` becomes ``bad``, which breaks one of ``rules``."""

    name: str
    file: str
    good: str
    bad: str
    rules: tuple[str, ...]


DEFECTS = [
    Defect(
        "a-list-that-an-answer-leaves-out-is-empty",
        f"{ESX}/ownership.py",
        "    silent = lists.unread | (frozenset(known) - lists.lists.keys())\n",
        "    silent = lists.unread\n",
        ("I1", "I2", "I6"),
    ),
    Defect(
        "a-refused-call-is-carried-out-when-it-comes-again",
        f"{ESX}/requests.py",
        "            self._keep_refusal(call.caller, call.id, request, error)\n",
        "",
        ("I1", "I6"),
    ),
    Defect(
        "the-trash-believes-a-clock-that-was-ahead",
        f"{ESX}/housekeeping.py",
        "        begun = min(begun, now)\n",
        "",
        ("I5",),
    ),
    Defect(
        "a-host-that-is-off-keeps-its-disks",
        f"{ESX}/owners.py",
        "        if not isinstance(owner, LeftBehind):\n",
        "        if True:\n",
        ("I5",),
    ),
]


def no_syncs(world: World) -> None:
    for host in world.hosts:
        host.guest.syncs = False


def no_flush_after_mkfs(world: World) -> None:
    for host in world.hosts:
        host.guest.flushes = False


def forgetful_notebooks(world: World) -> None:
    for host in world.hosts:
        host.notebook.durable = False


def half_sidecars(world: World) -> None:
    world.datacenter.whole_sidecars = False


# What the product stands on: a port that breaks its promise is a finding, too. Whether the adapters keep these is for
# the contract tests, and for those that watch their system calls.
PROMISES = [
    pytest.param(no_syncs, ("I1",), id="an-unmount-and-an-fsync-that-sync-nothing"),
    pytest.param(no_flush_after_mkfs, ("I1",), id="a-mkfs-that-is-not-flushed"),
    pytest.param(forgetful_notebooks, ("I2", "I6", "I1"), id="a-notebook-that-forgets-its-last-note"),
    pytest.param(half_sidecars, ("MetadataDamaged", "I1", "a thread"), id="a-sidecar-that-is-half-written"),
]


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("breaks", "rules"), PROMISES)
def test_a_promise_of_a_port_that_is_broken_is_found(breaks: Callable[[World], None], rules: tuple[str, ...]) -> None:
    said = ""
    for number in range(200):
        plan = of_seed(number, 60)
        world = World(plan.setup)
        breaks(world)
        try:
            run_plan(plan, world)
        except Broken as broken:
            said = str(broken).partition("\n")[0]
            break

    assert said.startswith(rules), said or "nothing was found"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The product's source, in a place of its own, with the tests beside it."""
    root = tmp_path_factory.mktemp("product")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "tests").symlink_to(ROOT / "tests")
    return root


@contextmanager
def broken(root: Path, defect: Defect) -> Iterator[None]:
    path = root / defect.file
    source = path.read_text(encoding="utf-8")
    assert source.count(defect.good) == 1, f"{defect.file} has changed: {source.count(defect.good)} places"
    path.write_text(source.replace(defect.good, defect.bad), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(source, encoding="utf-8")


def found(root: Path, seeds: int) -> str:
    """Return what the first broken one of so many seeds says, in the copy; empty if none is."""
    path = os.pathsep.join(str(root / package) for package in PACKAGES[1:])
    program = f"from tests.simulation.runs import first_broken; print(first_broken({seeds}))"
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=root, env=environment, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.mark.integration
@pytest.mark.timeout(400)
@pytest.mark.parametrize("defect", [pytest.param(defect, id=defect.name) for defect in DEFECTS])
def test_a_defect_is_found(copy: Path, defect: Defect) -> None:
    with broken(copy, defect):
        said = found(copy, 120)

    assert any(f"{rule} at " in said for rule in defect.rules), said or "nothing was found"


@pytest.mark.integration
def test_the_copy_is_what_runs_and_it_is_sound_without_a_defect(copy: Path) -> None:
    assert found(copy, 2) == ""
