"""The channel between an agent and the service: the real calls table and the real crew, the real bytes, no socket.

Bytes stand in a buffer of the world until a thread of the process takes them, as in a socket, so that one side may be
stopped without the other. A connection breaks whole: calls in flight are sent again on the next one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from tests.doubles.simulated_clock import SimulatedClock, SimulatedProcess
from tests.simulation.lives import Killed, Life
from tests.simulation.network import Cable
from vmdkvol import frames, wire
from vmdkvol.calls import Calls, time_for_service
from vmdkvol.clock import Deadline
from vmdkvol.errors import Internal, ServiceUnreachable, VolumeError
from vmdkvol.frames import Decoder, Frame
from vmdkvol.greeting import HELLO_S
from vmdkvol.line import PATIENCE_S
from vmdkvol.messages import (
    NEWEST_VERSION,
    OLDEST_VERSION,
    Attach,
    Call,
    CreateVolume,
    Detach,
    Hello,
    Mark,
    RemoveVolume,
    Request,
)
from vmdkvol.notices import Notice
from vmdkvol.volume import VmId
from vmdkvol_esx.crew import Crew, Kind
from vmdkvol_esx.turns import Turns

A = TypeVar("A")
Handle = Callable[[Request[Any], Call], Any]


@dataclass(slots=True, eq=False)
class Connection:
    """``stands`` is the world's word; each end hears of a break when it takes it out of its buffer."""

    vm: VmId
    line: SimulatedLine
    desk: Desk
    cable: Cable
    stands: bool = True
    greeted: bool = False

    def to_service(self, data: bytes) -> None:
        self.cable.carry(lambda: self.desk.buffer.put(self, data))

    def to_agent(self, data: bytes) -> None:
        self.cable.carry(lambda: self.line.buffer.put(self, data))

    def open(self) -> None:
        self.line.buffer.put(self, b"")

    def end(self) -> None:
        """The connection is gone; what stands in the buffers before it is still read."""
        self.stands = False
        self.desk.buffer.put(self, None)
        self.line.buffer.put(self, None)


class Buffer:
    """Bytes that came and were not read. ``b""``: the connection is there; None: it ended."""

    def __init__(self, clock: SimulatedClock) -> None:
        self._changed = clock.condition()
        self._items: deque[tuple[Connection | None, bytes | None]] = deque()

    def put(self, connection: Connection | None, data: bytes | None) -> None:
        with self._changed:
            self._items.append((connection, data))
            self._changed.notify_all()

    def take(self, left_s: float | None = None) -> tuple[Connection | None, bytes | None]:
        """Return the next bytes; after ``left_s``, or a ``put`` for None, (None, None)."""
        with self._changed:
            if not self._items:
                self._changed.wait(left_s)
            return self._items.popleft() if self._items else (None, None)


class SimulatedLine:
    """The agent's end, ``Service`` for its use cases. ``on_up`` is called each time a Hello was answered."""

    def __init__(
        self,
        clock: SimulatedClock,
        process: SimulatedProcess,
        life: Life,
        new_id: Callable[[], UUID],
        gives_up: Callable[[Connection], None],
    ) -> None:
        self._clock = process
        self._life = life
        self._new_id = new_id
        self._gives_up = gives_up
        self.buffer = Buffer(clock)
        self._calls = Calls(process, ServiceUnreachable("the service was not reached yet"), PATIENCE_S, self._wake, self._wake)
        self._listeners: list[Callable[[Notice], None]] = []
        self._hello: UUID | None = None
        self._hello_until = 0.0
        self._connection: Connection | None = None
        self.on_up: Callable[[], None] = lambda: None
        process.start("line", self._run)

    @property
    def up(self) -> bool:
        return self._connection is not None and self._connection.greeted

    def ask(self, request: Request[A], call: Call) -> A:
        wire.write_request(request, call.id, 0)
        return self._calls.ask(request, call)

    def subscribe(self, listener: Callable[[Notice], None]) -> None:
        self._listeners.append(listener)

    # --- the line's thread -------------------------------------------------------------------------------------

    def _wake(self) -> None:
        self.buffer.put(None, None)

    def _run(self) -> None:
        while True:
            left_s = None if self._hello is None else max(0.0, self._hello_until - self._clock.monotonic())
            connection, data = self.buffer.take(left_s)
            self._life.check()
            if connection is not None:
                self._happened(connection, data)
            if self._hello is not None and self._clock.monotonic() >= self._hello_until and self._connection is not None:
                gone = self._connection
                self._broke()
                self._gives_up(gone)
            if self.up:
                if self._calls.doubted() and self._hello is None:
                    self._greet()
                self._send_calls()

    def _happened(self, connection: Connection, data: bytes | None) -> None:
        if data == b"":
            self._connection = connection
            self._greet()
        elif connection is self._connection and data is not None:
            self._arrived(data)
        elif connection is self._connection:
            self._broke()

    def _broke(self) -> None:
        self._connection = None
        self._hello = None
        self._calls.down(ServiceUnreachable("the connection to the service broke"))

    def _arrived(self, data: bytes) -> None:
        frame = _read(data, frames.MAX_FRAME)
        if frame.id is None:
            notice = wire.read_notice(frame)
            for listener in self._listeners:
                listener(notice)
        elif frame.id == self._hello:
            self._greeted()
        elif frame.type == wire.PROGRESS:
            self._calls.progressed(frame.id, wire.read_progress(frame.body))
        else:
            self._calls.answered(frame.id, lambda request: wire.read_reply(request, frame))

    def _send_calls(self) -> None:
        for pending in self._calls.to_send():
            if self._connection is not None:
                data = wire.write_request(pending.request, pending.call.id, time_for_service(pending.call.deadline))
                self._connection.to_service(data)

    def _greet(self) -> None:
        if self._connection is not None:
            self._hello = self._new_id()
            self._hello_until = self._clock.monotonic() + HELLO_S
            hello = Hello(OLDEST_VERSION, NEWEST_VERSION, "simulated", "boot")
            self._connection.to_service(wire.write_request(hello, self._hello, HELLO_S))

    def _greeted(self) -> None:
        self._hello = None
        if self._connection is None:
            return
        self._connection.greeted = True
        self._calls.up()
        self._wake()
        self.on_up()


