"""The agent in a guest: its code on a read-only disk, made of what is installed here; started and killed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from tests.system.docker import wait_until
from tests.system.guest import Guest
from vmdkvol.settings import dump_toml

CODE = "/vmdkvol"
CONFIG = "/etc/vmdkvol/agent.toml"
LOG = "/run/vmdkvol-agent.log"
PLUGIN = "/run/docker/plugins/vsphere.sock"
# The disk's serial number, by which the guest finds it.
SERIAL = "vmdkvol-code"
# A root port of the ready guests at which nothing is yet (tests.system.ready).
PORT = "port-code"
ROOT = Path(__file__).parents[2]
# Quiet: 3 s of emulated imports.
START_S = 240.0
_PACKAGES = (ROOT / "vmdkvol", ROOT / "guest-agent" / "vmdkvol_guest")


def code_disk(target: Path) -> Path:
    """Return a file system with the agent, and the packages that it needs, as they are in this environment; with byte code."""
    tree = target.with_suffix(".tree")
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for package in _PACKAGES:
        shutil.copytree(package, tree / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    for distribution in needed("vmdkvol"):
        _copy(distribution, tree)
    # The guest's Python is of the same series, and takes what this one compiles; to do so there costs seconds at each start.
    command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(tree)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    target.unlink(missing_ok=True)
    command = ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", str(tree), str(target), "64M"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)
    return target


def needed(name: str) -> list[importlib.metadata.Distribution]:
    """Return the distributions that ``name`` needs without its extras, and what they need, without itself."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = _requirements(name)
    while waiting:
        distribution = importlib.metadata.distribution(waiting.pop())
        if distribution.name not in found:
            found[distribution.name] = distribution
            waiting += _requirements(distribution.name)
    return list(found.values())


def _requirements(name: str) -> list[str]:
    wanted = map(Requirement, importlib.metadata.requires(name) or ())
    return [each.name for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]


def _copy(distribution: importlib.metadata.Distribution, tree: Path) -> None:
    for file in distribution.files or ():
        # Programs lie outside, in ../../../bin; byte code is made anew.
        if file.parts[0] != ".." and "__pycache__" not in file.parts:
            target = tree / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(str(file.locate()), target)


class Agent:
    """The agent of a guest. ``disk`` has its code; its settings are written when it is started for the first time."""

    def __init__(self, guest: Guest, disk: Path, settings: Mapping[str, Any]) -> None:
        self.guest = guest
        self._disk = disk
        self._began = 0
        self._settings = {"driver": "vsphere", "run_dir": "/run/vmdkvol/vsphere", "socket": PLUGIN, **settings}

    def put_in(self) -> None:
        """Afterwards its code is at ``CODE``, read-only, and its settings at ``CONFIG``."""
        devices = {found["name"] for found in self.guest.qmp.do("qom-list", {"path": "/machine/peripheral"})}
        if "code" not in devices:
            file = {"driver": "file", "filename": str(self._disk), "locking": "off"}
            self.guest.qmp.do("blockdev-add", {"driver": "raw", "node-name": "code", "read-only": True, "file": file})
            device = {"driver": "virtio-blk-pci", "id": "code", "bus": PORT, "drive": "code", "serial": SERIAL}
            self.guest.qmp.do("device_add", device)
        find = f"grep -lx {SERIAL} /sys/block/vd*/serial"
        self.guest.sh(f"i=0; until {find} >/dev/null 2>&1; do [ $((i += 1)) -lt 600 ] || exit 1; sleep 0.1; done")
        self.guest.sh(f"mkdir -p {CODE} && mount -o ro /dev/$(basename $(dirname $({find}))) {CODE}")
        self.set()

    def set(self, **settings: object) -> None:
        """Write its settings: the usual ones, and these instead or beside."""
        self.guest.sh(f"mkdir -p /etc/vmdkvol && cat >{CONFIG}", given=dump_toml({**self._settings, **settings}))

    def start(self) -> None:
        """Return when the engine can find it."""
        self._began = int(self.guest.sh(f"touch {LOG}; wc -c <{LOG}"))
        self.guest.sh(f"rm -f {PLUGIN}; setsid env PYTHONPATH={CODE} {_PROGRAM} serve >>{LOG} 2>&1 </dev/null &")
        wait = f"i=0; until [ -S {PLUGIN} ]; do [ $((i += 1)) -lt {int(START_S * 10)} ] || exit 1; sleep 0.1; done"
        ran = self.guest.run(wait, START_S)
        assert ran.code == 0, f"the agent of {self.guest.machine.name} is not up:\n{self.log()}"

    def command(self, *words: str) -> str:
        """Run a ``vmdkvol-agent`` command that must work; return what it printed."""
        return self.guest.sh(f"PYTHONPATH={CODE} {_PROGRAM} {shlex.join(words)}", START_S)

    def greeted(self) -> bool:
        """Tell whether the service has greeted it since its last start."""
        return bool(list(lines_of(self.guest.run(f"tail -c +{self._began + 1} {LOG}").output, "line up")))

    def kill9(self) -> None:
        """kill -9 of all of it."""
        self.guest.sh(f"kill -9 {' '.join(map(str, self.pids()))}")
        wait_until(lambda: not self.pids(), "the agent is gone")

    def pids(self) -> list[int]:
        """Return its processes: gunicorn's master and worker."""
        return [int(pid) for pid in self.guest.run(f"pgrep -f -- '[v]mdkvol_guest.cli --config {CONFIG}'").output.split()]

    def log(self) -> str:
        return self.guest.run(f"tail -n 40 {LOG}").output


_PROGRAM = f"python3 -m vmdkvol_guest.cli --config {CONFIG}"


def lines_of(text: str, *words: str) -> Iterator[str]:
    """Return the lines of a log that have all of the words."""
    return (line for line in text.splitlines() if all(word in line for word in words))
