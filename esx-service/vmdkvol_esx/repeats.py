"""A call that comes again: the answer that was kept for it, or the refusal that it got."""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any
from uuid import UUID

from vmdkvol import frames
from vmdkvol.errors import (
    BadFrame,
    BadRequest,
    Conflict,
    Denied,
    Exhausted,
    NotFound,
    StaleRequest,
    VolumeError,
    from_code,
)
from vmdkvol.messages import Request
from vmdkvol.volume import VmId
from vmdkvol.wire import dump, load

# Errors that say what is. Every other one says that the call may still take effect, so its repeat goes on with it.
REFUSALS = (BadRequest, NotFound, Conflict, Denied, Exhausted)
# Calls of a minute from every host of a large site.
_REFUSALS_KEPT = 10_000


class Refused:
    """The calls that were refused: a second copy that comes late must not do what the user was told is not done (F32)."""

    def __init__(self, now: Callable[[], float] = lambda: 0.0, kept_s: float = math.inf) -> None:
        """Each is kept for ``kept_s`` of ``now``, and only the latest ones."""
        self._now = now
        self._kept_s = kept_s
        # In memory: what is on its way on a connection ends with this process.
        self._refused: OrderedDict[tuple[VmId, UUID], tuple[float, Request[Any], VolumeError]] = OrderedDict()

    def check(self, caller: VmId, call: UUID, request: Request[Any]) -> None:
        """Raise what this call was refused with, StaleRequest if it was another request that was."""
        refused = self._refused.get((caller, call))
        if refused is None:
            return
        at, asked, error = refused
        if self._now() - at > self._kept_s:
            return
        # Anew: several threads may raise it, and each has a traceback of its own.
        raise _copy(error) if asked == request else _another_request()

    def keep(self, caller: VmId, call: UUID, request: Request[Any], error: VolumeError) -> None:
        self._refused[caller, call] = (self._now(), request, _copy(error))
        self._refused.move_to_end((caller, call))
        if len(self._refused) > _REFUSALS_KEPT:
            self._refused.popitem(last=False)


def write(request: Request[Any], answer: object) -> bytes:
    """Return what is stored of an answer, so that ``read`` finds it for the same request and for no other."""
    return frames.encode({"request": _digest(request), "answer": dump(answer)})


def read(request: Request[Any], stored: bytes) -> Any:
    """Return the answer in what ``write`` made; StaleRequest if it is that of another request, BadFrame if it is none."""
    return load(request.answer, plain(request, stored))


def plain(request: Request[Any], stored: bytes) -> Any:
    """Return the answer as JSON has it; raises as ``read``."""
    data = frames.parse(stored)
    if not isinstance(data, dict) or data.keys() != {"request", "answer"}:
        raise BadFrame("the stored answer of this call cannot be read")
    if data["request"] != _digest(request):
        raise _another_request()
    return data["answer"]


def _copy(error: VolumeError) -> VolumeError:
    return from_code(error.code, error.text, error.fields, error.remedy)


def _another_request() -> StaleRequest:
    # A guest that counts its calls anew, as a VM does that was reset to a snapshot, must not get another's answer.
    return StaleRequest("another request was made with this call id", remedy="ask with a new call id")


def _digest(request: Request[Any]) -> str:
    return hashlib.sha256(frames.encode([type(request).__name__, dump(request)])).hexdigest()
