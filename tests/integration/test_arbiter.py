"""gunicorn's master as the agent stops it: which worker hears of it, what is waited for, how each process ends."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemons.site import eventually

pytestmark = pytest.mark.integration

# A worker that waits for the file "go" between its fork and its handlers, an application whose calls wait for "answer".
SERVER = """
import os, pathlib, sys, time
from gunicorn.app.base import BaseApplication
from vmdkvol.arbiter import PromptArbiter
from vmdkvol.listening import BoundedWorker

root, grace_s = pathlib.Path(sys.argv[1]), int(sys.argv[2])

def wait_for(name):
    until = time.monotonic() + 200
    while not (root / name).exists() and time.monotonic() < until:
        time.sleep(0.01)

def leave(code):
    with (root / "left").open("a") as left:
        left.write(f"{os.getpid()} {code}\\n")
    os._exit(code)

def forked(arbiter, worker):
    (root / "forked").write_text(str(os.getpid()))
    wait_for("go")

def answer(environ, start_response):
    (root / "called").touch()
    wait_for("answer")
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]

class Application(BaseApplication):
    def load_config(self):
        for name, value in {
            "bind": f"unix:{root}/served", "workers": 1, "worker_class": BoundedWorker, "threads": 4, "timeout": 0,
            "graceful_timeout": grace_s, "keepalive": 0, "control_socket_disable": True, "post_fork": forked,
        }.items():
            self.cfg.set(name, value)

    def load(self):
        (root / "loaded").touch()
        if (root / "broken").exists():
            sys.exit(4)
        return answer

PromptArbiter(Application(), leave).run()
"""


class Server:
    """A master and its worker; ``root`` has their socket and what they tell and are told."""

    def __init__(self, root: Path, grace_s: int = 150) -> None:
        self.root = root
        self.master = subprocess.Popen([sys.executable, "-c", SERVER, str(root), str(grace_s)], stdin=subprocess.DEVNULL)
        self._answers: list[bytes] = []
        self._calls: list[threading.Thread] = []

    @property
    def worker(self) -> int:
        eventually(lambda: self.says("forked") and bool((self.root / "forked").read_text()), "a worker was forked")
        return int((self.root / "forked").read_text())

    def tell(self, name: str) -> None:
        (self.root / name).touch()

    def says(self, name: str) -> bool:
        return (self.root / name).exists()

    def serves(self) -> None:
        """Return with a call under way."""
        self.tell("go")
        eventually(lambda: self.says("loaded"), "the application is loaded")
        self._calls.append(threading.Thread(target=self._call))
        self._calls[0].start()
        eventually(lambda: self.says("called"), "the call has arrived")

    def answers(self) -> list[bytes]:
        for call in self._calls:
            call.join(60)
        return self._answers

    def left(self) -> dict[int, int]:
        """Return the exit codes of the processes that ended in order."""
        lines = (self.root / "left").read_text().splitlines() if self.says("left") else []
        return {int(pid): int(code) for pid, code in (line.split() for line in lines)}

    def close(self) -> None:
        for pid in (self.master.pid, *self._workers()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.master.wait()

    def _workers(self) -> list[int]:
        children = Path(f"/proc/{self.master.pid}/task/{self.master.pid}/children")
        return [int(pid) for pid in children.read_text().split()] if self.master.poll() is None else []

    def _call(self) -> None:
        connection = http.client.HTTPConnection("served")
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(100)
        connection.sock.connect(str(self.root / "served"))
        try:
            connection.request("GET", "/")
            self._answers.append(connection.getresponse().read())
        except (OSError, http.client.HTTPException):
            self._answers.append(b"")
        finally:
            connection.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    with tempfile.TemporaryDirectory(prefix="vmdkvol-arbiter-") as directory:
        made: list[Server] = []

        def start(**how: int) -> Server:
            made.append(Server(Path(directory), **how))
            return made[0]

        yield start
        for server in made:
            server.close()


def _pending(pid: int) -> int:
    """Return the signals that wait for the process in the kernel, a bit each."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("ShdPnd:"))


def test_a_stop_between_the_fork_and_the_worker_s_handlers_is_heard(serve: Callable[..., Server]) -> None:
    """gunicorn's own master waits for such a worker until its grace is over, which is 115 s for an agent."""
    server = serve()
    worker = server.worker
    os.kill(worker, signal.SIGTERM)
    eventually(lambda: bool(_pending(worker) & 1 << signal.SIGTERM - 1), "the signal waits for the worker")
    server.master.terminate()

    server.tell("go")

    assert server.master.wait(60) == 0
    assert server.left() == {worker: 0, server.master.pid: 0}
    assert not server.says("loaded")


def test_a_call_under_way_is_answered_and_then_both_end(serve: Callable[..., Server]) -> None:
    server = serve()
    server.serves()
    server.master.terminate()
    eventually(lambda: not server.says("served"), "the master has heard of the stop")

    server.tell("answer")

    assert server.answers() == [b"ok"]
    assert server.master.wait(60) == 0
    assert set(server.left().values()) == {0}


def test_a_second_signal_that_says_to_hurry_does_not_wait_for_the_call(serve: Callable[..., Server]) -> None:
    server = serve()
    server.serves()
    server.master.terminate()
    eventually(lambda: not server.says("served"), "the master has heard of the stop")

    server.master.send_signal(signal.SIGINT)

    assert server.master.wait(60) == 0
    assert server.answers() == [b""]


def test_a_worker_that_does_not_end_is_killed_when_its_grace_is_over(serve: Callable[..., Server]) -> None:
    server = serve(grace_s=1)
    worker = server.worker
    os.kill(worker, signal.SIGSTOP)
    server.master.terminate()

    assert server.master.wait(60) == 0
    assert server.left() == {server.master.pid: 0}
    assert not Path(f"/proc/{worker}").exists()


def test_a_worker_that_cannot_load_ends_the_master_with_its_code(serve: Callable[..., Server]) -> None:
    server = serve()
    server.tell("broken")
    server.tell("go")

    assert server.master.wait(60) == 4
    assert server.left() == {server.worker: 4, server.master.pid: 4}


def test_a_worker_that_cannot_load_while_the_master_stops_changes_nothing(serve: Callable[..., Server]) -> None:
    server = serve()
    server.tell("broken")
    worker = server.worker
    os.kill(worker, signal.SIGSTOP)
    server.tell("go")
    server.master.terminate()
    eventually(lambda: not server.says("served"), "the master has heard of the stop")
    # It waits for its worker now, which has the signal before it as well.
    os.kill(worker, signal.SIGCONT)

    assert server.master.wait(60) == 0


def test_a_worker_that_was_killed_is_replaced(serve: Callable[..., Server]) -> None:
    server = serve()
    server.serves()
    first = server.worker
    os.kill(first, signal.SIGKILL)

    eventually(lambda: server.worker != first, "there is another worker")

    server.tell("answer")
    server.master.terminate()
    assert server.master.wait(60) == 0
