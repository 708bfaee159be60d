"""A machine inside the machine: mount, PID and network namespaces with a /run of its own. Everything in it ends with it.

Service, agent and engine of a test or of the demo live in ONE such namespace, whose mounts are shared, so that what
the agent mounts reaches containers (corrections 41) and no engine of the user's learns a driver (corrections 40).
The network is a loopback of its own: a Swarm manager of a test listens where nobody else is.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from tests.daemons.site import listens
from tests.integration.engine import loops

# PID 1 of the namespace: starts what it is told, reaps, and ends (with everything else in the namespace) when the pipe
# from its maker closes, so that a killed test run leaves nothing behind either.
_INIT = """
import fcntl, json, os, select, signal, socket, struct, subprocess
OWN_RUN, TEMPORARY = %(own_run)r, %(temporary)r
# The new namespace is a copy of all mounts: without this it would keep a user's volumes under /run in use for as long
# as it lives. Their mounts in the namespace outside are not touched (propagation is private here).
with open("/proc/self/mountinfo") as table:
    lines = [line.split() for line in table]
for fields in reversed(lines):
    target = fields[4].encode("latin-1", "surrogateescape").decode("unicode_escape")
    source = fields[fields.index("-") + 2]
    # Nor a disk of a test that runs beside.
    if OWN_RUN and (target.startswith("/run/") or source.startswith("/dev/loop") and target.startswith(TEMPORARY)):
        subprocess.run(["umount", "--lazy", target], check=True)
if OWN_RUN:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run"], check=True)
subprocess.run(["mount", "--make-rshared", "/"], check=True)
with socket.socket() as any:
    # SIOCSIFFLAGS, IFF_UP: the loopback, which is all the network that there is.
    fcntl.ioctl(any, 0x8914, struct.pack("16sh14x", b"lo", 1))
reader, writer = os.pipe()
os.set_blocking(writer, False)
signal.set_wakeup_fd(writer)
signal.signal(signal.SIGCHLD, lambda *_: None)
def start(order):
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0), (os.POSIX_SPAWN_OPEN, 1, order["log"], flags, 0o600)]
    files.append((os.POSIX_SPAWN_DUP2, 1, 2))
    return os.posix_spawnp(order["argv"][0], order["argv"], order["env"], file_actions=files, setsid=True)
print("ready", flush=True)
orders = open(0, buffering=1)
while True:
    ready = select.select([0, reader], [], [])[0]
    if 0 in ready:
        line = orders.readline()
        if not line:
            break
        print(start(json.loads(line)), flush=True)
    if reader in ready:
        os.read(reader, 4096)
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
"""


class CommandFailed(AssertionError):
    """A command that had to work did not. The text holds all of its output."""


def wait_until(true: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    """Return as soon as ``true()``; fail with ``what`` after ``timeout_s``. The limits are for loaded machines."""
    end = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout_s:.0f} s: {what}")
        time.sleep(0.02)


class Machine:
    """``root`` is a directory of the caller's; loop devices over files below it are swept at the end.

    Without ``own_run`` it has the /run of the machine outside, and sees what is mounted there from now on, if that
    machine's mounts are shared: so an engine in it can use a plugin that runs outside.
    """

    def __init__(self, root: Path, *, own_run: bool = True) -> None:
        self.root = root
        self.own_run = own_run
        # Where engines have their sockets: short, since a socket's path is, and nowhere in a /run of somebody else's.
        self.run_directory = "/run" if own_run else f"{root}/run"
        self.env: dict[str, str] = {}
        # Called when the namespaces have ended, for what is not part of one.
        self.at_end: list[Callable[[], None]] = []
        self._outer: subprocess.Popen[str] | None = None
        self._pid = 0

    def __enter__(self) -> Machine:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    def start(self) -> None:
        """Afterwards the namespaces exist and are empty but for their PID 1."""
        unshare = ["unshare", "--mount", "--pid", "--net", "--fork", "--mount-proc", "--kill-child"]
        unshare += ["--propagation", "private" if self.own_run else "slave"]
        self._outer = subprocess.Popen(
            [*unshare, sys.executable, "-c", _INIT % {"own_run": self.own_run, "temporary": f"{tempfile.gettempdir()}/"}],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._outer.stdout is not None
        if self._outer.stdout.readline() != "ready\n":
            raise CommandFailed("mount, PID and network namespaces cannot be made here: is this root, with CAP_SYS_ADMIN?")
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text()
        self._pid = int(children.split()[0])

    def inside(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs ``argv`` in the namespaces; its working directory is ``/``."""
        return ["nsenter", "--target", str(self._pid), "--mount", "--pid", "--net", "--", *argv]

    def run(
        self,
        *argv: str,
        check: bool = True,
        timeout_s: float = 60.0,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, output and errors as text."""
        done = subprocess.run(
            self.inside(argv),
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            env={**os.environ, **self.env, **(env or {})},
        )
        text = subprocess.CompletedProcess(argv, done.returncode, _text(done.stdout), _text(done.stderr))
        if check and done.returncode:
            raise CommandFailed(f"{' '.join(argv)}: exit {done.returncode}\n{text.stdout}{text.stderr}")
        return text

    def spawn(self, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> int:
        """Start a command beside, output to ``log``; return its process id as seen inside."""
        assert self._outer is not None
        assert self._outer.stdin is not None
        assert self._outer.stdout is not None
        order = {"argv": list(argv), "log": str(log), "env": {**os.environ, **self.env, **(env or {})}}
        self._outer.stdin.write(json.dumps(order) + "\n")
        self._outer.stdin.flush()
        return int(self._outer.stdout.readline())

    def path(self, inside: str) -> Path:
        """Return where a path of the namespace can be read from outside."""
        return Path(f"/proc/{self._pid}/root{inside}")

    def listens(self, path: str | Path) -> bool:
        """Tell whether somebody inside listens at the path of a socket."""
        return listens(path, self._pid)

    def alive(self, pid: int) -> bool:
        """Tell whether the process runs; a zombie does not."""
        try:
            stat = self.path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] != "Z"

    def kill(self, pid: int, number: signal.Signals = signal.SIGKILL, timeout_s: float = 30.0) -> None:
        """Signal a process of the namespace and wait for its end."""
        self.run("kill", f"-{number.value}", str(pid), check=False)
        wait_until(lambda: not self.alive(pid), f"process {pid} ended after {number.name}", timeout_s)

    def processes(self, needle: str) -> list[int]:
        """Return the processes inside whose command line holds ``needle``."""
        found = []
        for entry in self.path("/proc").iterdir():
            if entry.name.isdigit() and needle.encode() in _command_line(entry) and self.alive(int(entry.name)):
                found.append(int(entry.name))
        return sorted(found)

    def mounts(self) -> list[str]:
        """Return the mount points inside, as mountinfo spells them."""
        return [line.split()[4] for line in self.path("/proc/1/mountinfo").read_text().splitlines()]

    def end(self) -> None:
        """Afterwards nothing runs inside, and no loop device holds a file below ``root``."""
        outer, self._outer = self._outer, None
        if outer is None:
            return
        assert outer.stdin is not None
        assert outer.stdout is not None
        outer.stdin.close()
        try:
            outer.wait(30)
        except subprocess.TimeoutExpired:
            outer.kill()
            outer.wait()
        outer.stdout.close()
        loops.sweep(self.root)
        for finish in self.at_end:
            finish()


def _text(output: bytes) -> str:
    return output.decode("utf-8", "replace")


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""