# Shorter than a line's patience, long enough to cost a run nothing.
_STALL_STEP_S = 3.0


class Desk:
    """The service's end: a crew for each VM, as the server has. ``loses`` says of a connection that it breaks just now,
    ``stalls_s`` how long a call stands before it is begun.
    """

    def __init__(
        self,
        clock: SimulatedClock,
        process: SimulatedProcess,
        life: Life,
        vms: Collection[VmId],
        handle: Handle,
        loses: Callable[[Connection], bool],
        stalls_s: Callable[[], float],
    ) -> None:
        self._clock = process
        self._life = life
        self._handle = handle
        self._loses = loses
        self._stalls_s = stalls_s
        self._connections: list[Connection] = []
        turns = Turns(process)
        self._crews = {vm: Crew(f"{vm.hex[-2:]}", process, turns, self._reply, wire.write_error) for vm in vms}
        self.buffer = Buffer(clock)
        process.start("desk", self._run)

    def accept(self, connection: Connection) -> None:
        self._connections.append(connection)

    def notify(self, vm: VmId, notice: Notice) -> bool:
        there = [each for each in self._connections if each.vm == vm and each.greeted and each.stands]
        for connection in there:
            connection.to_agent(wire.write_notice(notice))
        return bool(there)

    def _run(self) -> None:
        while True:
            connection, data = self.buffer.take()
            self._life.check()
            if connection is not None and data is None:
                self._left(connection)
            elif connection is not None and data is not None:
                self._arrived(connection, data)

    def _left(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
        self._crews[connection.vm].leave(connection)

    def _arrived(self, connection: Connection, data: bytes) -> None:
        frame = _read(data, frames.MAX_REQUEST)
        assert frame.id is not None
        assert frame.left_ms is not None
        crew, call_id = self._crews[connection.vm], frame.id

        def tell(percent: int) -> None:
            crew.tell(call_id, wire.write_progress(call_id, percent))

        call = Call(call_id, Deadline.after(self._clock, frame.left_ms / 1000), connection.vm, tell)
        try:
            request = wire.read_request(frame)
            crew.take(
                call.id,
                request,
                lambda: self._carry_out(request, call),
                kind=_kind(request),
                deadline=call.deadline,
                recipient=connection,
            )
        except VolumeError as error:
            self._reply(connection, wire.write_error(call.id, error))

    def _carry_out(self, request: Request[Any], call: Call) -> bytes:
        # A Hello is answered: what hangs stands behind it. One that hangs as a whole is a stopped process.
        # In steps, since healing ends it: four reads that went on hanging would keep every worker that answers a Hello.
        while not isinstance(request, Hello) and (left_s := self._stalls_s()) > 0.0:
            self._clock.sleep(min(left_s, _STALL_STEP_S))
        try:
            return wire.write_answer(call.id, self._handle(request, call))
        except VolumeError as error:
            return wire.write_error(call.id, error)
        except Killed:
            return b""
        except Exception as error:  # noqa: BLE001 - as the server does: a bug is an answer too
            return wire.write_error(call.id, Internal(f"the service failed: {error!r}"))

    def _reply(self, connection: Connection, data: bytes) -> None:
        if not data or not connection.stands or self._life.over:
            return
        # It is answers that are lost: how far the work is may come before.
        if _read(data, frames.MAX_FRAME).type == wire.PROGRESS or not self._loses(connection):
            connection.to_agent(data)


def _kind(request: Request[Any]) -> Kind:
    if isinstance(request, Detach | Mark):
        return Kind.END
    return Kind.BEGIN if isinstance(request, CreateVolume | RemoveVolume | Attach) else Kind.READ


def _read(data: bytes, limit: int) -> Frame:
    decoder = Decoder(limit)
    decoder.feed(data)
    frame = decoder.take()
    assert frame is not None
    return frame
