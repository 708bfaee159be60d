"""JSON messages, one a line, over a Unix socket: how QEMU (QMP) and the exec port of a guest are spoken to."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Message = Mapping[str, Any]
# What a program that was just started may take until its socket is there, on a machine that has others to serve.
CONNECT_S = 60.0


class Gone(AssertionError):
    """The other end closed the connection, or did not say in time what was waited for."""


class JsonLines:
    """A connection with a thread that reads. Answers go to who asked, by ``id``; all else is news, kept in order."""

    def __init__(self, path: Path, timeout_s: float = CONNECT_S) -> None:
        self._socket = _connected(path, timeout_s)
        self._changed = threading.Condition()
        self._answers: dict[int, Message] = {}
        self._news: list[Message] = []
        self._last = 0
        self._closed = False
        self._reader = threading.Thread(target=self._read, name=f"lines {path.name}", daemon=True)
        self._reader.start()

    def ask(self, message: Message, timeout_s: float) -> Message:
        """Return the answer to ``message``; Gone if there is none in time."""
        with self._changed:
            self._last += 1
            number = self._last
        try:
            self._socket.sendall(json.dumps({**message, "id": number}).encode() + b"\n")
        except OSError as error:
            raise Gone(f"{message} could not be sent: {error}") from error
        with self._changed:
            self._changed.wait_for(lambda: number in self._answers or self._closed, timeout_s)
            if number not in self._answers:
                raise Gone(f"no answer within {timeout_s:g} s to {str(message)[:200]}")
            return self._answers.pop(number)

    def told(self) -> int:
        """Return how much news there was: what ``wait`` begins at."""
        with self._changed:
            return len(self._news)

    def wait(self, fits: Callable[[Message], bool], since: int, timeout_s: float, what: str) -> Message:
        """Return the first news from number ``since`` on that fits, waiting for it; Gone, naming ``what``, if none comes."""

        def found() -> Message | None:
            return next((news for news in self._news[since:] if fits(news)), None)

        with self._changed:
            self._changed.wait_for(lambda: found() is not None or self._closed, timeout_s)
            news = found()
        if news is None:
            raise Gone(f"not within {timeout_s:g} s: {what}")
        return news

    def close(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            # The other end was faster.
            pass
        self._reader.join()
        self._socket.close()

    def _read(self) -> None:
        buffer = b""
        while data := self._received():
            *lines, buffer = (buffer + data).split(b"\n")
            with self._changed:
                for line in lines:
                    self._take(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _received(self) -> bytes:
        try:
            return self._socket.recv(1 << 16)
        except OSError:
            return b""

    def _take(self, message: Message) -> None:
        if "id" in message:
            self._answers[message["id"]] = message
        else:
            self._news.append(message)


def _connected(path: Path, timeout_s: float) -> socket.socket:
    until = time.monotonic() + timeout_s
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(path))
        except OSError as error:
            connection.close()
            if time.monotonic() > until:
                raise Gone(f"{path} does not answer: {error}") from error
            time.sleep(0.02)
        else:
            return connection
