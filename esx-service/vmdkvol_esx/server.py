"""The protocol's service side: Hello first, each call to the workers of its VM, answers by call id, notices.

``reception`` has the sockets, ``crew`` the workers. What a call means is the ``handle`` that the composition hands in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from socket import socket
from typing import Any
from uuid import UUID

from vmdkvol import logs, wire
from vmdkvol.channel import Address, peer_uid
from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import BadFrame, Internal, ProtocolError, VolumeError
from vmdkvol.frames import Frame
from vmdkvol.link import Patience
from vmdkvol.messages import OLDEST_VERSION, Call, Detach, Hello, Mark, Notice, Request, Welcome
from vmdkvol.volume import VmId
from vmdkvol_esx.callers import Caller
from vmdkvol_esx.crew import Crew, Kind
from vmdkvol_esx.reception import Connection, Reception
from vmdkvol_esx.turns import Turns

Handle = Callable[[Request[Any], Call], Any]
Identify = Callable[[int, VmId], Caller]

# Answers of calls that ended while draining still go out; a peer that does not read them waits no longer.
_FLUSH_S = 1.0
_PATIENCE = Patience()


class Server:
    """Serves guests on one socket for each VM. ``start`` returns when they can connect; ``drain`` ends it."""

    def __init__(
        self,
        sockets: Mapping[Address, VmId],
        handle: Handle,
        identify: Identify,
        clock: Clock,
        *,
        service: str = "vmdkvol-esxd",
        prove: Callable[[socket], int] = peer_uid,
        patience: Patience = _PATIENCE,
    ) -> None:
        """``handle`` gets calls with their caller; what it raises besides VolumeError is a bug and answered as one.

        ``prove`` reads from a connection which uid is at its other end; ``patience`` is what slow peers get.
        """
        self._handle = handle
        self._identify = identify
        self._clock = clock
        self._service = service
        self._reception = Reception(sockets, clock, self._arrived, self._left, prove=prove, patience=patience)
        turns = Turns(clock)
        self._crews = {vm: Crew(str(vm), clock, turns, self._reply, wire.write_error) for vm in sockets.values()}
        self._present: Counter[VmId] = Counter()
        self._log = logs.get("server")

    def start(self) -> Server:
        """Listen on every socket, or on none; raises Conflict if another process serves one of them."""
        self._reception.open()
        return self

    def notify(self, vm: VmId, notice: Notice) -> bool:
        """Send a notice to the agents of ``vm``; False if none is connected. It is a hint and may be lost."""
        self._reception.post(partial(self._send_to_all, vm, wire.write_notice(notice)))
        return self.connected(vm)

    def connected(self, vm: VmId) -> bool:
        """Tell whether an agent of ``vm`` has said Hello and is still connected."""
        return self._present[vm] > 0

    def drain(self, deadline: Deadline) -> bool:
        """Accept and begin nothing more, finish what runs, then close; tell whether all of it ended before the deadline.

        Guests ask again for what had not begun, as they do when a connection breaks. A second time does nothing.
        """
        self._reception.ignore()
        for crew in self._crews.values():
            crew.stop()
        ended = [crew.finish(deadline) for crew in self._crews.values()]
        self._reception.close(_FLUSH_S)
        return all(ended)

    # --- on the reception's thread ---------------------------------------------------------------------------

    def _arrived(self, connection: Connection, frame: Frame) -> None:
        try:
            request = wire.read_request(frame)
            if connection.welcome is None and not isinstance(request, Hello):
                raise BadFrame(f"{frame.type} came before Hello was answered")
            self._take(connection, request, frame)
        except ProtocolError as error:
            self._reception.dismiss(connection, frame.id, error)
        except VolumeError as error:
            # A name in it is wrong, or the VM has too many calls: that is this request's error, the connection goes on.
            self._reception.send(connection, wire.write_error(frame.id, error))

    def _take(self, connection: Connection, request: Request[Any], frame: Frame) -> None:
        if frame.id is None or frame.left_ms is None:
            raise BadFrame(f"a {frame.type} has no call id or no time left")
        deadline = Deadline.after(self._clock, frame.left_ms / 1000)
        if isinstance(request, Hello):
            if connection.welcome is not None:
                # Asked again, as a sign of life (see ``line``); who calls does not change on a connection.
                self._reception.send(connection, wire.write_answer(frame.id, connection.welcome))
                return
            connection.hello_by = None
            work: Callable[[], bytes] = partial(self._welcome, connection, request, frame.id)
        else:
            version = connection.welcome.version if connection.welcome is not None else OLDEST_VERSION
            tell = partial(self._tell, connection.vm, frame.id)
            work = partial(self._carry_out, request, Call(frame.id, deadline, connection.vm, tell), version)
        # A Hello belongs to its connection: it is never joined from another one.
        equal = (request, connection) if isinstance(request, Hello) else request
        self._crews[connection.vm].take(frame.id, equal, work, kind=_kind(request), deadline=deadline, recipient=connection)

    def _greeted(self, connection: Connection, welcome: Welcome) -> None:
        if self._reception.stands(connection) and connection.welcome is None:
            connection.welcome = welcome
            self._present[connection.vm] += 1

    def _left(self, connection: Connection) -> None:
        self._crews[connection.vm].leave(connection)
        if connection.welcome is not None:
            self._present[connection.vm] -= 1

    def _send_to_all(self, vm: VmId, data: bytes) -> None:
        for connection in self._reception.greeted(vm):
            self._reception.send(connection, data)

    # --- on a crew's workers ---------------------------------------------------------------------------------

    def _reply(self, connection: Connection, data: bytes) -> None:
        if data:
            self._reception.post(partial(self._reception.send, connection, data))

    def _welcome(self, connection: Connection, hello: Hello, call: UUID) -> bytes:
        try:
            version = wire.common_version(hello.oldest, hello.newest)
            caller = self._identify(connection.uid, connection.vm)
        except VolumeError as error:
            self._reception.post(partial(self._reception.dismiss, connection, call, error))
            return b""
        except Exception:  # noqa: BLE001 - top of a request
            self._log.exception("hello failed", vm=str(connection.vm))
            self._reception.post(partial(self._reception.dismiss, connection, call, Internal("the service failed on Hello")))
            return b""
        self._log.info("agent connected", vm=caller.name, agent=hello.agent)
        welcome = Welcome(version, caller.vm, caller.name, self._service)
        # Posted before the answer, so that it is true when the guest has read that.
        self._reception.post(partial(self._greeted, connection, welcome))
        return wire.write_answer(call, welcome)

    def _tell(self, vm: VmId, call: UUID, percent: int) -> None:
        self._crews[vm].tell(call, wire.write_progress(call, percent))

    def _carry_out(self, request: Request[Any], call: Call, version: int) -> bytes:
        kind = type(request).__name__
        with logs.bound(call=str(call.id), request=kind, vm=str(call.caller)):
            try:
                return wire.write_answer(call.id, self._handle(request, call), version)
            except VolumeError as error:
                self._log.info("call refused", error=str(error))
                return wire.write_error(call.id, error)
            except Exception:  # noqa: BLE001 - top of a request: a bug is answered, logged, and ends nothing else
                self._log.exception("call failed")
                return wire.write_error(call.id, Internal(f"the service failed on this {kind}"))


def _kind(request: Request[Any]) -> Kind:
    if isinstance(request, Detach | Mark):
        return Kind.END
    return Kind.BEGIN if request.changes else Kind.READ
