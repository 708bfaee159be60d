"""The addresses that the service listens at: opened all or none, accepted from a few at a time."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass

from vmdkvol.channel import Address, Listen, Listener, Peer, UnixAddress
from vmdkvol.errors import BadRequest
from vmdkvol.volume import VmId
from vmdkvol_esx.loop import READ, Loop

# Connections that one turn accepts on a socket: a flood of them is refused piece by piece.
_ACCEPTS = 8


@dataclass(slots=True, eq=False)
class Door:
    """A listener, and the machine whose socket it is; who comes in at a ``remote`` one has to prove who it is by TLS."""

    listener: Listener
    vm: VmId | None
    remote: bool


class Doors:
    """The loop tells of connections at a door, unless that rests."""

    def __init__(self, sockets: Mapping[Address, VmId | None], listen: Listen, loop: Loop) -> None:
        self._sockets = sockets
        self._listen = listen
        self._loop = loop
        self._doors: list[Door] = []

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens."""
        return tuple(door.listener.address for door in self._doors)

    def open(self, *, secured: bool) -> None:
        """Listen on every socket, or on none: raises what ``listen`` raises, BadRequest for one that nothing secures."""
        try:
            for address, vm in self._sockets.items():
                remote = not isinstance(address, UnixAddress)
                if remote and not secured:
                    raise BadRequest(f"{address} needs certificates", remedy="listen on Unix sockets only")
                self._doors.append(Door(self._listen(address), vm, remote))
        except BaseException:
            self.close()
            raise
        for door in self._doors:
            self.reopen(door)

    def accept(self, door: Door) -> tuple[list[tuple[socket.socket, Peer]], OSError | None]:
        """Return some of those who wait. With an error, no descriptors left, say, the door rests until ``reopen``."""
        found: list[tuple[socket.socket, Peer]] = []
        while len(found) < _ACCEPTS:
            try:
                found.append(door.listener.accept())
            except BlockingIOError:
                break
            except OSError as error:
                # It stays readable: the loop would tell of nothing else.
                self._loop.forget(door.listener)
                return found, error
        return found, None

    def reopen(self, door: Door) -> None:
        """Accept again; nothing if the door is closed."""
        if door in self._doors:
            self._loop.want(door.listener, READ, door)

    def close(self) -> None:
        """Listen no more; a second time does nothing."""
        for door in self._doors:
            self._loop.forget(door.listener)
            door.listener.close()
        self._doors = []
