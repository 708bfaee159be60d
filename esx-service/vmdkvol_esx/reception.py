"""The service's sockets: accepts, cuts frames out of bytes, sends, and gives up peers that are late, silent or wrong.

One thread owns all connections and waits for none of them (corrections 20). A peer's turn is one piece of its bytes;
the first thing it does wrong ends its connection, never the service (T6, L1, L2).
"""

from __future__ import annotations

import selectors
import socket
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from uuid import UUID

from vmdkvol import channel, logs
from vmdkvol.channel import Address, Listen, Peer
from vmdkvol.clock import Clock, Worker
from vmdkvol.errors import BadFrame, Busy, VolumeError
from vmdkvol.frames import MAX_REQUEST, Frame
from vmdkvol.link import Link, Patience
from vmdkvol.stream import Plain, Secure, Stream
from vmdkvol.volume import VmId
from vmdkvol.wire import write_error
from vmdkvol_esx.callers import Proof, require_root
from vmdkvol_esx.complaints import Complaints
from vmdkvol_esx.connection import Connection
from vmdkvol_esx.doors import Door, Doors
from vmdkvol_esx.entrance import Entrance
from vmdkvol_esx.moments import Moments

# A refused peer gets its error if it reads at all, but not more of our time.
_GOODBYE_S = 1.0
# How long a socket rests on which nothing can be accepted.
_REST_S = 0.05
# Requests that one turn takes from a connection. More of them wait in what was read: decoding all of a full piece, some
# hundred requests, would let every other guest wait for that long.
_REQUESTS = 4
_PATIENCE = Patience()


