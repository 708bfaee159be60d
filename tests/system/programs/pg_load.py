"""Transactions on a PostgreSQL server, each told when its commit is acknowledged: a program for a guest, without a library.

    pg_load.py SOCKET TOLD CLIENTS     until it is killed or the server is gone

Each client moves an amount between two accounts and writes a numbered line into a journal, in one transaction; then
"CLIENT NUMBER" goes to ``TOLD``. The sum of all accounts stays 0, whatever is killed (wire protocol 3.0, "Message Formats").
"""

from __future__ import annotations

import os
import random
import socket
import struct
import sys
import threading
from collections.abc import Callable

ACCOUNTS = 200
SCHEMA = (
    "CREATE EXTENSION IF NOT EXISTS amcheck",
    "CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL, filler text)",
    f"INSERT INTO accounts SELECT i, 0, repeat('x', 200) FROM generate_series(1, {ACCOUNTS}) i",
    "CREATE TABLE journal (client int, number int, amount bigint, note text, PRIMARY KEY (client, number))",
    "CREATE INDEX ON journal (amount)",
)


class ServerGone(Exception):
    """The server closed the connection, or refused a statement."""


class Connection:
    """A session of user postgres; trust is how the server knows it."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._file = self._socket.makefile("rb")
        parameters = b"user\0postgres\0database\0postgres\0\0"
        self._socket.sendall(struct.pack(">ii", len(parameters) + 8, 3 << 16) + parameters)
        self._until_ready()

    def do(self, statements: str) -> None:
        """Return when the server has acknowledged all of them; ServerGone with its words if it refuses one."""
        text = statements.encode() + b"\0"
        self._socket.sendall(b"Q" + struct.pack(">i", len(text) + 4) + text)
        self._until_ready()

    def _until_ready(self) -> None:
        refused = b""
        while True:
            head = self._file.read(5)
            if len(head) < 5:
                raise ServerGone("the server closed the connection")
            kind, length = head[:1], struct.unpack(">i", head[1:])[0]
            body = self._file.read(length - 4)
            if kind == b"E":
                refused = body
            elif kind == b"Z":
                break
        if refused:
            raise ServerGone(refused.replace(b"\0", b" ").decode("utf-8", "replace"))


def transaction(client: int, number: int) -> str:
    chosen = random.Random(f"{client} {number}")
    one, other = chosen.sample(range(1, ACCOUNTS + 1), 2)
    amount = chosen.randrange(1, 1000)
    note = chosen.randbytes(chosen.randrange(10, 400)).hex()
    # In one order of accounts, so that two of them never wait for each other.
    moved = sorted([(one, -amount), (other, amount)])
    updates = "".join(f"UPDATE accounts SET balance = balance + ({by}) WHERE id = {id};" for id, by in moved)
    return f"BEGIN;{updates}INSERT INTO journal VALUES ({client}, {number}, {amount}, '{note}');COMMIT"


def work(path: str, client: int, told: Callable[[bytes], object]) -> None:
    connection = Connection(path)
    number = 0
    while True:
        number += 1
        connection.do(transaction(client, number))
        told(f"{client} {number}\n".encode())


def main(path: str, told: str, clients: str) -> None:
    file = os.open(told, os.O_WRONLY)
    lock = threading.Lock()

    def tell(line: bytes) -> None:
        with lock:
            os.write(file, line)

    first = Connection(path)
    for statement in SCHEMA:
        first.do(statement)
    for client in range(int(clients)):
        threading.Thread(target=work, args=(path, client, tell)).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
