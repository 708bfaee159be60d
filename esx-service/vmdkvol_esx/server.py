"""The protocol's service side: Hello first, each call to the workers of its VM, answers by call id, notices.

``reception`` has the sockets, ``crew`` the workers. What a call means is the ``handle`` that the composition hands in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import UUID

from vmdkvol import channel, logs, wire
from vmdkvol.channel import Address, Listen
from vmdkvol.clock import Clock, Deadline
from vmdkvol.errors import BadFrame, Internal, ProtocolError, UnknownCaller, VolumeError
from vmdkvol.frames import Frame
from vmdkvol.link import Patience
from vmdkvol.messages import NEWEST_VERSION, REQUESTS, Call, Hello, Request, Welcome
from vmdkvol.notices import Notice
from vmdkvol.stream import Secure
from vmdkvol.volume import VmId
from vmdkvol_esx.callers import Caller, Present, Proof
from vmdkvol_esx.connection import Connection
from vmdkvol_esx.crew import Crews, kind_of
from vmdkvol_esx.reception import Reception
from vmdkvol_esx.turns import Turns

Handle = Callable[[Request[Any], Call], Any]
Strangers = Callable[[Request[Any], Call, Proof], Any]
Identify = Callable[[Proof, Hello], Caller]
Whose = Callable[[Proof], VmId]
Admit = Callable[[Present, tuple[Present, ...]], None]

# Answers of calls that ended while draining still go out; a peer that does not read them waits no longer.
_FLUSH_S = 1.0
_PATIENCE = Patience()
# Boot ids are kept, so a guest does not say how long they are. The kernel's is shorter.
_BOOT_ID = 64
# The shares of those whose machine is not known yet.
_AT_THE_DOOR, _STRANGERS = "at the door", "strangers"
# An enrolment is two calls, on two connections.
_CALLS_BEFORE_HELLO = 8


def refuse_strangers(request: Request[Any], call: Call, proof: Proof) -> Any:
    """Raise UnknownCaller: nobody can enrol here."""
    raise UnknownCaller(f"this service takes no {type(request).__name__}")


def _admit_all(newcomer: Present, others: tuple[Present, ...]) -> None:
    """Any number of agents of one machine may be there."""


class Server:
    """Serves guests at each address; some are one machine's. ``start`` returns when they can connect; ``drain`` ends it."""

    def __init__(
        self,
        sockets: Mapping[Address, VmId | None],
        handle: Handle,
        identify: Identify,
        clock: Clock,
        *,
        service: str = "vmdkvol-esxd",
        listen: Listen = channel.listen,
        secure: Secure | None = None,
        patience: Patience = _PATIENCE,
        strangers: Strangers = refuse_strangers,
        requests: Iterable[type[Request[Any]]] = REQUESTS,
        admit: Admit = _admit_all,
        whose: Whose | None = None,
    ) -> None:
        """``secure`` proves who is there at every address that is no Unix socket (see ``tls``).

        ``handle`` gets calls with their caller; what it raises besides VolumeError is a bug and answered as one.
        ``requests`` are all that can be asked, ``strangers`` gets those of them that need no Hello. ``patience`` is what
        slow peers get. ``admit`` sees who has just been identified and who is there of the same machine: what it raises is
        the answer to Hello. It must not wait. ``whose`` tells which machine says Hello without asking others, so that what
        ``identify`` waits for, nobody else's Hello waits for.
        """
        self._handle = handle
        self._strangers = strangers
        self._kinds = wire.by_name(requests)
        self._identify = identify
        self._admit = admit
        self._whose = whose
        self._clock = clock
        self._service = service
        self._reception = Reception(sockets, clock, self._arrived, self._left, listen=listen, secure=secure, patience=patience)
        self._crews: Crews[Connection] = Crews(clock, Turns(clock), self._reply, wire.write_error)
        # Changed on the reception's thread alone, each value as a whole: others look at it.
        self._greeted: dict[VmId, tuple[Connection, ...]] = {}
        self._log = logs.get("server")

    def start(self) -> Server:
        """Listen at every address, or at none; raises Conflict if another process serves one of them."""
        self._reception.open()
        return self

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens, with the ports that the kernel chose."""
        return self._reception.addresses

    def notify(self, vm: VmId, notice: Notice) -> bool:
        """Send a notice to the agents of ``vm`` that know it; False if none is connected. It is a hint and may be lost."""
        self._reception.post(partial(self._send_to_all, vm, notice.since, wire.write_notice(notice)))
        return self.connected(vm)

    def connected(self, vm: VmId) -> bool:
        """Tell whether an agent of ``vm`` has said Hello and is still connected."""
        return vm in self._greeted

    def expel(self, vm: VmId, unwanted: Callable[[Present], bool], error: VolumeError) -> None:
        """Close those connections of ``vm`` that are ``unwanted``, which must not wait; their peers hear ``error``."""
        self._reception.post(partial(self._expel, vm, unwanted, error))

    def drain(self, deadline: Deadline) -> bool:
        """Accept and begin nothing more, finish what runs, then close; tell whether all of it ended before the deadline.

        Guests ask again for what had not begun, as they do when a connection breaks. A second time does nothing.
        """
        self._reception.ignore()
        self._crews.stop()
        ended = self._crews.finish(deadline)
        self._reception.close(_FLUSH_S)
        return ended

    # --- on the reception's thread ---------------------------------------------------------------------------

    def _arrived(self, connection: Connection, frame: Frame) -> None:
        try:
            request = wire.read_request(frame, self._kinds)
            if connection.welcome is None:
                self._check_early(connection, frame)
            self._take(connection, request, frame)
        except ProtocolError as error:
            self._reception.dismiss(connection, frame.id, error)
        except VolumeError as error:
            # A name in it is wrong, or the VM has too many calls: that is this request's error, the connection goes on.
            self._answer(connection, wire.write_error(frame.id, error))

    def _check_early(self, connection: Connection, frame: Frame) -> None:
        """Who has not said Hello asks one thing at a time, and not for ever."""
        if connection.asked is not None and connection.asked == frame.id:
            # The same once more, which joins it.
            return
        connection.calls += 1
        if connection.asked is not None or connection.calls > _CALLS_BEFORE_HELLO:
            raise BadFrame(f"{frame.type} came before the last call was answered, or after too many, without a Hello")

    def _take(self, connection: Connection, request: Request[Any], frame: Frame) -> None:
        if frame.id is None or frame.left_ms is None:
            raise BadFrame(f"a {frame.type} has no call id or no time left")
        deadline = Deadline.after(self._clock, frame.left_ms / 1000)
        if isinstance(request, Hello) and connection.welcome is not None:
            # Asked again, as a sign of life (see ``line``); who calls does not change on a connection.
            self._reception.send(connection, wire.write_answer(frame.id, connection.welcome))
            return
        share, equal, work = self._work_of(connection, request, Call(frame.id, deadline))
        self._crews.of(share).take(frame.id, equal, work, kind=kind_of(request), deadline=deadline, recipient=connection)
        if connection.welcome is None:
            connection.asked, connection.hello_by = frame.id, None

    def _work_of(self, connection: Connection, request: Request[Any], call: Call) -> tuple[Any, Any, Callable[[], bytes]]:
        """Return whose workers carry out the call, what it must be equal to if its id is there already, and the work."""
        if request.before_hello:

            def handle(request: Request[Any], call: Call) -> Any:
                return self._strangers(request, call, connection.proof)

            return _STRANGERS, (request, connection), partial(self._carry_out, handle, request, call, NEWEST_VERSION)
        if isinstance(request, Hello):
            # It belongs to its connection: it is never joined from another one.
            door, whose, greet = _door(connection), self._whose, self._welcome
            if door == _AT_THE_DOOR and whose is not None:
                greet = partial(self._see_whose, whose)
            return door, (request, connection), partial(greet, connection, request, call)
        vm = connection.vm
        if connection.welcome is None or vm is None:
            raise BadFrame(f"{type(request).__name__} came before Hello was answered")
        known = Call(call.id, call.deadline, vm, partial(self._tell, vm, call.id), connection.welcome.version)
        return vm, request, partial(self._carry_out, self._handle, request, known, connection.welcome.version)

    def _pass_on(self, vm: VmId, connection: Connection, hello: Hello, call: Call) -> None:
        """Have the machine's own workers do the rest of its Hello."""
        if not self._reception.stands(connection) or connection.ends is not None:
            return
        connection.claims = vm
        equal, work, take = (hello, connection), partial(self._welcome, connection, hello, call), self._crews.of(vm).take
        try:
            take(call.id, equal, work, kind=kind_of(hello), deadline=call.deadline, recipient=connection)
        except VolumeError as error:
            self._reception.dismiss(connection, call.id, error)

    def _greet(self, connection: Connection, call: UUID, welcome: Welcome, present: Present) -> None:
        if not self._reception.stands(connection) or connection.ends is not None:
            return
        if connection.welcome is not None:
            self._reception.send(connection, wire.write_answer(call, connection.welcome, connection.welcome.version))
            return
        vm = present.caller.vm
        there = self._greeted.get(vm, ())
        try:
            self._admit(present, tuple(each.present for each in there if each.present is not None))
        except VolumeError as error:
            self._reception.dismiss(connection, call, error)
            return
        connection.welcome, connection.present, connection.hello_by = welcome, present, None
        self._greeted[vm] = (*there, connection)
        self._reception.send(connection, wire.write_answer(call, welcome, welcome.version))

    def _answer(self, connection: Connection, data: bytes) -> None:
        if connection.welcome is None:
            self._reception.await_hello(connection)
        self._reception.send(connection, data)

    def _left(self, connection: Connection) -> None:
        for share in {_STRANGERS, _door(connection), connection.claims or _STRANGERS}:
            self._crews.of(share).leave(connection)
        if connection.present is None:
            return
        vm = connection.present.caller.vm
        self._crews.of(vm).leave(connection)
        left = tuple(each for each in self._greeted.get(vm, ()) if each is not connection)
        if left:
            self._greeted[vm] = left
        else:
            self._greeted.pop(vm, None)

    def _expel(self, vm: VmId, unwanted: Callable[[Present], bool], error: VolumeError) -> None:
        for connection in self._greeted.get(vm, ()):
            if connection.present is not None and unwanted(connection.present):
                self._reception.dismiss(connection, None, error)

    def _send_to_all(self, vm: VmId, since: int, data: bytes) -> None:
        for connection in self._greeted.get(vm, ()):
            if connection.ends is None and connection.welcome is not None and connection.welcome.version >= since:
                self._reception.send(connection, data)

    # --- on a crew's workers ---------------------------------------------------------------------------------

    def _reply(self, connection: Connection, data: bytes) -> None:
        if data:
            self._reception.post(partial(self._answer, connection, data))

    def _see_whose(self, whose: Whose, connection: Connection, hello: Hello, call: Call) -> bytes:
        with self._dismissing(connection, call.id):
            self._reception.post(partial(self._pass_on, whose(connection.proof), connection, hello, call))
        return b""

    def _welcome(self, connection: Connection, hello: Hello, call: Call) -> bytes:
        with self._dismissing(connection, call.id):
            version = wire.common_version(hello.oldest, hello.newest)
            caller = self._identify(connection.proof, hello)
            self._log.info("agent connected", vm=caller.name, agent=hello.agent)
            welcome = Welcome(version, caller.vm, caller.name, self._service, self._clock.wall())
            present = Present(caller, hello.boot_id[:_BOOT_ID], connection.proof)
            # There the answer goes out too: who is there is known when the guest has read it.
            self._reception.post(partial(self._greet, connection, call.id, welcome, present))
        return b""

    @contextmanager
    def _dismissing(self, connection: Connection, call: UUID) -> Iterator[None]:
        """Have whoever said Hello sent away with what goes wrong with it."""
        try:
            yield
        except VolumeError as error:
            self._reception.post(partial(self._reception.dismiss, connection, call, error))
        except Exception:  # noqa: BLE001 - top of a request
            self._log.exception("hello failed", peer=connection.who)
            self._reception.post(partial(self._reception.dismiss, connection, call, Internal("the service failed on Hello")))

    def _tell(self, vm: VmId, call: UUID, percent: int) -> None:
        self._crews.of(vm).tell(call, wire.write_progress(call, percent))

    def _carry_out(self, handle: Handle, request: Request[Any], call: Call, version: int) -> bytes:
        kind = type(request).__name__
        with logs.bound(call=str(call.id), request=kind, vm=str(call.caller)):
            try:
                return wire.write_answer(call.id, handle(request, call), version, request.most)
            except VolumeError as error:
                self._log.info("call refused", error=str(error))
                return wire.write_error(call.id, error)
            except Exception:  # noqa: BLE001 - top of a request: a bug is answered, logged, and ends nothing else
                self._log.exception("call failed")
                return wire.write_error(call.id, Internal(f"the service failed on this {kind}"))


def _door(connection: Connection) -> Any:
    """Return whose workers answer this connection's Hello."""
    return _AT_THE_DOOR if connection.proof.vm is None else connection.proof.vm
