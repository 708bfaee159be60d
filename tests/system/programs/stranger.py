"""What a program without a certificate is told by the service: ``stranger.py ADDRESS``, with the agent's code on PYTHONPATH.

It calls from a privileged port of vsock, which root of a container gets (faults 1.9). Prints for each request the answer's
kind, or the code of the refusal.
"""

from __future__ import annotations

import random
import socket
import sys

from vmdkvol.addresses import Address, VsockAddress, parse_address
from vmdkvol.clock import SystemClock
from vmdkvol.dialing import ask_once
from vmdkvol.errors import VolumeError
from vmdkvol.messages import NEWEST_VERSION, OLDEST_VERSION, Hello, Introduce, ListAttached, Request
from vmdkvol.tls import StrangerSide

LIMIT_S = 60.0
HELLO = Hello(OLDEST_VERSION, NEWEST_VERSION, "stranger", "boot")


def connect(address: Address, timeout_s: float) -> socket.socket:
    assert isinstance(address, VsockAddress)
    connection = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    # Any free one of those that the kernel keeps for whoever has the right.
    connection.bind((socket.VMADDR_CID_ANY, random.randrange(600, 1024)))
    connection.settimeout(timeout_s)
    connection.connect((address.cid, address.port))
    connection.setblocking(False)
    return connection


def told(address: str, request: Request[object]) -> str:
    try:
        answer = ask_once(parse_address(address), request, SystemClock(), LIMIT_S, StrangerSide(None), connect)
    except VolumeError as error:
        return error.code
    return type(answer).__name__


def main(address: str) -> None:
    for request in (Introduce(), HELLO, ListAttached()):
        print(type(request).__name__, told(address, request), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
