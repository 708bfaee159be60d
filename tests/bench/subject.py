"""What is measured: a service and an agent as processes, with product settings, reached as Docker reaches them."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from tests.daemons.site import ROOT, Daemon, Host, Site, eventually
from vmdkvol.cli import processes
from vmdkvol.settings import dump_toml

# Docker looks for plugins here; the bench has a /run of its own.
PLUGINS = Path("/run/docker/plugins")
# Agents keep this boot's holders below it, in memory as on every Linux host: a tmpfs, in the bench's namespace too.
RUN = Path("/run")
_START_S = 180.0


class Program(Daemon):
    """A daemon that is started with a command of its own."""

    command: Sequence[str] = ()

    def start(self, point: str = "never", time: int = 1, *, wait: bool = True) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Return when it answers: with 10,000 volumes on a busy machine a service takes longer than the tests' limit."""
        process = self.process
        assert process is not None

        def ready() -> bool:
            assert process.poll() is None, f"{self.kind} ended:\n{self.tail()}"
            return self.answers()

        eventually(ready, f"{self.kind} answers; its log ends:\n{self.tail()}", _START_S)


class Subject(Site):
    """``name`` is the driver's. ``delays``: its hypervisor takes so long; ``spoil``: what it does wrong on purpose.

    The settings are the product's but for the linger, which would only let a round wait for the disk to be given back, and
    the two periodic looks, which would fall into some rounds and not into others.
    """

    def __init__(
        self, root: Path, name: str, *, delays: Mapping[str, float] | None = None, spoil: str = "", **settings: Any
    ) -> None:
        PLUGINS.mkdir(parents=True, exist_ok=True)
        root.mkdir()
        (root / "plugins").symlink_to(PLUGINS)
        quiet = {"linger_s": 0.0, "reconcile_s": 600.0, "socket": str(PLUGINS / f"{name}.sock"), "run_dir": str(RUN / name)}
        super().__init__(root, (name,), **{**quiet, **settings})
        self.calls_log = root / "calls"
        self.calls_log.touch()
        measured = ["--log", str(self.calls_log), "--delays", json.dumps(delays or {}), "--spoil", spoil]
        around = [sys.executable, "-m", "tests.bench.around", "--config", str(self.service.config), *measured]
        plain = [sys.executable, "-m", "vmdkvol_esx.cli", "--config", str(self.service.config), "serve"]
        self.service = _program(self.service, around if delays is not None or spoil else plain)
        agent = self.host.agent
        wrong = [sys.executable, "-m", "tests.bench.spoiled", "--config", str(agent.config), "--spoil", spoil]
        right = [sys.executable, "-m", "vmdkvol_guest.cli", "--config", str(agent.config), "serve"]
        self.agent_command = wrong if spoil else right
        self.host.agent = _program(agent, self.agent_command)

    def _service_toml(self) -> str:
        return dump_toml(
            {
                "state_dir": str(self.root / "state" / "service"),
                "trash_retention_s": 0.0,
                "admin_socket": str(self.root / "admin.sock"),
                "housekeeping_s": 3600.0,
                "datastores": [{"name": "ds1", "path": str(self.datastore)}],
                "hosts": [
                    {"name": each.name, "id": each.id, "socket": str(self.service_socket(each.name))} for each in self.hosts
                ],
            }
        )

    def create(self, name: str, **options: str) -> None:
        self.host.told("Create", Name=name, Opts={"size": "1gb", **options})

    def mount(self, name: str, mount_id: str = "bench") -> Path:
        return Path(self.host.told("Mount", Name=name, ID=mount_id)["Mountpoint"])

    def unmount(self, name: str, mount_id: str = "bench") -> None:
        self.host.told("Unmount", Name=name, ID=mount_id)

    def remove(self, name: str) -> None:
        self.host.told("Remove", Name=name)

    def formatted(self, *names: str, **options: str) -> None:
        """Afterwards these volumes exist, each with a clean file system, and none is attached."""

        def make(name: str) -> None:
            self.create(name, **options)
            self.mount(name)
            self.unmount(name)

        together([partial(make, name) for name in names])
        self.wait_detached()

    def wait_detached(self) -> None:
        eventually(lambda: not self.loops(), "every disk was given back", 60)

    def calls(self) -> list[str]:
        """Return what the hypervisor was asked since the last call of this, one line each."""
        lines = self.calls_log.read_text().splitlines()
        self.calls_log.write_text("")
        return lines

    def agent_pids(self) -> list[int]:
        return [each.pid for each in processes.with_config(self.host.agent.config)]

    def service_pids(self) -> list[int]:
        return [each.pid for each in processes.with_config(self.service.config)]


def _program(daemon: Daemon, command: Sequence[str]) -> Program:
    made = Program(daemon.kind, daemon.config, daemon.log, daemon.answers)
    made.command = command
    return made


def together(jobs: Sequence[Callable[[], object]]) -> float:
    """Start all jobs at one moment; return the seconds until the last one ended. Raises what one of them raised."""
    if len(jobs) == 1:
        began = time.perf_counter()
        jobs[0]()
        return time.perf_counter() - began
    start = threading.Barrier(len(jobs) + 1)

    def run(job: Callable[[], object]) -> None:
        start.wait()
        job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        running = [pool.submit(run, job) for job in jobs]
        start.wait()
        began = time.perf_counter()
        for each in running:
            each.result()
        return time.perf_counter() - began


def timed(job: Callable[[], object]) -> float:
    """Return how many seconds the job took."""
    return together([job])


def until_end(process: subprocess.Popen[bytes], limit_s: float = 60.0) -> None:
    """Return as soon as the process has ended; AssertionError if it has not after ``limit_s``.

    Not by Popen's own limit: with one it looks at growing intervals, and what ends after 64 ms is told after 113.
    """
    with os.fdopen(os.pidfd_open(process.pid)) as end, selectors.DefaultSelector() as selector:
        selector.register(end, selectors.EVENT_READ)
        assert selector.select(limit_s), f"{process.args!r} did not end within {limit_s:.0f} s"
    process.wait()


def ran(*command: str, limit_s: float = 60.0, output: int = subprocess.PIPE) -> str:
    """Run a command to its end; return what it wrote, which is short, or nothing with DEVNULL. AssertionError if it failed."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE) as process:
        try:
            until_end(process, limit_s)
        except BaseException:
            process.kill()
            raise
        said, errors = process.communicate()
    assert process.returncode == 0, errors
    return (said or b"").decode()


def cpu_s(pids: Sequence[int]) -> float:
    """Return the seconds that these processes have computed, from their own clocks."""
    # The number of another process's clock, as clock_getcpuclockid(3) makes it.
    return sum(time.clock_gettime(((~pid) << 3) | 2) for pid in pids)


__all__ = ["Host", "Program", "Subject", "cpu_s", "ran", "timed", "together", "until_end"]
