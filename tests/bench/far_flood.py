"""A machine that sends requests as fast as they are taken, on four connections, and looks at no answer.

Run as ``python -m tests.bench.far_flood ADDRESS CERTIFICATE AUTHORITY``. It floods from each line of its input to the next.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from pathlib import Path
from uuid import uuid4

from tests.doubles.channel_ends import RawGuest
from tests.doubles.far_channel import InTls
from vmdkvol import wire
from vmdkvol.channel import TcpAddress, parse_address
from vmdkvol.messages import ListAttached
from vmdkvol.tls import AgentSide

CONNECTIONS = 4


class Flood:
    def __init__(self, address: TcpAddress, side: AgentSide) -> None:
        self._sockets = [socket.create_connection((address.host, address.port)) for _ in range(CONNECTIONS)]
        guests = [RawGuest(InTls(each, side)) for each in self._sockets]
        for guest in guests:
            guest.hello(1, 3)
        self._threads = [threading.Thread(target=self._send, args=(guest,)) for guest in guests]
        self._threads += [threading.Thread(target=self._drain, args=(each,)) for each in self._sockets]
        for each in self._sockets:
            each.settimeout(None)
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in self._sockets:
            each.close()

    def _send(self, guest: RawGuest) -> None:
        pile = b"".join(wire.write_request(ListAttached(), uuid4(), 5.0) for _ in range(200))
        while guest.try_to_send(pile):
            pass

    def _drain(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while connection.recv(1 << 16):
                pass


def main(address: str, certificate: str, authority: str) -> None:
    parsed = parse_address(address)
    assert isinstance(parsed, TcpAddress)
    flood: Flood | None = None
    for _ in sys.stdin:
        if flood is None:
            flood = Flood(parsed, AgentSide(Path(certificate), Path(authority)))
        else:
            flood.end()
            flood = None
        print("done", flush=True)
    if flood is not None:
        flood.end()


if __name__ == "__main__":
    main(*sys.argv[1:])
