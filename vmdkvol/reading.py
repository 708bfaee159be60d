"""How a line reads what its service says. Values only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vmdkvol import frames, wire
from vmdkvol.frames import MAX_FRAME, Frame
from vmdkvol.messages import Request


@dataclass(frozen=True, slots=True)
class Reading:
    """``most`` is the longest frame, ``cut`` makes one of its bytes, ``reply`` makes the answer or raises the error in it.

    By itself everything is read strictly, from whomever it comes.
    """

    most: int = MAX_FRAME
    cut: Callable[[bytes], Frame] = frames.read
    reply: Callable[[Request[Any], Frame], Any] = wire.read_reply


STRICT = Reading()
