"""Faults around any port: fail before the call, fail after it (the answer is lost), delay it, hang it; the n-th call only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from vmdkvol.clock import Clock, Condition, Deadline

P = TypeVar("P")


class Gate:
    """Where a hanging call stands until ``open``; ``reached`` waits until one does."""

    def __init__(self, changed: Condition, clock: Clock) -> None:
        self._changed = changed
        self._clock = clock
        self._waiting = 0
        self._opened = False

    def open(self) -> None:
        with self._changed:
            self._opened = True
            self._changed.notify_all()

    def reached(self, within_s: float = 5.0) -> bool:
        """Wait until a call hangs here; tell whether one does."""
        deadline = Deadline.after(self._clock, within_s)
        with self._changed:
            while not self._waiting and not deadline.passed:
                self._changed.wait(deadline.left_s)
            return self._waiting > 0

    def pass_through(self) -> None:
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()
            while not self._opened:
                self._changed.wait()
            self._waiting -= 1


@dataclass(slots=True)
class _Fault:
    """Strikes from the ``nth`` matching call on, ``times`` times."""

    method: str
    nth: int
    times: int
    before: Callable[[], None] | None = None
    after: Callable[[], None] | None = None
    seen: int = 0

    def strikes(self, method: str) -> bool:
        if method != self.method:
            return False
        self.seen += 1
        return self.nth <= self.seen < self.nth + self.times


@dataclass(slots=True)
class Faults:
    """A script of faults. Each method adds one; counting starts when it is added. ``calls`` is what was called so far."""

    clock: Clock
    calls: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)
    _script: list[_Fault] = field(default_factory=list)

    def fail_before(self, method: str, error: Exception, *, nth: int = 1, times: int = 1) -> None:
        """Raise ``error`` instead of the call: nothing happened."""
        self._script.append(_Fault(method, nth, times, before=_raiser(error)))

    def fail_after(self, method: str, error: Exception, *, nth: int = 1, times: int = 1) -> None:
        """Do the call, then raise ``error``: it happened, and its answer is lost."""
        self._script.append(_Fault(method, nth, times, after=_raiser(error)))

    def delay(self, method: str, seconds: float, *, nth: int = 1, times: int = 1) -> None:
        """Do the call ``seconds`` later."""
        self._script.append(_Fault(method, nth, times, before=lambda: self.clock.sleep(seconds)))

    def hang(self, method: str, *, nth: int = 1, times: int = 1) -> Gate:
        """Let the call stand at the gate that is returned, until it is opened; then it is done."""
        gate = Gate(self.clock.condition(), self.clock)
        self._script.append(_Fault(method, nth, times, before=gate.pass_through))
        return gate

    def around(self, port: P) -> P:
        """Return ``port`` with this script around each of its methods."""
        return cast(P, _Wrapped(port, self))

    def count(self, method: str) -> int:
        """Return how often ``method`` was called, failed calls included."""
        return sum(name == method for name, _ in self.calls)

    def striking(self, method: str, args: tuple[Any, ...]) -> list[_Fault]:
        self.calls.append((method, args))
        return [fault for fault in self._script if fault.strikes(method)]


class _Wrapped:
    def __init__(self, port: object, faults: Faults) -> None:
        self._port = port
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        return self._with_faults(name, found) if callable(found) else found

    def _with_faults(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **keywords: Any) -> Any:
            striking = self._faults.striking(name, args)
            for fault in striking:
                if fault.before is not None:
                    fault.before()
            result = method(*args, **keywords)
            for fault in striking:
                if fault.after is not None:
                    fault.after()
            return result

        return call


def _raiser(error: Exception) -> Callable[[], None]:
    def strike() -> None:
        raise error

    return strike
