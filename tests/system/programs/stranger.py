"""What a program without a certificate is told by the service: ``stranger.py ADDRESS``, with the agent's code on PYTHONPATH.

Prints for each request the answer's kind, or the code of the refusal.
"""

from __future__ import annotations

import sys

from vmdkvol.addresses import parse_address
from vmdkvol.clock import SystemClock
from vmdkvol.dialing import ask_once
from vmdkvol.errors import VolumeError
from vmdkvol.messages import NEWEST_VERSION, OLDEST_VERSION, Hello, Introduce, ListAttached, Request
from vmdkvol.tls import StrangerSide

LIMIT_S = 60.0
HELLO = Hello(OLDEST_VERSION, NEWEST_VERSION, "stranger", "boot")


def told(address: str, request: Request[object]) -> str:
    try:
        answer = ask_once(parse_address(address), request, SystemClock(), LIMIT_S, StrangerSide(None))
    except VolumeError as error:
        return error.code
    return type(answer).__name__


def main(address: str) -> None:
    for request in (Introduce(), HELLO, ListAttached()):
        print(type(request).__name__, told(address, request), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
