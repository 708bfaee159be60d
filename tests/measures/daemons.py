"""What the daemons cost before they do anything: time and CPU until the first answer, memory when idle.

Each figure stands beside its floor: the same gunicorn, class of worker and number of threads with a Flask application of
one route. A sample is one process from its start to its end, so that samples of both can be taken in turns. Nothing here
judges: a loaded machine moves all of them.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from uuid import uuid4

from vmdkvol.settings import dump_toml
from vmdkvol_guest.daemon import GRACEFUL_S
from vmdkvol_guest.settings import AgentSettings

ROOT = Path(__file__).parents[2]
PYTHONPATH = ":".join(str(ROOT / part) for part in ("", "guest-agent", "esx-service"))
# What a daemon may take on a busy machine before a measurement is given up.
PATIENCE_S = 60.0
# After its first answer a daemon still does what it put off: the agent reads what is attached, and fills its catalogue.
SETTLE_S = 1.0
_REQUEST = b"POST /VolumeDriver.Capabilities HTTP/1.1\r\nHost: plugin\r\nContent-Length: 2\r\n\r\n{}"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Start:
    """From the start of the process to its first answer. CPU is that of all its processes, in steps of a clock tick."""

    wall_s: float
    cpu_s: float


class Place:
    """A directory of settings and state for both daemons. ``close`` it: nothing is left."""

    def __init__(self) -> None:
        # Short: sockets lie in it.
        self.root = Path(tempfile.mkdtemp(prefix="vmdkvol-m-"))
        (self.root / "ds1").mkdir()
        self.service_socket = self.root / "s.sock"
        agent = {
            "socket": str(self.root / "vsphere.sock"),
            "service": f"unix://{self.service_socket}",
            "run_dir": str(self.root / "run"),
            "state_dir": str(self.root / "state"),
        }
        host = {"name": "vsphere", "id": str(uuid4()), "socket": str(self.service_socket)}
        service = {
            "state_dir": str(self.root / "service"),
            "trash_retention_s": 0.0,
            "admin_socket": str(self.root / "admin.sock"),
            "datastores": [{"name": "ds1", "path": str(self.root / "ds1")}],
            "hosts": [host],
        }
        (self.root / "agent.toml").write_text(dump_toml(agent), encoding="utf-8")
        (self.root / "service.toml").write_text(dump_toml(service), encoding="utf-8")

    def agent(self) -> list[str]:
        return [sys.executable, "-m", "vmdkvol_guest.cli", "--config", str(self.root / "agent.toml"), "serve"]

    def service(self) -> list[str]:
        return [sys.executable, "-m", "vmdkvol_esx.cli", "--config", str(self.root / "service.toml"), "serve"]

    def floor(self) -> list[str]:
        """Return gunicorn with the agent's worker, threads and limits, and an application of one route."""
        options = ["--workers", "1", "--worker-class", "gthread", "--threads", str(AgentSettings().threads)]
        options += ["--timeout", "0", "--graceful-timeout", str(GRACEFUL_S), "--keep-alive", "0", "--no-control-socket"]
        return [sys.executable, "-m", "gunicorn", *options, "--log-level", "warning", "tests.measures.bare_flask:app"]

    def log(self) -> str:
        return (self.root / "log").read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        shutil.rmtree(self.root)


class Process:
    """A running daemon, all its processes included."""

    def __init__(self, command: Sequence[str], place: Place, descriptor: int | None = None) -> None:
        """With ``descriptor`` it gets that listening socket as systemd hands one over."""
        # Compiled once, by the first start of each: as a package installs them, whatever the environment says.
        env = {**os.environ, "PYTHONPATH": PYTHONPATH, "PYTHONPYCACHEPREFIX": str(place.root / "compiled")}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        if descriptor is not None:
            # The process id stands in the environment before it is the daemon's: the shell becomes the daemon. Number 3
            # is where a handed-over socket is looked for; sh knows descriptors of one digit only.
            env |= {"LISTEN_FDS": "1"}
            command = ["bash", "-c", f'exec 3<&{descriptor}; LISTEN_PID=$$ exec "$@"', "bash", *command]
        self.began = time.monotonic()
        with (place.root / "log").open("ab") as log:
            self._popen = subprocess.Popen(
                command,
                env=env,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=() if descriptor is None else (descriptor,),
            )

    def pids(self) -> list[int]:
        """Return the master and its workers, or the one process that there is."""
        found = [self._popen.pid]
        for pid in found:
            found += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return found

    def cpu_s(self) -> float:
        """Return the seconds that its processes have computed so far."""
        return sum(_cpu_ticks(pid) for pid in self.pids()) / _TICKS

    def pss_bytes(self) -> int:
        """Return its memory, pages that several processes share divided among them."""
        return sum(_pss(pid) for pid in self.pids())

    def alive(self) -> bool:
        return self._popen.poll() is None

    def end(self) -> None:
        """kill -9 of all of it: a measurement that failed must not wait for a daemon that hangs."""
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()


