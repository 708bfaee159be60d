"""The channel between an agent and the service: the real calls table and the real crew, the real bytes, no socket.

A connection breaks whole: answers on their way are lost with it, and calls in flight are sent again on the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from tests.simulation.lives import Killed, Life
from vmdkvol import frames, wire
from vmdkvol.calls import Calls, time_for_service
from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import Internal, ServiceUnreachable, VolumeError
from vmdkvol.frames import Decoder, Frame
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
    Notice,
    RemoveVolume,
    Request,
)
from vmdkvol.volume import VmId
from vmdkvol_esx.crew import Crew, Kind

A = TypeVar("A")
Handle = Callable[[Request[Any], Call], Any]


@dataclass(slots=True, eq=False)
class Connection:
    vm: VmId
    line: SimulatedLine
    desk: Desk
    stands: bool = True
    greeted: bool = False


class SimulatedLine:
    """The agent's end, ``Service`` for its use cases. ``on_up`` is called each time a Hello was answered."""

    def __init__(self, clock: Clock, vm: VmId, life: Life, new_id: Callable[[], UUID]) -> None:
        self._clock = clock
        self._vm = vm
        self._life = life
        self._new_id = new_id
        self._changed = clock.condition()
        self._woken = False
        self._calls = Calls(clock, ServiceUnreachable("the service was not reached yet"), PATIENCE_S, self._wake)
        self._listeners: list[Callable[[Notice], None]] = []
        self._hello: UUID | None = None
        self.connection: Connection | None = None
        self.on_up: Callable[[], None] = lambda: None
        clock.start("line", self._run)

    @property
    def up(self) -> bool:
        return self.connection is not None and self.connection.greeted

    def ask(self, request: Request[A], call: Call) -> A:
        wire.write_request(request, call.id, 0)
        return self._calls.ask(request, call)

    def subscribe(self, listener: Callable[[Notice], None]) -> None:
        self._listeners.append(listener)

    # --- for the network ---------------------------------------------------------------------------------------

    def connected(self, connection: Connection) -> None:
        self.connection = connection
        self._greet()

    def broke(self) -> None:
        """The connection is gone."""
        self.connection = None
        self._hello = None
        self._calls.down(ServiceUnreachable("the connection to the service broke"))

    def arrived(self, data: bytes) -> None:
        """An answer or a notice came on the standing connection."""
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

    # --- the line's thread -------------------------------------------------------------------------------------

    def _wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._woken:
                    self._changed.wait()
                self._woken = False
            self._life.check()
            if self.up:
                if self._calls.doubted() and self._hello is None:
                    self._greet()
                self._send_calls()

    def _send_calls(self) -> None:
        connection = self.connection
        if connection is None:
            return
        for pending in self._calls.to_send():
            data = wire.write_request(pending.request, pending.call.id, time_for_service(pending.call.deadline))
            connection.desk.arrived(connection, data)

    def _greet(self) -> None:
        connection = self.connection
        if connection is not None:
            self._hello = self._new_id()
            hello = Hello(OLDEST_VERSION, NEWEST_VERSION, "simulated", "boot")
            connection.desk.arrived(connection, wire.write_request(hello, self._hello, 5.0))

    def _greeted(self) -> None:
        self._hello = None
        if self.connection is None:
            return
        self.connection.greeted = True
        self._calls.up()
        self._wake()
        self.on_up()


class Desk:
    """The service's end: a crew for each VM, as the server has. ``loses`` says of a connection that it breaks just now,
    ``stalls_s`` how long a call stands before it is begun.
    """

    def __init__(
        self,
        clock: Clock,
        life: Life,
        vms: Collection[VmId],
        handle: Handle,
        loses: Callable[[Connection], bool],
        stalls_s: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._life = life
        self._handle = handle
        self._loses = loses
        self._stalls_s = stalls_s
        self._connections: list[Connection] = []
        self._crews = {vm: Crew(f"{vm.hex[-2:]}", clock, self._reply, wire.write_error) for vm in vms}

    def accept(self, line: SimulatedLine, vm: VmId) -> Connection:
        connection = Connection(vm, line, self)
        self._connections.append(connection)
        return connection

    def left(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
        self._crews[connection.vm].leave(connection)

    def notify(self, vm: VmId, notice: Notice) -> bool:
        there = [each for each in self._connections if each.vm == vm and each.greeted and each.stands]
        for connection in there:
            connection.line.arrived(wire.write_notice(notice))
        return bool(there)

    def arrived(self, connection: Connection, data: bytes) -> None:
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
        if self._stalls_s() > 0.0:
            self._clock.sleep(self._stalls_s())
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
            connection.line.arrived(data)


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
