"""A sandbox's agent on a socket that is held as systemd does, inside the machine: it restarts while the engine calls.

As a program it is that systemd: SIGHUP is `systemctl restart`, SIGTERM is `systemctl stop` of service and socket.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from tests.daemons.activator import Activator, agent_command, python_path
from tests.integration.engine.bench import PLUGINS, Bench
from tests.integration.engine.machine import wait_until

_STARTED = "the agent was started\n"


class HeldAgent:
    """Takes the place of the sandbox's own agent of ``host``. `sandbox up` must not be called while it is there."""

    def __init__(self, site: Bench, host: str, socket: str | None = None) -> None:
        self._machine = site.machine
        self._service = site.sandbox / "etc" / "service.toml"
        self._service_log = site.sandbox / "logs" / "service.log"
        self._site = site
        self.config = site.sandbox / f"held-{host}.toml"
        self.log = site.sandbox / "logs" / f"held-{host}.log"
        self._told = site.sandbox / "logs" / f"holder-{host}.log"
        self.socket = socket or f"{PLUGINS}/{host}.sock"
        own = site.sandbox / "etc" / f"{host}.toml"
        self.config.write_text(own.read_text().replace(f"{PLUGINS}/{host}.sock", self.socket))
        # A settings file that others may write is refused.
        self.config.chmod(0o600)
        for pid in site.pids(host)[:1]:
            self._machine.kill(pid, signal.SIGTERM, 60)
        wait_until(lambda: not site.pids(host), f"the sandbox's own {host} is gone", 60)
        command = [sys.executable, "-m", "tests.integration.engine.held", self.socket, str(self.config), str(self.log)]
        self._holder = self._machine.spawn(command, self._told, python_path())
        self._wait_started(1)

    def restart(self, *, wait: bool = True) -> None:
        """Return when the old processes are gone and the new one is started; it need not answer yet."""
        starts = self.starts
        self._machine.run("kill", f"-{signal.SIGHUP.value}", str(self._holder))
        if wait:
            self._wait_started(starts + 1)

    @property
    def starts(self) -> int:
        return self._told.read_text().count(_STARTED) if self._told.exists() else 0

    def set(self, key: str, value: float) -> None:
        """Change a setting; the next start reads it."""
        lines = [line for line in self.config.read_text().splitlines() if not line.startswith(f"{key} =")]
        self.config.write_text("\n".join([*lines, f"{key} = {value}"]) + "\n")

    def start_service(self) -> None:
        """Start the sandbox's service, which was killed, and return when it listens."""
        sockets = [self._site.sandbox / "run" / f"{host}.sock" for host in self._site.hosts]
        for socket in sockets:
            socket.unlink(missing_ok=True)
        command = [sys.executable, "-m", "vmdkvol_esx.cli", "--config", str(self._service), "serve"]
        self._machine.spawn(command, self._service_log)
        wait_until(lambda: all(map(self._machine.listens, sockets)), "the service listens", 60)

    def _wait_started(self, starts: int) -> None:
        wait_until(lambda: self.starts >= starts, f"the agent was started {starts} times; see {self._told}", 150)


def main(socket: str, config: str, log: str) -> None:
    with Activator(Path(socket), agent_command(Path(config)), Path(log), python_path()) as agent:

        def restart(*_: object) -> None:
            agent.restart()
            print(_STARTED, end="", flush=True)

        def stop(*_: object) -> None:
            raise SystemExit(0)

        # Not blocked signals: the agent would inherit that.
        signal.signal(signal.SIGHUP, restart)
        signal.signal(signal.SIGTERM, stop)
        print(_STARTED, end="", flush=True)
        while True:
            signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
