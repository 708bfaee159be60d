"""The bench's vsock: bytes arrive whole, a caller is known by its machine's number, a machine that is killed leaves nothing."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons.site import eventually
from tests.system.guest import Guest, Hardware
from tests.system.site import Site

pytestmark = [pytest.mark.integration, pytest.mark.system]

PORT = 1019
# Threads of the guest, what each sends in turn, and the half-close that ends it; the answer is the digest of all of it.
SEND = """
import hashlib, os, random, socket, threading
def one(number):
    for size in (1, 1000, 70_000, 300_000):
        data = os.urandom(size)
        with socket.socket(socket.AF_VSOCK) as to:
            to.settimeout(60)
            to.connect((2, 1019))
            to.sendall(data)
            to.shutdown(socket.SHUT_WR)
            answer = b""
            while part := to.recv(65536):
                answer += part
        assert answer == hashlib.sha256(data).digest() + data[::-1], (number, size, len(answer))
    good.append(number)
good = []
threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(good))
"""
CALL = "python3 -S -c 'import socket; s = socket.socket(socket.AF_VSOCK); s.settimeout(30); s.connect((2, {port})); {then}'"


class Echo:
    """Answers each connection with the digest of what it sent, and that backwards; keeps the first lines."""

    def __init__(self, path: Path) -> None:
        self.peers: list[str] = []
        self.open = 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(64)
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()

    def _serve(self) -> None:
        while True:
            try:
                accepted, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(accepted,)).start()

    def _answer(self, accepted: socket.socket) -> None:
        self.open += 1
        with accepted, accepted.makefile("rb") as stream:
            self.peers.append(stream.readline().decode())
            data = stream.read()
            try:
                accepted.sendall(hashlib.sha256(data).digest() + data[::-1])
            except OSError:
                # The machine was reset meanwhile.
                pass
        self.open -= 1


@pytest.fixture(scope="module")
def echo(site: Site) -> Iterator[Echo]:
    echo = Echo(Path(f"{site.vsock_base}_{PORT}"))
    yield echo
    echo.close()


@pytest.fixture(scope="module")
def guest(image: Path, site: Site, echo: Echo) -> Iterator[Guest]:
    machine = site.machine("v")
    with site.vsock(machine) as device:
        guest = Guest(machine, image, Hardware(vsock=device))
        try:
            yield guest.power_on().wait_ready()
        finally:
            guest.close()


def test_bytes_arrive_whole_in_both_directions_and_the_machine_is_known_by_its_number(guest: Guest, echo: Echo) -> None:
    assert guest.sh("cat >/tmp/send.py; python3 -S /tmp/send.py", given=SEND) == "6\n"

    assert {peer.split()[:2] == ["PEER", str(guest.machine.context_id)] for peer in echo.peers} == {True}
    assert len(echo.peers) == 24


def test_nobody_who_listens_is_told_at_once(guest: Guest) -> None:
    assert "ConnectionResetError" in guest.run(CALL.format(port=1, then="pass"), 60).output


def test_a_machine_that_was_reset_calls_again_and_its_calls_of_before_have_ended(guest: Guest, echo: Echo) -> None:
    guest.sh(f"{CALL.format(port=PORT, then='import time; time.sleep(600)')} >/dev/null 2>&1 & sleep 2")
    before = len(echo.peers)
    assert echo.open == 1
    guest.reset()

    assert guest.sh("cat >/tmp/send.py; python3 -S /tmp/send.py", given=SEND) == "6\n"
    assert len(echo.peers) == before + 24
    eventually(lambda: echo.open == 0, "the call of before the reset has ended")


def test_a_call_outlives_a_halt_of_the_machine(guest: Guest, echo: Echo) -> None:
    then = "time.sleep(3); s.sendall(bytes(9)); s.shutdown(1); import sys; sys.exit(len(s.recv(41, socket.MSG_WAITALL)) != 41)"
    guest.sh(f"({CALL.format(port=PORT, then=f'import time; {then}')}; echo $? >/tmp/halted) >/dev/null 2>&1 & sleep 2")
    assert echo.open == 1
    guest.freeze()
    time.sleep(1)
    guest.resume()

    guest.sh("i=0; until [ -s /tmp/halted ]; do [ $((i += 1)) -lt 300 ] || exit 1; sleep 0.1; done")
    assert guest.sh("cat /tmp/halted") == "0\n"


def test_a_unix_socket_stands_in_for_a_port(image: Path, site: Site, tmp_path: Path) -> None:
    there = socket.socket(socket.AF_UNIX)
    there.bind(str(tmp_path / "there"))
    there.listen()
    machine = site.machine("w")
    with site.vsock(machine, bridges={7: tmp_path / "there"}) as device, there:
        guest = Guest(machine, image, Hardware(processors=1))
        try:
            guest.power_on().wait_ready().give_vsock(device)
            guest.sh(f"{CALL.format(port=7, then='s.sendall(bytes(3)); s.recv(1)')} >/dev/null 2>&1 &")
            there.settimeout(60)
            accepted, _ = there.accept()
            with accepted:
                assert accepted.recv(3, socket.MSG_WAITALL) == bytes(3)
                guest.cut_power()
                accepted.settimeout(60)
                assert accepted.recv(1) == b""
        finally:
            guest.close()
