"""A peer that does not read its answer takes a thread of the agent for a while, not for ever."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons.site import eventually
from tests.daemons.unread import LONG_BYTES

pytestmark = pytest.mark.integration
_THREADS = 2


@pytest.fixture
def listener() -> Iterator[Path]:
    """The socket of an agent's listener with two threads."""
    root = Path(tempfile.mkdtemp(prefix="vmdkvol-unread-"))
    path = root / "plugin.sock"
    options = ["--worker-class", "tests.daemons.unread.HastyWorker", "--threads", str(_THREADS), "--keep-alive", "0"]
    options.append("--no-control-socket")  # it would be made in the home of whoever runs the tests
    command = [sys.executable, "-m", "gunicorn", "--bind", f"unix:{path}", *options, "tests.daemons.unread:application"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    eventually(path.exists, "it listens")
    yield path
    process.terminate()
    process.wait(60)
    shutil.rmtree(root)


def asked(path: Path, what: str) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    peer.settimeout(60.0)
    peer.connect(str(path))
    peer.sendall(f"GET {what} HTTP/1.0\r\n\r\n".encode())
    return peer


def received(peer: socket.socket, pause_s: float = 0.0) -> bytes:
    parts = []
    while part := peer.recv(1 << 19):
        parts.append(part)
        time.sleep(pause_s)
    return b"".join(parts).partition(b"\r\n\r\n")[2]


def test_answers_that_nobody_reads_do_not_take_all_threads_for_ever(listener: Path) -> None:
    unread = [asked(listener, "/long") for _ in range(_THREADS)]
    try:
        with asked(listener, "/short") as peer:
            assert received(peer) == b"short"
    finally:
        for peer in unread:
            peer.close()


def test_an_answer_that_is_read_slowly_is_sent_to_its_end(listener: Path) -> None:
    with asked(listener, "/long") as peer:
        assert len(received(peer, pause_s=0.1)) == LONG_BYTES
