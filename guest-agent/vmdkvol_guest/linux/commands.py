"""Runs the programs of the file systems. Nothing else in the agent starts a process."""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import MissingTool, TruthUnknown

# Debian keeps the tools of file systems in sbin, which is not in the PATH of every service.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Outputs are searched for words, so they must not be translated.
ENVIRONMENT = {"LC_ALL": "C", "LANGUAGE": "C", "PATH": PATH, "HOME": "/"}
MAX_OUTPUT = 64 << 10
# e2fsck ends in order on SIGTERM; what has not ended after this long is killed.
GRACE_S = 2.0
_LOOK_EVERY_S = 0.2
_END_STEP_S = 0.02


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended: its exit code (negative: the signal) and the first 64 KiB of its output."""

    code: int
    output: str

    @property
    def last_line(self) -> str:
        """The last line that says something, for an error text."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return lines[-1] if lines else f"exit code {self.code}"


class Commands:
    """Starts programs by argument list, each in a process group of its own, each with a deadline."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End what runs, and refuse to start anything more: the agent is told to end."""
        self._stopping.set()

    def run(self, args: Sequence[str], *, seconds: float, dies_with_us: bool = False) -> Finished:
        """Run a program and return how it ended, whatever its exit code.

        ``dies_with_us``: the kernel kills it when the agent is killed. Meant for mkfs, whose half-done work is thrown
        away; a repair that outlives the agent is better finished than cut (corrections 10).
        Raises MissingTool if it is not installed, TruthUnknown if it did not end in time or the agent is stopping.
        """
        if self._stopping.is_set():
            raise TruthUnknown(f"{args[0]} was not started: the agent is stopping")
        program = which(args[0])
        if program is None:
            raise MissingTool(f"the program {args[0]} is not installed on this Docker host")
        # setpriv(1) rather than preexec_fn: Python code between fork and exec can deadlock in a process with threads.
        guard = ["setpriv", "--pdeathsig", "KILL", "--"] if dies_with_us else []
        deadline = Deadline.after(self._clock, seconds)
        with _start([*guard, program, *args[1:]]) as process:
            try:
                output, ended = self._read(process, deadline)
            finally:
                _end(process)
        if not ended:
            why = "the agent is stopping" if self._stopping.is_set() else f"it did not end within {seconds:.0f} s"
            raise TruthUnknown(f"{args[0]} was ended: {why}")
        return Finished(process.returncode, output.decode("utf-8", "replace"))

    def _read(self, process: subprocess.Popen[bytes], deadline: Deadline) -> tuple[bytes, bool]:
        """Return the output and whether the process ended by itself; the rest of too long an output is thrown away."""
        assert process.stdout is not None
        kept = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not deadline.passed and not self._stopping.is_set():
                if not selector.select(min(_LOOK_EVERY_S, deadline.left_s)):
                    continue
                chunk = os.read(process.stdout.fileno(), 65536)
                if not chunk:
                    return bytes(kept), self._ended(process, deadline)
                kept += chunk[: MAX_OUTPUT - len(kept)]
        return bytes(kept), False

    def _ended(self, process: subprocess.Popen[bytes], deadline: Deadline) -> bool:
        while not deadline.passed and not self._stopping.is_set():
            try:
                process.wait(min(_LOOK_EVERY_S, deadline.left_s))
            except subprocess.TimeoutExpired:
                continue
            return True
        return False


def which(program: str) -> str | None:
    """Return where a program of this host is, also in sbin."""
    return shutil.which(program, path=PATH)


def _start(args: Sequence[str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            args,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise TruthUnknown(f"{args[0]} could not be started: {error.strerror}") from error


def _end(process: subprocess.Popen[bytes]) -> None:
    """Afterwards the process and its whole group have ended; they are asked first, then killed."""
    if process.returncode is not None:
        return
    _signal(process, signal.SIGTERM)
    until = time.monotonic() + GRACE_S
    # Not reaped yet: until its group is killed too, its number must not go to anybody else.
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None and time.monotonic() < until:
        time.sleep(_END_STEP_S)
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        # It ended between the look and the signal.
        return
