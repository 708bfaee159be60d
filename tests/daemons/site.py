"""One machine with real daemons: a service, agents, datastores, and the plugin socket as Docker uses it. No engine."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from vmdkvol.cli import devices, processes
from vmdkvol.settings import dump_toml

ROOT = Path(__file__).parents[2]
# Generous: the machine may be busy with other tests.
START_S = 90.0
# Linux's __SO_ACCEPTCON, in the flags of /proc/net/unix.
_LISTENS = 1 << 16


def eventually(true: Callable[[], bool], what: str, timeout_s: float = START_S) -> None:
    """Return as soon as ``true()``; fail naming ``what`` otherwise."""
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.02)


@dataclass
class Daemon:
    """A daemon in its own process, and its settings' file."""

    kind: str
    config: Path
    log: Path
    answers: Callable[[], bool]
    process: subprocess.Popen[bytes] | None = None
    module: str = "tests.daemons.armed"
    start_s: float = START_S

    def start(self, point: str = "never", time: int = 1, *, wait: bool = True) -> None:
        """Start it, armed to die at ``point``; return when it answers."""
        command = [sys.executable, "-m", self.module, self.kind, "--config", str(self.config), point, str(time)]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        def ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, f"{self.kind} ended:\n{self.tail()}"
            return self.answers()

        eventually(ready, f"{self.kind} answers; {self.log}", self.start_s)

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])

    def kill(self) -> None:
        """kill -9 of every process of the daemon."""
        for process in processes.with_config(self.config):
            os.kill(process.pid, signal.SIGKILL)
        self.wait_dead()

    def stop(self) -> int:
        """SIGTERM, and wait; return the exit code."""
        assert self.process is not None
        self.process.terminate()
        code = self.process.wait(60)
        self.wait_dead()
        return code

    def wait_dead(self) -> None:
        """Return when no process of it is left; that it dies is the caller's doing."""
        if self.process is not None:
            self.process.wait(60)
        eventually(lambda: not processes.with_config(self.config), f"{self.kind} is gone", 60)


class _Plugin(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("plugin", timeout=130)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass
class Host:
    """One simulated Docker host."""

    name: str
    agent: Daemon
    plugin: Path
    run: Path
    id: str = field(default_factory=lambda: str(uuid4()))

    def call(self, endpoint: str, **body: Any) -> dict[str, Any]:
        """Call the plugin as dockerd does; a broken connection raises ConnectionError or HTTPException."""
        connection = _Plugin(self.plugin)
        try:
            connection.request("POST", endpoint if endpoint.startswith("/") else f"/VolumeDriver.{endpoint}", json.dumps(body))
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer
        finally:
            connection.close()

    def told(self, endpoint: str, **body: Any) -> dict[str, Any]:
        """Call the plugin; the answer must be a success."""
        answer = self.call(endpoint, **body)
        assert answer["Err"] == "", answer
        return answer

    def patiently(self, endpoint: str, timeout_s: float = 60.0, **body: Any) -> dict[str, Any]:
        """Call until it succeeds, as a user does who repeats a command after a crash."""
        end = time.monotonic() + timeout_s
        while True:
            try:
                answer = self.call(endpoint, **body)
                if answer["Err"] == "":
                    return answer
            except (OSError, http.client.HTTPException) as error:
                answer = {"Err": repr(error)}
            assert time.monotonic() < end, f"{endpoint} {body}: {answer}"
            time.sleep(0.05)

    def names(self) -> list[str]:
        return sorted(volume["Name"] for volume in self.told("List")["Volumes"] or ())


class Site:
    """``root`` must be short: sockets lie below it. ``close`` leaves nothing, whatever was killed."""

    def __init__(self, root: Path, hosts: tuple[str, ...] = ("vsphere",), **agent_settings: Any) -> None:
        self.root = root
        self.datastore = root / "ds1"
        self.datastore.mkdir(parents=True)
        (root / "log").mkdir()
        self.hosts = [self._host(name, agent_settings) for name in hosts]
        config = root / "service.toml"
        config.write_text(self._service_toml())
        socket_files = [self.service_socket(host.name) for host in self.hosts]
        self.service = Daemon(
            "service", config, root / "log" / "service.log", lambda: all(listens(path) for path in socket_files)
        )

    @property
    def host(self) -> Host:
        return self.hosts[0]

    def service_socket(self, host: str) -> Path:
        return self.root / f"{host}.sock"

    def start(self) -> None:
        self.service.start()
        for host in self.hosts:
            host.agent.start()

    def files(self) -> list[str]:
        """Return the volumes' files on the datastore, relative to it; not the mark by which it is known again."""
        files = [path for path in self.datastore.rglob("*") if path.is_file() and path.name != "datastore.id"]
        return sorted(str(path.relative_to(self.datastore)) for path in files)

    def loops(self) -> list[devices.Loop]:
        return devices.loops_under(self.root)

    def mounted(self) -> list[str]:
        """Return where devices of this site are mounted here."""
        numbers = {loop.number for loop in self.loops()}
        mounts = [mount for mount in devices.mounts_here() if mount.number in numbers]
        return sorted(mount.path for mount in mounts if mount.path.startswith(str(self.root)))

    def close(self) -> None:
        """End every process, mount and loop device of this site."""
        for daemon in [*(host.agent for host in self.hosts), self.service]:
            daemon.kill()
        for loop in self.loops():
            devices.unmount(loop)
            devices.detach(loop)

    def _host(self, name: str, settings: dict[str, Any]) -> Host:
        run = Path(settings.get("run_dir", self.root / "run" / name))
        plugin = self.root / "plugins" / f"{name}.sock"
        config = self.root / f"{name}.toml"
        config.write_text(
            dump_toml(
                {
                    "driver": name,
                    "socket": str(plugin),
                    "service": f"unix://{self.service_socket(name)}",
                    "run_dir": str(run),
                    "state_dir": str(self.root / "state" / name),
                    "linger_s": 0.2,
                    "reconcile_s": 0.5,
                    **settings,
                }
            )
        )
        return Host(name, Daemon("agent", config, self.root / "log" / f"{name}.log", lambda: serves(plugin)), plugin, run)

    def _service_toml(self) -> str:
        return dump_toml(
            {
                "state_dir": str(self.root / "state" / "service"),
                "housekeeping_s": 1.0,
                "trash_retention_s": 0.0,
                "admin_socket": str(self.root / "admin.sock"),
                "datastores": [{"name": "ds1", "path": str(self.datastore)}],
                "hosts": [
                    {"name": host.name, "id": host.id, "socket": str(self.service_socket(host.name))} for host in self.hosts
                ],
            }
        )


def listens(path: str | Path, process: int | str = "self") -> bool:
    """Tell whether somebody listens at a socket's path, in the network namespace of ``process``; nobody is connected to.

    The file says less: it is there before its maker listens, and after that was killed.
    """
    lines = Path(f"/proc/{process}/net/unix").read_text(encoding="utf-8", errors="replace").splitlines()[1:]
    found = (line.split(maxsplit=7) for line in lines)
    return any(words[7:] == [str(path)] and int(words[3], 16) & _LISTENS for words in found)


def serves(plugin: Path) -> bool:
    connection = _Plugin(plugin)
    try:
        # Not Activate, which to the agent is the sign of an engine's restart.
        connection.request("POST", "/VolumeDriver.Capabilities")
        return bool(json.loads(connection.getresponse().read()) == {"Capabilities": {"Scope": "global"}})
    except (OSError, ValueError, http.client.HTTPException):
        return False
    finally:
        connection.close()
