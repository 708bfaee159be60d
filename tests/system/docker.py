"""Debian's Docker engine in a guest, with the images of these tests.

A `docker run` is some 10 CPU seconds of emulated Go, so tests are stingy with them; no limit here is a judgement of speed.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.system.container_images import BUSYBOX
from tests.system.guest import Guest, Ran

# dockerd gives a containerd that it starts itself 15 s, which is too little where everything is emulated: that comes first.
_START = """
[ -S /run/containerd/containerd.sock ] || setsid containerd >/run/containerd.log 2>&1 </dev/null &
i=0
until [ -S /run/containerd/containerd.sock ]; do
  [ $((i += 1)) -lt 1200 ] || exit 1
  sleep 0.1
done
rm -f /var/run/docker.pid
setsid dockerd --containerd=/run/containerd/containerd.sock --bridge=none --iptables=false --ip6tables=false \\
  --ip-forward=false --userland-proxy=false --live-restore=false \\
  --exec-opt native.cgroupdriver=cgroupfs >/run/dockerd.log 2>&1 </dev/null &
"""
_UP = "i=0; until timeout 60 docker version >/dev/null 2>&1; do [ $((i += 1)) -lt 600 ] || exit 1; sleep 0.3; done"
START_S = 600.0
RUN_S = 400.0
# An idle container ends at once when it is told to: the first process of a container has no default handlers.
FOREVER = "trap exit TERM; while :; do sleep 3600 & wait; done"


class Docker:
    """The engine of a guest; ``driver`` is the volume driver's name."""

    def __init__(self, guest: Guest, driver: str = "vsphere") -> None:
        self.guest = guest
        self.driver = driver

    def begin(self) -> None:
        """Start the engine; return at once, see ``wait_up``."""
        self.guest.sh(_START, START_S)

    def wait_up(self) -> Docker:
        ran = self.guest.run(_UP, START_S)
        assert ran.code == 0, f"the engine of {self.guest.machine.name} is not up:\n{self.log()}"
        return self

    def log(self) -> str:
        return self.guest.run("tail -n 30 /run/containerd.log /run/dockerd.log").output

    def load(self, name: str, archive: str) -> None:
        """Make an image of a tar, which lies in the guest."""
        self.said("import", archive, name, timeout_s=RUN_S)

    def ask(self, *words: str, timeout_s: float = RUN_S) -> Ran:
        return self.guest.run(f"docker {shlex.join(words)}", timeout_s)

    def said(self, *words: str, timeout_s: float = RUN_S) -> str:
        """Run one ``docker`` command that must work; return its output without the last line end."""
        ran = self.ask(*words, timeout_s=timeout_s)
        assert ran.code == 0, f"{self.guest.machine.name}: docker {shlex.join(words)}: {ran.code}: {ran.output}\n{self.log()}"
        return ran.output.rstrip("\n")

    def refused(self, *words: str, timeout_s: float = RUN_S) -> str:
        """Run one ``docker`` command that must fail; return what it wrote."""
        ran = self.ask(*words, timeout_s=timeout_s)
        assert ran.code not in (0, -1), f"docker {shlex.join(words)} did not fail but ended with {ran.code}: {ran.output}"
        return ran.output

    def create(self, name: str, **options: str) -> None:
        """Make a volume; an option's dash is written as an underscore."""
        words = [word for key, value in options.items() for word in ("-o", f"{key.replace('_', '-')}={value}")]
        self.said("volume", "create", "-d", self.driver, *words, name)

    def run(self, volume: str, script: str) -> str:
        """Run ``script`` in a new container that has the volume at /data; return what it prints."""
        return self.said("run", "--rm", "--network", "none", "-v", f"{volume}:/data", BUSYBOX, "sh", "-c", script)

    def start(self, container: str, volume: str, script: str = FOREVER, *options: str, image: str = BUSYBOX) -> None:
        """Start a container that stays, with the volume at /data."""
        words = ["-d", "--name", container, "--network", "none", "-v", f"{volume}:/data", *options]
        self.said("run", *words, image, "sh", "-c", script)

    def running(self, container: str) -> bool:
        return self.ask("inspect", "-f", "{{.State.Running}}", container).output.strip() == "true"

    def mounted(self) -> list[str]:
        """Return where volumes of the driver are mounted in the guest."""
        lines = self.guest.sh("cat /proc/1/mountinfo").splitlines()
        return [line.split()[4] for line in lines if line.split()[4].startswith("/run/vmdkvol/")]


def wait_until(true: Callable[[], bool], what: str, timeout_s: float = 120.0, every_s: float = 0.3) -> None:
    """Return as soon as ``true()``; fail with ``what`` after ``timeout_s``. The limits are for loaded machines."""
    until = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < until, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(every_s)


def disk_of(archives: dict[str, Path], target: Path) -> Path:
    """Return a file system, made from the archives, as the quickest way of much data into a guest."""
    tree = target.with_suffix(".tree")
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for name, archive in archives.items():
        (tree / f"{name}.tar").hardlink_to(archive)
    size = sum(archive.stat().st_size for archive in archives.values()) + (32 << 20)
    target.unlink(missing_ok=True)
    command = ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", str(tree), str(target), f"{size >> 10}K"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)
    return target
