"""What a query is answered goes through as the core wrote it: to read and write a page of values takes ms. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from vmdkvol import frames, wire
from vmdkvol.frames import Frame, Written
from vmdkvol.messages import Request
from vmdkvol.orders import Query
from vmdkvol.reading import Reading


@dataclass(frozen=True, slots=True)
class Plain:
    """An answer as the JSON that it is, by the core's word alone: it is of the same installation."""

    text: bytes

    @property
    def body(self) -> Any:
        """What it says; read each time."""
        return json.loads(self.text)


def read_reply(request: Request[Any], frame: Frame) -> Any:
    """As ``wire.read_reply``, but the answer of a query is a Plain one."""
    if isinstance(request, Query) and frame.type == wire.ANSWER:
        return Plain(frame.body.text if isinstance(frame.body, Written) else frames.encode(frame.body))
    return wire.read_reply(request, frame)


# How the API reads the core at the admin socket.
READING = Reading(frames.MAX_LISTING, frames.read_unopened, read_reply)
