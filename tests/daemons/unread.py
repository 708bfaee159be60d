"""An application with a long answer, behind the agent's listener with a short patience: for the test of unread answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from vmdkvol.listening import BoundedWorker

# More than a unix socket takes that nobody reads from.
LONG_BYTES = 8 << 20


class HastyWorker(BoundedWorker):
    """Gives up an answer of which nothing was taken for a second."""

    send_s = 1


def application(environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [bytes(LONG_BYTES) if environ["PATH_INFO"] == "/long" else b"short"]
