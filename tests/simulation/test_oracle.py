"""The oracle can fail: each defect of the table, put into a copy of the product, is found within a few seeds."""

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
        "no-claim-before-the-detach",
        f"{AGENT}/releasing.py",
        "            with parts.devices.claim(device, self._claim_deadline()):\n                parts.at(",
        "            if True:\n                parts.at(",
        ("I2",),
    ),
    Defect(
        "an-attach-that-does-not-ask-who-has-the-disk",
        f"{ESX}/attaching.py",
        "        record, owner = self._owners.freed(record, caller, deadline)\n",
        "        record, owner = self._owners.freed(record, caller, deadline)\n"
        "        owner = Free() if isinstance(owner, HeldBy) else owner\n",
        ("I2",),
    ),
    Defect(
        "an-undone-attach-that-may-still-land",
        f"{ESX}/journal.py",
        "        elif isinstance(intent.change, AttachDisk) and told is Told.NOTHING:",
        "        elif False:",
        ("I4", "I2"),
    ),
    Defect(
        "a-clone-of-a-disk-in-use",
        f"{ESX}/creating.py",
        "                return Held(record, vm)",
        "                return _Source(record)",
        ("I2",),
    ),
    Defect(
        "formatted-is-not-recorded",
        f"{AGENT}/mounting.py",
        "        self._mark(attachment, Content.FORMATTED, uuid)\n        parts.at(",
        "        parts.at(",
        ("I1",),
    ),
    Defect(
        "no-sidecar-at-mark",
        f"{ESX}/attaching.py",
        "        self._journal.write_sidecar(marked)\n",
        "",
        ("I1",),
    ),
    Defect(
        "no-sidecar-at-remove",
        f"{ESX}/removing.py",
        "        no_room = self._write_copy(trashed)\n",
        "        no_room = None\n",
        ("I1",),
    ),
    Defect(
        "a-clone-keeps-its-sources-uuid",
        f"{AGENT}/mounting.py",
        "        parts.filesystems.renew_uuid(device, fstype, uuid)\n",
        "",
        ("I1",),
    ),
    Defect(
        "a-note-that-says-mounted-is-believed",
        f"{AGENT}/mounting.py",
        "        if number is None or attachment is None or attachment.content",
        "        if attachment is not None and attachment.content is Content.FORMATTED:\n"
        "            return self._parts.mounts.path(volume, attachment.options.layout)\n"
        "        if number is None or attachment is None or attachment.content",
        ("I6",),
    ),
    Defect(
        "no-holder-before-the-answer",
        f"{AGENT}/mounting.py",
        "                parts.notebook.hold(volume, mount_id)\n",
        "",
        ("I6", "I2"),
    ),
    Defect(
        "holders-do-not-count",
        f"{AGENT}/reconcile.py",
        "            held=bool(holdings.ids),",
        "            held=False,",
        ("I6", "I2"),
    ),
    Defect(
        "the-last-holder-unmounts-nothing",
        f"{AGENT}/mounting.py",
        "            parts.mounts.unmount(volume)\n            parts.at(Point.UNMOUNT_UNMOUNTED)\n",
        "",
        ("I3", "I5", "I6"),
    ),
    Defect(
        "remove-under-a-holder",
        f"{AGENT}/releasing.py",
        "        if ids:\n            raise",
        "        if False:\n            raise",
        ("I1", "I6"),
    ),
    Defect(
        "remove-that-does-not-ask-who-has-the-disk",
        f"{ESX}/removing.py",
        "                case HeldBy(vm=vm) | LeftBehind(vm=vm):\n                    return Held(record, vm)\n"
        "                case Foreign",
        "                case HeldBy() | LeftBehind():\n                    pass\n                case Foreign",
        ("I1", "I6"),
    ),
    Defect(
        "create-is-answered-while-the-disk-is-made",
        f"{ESX}/creating.py",
        "        if preparing is not None:\n            # A crash",
        "        if False:\n            # A crash",
        ("I6",),
    ),
    Defect(
        "unknown-is-said-as-absent",
        f"{AGENT}/answers.py",
        "            return Answer.ABSENT if anonymous else Answer.HANG_UP",
        "            return Answer.ABSENT",
        ("I6",),
    ),
    Defect(
        "nobody-settles-what-a-crash-left-open",
        f"{ESX}/housekeeping.py",
        "        for volume in [intent.volume for intent in self._store.open_intents()]:\n",
        "        for volume in list[VolumeId]():\n",
        ("I5",),
    ),
    Defect(
        "a-get-that-waits-for-a-service-that-hangs",
        f"{AGENT}/catalogue.py",
        "self.resolve(ref, self._parts.limits.get_s)",
        "self.resolve(ref, self._parts.limits.look_s)",
        ("I8",),
    ),
    Defect(
        "a-detach-of-any-generation",
        f"{ESX}/attaching.py",
        "            self._check_generation(record, request.generation)\n            self._detach_device",
        "            self._detach_device",
        ("I2", "I6"),
    ),
    # What the simulation found once, each put back.
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

    assert any(f" {rule} at " in said for rule in defect.rules), said or "nothing was found"


@pytest.mark.integration
def test_the_copy_is_what_runs_and_it_is_sound_without_a_defect(copy: Path) -> None:
    assert found(copy, 2) == ""
