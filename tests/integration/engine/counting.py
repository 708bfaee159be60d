"""Between an engine and a plugin: every call is passed on as it is, counted, and timed from its arrival to its answer."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType


@dataclass(frozen=True, slots=True)
class Called:
    """``status`` is 0 when the connection was closed without an answer; ``error`` tells whether the answer has an Err."""

    endpoint: str
    arrived_s: float
    took_s: float
    status: int
    error: bool


class Counting:
    """Listens on ``path`` for what listens on ``plugin``, until it is left."""

    def __init__(self, path: Path, plugin: Path) -> None:
        self._path = path
        self._plugin = plugin
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="counting")
        self._server: asyncio.Server | None = None
        self._calls: list[Called] = []

    def __enter__(self) -> Counting:
        self._thread.start()
        listen = asyncio.start_unix_server(self._serve, str(self._path), backlog=4096)
        self._server = asyncio.run_coroutine_threadsafe(listen, self._loop).result(20)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    def taken(self) -> list[Called]:
        """Return what was called since the last time."""
        calls, self._calls = self._calls, []
        return calls

    async def _end(self) -> None:
        assert self._server is not None
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError), contextlib.closing(writer):
            while True:
                head, body = await _message(reader)
                arrived = time.monotonic()
                answer = await self._passed_on(head + body)
                text = answer.partition(b"\r\n\r\n")
                endpoint = head.split(b" ")[1].rpartition(b".")[2].decode()
                status = int(text[0].split(b" ")[1]) if answer else 0
                error = b'"Err"' in text[2] and b'"Err":""' not in text[2].replace(b" ", b"")
                self._calls.append(Called(endpoint, arrived, time.monotonic() - arrived, status, error))
                writer.write(answer)
                await writer.drain()
                if not answer or b"connection: close" in text[0].lower():
                    return

    async def _passed_on(self, message: bytes) -> bytes:
        """Return the plugin's answer, empty if it hung up."""
        reader, writer = await asyncio.open_unix_connection(str(self._plugin))
        with contextlib.closing(writer):
            writer.write(message)
            try:
                return b"".join(await _message(reader))
            except (asyncio.IncompleteReadError, ConnectionError):
                return b""


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return the head and the body of an HTTP/1.1 message with a length."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return head, await reader.readexactly(int(line.partition(b":")[2]))
    assert b"chunked" not in head.lower(), head
    return head, b""


def counts(calls: list[Called]) -> Counter[str]:
    return Counter(call.endpoint for call in calls)


def slowest_s(calls: list[Called], *endpoints: str) -> float:
    return max((call.took_s for call in calls if call.endpoint in endpoints), default=0.0)
