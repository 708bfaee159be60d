"""A Unix-socket proxy between agent and service that cuts at any byte, delays, and changes what it passes on."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

_LENGTH = struct.Struct(">I")


class Way(Enum):
    TO_SERVICE = "to the service"
    TO_AGENT = "to the agent"


# Makes of what came one way what goes on, and what is kept until more has come.
Change = Callable[[Way, bytes], tuple[bytes, bytes]]


@dataclass(slots=True)
class _Plan:
    """What happens to one connection: per way, after how many bytes it is cut."""

    cut_after: dict[Way, int] = field(default_factory=dict)
    delay_s: float = 0.0
    change: Change | None = None


@dataclass(slots=True, eq=False)
class _Pair:
    agent: socket.socket
    service: socket.socket
    plan: _Plan
    passed: dict[Way, int] = field(default_factory=lambda: {Way.TO_SERVICE: 0, Way.TO_AGENT: 0})

    def break_off(self) -> None:
        for end in (self.agent, self.service):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class CuttingProxy:
    """Listens at ``path`` and passes everything on to ``target``. What is planned holds for the next connection only."""

    def __init__(self, path: Path, target: Path) -> None:
        self._target = str(target)
        self._lock = threading.Lock()
        self._next = _Plan()
        self._pairs: list[_Pair] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._start(self._accept)

    def cut_next(self, way: Way, after: int) -> None:
        """Break the next connection, both ways, when ``after`` bytes went ``way``."""
        with self._lock:
            self._next.cut_after[way] = after

    def delay_next(self, seconds: float) -> None:
        """Hold back each piece of the next connection for ``seconds``."""
        with self._lock:
            self._next.delay_s = seconds

    def double_next(self) -> None:
        """Send every frame of the next connection twice, both ways."""
        self.change_next(lambda _, data: _doubled(data))

    def change_next(self, change: Change) -> None:
        """Pass on what ``change`` makes of the next connection's bytes."""
        with self._lock:
            self._next.change = change

    def break_off(self) -> None:
        """Break every connection that stands."""
        with self._lock:
            pairs = tuple(self._pairs)
        for pair in pairs:
            pair.break_off()

    @property
    def connections(self) -> int:
        """How many connections there were."""
        with self._lock:
            return len(self._pairs)

    def passed(self, way: Way) -> int:
        """How many bytes of the newest connection went ``way``."""
        with self._lock:
            return self._pairs[-1].passed[way]

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.break_off()
        for thread in self._threads:
            thread.join()

    def _start(self, work: object, *args: object) -> None:
        assert callable(work)
        thread = threading.Thread(target=work, args=args, daemon=True, name="proxy")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                agent, _ = self._listener.accept()
            except OSError:
                return
            service = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                service.connect(self._target)
            except OSError:
                agent.close()
                service.close()
                continue
            with self._lock:
                pair = _Pair(agent, service, self._next)
                self._next = _Plan()
                self._pairs.append(pair)
            self._start(self._pass_on, pair, Way.TO_SERVICE, agent, service)
            self._start(self._pass_on, pair, Way.TO_AGENT, service, agent)

    def _pass_on(self, pair: _Pair, way: Way, source: socket.socket, sink: socket.socket) -> None:
        kept = b""
        try:
            while self._room(pair, way) and (piece := source.recv(4096)):
                if pair.plan.delay_s:
                    threading.Event().wait(pair.plan.delay_s)
                if pair.plan.change is not None:
                    piece, kept = pair.plan.change(way, kept + piece)
                self._send(pair, way, sink, piece)
        except OSError:
            pass
        pair.break_off()
        source.close()

    def _room(self, pair: _Pair, way: Way) -> bool:
        limit = pair.plan.cut_after.get(way)
        return limit is None or pair.passed[way] < limit

    def _send(self, pair: _Pair, way: Way, sink: socket.socket, piece: bytes) -> None:
        limit = pair.plan.cut_after.get(way)
        if limit is not None:
            piece = piece[: limit - pair.passed[way]]
        # Counted first: whoever has got the bytes may ask for the count.
        with self._lock:
            pair.passed[way] += len(piece)
        sink.sendall(piece)


def _doubled(data: bytes) -> tuple[bytes, bytes]:
    """Return each whole frame of ``data`` twice, and the rest."""
    out = b""
    while len(data) >= _LENGTH.size and len(data) >= (end := _LENGTH.size + _LENGTH.unpack_from(data)[0]):
        out += data[:end] * 2
        data = data[end:]
    return out, data
