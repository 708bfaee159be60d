"""The sandbox's own processes: started in the background, known again by pid, start time and command line.

A pid alone proves nothing: it is used again after the process ends, and means another process in another PID
namespace. A process counts as ours only if its start time is the recorded one and its command line names our file.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vmdkvol.errors import Unavailable

_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Process:
    """One process of this boot. ``started`` is its start time in clock ticks since boot."""

    pid: int
    started: int


def start(argv: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start ``argv`` in a session of its own, output appended to ``log``."""
    with log.open("ab") as output:
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", start_new_session=True, close_fds=True
        )


def run(argv: Sequence[str], timeout_s: float) -> str:
    """Run ``argv`` to its end; return what it printed. Unavailable with its last words if it fails or takes too long."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd="/", timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{argv[-1]} has not ended within {timeout_s:.0f} s", remedy="run it again") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise Unavailable(
            f"a command of the sandbox ended with {done.returncode}: {lines[-1]}", remedy="put that right, run it again"
        )
    return done.stdout


def output_of(argv: Sequence[str], timeout_s: float, most: int) -> str:
    """Return the last ``most`` bytes that a command prints, whatever its exit code; else what it complains of. Raises nothing.

    Of one that takes too long it says so.
    """
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, cwd="/", timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return f"it has not ended within {timeout_s:g} s\n"
    except OSError as error:
        return f"cannot be run: {error.strerror}\n"
    return (done.stdout or done.stderr)[-most:].decode("utf-8", "backslashreplace")


def write_pid_file(path: Path, pid: int) -> None:
    """Record the process; a process that ended already is not recorded."""
    process = _seen(pid)
    if process is None:
        return
    new = path.with_suffix(".new")
    new.write_text(json.dumps(asdict(process)) + "\n")
    new.replace(path)


def from_pid_file(path: Path, config: Path) -> Process | None:
    """Return the recorded process if it still runs and was started with ``--config`` and this file."""
    try:
        data = json.loads(path.read_text())
        recorded = Process(int(data["pid"]), int(data["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        # A pid file that cannot be read names nobody; the command line finds the process all the same.
        return None
    return recorded if running(recorded) and _serves(recorded.pid, config) else None


def with_config(config: Path) -> list[Process]:
    """Return every running process with ``--config`` and this file: a killed master's worker, an unrecorded start."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid() and _serves(int(entry.name), config):
            process = _seen(int(entry.name))
            if process is not None:
                found.append(process)
    return sorted(found, key=lambda process: process.started)


def running(process: Process) -> bool:
    return _seen(process.pid) == process


def stop(processes: Sequence[Process], patience_s: float) -> None:
    """Ask all to end, wait, and kill what is left after ``patience_s``. Afterwards none of them runs."""
    for process in processes:
        _signal(process, signal.SIGTERM)
    if not _ended(processes, patience_s):
        for process in processes:
            _signal(process, signal.SIGKILL)
        _ended(processes, 10.0)


def arguments(pid: int) -> list[str]:
    """Return the command line; empty for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "surrogateescape").split("\0")
    except OSError:
        return []


def openers(device: str) -> Iterator[str]:
    """Yield ``name (pid N)`` for each process that has ``device`` open."""
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if os.readlink(entry) == device:
                yield described(int(entry.parts[2]))


def described(pid: int) -> str:
    """Return how to name a process to a person."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        name = "a process"
    return f"{name} (pid {pid})"


def _serves(pid: int, config: Path) -> bool:
    # Not the file's name alone: an editor or a pager that has it open is nobody of ours.
    words = arguments(pid)
    return any(pair == ("--config", str(config)) for pair in zip(words, words[1:], strict=False))


def _seen(pid: int) -> Process | None:
    """Return the process, or None if it is gone; a zombie runs no more."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command in brackets may hold blanks and brackets itself.
    words = stat.rpartition(")")[2].split()
    return None if words[0] in "ZX" else Process(pid, int(words[19]))


def _signal(process: Process, number: signal.Signals) -> None:
    if running(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _ended(processes: Sequence[Process], timeout_s: float) -> bool:
    end = time.monotonic() + timeout_s
    while any(running(process) for process in processes):
        if time.monotonic() > end:
            return False
        time.sleep(_POLL_S)
    return True