class Reception:
    """Owns the sockets. ``arrived`` gets each frame on the reception's thread; a VolumeError from it ends the connection."""

    def __init__(
        self,
        sockets: Mapping[Address, VmId | None],
        clock: Clock,
        arrived: Callable[[Connection, Frame], None],
        left: Callable[[Connection], None],
        *,
        listen: Listen = channel.listen,
        secure: Secure | None = None,
        patience: Patience = _PATIENCE,
    ) -> None:
        """``sockets`` are the addresses to listen at, those of one machine with its id; ``listen`` opens them. ``secure``
        proves who is there on all but Unix sockets: without it those cannot be listened at.
        """
        self._clock = clock
        self._arrived = arrived
        self._left = left
        self._secure = secure
        self._patience = patience
        self._selector = selectors.DefaultSelector()
        self._doors = Doors(sockets, listen, self._selector)
        self._wake_in, self._wake_out = socket.socketpair()
        self._log = logs.get("reception")
        self._connections: set[Connection] = set()
        self._entrance: Entrance[Connection] = Entrance(clock)
        self._moments: Moments[Connection | Door] = Moments()
        # Those whose last piece may hold more requests. Nothing more is read from them before these are taken.
        self._behind: set[Connection] = set()
        self._complaints = Complaints(clock, self._log)
        self._actions: deque[Callable[[], None]] = deque()
        self._deaf = False
        self._stop_by: float | None = None
        self._worker: Worker | None = None

    # --- for any thread --------------------------------------------------------------------------------------

    def open(self) -> None:
        """Listen on every socket, or on none: raises what ``listen`` raises, BadRequest for one that nothing secures."""
        self._doors.open(secured=self._secure is not None)
        for end in (self._wake_in, self._wake_out):
            end.setblocking(False)
        self._selector.register(self._wake_out, selectors.EVENT_READ, None)
        self._worker = self._clock.start("reception", self._run)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens."""
        return self._doors.addresses

    def post(self, action: Callable[[], None]) -> None:
        """Have ``action`` done on the reception's thread, in the order of the calls; once it is closed, not at all."""
        self._actions.append(action)
        try:
            self._wake_in.send(b"\0")
        except OSError:
            # Full: the thread has enough to wake up for. Closed: there is none.
            pass

    def ignore(self) -> None:
        """Accept and read nothing more; answers still go out."""
        self._deaf = True
        self.post(self._doors.close)

    def close(self, flush_s: float) -> None:
        """Send what is left, for ``flush_s`` at most, and close everything. Afterwards the thread does not run."""
        if self._worker is None:
            return
        self._stop_by = self._clock.monotonic() + flush_s
        self.ignore()
        self._worker.join()
        self._worker = None

    # --- for the reception's thread only ---------------------------------------------------------------------

    def stands(self, connection: Connection) -> bool:
        """Tell whether the connection stands."""
        return connection in self._connections

    def send(self, connection: Connection, data: bytes) -> None:
        """Send ``data`` as soon as the peer reads; nothing if the connection is gone."""
        if connection in self._connections:
            if connection.link.send(data):
                self._watch(connection)
            else:
                self._drop(connection)

    def await_hello(self, connection: Connection) -> None:
        """Give the peer its time, from now on, to say Hello."""
        connection.asked, connection.hello_by = None, self._clock.monotonic() + self._patience.header_s
        self._moments.set(connection, connection.next_moment)

    def dismiss(self, connection: Connection, call: UUID | None, error: VolumeError) -> None:
        """Tell the peer why, then close its connection."""
        self._complaints.add(connection.share, "connection refused", error, peer=connection.who)
        connection.ends = self._clock.monotonic() + _GOODBYE_S
        self.send(connection, write_error(call, error))

    def _run(self) -> None:
        while self._stop_by is None or self._unfinished(self._stop_by):
            try:
                self._turn()
            except Exception:  # noqa: BLE001 - top of the thread: a bug must not end the service
                self._log.exception("reception turn failed")
        for connection in tuple(self._connections):
            self._drop(connection)
        self._doors.close()
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()

    def _unfinished(self, stop_by: float) -> bool:
        sending = any(connection.link.sending for connection in self._connections)
        return self._clock.monotonic() < stop_by and (sending or bool(self._actions))

    def _turn(self) -> None:
        behind = dict.fromkeys(self._behind, 0)
        for key, events in self._selector.select(0.0 if behind else self._timeout()):
            if isinstance(key.data, Door):
                self._accept(key.data)
            elif isinstance(key.data, Connection):
                behind.pop(key.data, None)
                self._guarded(key.data, partial(self._exchange, key.data, events))
            else:
                self._wake_out.recv(4096)
        for connection in behind:
            self._guarded(connection, partial(self._exchange, connection, selectors.EVENT_READ))
        for _ in range(len(self._actions)):
            self._act(self._actions.popleft())
        now = self._clock.monotonic()
        for due in self._moments.due(now):
            if isinstance(due, Door):
                self._doors.reopen(due)
            else:
                self._guarded(due, partial(self._check_time, due, now))

    def _act(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception:  # noqa: BLE001 - as in _guarded; the actions behind this one must still be done
            self._log.exception("action failed")

    def _guarded(self, connection: Connection, step: Callable[[], None]) -> None:
        """Do one step of a connection; whatever goes wrong ends this connection only."""
        try:
            step()
        except VolumeError as error:
            self.dismiss(connection, None, error)
        except Exception:  # noqa: BLE001 - a bug with one peer's bytes must not reach the others
            self._log.exception("connection failed", peer=connection.who)
            self._drop(connection)

    def _accept(self, door: Door) -> None:
        arrivals, trouble = self._doors.accept(door)
        for accepted, peer in arrivals:
            try:
                self._enter(door, accepted, peer)
            except VolumeError as error:
                self._complaints.add(peer.source, "connection refused", error, peer=peer.text)
                accepted.close()
        if trouble is not None:
            self._complaints.add(str(door.listener.address), "connection not accepted", trouble)
            self._moments.set(door, self._clock.monotonic() + _REST_S)

    def _enter(self, door: Door, accepted: socket.socket, peer: Peer) -> None:
        stream: Stream = Plain(accepted)
        if door.remote and self._secure is not None:
            self._entrance.knock(peer.source)
            stream = self._secure(accepted)
        link = Link(stream, self._clock, MAX_REQUEST, self._patience)
        proof = Proof(door.vm, peer.uid, None, peer.context_id, peer.text)
        connection = Connection(link, proof, peer.source, self._patience.alone_s if door.remote else None)
        self._connections.add(connection)
        self._selector.register(link, selectors.EVENT_READ, connection)
        self.await_hello(connection)
        self._guarded(connection, partial(self._examine, connection))

    def _examine(self, connection: Connection) -> None:
        if connection.remote:
            self._make_room(self._entrance.shake(connection, connection.source))
            return
        require_root(connection.proof.uid)
        self._entrance.proven(connection, connection.proof.vm)

    def _proven(self, connection: Connection) -> None:
        """The handshake is over: what the peer showed says which share it has, of this service's time and room."""
        connection.shaking = False
        certificate = connection.link.certificate
        self.await_hello(connection)
        if certificate is None:
            self._make_room(self._entrance.stranger(connection, connection.source))
            return
        connection.proof = replace(connection.proof, certificate=certificate)
        self._entrance.proven(connection, certificate)

    def _make_room(self, connection: Connection | None) -> None:
        if connection is not None:
            self.dismiss(connection, None, Busy("too many connections of peers that are not known are open"))

    def _exchange(self, connection: Connection, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            connection.link.flush()
        if events & selectors.EVENT_READ and not self._receive(connection):
            self._drop(connection)
        self._watch(connection)

    def _receive(self, connection: Connection) -> bool:
        if self._deaf or connection.ends is not None:
            # What comes now is forgotten: its sender asks again when the connection closes.
            self._behind.discard(connection)
            return connection.link.discard()
        alive = connection in self._behind or connection.link.receive()
        self._behind.discard(connection)
        if connection.shaking and connection.link.ready:
            self._proven(connection)
        for _ in range(_REQUESTS):
            if connection.ends is not None or (frame := connection.link.take()) is None:
                return alive
            connection.heard = self._clock.monotonic()
            self._arrived(connection, frame)
        self._behind.add(connection)
        return alive

    def _watch(self, connection: Connection) -> None:
        """Wait for what the connection needs now; close it if it only had to say goodbye and has done so."""
        if connection not in self._connections:
            return
        if connection.ends is not None and not connection.link.sending:
            self._drop(connection)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.link.sending else 0)
        if self._selector.get_key(connection.link).events != events:
            self._selector.modify(connection.link, events, connection)
        self._moments.set(connection, connection.next_moment)

    def _check_time(self, connection: Connection, now: float) -> None:
        if connection.ends is not None and now >= connection.ends:
            self._drop(connection)
            return
        if late := connection.late(now):
            raise BadFrame(late)
        self._moments.set(connection, connection.next_moment)

    def _drop(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.discard(connection)
            self._behind.discard(connection)
            self._moments.forget(connection)
            self._entrance.left(connection)
            self._selector.unregister(connection.link)
            connection.link.close()
            self._left(connection)

    def _timeout(self) -> float | None:
        moments = [moment for moment in (self._moments.next, self._stop_by) if moment is not None]
        return max(0.0, min(moments) - self._clock.monotonic()) if moments else None
