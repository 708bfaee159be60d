"""Processes that can be killed: at a crash point, or at any moment. What a dead one still does reaches nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.doubles.memory_guest import AgentDied
from tests.doubles.simulated_clock import SimulatedClock, SimulatedProcess
from vmdkvol.points import Point


class Killed(BaseException):
    """The process ends here; no handler of the product may catch it."""


class Life:
    """One process. ``ended`` is called once, when it is killed."""

    def __init__(self, clock: SimulatedClock, ended: Callable[[], None]) -> None:
        self.process = SimulatedProcess(clock)
        self.over = False
        self._ended = ended
        self._armed: dict[Point, int] = {}
        # When it was stopped and went on again; the last one may be under way.
        self.stops: list[tuple[float, float]] = []

    def arm(self, point: Point, nth: int) -> None:
        """Kill the process when it passes ``point`` for the ``nth`` time from now."""
        self._armed[point] = nth

    def disarm(self) -> None:
        self._armed.clear()

    def kill(self) -> None:
        if not self.over:
            self.over = True
            self._ended()
            # Whoever is stopped is woken to find that it is dead.
            self.process.go_on()

    def stop(self, seconds: float) -> bool:
        """SIGSTOP for so long, if it is not stopped; whoever calls lets it go on."""
        if self.over or self.process.stopped:
            return False
        now = self.process.monotonic()
        self.stops.append((now, now + seconds))
        self.process.stop()
        return True

    def stopped_since(self, moment: float) -> bool:
        """Tell whether it was stopped at any time since then."""
        return any(end >= moment for _, end in self.stops)

    def at(self, point: Point) -> None:
        """What the product calls at each crash point."""
        if point in self._armed:
            self._armed[point] -= 1
            if not self._armed[point]:
                self.kill()
        self.check()

    def check(self) -> None:
        if self.over:
            raise Killed

    def around(self, port: Any) -> Any:
        """Return ``port`` as long as the process lives."""
        return _Mortal(port, self)


class _Mortal:
    def __init__(self, port: Any, life: Life) -> None:
        self._port = port
        self._life = life

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        mortal = self._mortal(found) if callable(found) else found
        self.__dict__[name] = mortal
        return mortal

    def _mortal(self, method: Callable[..., Any]) -> Callable[..., Any]:
        life = self._life

        def call(*args: Any, **keywords: Any) -> Any:
            life.check()
            try:
                result = method(*args, **keywords)
            except AgentDied:
                life.kill()
                raise Killed from None
            life.check()
            return result

        return call
