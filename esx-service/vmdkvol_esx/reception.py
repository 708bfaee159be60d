"""The service's sockets: accepts, cuts frames out of bytes, sends, and gives up peers that are late, silent or wrong.

One thread owns all connections and waits for none of them (corrections 20). A peer's turn is one piece of its bytes;
the first thing it does wrong ends its connection, never the service (T6, L1, L2).
"""

from __future__ import annotations

import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from uuid import UUID

from vmdkvol import channel, logs
from vmdkvol.channel import Address, Listen, Peer
from vmdkvol.clock import Clock
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
from vmdkvol_esx.loop import GONE, READ, WRITE, Loop
from vmdkvol_esx.moments import Moments
from vmdkvol_esx.shares import Shares

# A refused peer gets its error if it reads at all, but not more of our time.
_GOODBYE_S = 1.0
# How long a socket rests on which nothing can be accepted.
_REST_S = 0.05
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
        self._log = logs.get("reception")
        self._loop = Loop(clock, self._log)
        self._doors = Doors(sockets, listen, self._loop)
        self._connections: set[Connection] = set()
        self._entrance: Entrance[Connection] = Entrance(clock)
        self._moments: Moments[Connection | Door] = Moments()
        self._shares = Shares()
        # Those whose last piece may hold more requests. Nothing more is read from them before these are taken, one in a turn
        # of all of them: decoding a full piece, some hundred requests, would let every other guest wait for that long.
        self._behind: OrderedDict[Connection, None] = OrderedDict()
        self._complaints = Complaints(clock, self._log)
        self._deaf = False
        self._stop_by: float | None = None

    # --- for any thread --------------------------------------------------------------------------------------

    def open(self) -> None:
        """Listen on every socket, or on none: raises what ``listen`` raises, BadRequest for one that nothing secures."""
        self._doors.open(secured=self._secure is not None)
        self._loop.start("reception", self._run)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens."""
        return self._doors.addresses

    def post(self, action: Callable[[], None]) -> None:
        """Have ``action`` done on the reception's thread, in the order of the calls; once it is closed, not at all."""
        self._loop.post(action)

    def ignore(self) -> None:
        """Accept and read nothing more; answers still go out."""
        self._deaf = True
        self.post(self._doors.close)

    def close(self, flush_s: float) -> None:
        """Send what is left, for ``flush_s`` at most, and close everything. Afterwards the thread does not run."""
        if self._loop.runs:
            self._stop_by = self._clock.monotonic() + flush_s
            self.ignore()
            self._loop.join()

    # --- for the reception's thread only ---------------------------------------------------------------------

    def stands(self, connection: Connection) -> bool:
        """Tell whether the connection stands."""
        return connection in self._connections

    def send(self, connection: Connection, data: bytes) -> None:
        """Send ``data`` as soon as the peer reads; nothing if the connection is gone."""
        if connection in self._connections:
            began = time.thread_time()
            if connection.link.send(data):
                self._watch(connection)
            else:
                self._drop(connection)
            self._charge(connection, began)

    def await_hello(self, connection: Connection) -> None:
        """Give the peer its time, from now on, to say Hello."""
        connection.asked, connection.hello_by = None, self._clock.monotonic() + self._patience.header_s
        self._moments.set(connection, connection.next_moment)

    def dismiss(self, connection: Connection, call: UUID | None, error: VolumeError) -> None:
        """Tell the peer why, then close its connection."""
        self._complaints.add(connection.share, "connection refused", error, peer=connection.who)
        connection.ends, connection.rests_until = self._clock.monotonic() + _GOODBYE_S, None
        self._behind.pop(connection, None)
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
        self._loop.close()

    def _unfinished(self, stop_by: float) -> bool:
        sending = any(connection.link.sending for connection in self._connections)
        return self._clock.monotonic() < stop_by and (sending or self._loop.pending)

    def _turn(self) -> None:
        for what, events in self._loop.select(0.0 if self._behind else self._timeout()):
            if isinstance(what, Door):
                self._accept(what)
            else:
                self._guarded(what, partial(self._exchange, what, events))
        if self._behind:
            connection, _ = self._behind.popitem(last=False)
            self._guarded(connection, partial(self._take_next, connection, alive=True))
        self._loop.act()
        now = self._clock.monotonic()
        for due in self._moments.due(now):
            if isinstance(due, Door):
                self._doors.reopen(due)
            else:
                self._guarded(due, partial(self._check_time, due, now))

    def _guarded(self, connection: Connection, step: Callable[[], None]) -> None:
        """Do one step of a connection; whatever goes wrong ends this connection only."""
        began = time.thread_time()
        try:
            step()
        except VolumeError as error:
            self.dismiss(connection, None, error)
        except Exception:  # noqa: BLE001 - a bug with one peer's bytes must not reach the others
            self._log.exception("connection failed", peer=connection.who)
            self._drop(connection)
        self._charge(connection, began)

    def _charge(self, connection: Connection, began: float) -> None:
        """What this thread did since then was for this connection; whoever used too much of it is left waiting."""
        now = self._clock.monotonic()
        self._shares.used(connection.account, time.thread_time() - began, now)
        rest_s = self._shares.rest_s(connection.account, now)
        if rest_s > 0.0 and connection in self._connections and connection.ends is None:
            connection.rest(now, rest_s)
            self._behind.pop(connection, None)
            self._watch(connection)

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
        proof = Proof(door.vm, peer.uid, None, peer.context_id, peer.text, peer.place)
        connection = Connection(link, proof, peer.source, self._patience.alone_s if door.remote else None)
        self._connections.add(connection)
        self._loop.want(link, READ, connection)
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
        if events & WRITE:
            connection.link.flush()
        if not events & READ:
            # It is not read now, and does not wait for an answer any more: what it asked last is forgotten with it.
            self._go_on(connection, alive=not events & GONE)
        elif self._deaf or connection.ends is not None:
            # What comes now is forgotten: its sender asks again when the connection closes.
            self._go_on(connection, alive=connection.link.discard())
        else:
            alive = connection.link.receive()
            if connection.shaking and connection.link.ready:
                self._proven(connection)
            self._take_next(connection, alive=alive)

    def _take_next(self, connection: Connection, *, alive: bool) -> None:
        """Take one request out of what was read; there may be more."""
        if not self._deaf and connection.ends is None and (frame := connection.link.take()) is not None:
            connection.heard = self._clock.monotonic()
            self._arrived(connection, frame)
            if alive and connection.link.more:
                self._behind[connection] = None
        self._go_on(connection, alive=alive)

    def _go_on(self, connection: Connection, *, alive: bool) -> None:
        (self._watch if alive else self._drop)(connection)

    def _watch(self, connection: Connection) -> None:
        """Wait for what the connection needs now; close it if it only had to say goodbye and has done so."""
        if connection not in self._connections:
            return
        if connection.ends is not None and not connection.link.sending:
            self._drop(connection)
            return
        reads = connection.rests_until is None and connection not in self._behind
        self._loop.want(connection.link, (READ if reads else GONE) | (WRITE if connection.link.sending else 0), connection)
        self._moments.set(connection, connection.next_moment)

    def _check_time(self, connection: Connection, now: float) -> None:
        if connection.ends is not None and now >= connection.ends:
            self._drop(connection)
            return
        if connection.rested(now) and connection.link.more:
            self._behind[connection] = None
        self._watch(connection)
        if late := connection.late(now):
            raise BadFrame(late)
        self._moments.set(connection, connection.next_moment)

    def _drop(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.discard(connection)
            self._behind.pop(connection, None)
            self._moments.forget(connection)
            self._entrance.left(connection)
            self._loop.forget(connection.link)
            connection.link.close()
            self._left(connection)

    def _timeout(self) -> float | None:
        moments = [moment for moment in (self._moments.next, self._stop_by) if moment is not None]
        return max(0.0, min(moments) - self._clock.monotonic()) if moments else None