def _cpu_ticks(pid: int) -> int:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(words[11]) + int(words[12])


def _pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"the kernel does not tell the memory of process {pid}")


@contextmanager
def served(command: Sequence[str], place: Place) -> Iterator[tuple[Process, Start]]:
    """Start a daemon on a socket that is there already, ask it at once, and yield it with what its first answer took."""
    path = place.root / "vsphere.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen(1024)
        process = Process(command, place, listening.fileno())
        try:
            answer = _ask(path, process)
            assert b" 200 " in answer, (answer, place.log())
            start = Start(time.monotonic() - process.began, process.cpu_s())
            yield process, start
        finally:
            process.end()
            path.unlink()


def _ask(path: Path, process: Process) -> bytes:
    """Return the answer, as far as the process lived to give it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(path))
        connection.sendall(_REQUEST)
        connection.settimeout(1.0)
        answer = b""
        while process.alive() and time.monotonic() < process.began + PATIENCE_S:
            try:
                piece = connection.recv(65536)
            except TimeoutError:
                continue
            if not piece:
                return answer
            answer += piece
        return answer


@contextmanager
def service_running(place: Place) -> Iterator[Process]:
    """Start the service and yield it as soon as it listens."""
    process = Process(place.service(), place)
    try:
        until = process.began + PATIENCE_S
        while not _listens(place.service_socket):
            assert process.alive(), place.log()
            assert time.monotonic() < until, place.log()
            time.sleep(0.01)
        yield process
    finally:
        process.end()


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(str(path))
        except OSError:
            return False
    return True


@contextmanager
def place() -> Iterator[Place]:
    made = Place()
    try:
        yield made
    finally:
        made.close()


def start_to_first_answer(rounds: int = 1) -> list[tuple[Start, Start]]:
    """Return for each round the agent's start and the floor's, taken in turns; the service runs meanwhile."""
    with place() as at, service_running(at):
        _compile(at)
        return [_starts(at, agent_first=number % 2 == 0) for number in range(rounds)]


def _starts(at: Place, *, agent_first: bool) -> tuple[Start, Start]:
    if agent_first:
        return _start(at.agent(), at), _start(at.floor(), at)
    floor = _start(at.floor(), at)
    return _start(at.agent(), at), floor


def _start(command: Sequence[str], at: Place) -> Start:
    with served(command, at) as (_, start):
        return start


def _compile(at: Place) -> None:
    """A first start of each: compiling takes time, and leaves its memory behind."""
    for command in (at.agent(), at.floor()):
        _start(command, at)


def idle_pss() -> tuple[int, int, int]:
    """Return the bytes of the agent, of its floor and of the service, one after the other, each after its first answer."""
    with place() as at:
        with service_running(at):
            _compile(at)
        with service_running(at) as service:
            return _idle(at.agent(), at), _idle(at.floor(), at), service.pss_bytes()


def _idle(command: Sequence[str], at: Place) -> int:
    with served(command, at) as (process, _):
        time.sleep(SETTLE_S)
        return process.pss_bytes()


def main() -> None:
    """Print the figures of a few rounds; `python -m tests.measures.daemons [ROUNDS]`."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    starts = start_to_first_answer(rounds)
    for name, field in (("wall", "wall_s"), ("CPU", "cpu_s")):
        ours, floor = (median(getattr(pair[side], field) for pair in starts) for side in (0, 1))
        print(f"start to first answer, {name}: agent {ours:.3f} s, bare {floor:.3f} s, {ours / floor:.2f}x")
    agent, floor, service = idle_pss()
    print(f"idle memory (PSS): agent {agent / 1e6:.1f} MB, bare {floor / 1e6:.1f} MB, {agent / floor:.2f}x")
    print(f"idle memory (PSS): service {service / 1e6:.1f} MB")
    print("load average", *(f"{load:.1f}" for load in os.getloadavg()))


if __name__ == "__main__":
    main()
