"""Rows of machines elsewhere: what TLS costs, what five hundred connections cost, and one that floods."""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

from tests.bench.figures import Goal, Measured, Unit, counted, paired
from tests.bench.lines import NO_FLOOR, Line, Row
from tests.bench.stage import Stage
from tests.doubles.channel_ends import RawGuest
from tests.doubles.far_channel import InTls
from vmdkvol import line as product
from vmdkvol import wire
from vmdkvol.channel import TcpAddress, parse_address
from vmdkvol.clock import Deadline, SystemClock
from vmdkvol.messages import Call, ListAttached
from vmdkvol.tls import AgentSide

_CLOCK = SystemClock()
# One that asks now and then, as an agent does: what is asked without a pause is a flood itself.
_PAUSE_S = 0.005


@dataclass(slots=True)
class FarService:
    """The process of ``far_service``, and what it said."""

    process: subprocess.Popen[bytes]
    unix: str
    tcp: str
    authority: str
    certificates: list[str]

    def side(self, number: int) -> AgentSide:
        return AgentSide(Path(self.certificates[number]), Path(self.authority))

    def line(self, number: int | None = None) -> product.Line:
        """Return the product's own end: of the machine of this number over TLS, or at the Unix socket."""
        secure = None if number is None else self.side(number)
        address = parse_address(self.unix if number is None else self.tcp)
        return product.Line(address, _CLOCK, agent="bench", boot_id="bench", secure=secure).start()

    def guest(self, number: int) -> RawGuest:
        """Return a connection of the machine of this number, without threads, from an address of its own."""
        address = parse_address(self.tcp)
        assert isinstance(address, TcpAddress)
        connection = socket.socket()
        connection.bind((f"127.1.{number // 250}.{number % 250 + 1}", 0))
        connection.connect((address.host, address.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        guest = RawGuest(InTls(connection, self.side(number)))
        frame = guest.hello(1, 3)
        assert frame.type == wire.ANSWER, frame
        return guest

    def pss(self) -> int:
        rollup = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return 1024 * next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))


@contextmanager
def far_service(stage: Stage, machines: int) -> Iterator[FarService]:
    # Short: the kernel takes 107 bytes for a socket's path.
    with tempfile.TemporaryDirectory(prefix="far-") as directory, ExitStack() as stack:
        command = [sys.executable, "-m", "tests.bench.far_service", directory, str(machines), stage.spoil]
        process = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        assert process.stdin is not None
        stack.callback(process.kill)
        assert process.stdout is not None
        yield FarService(process, **json.loads(process.stdout.readline()))


def asked(line: product.Line) -> float:
    began = time.perf_counter()
    line.ask(ListAttached(), Call(uuid4(), Deadline.after(_CLOCK, 30.0)))
    return time.perf_counter() - began


def answered(guest: RawGuest) -> float:
    began = time.perf_counter()
    guest.send_request(ListAttached(), 30.0)
    frame = guest.receive()
    assert frame is not None
    assert frame.type == wire.ANSWER, frame
    return time.perf_counter() - began


def tls(stage: Stage) -> Mapping[str, Measured]:
    """Wall time of a request over TLS and tcp on loopback, on a connection that stands, over the same at a Unix socket.

    Both are asked by the product's line, one request after the other, of one service that answers from a constant: what is
    compared is the channel alone, and no work of a real request makes the ratio smaller. A round is the median of 200.
    """
    with far_service(stage, 1) as service, ExitStack() as stack:
        far, near = service.line(0), service.line()
        for each in (far, near):
            stack.callback(each.close)
            median(each, stage.effort.calls)
        ours, floor = partial(median, far, stage.effort.calls), partial(median, near, stage.effort.calls)
        return {"tls.request": paired(stage.compare(ours, floor))}


def median(line: product.Line, calls: int) -> float:
    return statistics.median(asked(line) for _ in range(calls))


def many(stage: Stage) -> Mapping[str, Measured]:
    """Memory (PSS) of the service for each of 500 machines that are connected by TLS and have asked once, when the threads
    that answered them have ended; and the 95th of 100 waits for an answer while they stand, each of another of them.

    The floor of the second is one machine at a service of its own, with nobody else. One client asks, one request after the
    other. Of the 500 most have no thread at the service yet when they ask: what starting one takes is in ours.
    """
    number = stage.effort.connected
    with far_service(stage, number) as service, far_service(stage, 1) as empty, ExitStack() as stack:
        alone = empty.guest(0)
        first = service.guest(0)
        for each in (first, alone):
            stack.callback(each.close)
            waits([each], stage.effort.calls)
        time.sleep(stage.effort.rest_s)
        before = service.pss()
        guests = [service.guest(at) for at in range(1, number)]
        for each in guests:
            stack.callback(each.close)
            answered(each)
        time.sleep(stage.effort.rest_s)
        grown = (service.pss() - before) / len(guests)
        rounds = stage.compare(lambda: p95(stage.random.sample(guests, min(100, len(guests)))), lambda: p95([alone] * 100))
        return {"far.memory": counted(grown), "far.p95": paired(rounds)}


def flood(stage: Stage) -> Mapping[str, Measured]:
    """The 95th of 100 waits of a machine that asks every 5 ms, while another one sends requests as fast as they are taken,
    on four connections; over the same without that.

    All over TLS and tcp on loopback. The flood's own process computes on the same processors, which is in ours: elsewhere it
    would be another machine's.
    """
    with far_service(stage, 2) as service, ExitStack() as stack:
        guest = service.guest(0)
        stack.callback(guest.close)
        command = [sys.executable, "-m", "tests.bench.far_flood", service.tcp, service.certificates[1], service.authority]
        flooding = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        stack.callback(flooding.kill)
        paced([guest] * stage.effort.calls)

        def flooded() -> float:
            turned(flooding)
            time.sleep(0.5)
            try:
                return paced([guest] * 100)
            finally:
                turned(flooding)
                time.sleep(0.2)

        return {"flood.p95": paired(stage.compare(flooded, lambda: paced([guest] * 100)))}


def turned(flooding: subprocess.Popen[bytes]) -> None:
    """The flood begins or ends; return when it has."""
    assert flooding.stdin is not None
    assert flooding.stdout is not None
    flooding.stdin.write(b"\n")
    flooding.stdin.flush()
    assert flooding.stdout.readline(), "the flooding machine ended"


def waits(guests: Sequence[RawGuest], each: int, pause: Callable[[], object] = lambda: None) -> list[float]:
    found = []
    for guest in guests:
        for _ in range(each):
            pause()
            found.append(answered(guest))
    return found


def p95(guests: Sequence[RawGuest]) -> float:
    return statistics.quantiles(waits(guests, 1), n=20)[-1]


def paced(guests: Sequence[RawGuest]) -> float:
    return statistics.quantiles(waits(guests, 1, lambda: time.sleep(_PAUSE_S)), n=20)[-1]


ROWS = (
    Row(
        "tls",
        (Line("tls.request", "request over TLS, open connection", "the same at a Unix socket", Goal(2)),),
        tls,
        4,
        "busy",
        ("tls.request",),
    ),
    Row(
        "far",
        (
            Line("far.memory", "memory of each of 500 connections", NO_FLOOR, Goal(100_000, unit="B"), Unit.BYTES),
            Line("far.p95", "request with 500 connected, 95th of 100", "one connected", Goal(2)),
        ),
        many,
        36,
        "bloat",
        ("far.memory",),
    ),
    Row(
        "flood",
        (Line("flood.p95", "request beside a flooding machine, 95th of 100", "without it", Goal(2)),),
        flood,
        50,
        "alone",
        ("flood.p95",),
    ),
)
