"""The rows of starting: a restart under a socket that stays, a cold start, memory at rest."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.figures import Goal, Measured, Unit, absolute, counted, once, paired
from tests.bench.lines import NO_FLOOR, Line, Row
from tests.bench.stage import Stage
from tests.bench.subject import Subject, until_end
from tests.daemons.site import Daemon, Host, eventually

_SETTLE_S = 1.0
# The stream of calls goes on for so long after the next agent's start, on a loaded machine too: it sees its first answers.
_AFTER_S = 1.0
# A ``Host`` has one; only its socket is used here.
_NO_AGENT = Daemon("none", Path(), Path(), lambda: True)


class Activated:
    """A listening socket that outlives the processes that serve it, as systemd holds it."""

    def __init__(self, path: Path, command: Sequence[str], log: Path) -> None:
        self.path = path
        self.began = 0.0
        self._command = command
        self._log = log
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path.unlink(missing_ok=True)
        self._socket.bind(str(path))
        self._socket.listen(1024)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        # Its process id must stand in the environment that it gets: the shell becomes the daemon.
        script = f'exec 3<&{self._socket.fileno()}; LISTEN_PID=$$ exec "$@"'
        with self._log.open("ab") as log:
            self.began = time.perf_counter()
            self._process = subprocess.Popen(
                ["sh", "-c", script, "sh", *self._command],
                env={**os.environ, "LISTEN_FDS": "1"},
                pass_fds=(self._socket.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def told_to_end(self) -> subprocess.Popen[bytes]:
        """Send SIGTERM; return the process, which ends when it likes."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process

    def start_after(self, process: subprocess.Popen[bytes]) -> None:
        """Start the next one when this one has ended, as `systemctl restart` does."""
        # systemd is told at once, too.
        until_end(process)
        self.start()

    def kill(self) -> None:
        """kill -9 of all of it."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(60)

    def ask(self) -> None:
        """Make one call, which must be answered."""
        answer = Host("activated", _NO_AGENT, self.path, self.path.parent).call("Capabilities")
        assert answer == {"Capabilities": {"Scope": "global"}}, answer

    def pids(self) -> list[int]:
        """Return the master and its worker."""
        assert self._process is not None
        pid = self._process.pid
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def end(self) -> None:
        """End what runs, in order, and the socket."""
        if self._process is not None:
            self.told_to_end().wait(60)
        self.close()

    def close(self) -> None:
        """The socket goes; nothing runs on it any more."""
        self._socket.close()
        self.path.unlink(missing_ok=True)


def restart(stage: Stage) -> Mapping[str, Measured]:
    """Wall time of the slowest Get of a stream, one after the other, from the moment when the agent is told to end until
    the next one has served for a second: the one that waits in the socket for the next agent.

    Stop and start follow each other as in `systemctl restart`; the bench holds the listening socket as systemd does
    (LISTEN_FDS). Each Get is of an existing volume and counts as failed unless it is answered with it. The floor is a
    bare Flask from its start to its first answer, on such a socket. No slow call is in flight, which the restart would
    wait for.
    """
    subject = stage.service_alone("restarted")
    name = stage.name()
    agent = Activated(subject.host.plugin, subject.agent_command, subject.root / "log" / "agent.log")
    flask = _flask(stage)
    failed: list[str] = []
    agent.start()
    try:
        subject.create(name)
        eventually(lambda: _answered(subject, name) == "", "the first agent answers", 60)

        def ours() -> float:
            process = agent.told_to_end()
            told = time.perf_counter()
            again = threading.Thread(target=agent.start_after, args=(process,))
            again.start()
            slowest = 0.0
            while agent.began < told or time.perf_counter() - agent.began < _AFTER_S:
                began = time.perf_counter()
                problem = _answered(subject, name)
                failed.extend([problem] if problem else [])
                slowest = max(slowest, time.perf_counter() - began)
            again.join()
            return slowest

        rounds = stage.compare(ours, lambda: _first_answer(flask), stage.effort.restarts)
        slowest = max(each.ours for each in rounds)
    finally:
        agent.end()
        flask.close()
    return {
        "restart.first": absolute(rounds, f"slowest {slowest:.2f} s"),
        "restart.failed": counted(len(failed), "; ".join(failed)[:100]),
    }


def _answered(subject: Subject, name: str) -> str:
    """Return what is wrong with the answer to one Get; nothing if it is right."""
    try:
        answer = subject.host.call("Get", Name=name)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return repr(error)
    return "" if answer.get("Volume", {}).get("Name") == name else str(answer)


def cold(stage: Stage) -> Mapping[str, Measured]:
    """From the start of the agent's process to its first answer (Capabilities), asked at once on a socket that is there
    already.

    The floor is a bare Flask with two routes under the same gunicorn, class of worker, threads. The service runs, and is
    not asked; the agent knows no volume yet, whose names it would read before the answer. Both are killed after the answer.
    Both have their byte code, as an installation has it: the first start of each, which makes it, is not counted.
    """
    subject = stage.service_alone("cold")
    agent = Activated(subject.host.plugin, subject.agent_command, subject.root / "log" / "agent.log")
    flask = _flask(stage)
    try:
        _first_answer(agent)
        rounds = stage.compare(lambda: _first_answer(agent), lambda: _first_answer(flask))
    finally:
        agent.close()
        flask.close()
    return {"cold": paired(rounds)}


def memory(stage: Stage) -> Mapping[str, Measured]:
    """Proportional set size of agent (master and worker) and of the service, a second after their first answers.

    The floor is a bare Flask under the same gunicorn, class of worker, threads. Pages that processes share are divided
    among them (`Pss` of smaps_rollup), so what runs beside makes both smaller: all of them run at once. Neither knows a
    volume or has served a call but that: what each volume adds is told with the scale, and threads that have worked keep
    some more.
    """
    subject = stage.service_alone("memory")
    agent = Activated(subject.host.plugin, subject.agent_command, subject.root / "log" / "agent.log")
    flask = _flask(stage)
    try:
        for each in (agent, flask):
            each.start()
            each.ask()
        time.sleep(_SETTLE_S)
        ours, floor, service = _pss(agent.pids()), _pss(flask.pids()), _pss(subject.service_pids())
    finally:
        agent.end()
        flask.end()
    return {"memory.agent": once(ours, floor), "memory.service": counted(service)}


def _first_answer(activated: Activated) -> float:
    """Start, ask, kill; return the seconds between start and answer."""
    activated.start()
    try:
        activated.ask()
        return time.perf_counter() - activated.began
    finally:
        activated.kill()


def _flask(stage: Stage) -> Activated:
    path = stage.root / "floor.sock"
    flask = Activated(path, stage.flask_command(path), stage.root / "floor.log")
    _first_answer(flask)
    return flask


def _pss(pids: Sequence[int]) -> int:
    found = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        (line,) = [line for line in lines if line.startswith("Pss:")]
        found += int(line.split()[1]) * 1024
    return found


ROWS = (
    Row(
        "restart",
        (
            Line("restart.first", "first call during an agent restart", "bare Flask, start to answer", Goal(0.4, unit="s")),
            Line("restart.failed", "failed calls in 20 agent restarts", NO_FLOOR, Goal(0), Unit.COUNT),
        ),
        restart,
        45,
        "slow-start",
        ("restart.first",),
    ),
    Row(
        "cold",
        (Line("cold", "cold start to first answer", "bare Flask + gunicorn", Goal(1.5)),),
        cold,
        25,
        "slow-start",
        ("cold",),
    ),
    Row(
        "memory",
        (
            Line("memory.agent", "idle PSS of the agent", "bare Flask + gunicorn", Goal(1.5), Unit.BYTES),
            Line("memory.service", "idle PSS of the service", NO_FLOOR, Goal(80e6, unit="B"), Unit.BYTES),
        ),
        memory,
        5,
        "fat",
        ("memory.agent", "memory.service"),
    ),
)
