"""What a query is answered goes through as the core wrote it: to read and write a page of values takes ms. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vmdkvol import wire
from vmdkvol.frames import Frame
from vmdkvol.messages import Request
from vmdkvol.orders import Query


@dataclass(frozen=True, slots=True)
class Plain:
    """An answer as JSON has it, by the core's word alone: it is of the same installation."""

    body: Any


def read_reply(request: Request[Any], frame: Frame) -> Any:
    """As ``wire.read_reply``, but the answer of a query is a Plain one."""
    if isinstance(request, Query) and frame.type == wire.ANSWER:
        return Plain(frame.body)
    return wire.read_reply(request, frame)
