"""A Unix socket of the guest that leads to a port of the tests' computer: ``relay.py SOCKET PORT``, until it is killed."""

from __future__ import annotations

import os
import socket
import sys
import threading

OUTSIDE = "10.0.2.2"


def pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
    except OSError:
        pass
    for each in (source, target):
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def main(path: str, port: str) -> None:
    listener = socket.socket(socket.AF_UNIX)
    if os.path.exists(path):
        os.unlink(path)
    os.umask(0o177)
    listener.bind(path)
    listener.listen(64)
    while True:
        caller, _ = listener.accept()
        try:
            outside = socket.create_connection((OUTSIDE, int(port)), 10)
        except OSError:
            caller.close()
            continue
        outside.settimeout(None)
        for one, other in ((caller, outside), (outside, caller)):
            threading.Thread(target=pump, args=(one, other), daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
