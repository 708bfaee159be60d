"""A machine with a sandbox and Docker engines in it: what the tests with a real engine share."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.daemons.site import Daemon, Host
from tests.integration.engine import loops
from tests.integration.engine.builds import OWN, Build
from tests.integration.engine.engine import IMAGE, Engine
from tests.integration.engine.machine import Machine, wait_until

# By this file the service knows that the right file system is mounted at a datastore's directory.
MARK = "datastore.id"
PLUGINS = "/run/docker/plugins"
# What the sandbox's agents are set to: shorter than the default, which many tests would wait out.
LINGERS_S = 1.0
# Longer than that, on a busy machine.
LINGER_S = 40.0


class Bench:
    """``hosts`` are the simulated Docker hosts of the sandbox; the first is the default of every command."""

    def __init__(self, machine: Machine, hosts: tuple[str, ...]) -> None:
        self.machine = machine
        self.hosts = hosts
        self.sandbox = machine.root / "sandbox"
        machine.env["VMDKVOL_DIR"] = str(self.sandbox)
        machine.env["PYTHONPATH"] = ":".join(path for path in sys.path if path)

    def vmdkvol(self, *argv: str, code: int = 0, timeout_s: float = 90.0) -> str:
        """Run `vmdkvol` inside, which must end with ``code``; return its output, errors included."""
        command = [sys.executable, "-m", "vmdkvol.cli.main", *argv]
        done = self.machine.run(*command, check=False, timeout_s=timeout_s)
        assert done.returncode == code, f"vmdkvol {' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def up(self, *options: str) -> None:
        hosts = [word for host in self.hosts for word in ("--host", host)]
        self.vmdkvol("sandbox", "up", *hosts, *options)

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.vmdkvol("sandbox", "status", "-o", "json"))
        return status

    def pids(self, process: str) -> list[int]:
        """Return the processes of the service, or of a host's agent: gunicorn's master and worker."""
        return self.machine.processes(f"{self.sandbox}/etc/{process}.toml")

    def kill9(self, process: str) -> None:
        """kill -9 of all of a daemon."""
        for pid in self.pids(process):
            self.machine.run("kill", "-9", str(pid), check=False)
        wait_until(lambda: not self.pids(process), f"{process} is gone")

    def restart(self, process: str) -> None:
        """Stop one daemon as an administrator does, and bring it up again."""
        for pid in self.pids(process)[:1]:
            self.machine.kill(pid, signal.SIGTERM, 60)
        wait_until(lambda: not self.pids(process), f"{process} is gone")
        self.up()

    def host(self, name: str | None = None) -> Host:
        """Return the plugin socket of a host, as dockerd uses it."""
        name = name or self.hosts[0]
        plugin = self.machine.path(f"{PLUGINS}/{name}.sock")
        return Host(name, Daemon("agent", Path(), Path(), lambda: True), plugin, self.machine.path(f"/run/vmdkvol/{name}"))

    def volume(self, name: str) -> dict[str, Any]:
        (volume,) = [row for row in json.loads(self.vmdkvol("volume", "ls", "-o", "json")) if row["name"] == name]
        return dict(volume)

    def inspected(self, name: str) -> dict[str, Any]:
        """Return everything about a volume: a list says who has it, this where."""
        (volume,) = json.loads(self.vmdkvol("volume", "inspect", name, "-o", "json"))
        return dict(volume)

    def volumes(self) -> list[str]:
        return self.vmdkvol("volume", "ls", "-o", "name").split()

    def loops(self) -> dict[str, str]:
        return loops.under(self.sandbox)

    def mounts(self) -> list[str]:
        return [path for path in self.machine.mounts() if path.startswith("/run/vmdkvol/")]

    def files(self) -> list[Path]:
        """Return what lies on the datastores, but for the mark by which each is known again."""
        files = [path for path in (self.sandbox / "datastores").rglob("*") if path.is_file()]
        return sorted(path for path in files if path.name != MARK)

    def wait_idle(self) -> None:
        """Return when nothing is mounted or attached any more: no disk is leaked (I3)."""
        try:
            wait_until(lambda: not self.mounts() and not self.loops(), "every disk was given back", LINGER_S)
        except AssertionError as error:
            logs = [log.read_text(errors="replace")[-6000:] for log in sorted((self.sandbox / "logs").glob("*.log"))]
            raise AssertionError("\n".join([f"{error}: {self.mounts()} {self.loops()}", *logs])) from None


class Docker:
    """Commands against one engine, with the defaults of these tests."""

    def __init__(self, engine: Engine, driver: str) -> None:
        self.engine = engine
        self.driver = driver

    def create(self, name: str, **options: str) -> str:
        words = [word for key, value in options.items() for word in ("-o", f"{key.replace('_', '-')}={value}")]
        return self.engine.said("volume", "create", "-d", self.driver, name, *words)

    def refuses_to_create(self, name: str, **options: str) -> str:
        words = [word for key, value in options.items() for word in ("-o", f"{key.replace('_', '-')}={value}")]
        return self.engine.refused("volume", "create", "-d", self.driver, *words, "--", name)

    def sh(self, volume: str, script: str) -> str:
        """Run ``script`` in a new container that has the volume at /data; return what it prints."""
        return self.engine.said("run", "--rm", "--network", "none", "-v", f"{volume}:/data", IMAGE, "sh", "-c", script)

    def fails(self, volume: str, script: str = "true") -> str:
        """Run a container that must not start; return the error."""
        return self.engine.refused("run", "--rm", "--network", "none", "-v", f"{volume}:/data", IMAGE, "sh", "-c", script)

    def start(self, container: str, volume: str, script: str = "sleep 10000") -> None:
        """Start a container that stays; `docker stop` ends it at once."""
        options = ["-d", "--name", container, "--network", "none", "--stop-signal", "KILL", "-v", f"{volume}:/data"]
        self.engine.said("run", *options, IMAGE, "sh", "-c", script)

    def sh_in(self, container: str, script: str) -> str:
        return self.engine.said("exec", container, "sh", "-c", script)

    def remove(self, *containers: str) -> None:
        self.engine.said("rm", "-f", *containers)

    def rm(self, *volumes: str) -> None:
        self.engine.said("volume", "rm", *volumes)

    def volumes(self) -> list[str]:
        return self.engine.said("volume", "ls", "-q").split()


@contextlib.contextmanager
def bench(*hosts: str, prepare: Callable[[Bench], None] = lambda _: None, linger_s: float = LINGERS_S) -> Iterator[Bench]:
    """Yield a machine with a sandbox that is up; afterwards nothing of it is left, whatever the tests killed.

    ``prepare`` is called before the sandbox is brought up for the first time.
    """
    # Short: sockets lie below it. Not pytest's: what one test leaves to the next is not left behind.
    root = Path(tempfile.mkdtemp(prefix="vmdkvol-eng-"))
    # An engine with remapped users must be able to reach its data below it.
    root.chmod(0o711)
    try:
        with Machine(root) as machine:
            made = Bench(machine, hosts or ("vsphere",))
            made.sandbox.mkdir()
            (made.sandbox / "agent.toml").write_text(f"linger_s = {linger_s}\n")
            prepare(made)
            made.up()
            yield made
        assert loops.under(root) == {}
    finally:
        shutil.rmtree(root, ignore_errors=True)


def engine_for(made: Bench, name: str = "a", host: str | None = None, *options: str, build: Build = OWN) -> Docker:
    """Start an engine in the machine, with the image, for one of its hosts."""
    engine = Engine(made.machine, name, *options, build=build)
    engine.start()
    engine.import_busybox()
    return Docker(engine, host or made.hosts[0])
