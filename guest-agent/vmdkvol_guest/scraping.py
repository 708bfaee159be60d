"""A small HTTP server for whoever watches the agent: GET on a few paths, one peer after the other, each for a short time.

It is apart from Docker's socket: who scrapes may neither mount nor hold up a mount.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable, Mapping
from typing import Any

from vmdkvol import channel
from vmdkvol.channel import Address, Listen, Listener
from vmdkvol.clock import Clock, Deadline, Worker
from vmdkvol.errors import VolumeError, one_line
from vmdkvol_guest.ports import Log

# What a peer may take in all, and how much it may say.
_PEER_S = 2.0
_MOST_BYTES = 8192
# Until the place is free: the worker before this one may still have it.
_AGAIN_S = 1.0
_LOOK_S = 0.5
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 500: "Internal Server Error", 503: "Service Unavailable"}
TEXT, METRICS = "text/plain; charset=utf-8", "text/plain; version=0.0.4; charset=utf-8"

Page = Callable[[], tuple[int, str]]


class Scraping:
    """``start`` once, ``stop`` in the end; a thread of its own."""

    def __init__(
        self, address: Address, pages: Mapping[str, tuple[str, Page]], clock: Clock, log: Log, listen: Listen = channel.listen
    ) -> None:
        """``pages`` are what is answered at each path: the content's type, and a status with the text."""
        self._address = address
        self._pages = pages
        self._clock = clock
        self._log = log
        self._listen = listen
        self._stopping = False
        self._worker: Worker | None = None

    def start(self) -> None:
        self._worker = self._clock.start("scraping", self._run)

    def stop(self, deadline: Deadline) -> None:
        """End the thread and give the place free; again is fine."""
        self._stopping = True
        if self._worker is not None:
            self._worker.join(deadline.left_s)

    def _run(self) -> None:
        listener = self._opened()
        if listener is None:
            return
        try:
            self._serve_all(listener)
        finally:
            listener.close()

    def _serve_all(self, listener: Listener) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            while not self._stopping:
                if selector.select(_LOOK_S):
                    self._serve(listener)

    def _opened(self) -> Listener | None:
        told = ""
        while not self._stopping:
            try:
                return self._listen(self._address)
            except (VolumeError, OSError) as error:
                if str(error) != told:
                    told = str(error)
                    self._log.warning("figures are not told yet", address=str(self._address), error=told)
                self._clock.sleep(_AGAIN_S)
        return None

    def _serve(self, listener: Listener) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            try:
                deadline = Deadline.after(self._clock, _PEER_S)
                head = self._head(connection, deadline)
                connection.settimeout(max(0.01, deadline.left_s))
                connection.sendall(self._answer(head))
            except OSError:
                # It left, or reads nothing: its own loss.
                return

    def _head(self, connection: Any, deadline: Deadline) -> bytes:
        """Return what came until the end of the head, or the limits of time and size."""
        head = b""
        while b"\r\n\r\n" not in head and len(head) < _MOST_BYTES and not deadline.passed:
            connection.settimeout(max(0.01, deadline.left_s))
            more = connection.recv(_MOST_BYTES)
            if not more:
                break
            head += more
        return head

    def _answer(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if b"\r\n\r\n" not in head or len(words) != 3 or words[0] != b"GET":
            return _reply(400, TEXT, "only GET is answered here\n")
        page = self._pages.get(words[1].split(b"?")[0].decode("ascii", "replace"))
        if page is None:
            return _reply(404, TEXT, f"there are: {', '.join(sorted(self._pages))}\n")
        try:
            status, text = page[1]()
        except Exception as error:  # noqa: BLE001 - top of a request: the next one is answered, whatever went wrong
            self._log.error("figures not told", error=one_line(f"{type(error).__name__}: {error}"))
            return _reply(500, TEXT, "see the agent's log\n")
        return _reply(status, page[0], text)


def _reply(status: int, kind: str, text: str) -> bytes:
    body = text.encode()
    lines = (
        f"HTTP/1.1 {status} {_REASONS[status]}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        "\r\n",
    )
    return "\r\n".join(lines).encode() + body
