"""What systemd does for the agent, in a test: it holds the listening socket, starts the agent on it, ends it, starts it again.

How it does so is read from the unit files, so that a test fails when a unit is changed for the worse.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.test_units import values

ROOT = Path(__file__).parents[2]
SERVICE, SOCKET = "vmdkvol-agent.service", "vmdkvol-agent.socket"
# systemd-system.conf(5), where a unit says nothing.
_DEFAULTS = {"StartLimitIntervalSec": "10", "StartLimitBurst": "5"}


def option(unit: str, key: str) -> str:
    """Return the one value of an option, or systemd's own default."""
    (value,) = values(unit, key) or [_DEFAULTS[key]]
    return value


def handed_over(command: Sequence[str], descriptor: int) -> list[str]:
    """Return a command that becomes ``command`` with the socket as systemd hands it over, at number 3.

    The process id stands in the environment before it is the daemon's: a shell becomes the daemon. Not sh, which knows
    descriptors of one digit only.
    """
    return ["bash", "-c", f'exec 3<&{descriptor}; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"', "bash", *command]


class Activator:
    """``path`` is the plugin's socket, ``command`` what serves it; enter it to listen, leave it to end everything."""

    def __init__(self, path: Path, command: Sequence[str], log: Path, env: Mapping[str, str]) -> None:
        self.path = path
        self.command = command
        self.env = env
        self.starts = 0
        self.gave_up = False
        self._log = log
        self._changed = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._told = False
        self._recent: deque[float] = deque()
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._watching = threading.Thread(target=self._watch, name="activator")

    def __enter__(self) -> Activator:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._listening.bind(str(self.path))
        self.path.chmod(int(option(SOCKET, "SocketMode"), 8))
        self._listening.listen(int(option(SOCKET, "Backlog")))
        with self._changed:
            self._start()
        self._watching.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._watching.join()
        self._listening.close()
        self.path.unlink()

    @property
    def master(self) -> int:
        with self._changed:
            assert self._process is not None
            return self._process.pid

    def workers(self) -> list[int]:
        try:
            return [int(pid) for pid in Path(f"/proc/{self.master}/task/{self.master}/children").read_text().split()]
        except FileNotFoundError:
            return []

    def restart(self) -> None:
        """`systemctl restart`: return when the old processes are gone and the new one is started."""
        with self._changed:
            self._end()
            self._start()

    def stop(self) -> None:
        """`systemctl stop`: nothing is started any more."""
        with self._changed:
            self._told = True
            self._end()

    def _start(self) -> None:
        now = time.monotonic()
        interval_s, burst = float(option(SERVICE, "StartLimitIntervalSec")), int(option(SERVICE, "StartLimitBurst"))
        while self._recent and self._recent[0] < now - interval_s:
            self._recent.popleft()
        if interval_s and len(self._recent) >= burst:
            self.gave_up = True
            raise AssertionError(f"systemd gives up: {burst} starts within {interval_s:.0f} s")
        self._recent.append(now)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                handed_over(self.command, self._listening.fileno()),
                env={**os.environ, **self.env},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(self._listening.fileno(),),
            )
        self.starts += 1

    def _end(self) -> None:
        """SIGTERM as the unit says, patience as the unit says, then SIGKILL for whatever is left."""
        assert option(SERVICE, "KillMode") == "mixed", "what another mode ends is not known here"
        process = self._process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(float(option(SERVICE, "TimeoutStopSec")))
        self._kill_all(process)

    def _kill_all(self, process: subprocess.Popen[bytes]) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _watch(self) -> None:
        """Start the agent again when it ended by itself: all that is left of it is killed first."""
        assert option(SERVICE, "Restart") == "always"
        while not self._told:
            time.sleep(0.02)
            with self._changed:
                process = self._process
                if self._told or process is None or process.poll() is None:
                    continue
                self._kill_all(process)
            time.sleep(float(option(SERVICE, "RestartSec")))
            with self._changed:
                if not self._told and self._process is process:
                    self._start()


@contextmanager
def own_mounts() -> Iterator[list[str]]:
    """Yield what to put before a command so that its mounts are in a namespace that no other process here copies.

    A namespace that somebody makes is a copy of all mounts, and keeps a volume's disk in use: other tests make many.
    """
    with subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sleep", "infinity"]) as keeper:
        try:
            space = Path(f"/proc/{keeper.pid}/ns/mnt")
            until = time.monotonic() + 60
            while os.readlink(space) == os.readlink("/proc/self/ns/mnt"):
                assert time.monotonic() < until
                time.sleep(0.01)
            yield ["nsenter", f"--mount={space}"]
        finally:
            keeper.kill()


def agent_command(config: Path) -> list[str]:
    return [sys.executable, "-m", "vmdkvol_guest.cli", "--config", str(config), "serve"]


def python_path(root: Path = ROOT) -> dict[str, str]:
    """Return where Python finds the product that lies in ``root``: that of this tree, or a copy that is an upgrade."""
    return {"PYTHONPATH": ":".join(str(root / part) for part in ("", "guest-agent", "esx-service"))}
