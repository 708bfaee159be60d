"""What a query is answered goes through as the core wrote it: to read and write a page of values takes ms. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from vmdkvol import frames, wire
from vmdkvol.frames import Frame, Written
from vmdkvol.messages import Request
from vmdkvol.orders import Query
from vmdkvol.reading import Reading

_KEY = b'"next":'
_NEXT = re.compile(_KEY + rb'(null|-?[0-9]+|"[^"\\]*")')


@dataclass(frozen=True, slots=True)
class Plain:
    """An answer as the JSON that it is, by the core's word alone: it is of the same installation."""

    text: bytes

    @property
    def body(self) -> Any:
        """What it says; read each time."""
        return json.loads(self.text)

    @property
    def next(self) -> str | int | None:
        """What it says under ``next``; of a page, for which nothing else of it need be read."""
        # Inside a text a quote has a backslash before it, so this is a key. If it is not the only such key all is read.
        found = _NEXT.search(self.text)
        alone = found is not None and self.text.count(_KEY) == 1
        following: str | int | None = json.loads(found[1]) if found is not None and alone else self.body.get("next")
        return following


def read_reply(request: Request[Any], frame: Frame) -> Any:
    """As ``wire.read_reply``, but the answer of a query is a Plain one."""
    if isinstance(request, Query) and frame.type == wire.ANSWER:
        return Plain(frame.body.text if isinstance(frame.body, Written) else frames.encode(frame.body))
    return wire.read_reply(request, frame)


# How the API reads the core at the admin socket.
READING = Reading(frames.MAX_LISTING, frames.read_unopened, read_reply)
