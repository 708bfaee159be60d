"""Who is asked what, how long it takes and what comes of it, told to a meter. Nothing of the work changes by it."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from vmdkvol.clock import Clock
from vmdkvol.errors import VolumeError, one_line
from vmdkvol.messages import Call, Hello, Request
from vmdkvol.volume import VmId
from vmdkvol_esx.callers import Caller, Proof

OK, INTERNAL, OTHER = "ok", "internal", "other"
# A label's values are no more than these, whatever guests send.
_NAME, _AGENT = 80, 40
_MOST_GUESTS = 2000
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")

Handle = Callable[[Request[Any], Call], Any]
Identify = Callable[[Proof, Hello], Caller]


class Meter(Protocol):
    """Counts what it is told. Waits for nothing and raises nothing."""

    def began(self, op: str) -> None: ...
    def ended(self, op: str, result: str, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Guest:
    """An agent that said Hello to this process: ``connects`` times, and asked last at ``seen_at`` (UTC seconds)."""

    name: str
    agent: str
    protocol: int
    seen_at: float
    connects: int = 1


class Observer:
    """For any thread."""

    def __init__(self, meter: Meter, clock: Clock, kinds: Iterable[type[Request[Any]]]) -> None:
        """``kinds`` are the requests that have a name of their own; all others are one."""
        self._meter = meter
        self._clock = clock
        self._ops = {kind: operation(kind) for kind in kinds}
        self._lock = clock.condition()
        self._guests: OrderedDict[VmId, Guest] = OrderedDict()

    def around(self, handle: Handle) -> Handle:
        """Return ``handle``, observed."""

        def observed(request: Request[Any], call: Call) -> Any:
            op, result, began = self._ops.get(type(request), OTHER), INTERNAL, self._clock.monotonic()
            self._meter.began(op)
            try:
                answer = handle(request, call)
                result = OK
                return answer
            except VolumeError as error:
                result = error.code
                raise
            finally:
                self._meter.ended(op, result, self._clock.monotonic() - began)
                self._seen(call.caller)

        return observed

    def greeting(self, identify: Identify) -> Identify:
        """Return ``identify``; who it lets in is a guest from then on."""

        def identified(proof: Proof, hello: Hello) -> Caller:
            caller = identify(proof, hello)
            with self._lock:
                before = self._guests.pop(caller.vm, None)
                self._guests[caller.vm] = Guest(
                    one_line(caller.name, _NAME),
                    one_line(hello.agent, _AGENT),
                    hello.newest,
                    self._clock.wall(),
                    1 if before is None else before.connects + 1,
                )
                if len(self._guests) > _MOST_GUESTS:
                    self._guests.popitem(last=False)
            return caller

        return identified

    def guests(self) -> dict[VmId, Guest]:
        """Return the agents that said Hello since this process began."""
        with self._lock:
            return dict(self._guests)

    def _seen(self, vm: VmId | None) -> None:
        if vm is None:
            return
        with self._lock:
            guest = self._guests.get(vm)
            if guest is not None:
                self._guests[vm] = replace(guest, seen_at=self._clock.wall())


def operation(kind: type[Request[Any]]) -> str:
    """Return what a request is called in figures: ``create-volume``."""
    return _WORDS.sub("-", kind.__name__).lower()
