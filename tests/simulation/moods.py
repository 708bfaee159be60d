"""A hypervisor that answers late, never, or with the wrong object; the truth behind it stays what it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from tests.doubles.simulated_clock import SimulatedClock
from vmdkvol.errors import HypervisorUnreachable
from vmdkvol.volume import DiskUuid, VmId
from vmdkvol_esx.ports import DeviceLists, Disk, DiskPath, Vm

# No caller of the product's waits that long.
_NEVER_S = 1e6


@dataclass(slots=True)
class _Hang:
    seconds: float
    done: bool


class Moods:
    """What the next calls of a method run into, for every process of the service."""

    def __init__(self, clock: SimulatedClock) -> None:
        self._clock = clock
        self._changed = clock.condition()
        self._hangs: dict[str, _Hang] = {}
        self._wrong: dict[str, int] = {}
        self._healed = 0

    def hang(self, method: str, seconds: float | None, *, done: bool) -> None:
        """The next call stands so long, None for ever; ``done``: before its answer, else before anything is done."""
        self._hangs[method] = _Hang(_NEVER_S if seconds is None else seconds, done)

    def answer_wrong(self, method: str, times: int) -> None:
        self._wrong[method] = times

    def heal(self) -> None:
        """Whoever stands goes on, and nothing of this happens any more."""
        self._hangs.clear()
        self._wrong.clear()
        with self._changed:
            self._healed += 1
            self._changed.notify_all()

    def around(self, port: Any, check: Callable[[], None]) -> Any:
        """Return ``port`` in this mood; ``check`` raises if the process that calls has ended meanwhile."""
        return _Moody(port, self, check)

    def stand(self, method: str, *, done: bool) -> bool:
        """Hang if the next call of ``method`` is to, at this side of it; tell whether it was for ever."""
        hang = self._hangs.get(method)
        if hang is None or hang.done is not done:
            return False
        del self._hangs[method]
        until = self._clock.monotonic() + hang.seconds
        with self._changed:
            healed = self._healed
            while self._healed == healed and self._clock.monotonic() < until:
                self._changed.wait(until - self._clock.monotonic())
        return hang.seconds == _NEVER_S

    def wrong(self, method: str) -> bool:
        if not self._wrong.get(method):
            return False
        self._wrong[method] -= 1
        return True


class _Moody:
    def __init__(self, port: Any, moods: Moods, check: Callable[[], None]) -> None:
        self._port = port
        self._moods = moods
        self._check = check

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        moody = self._moody(name, found)
        self.__dict__[name] = moody
        return moody

    def _moody(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        moods = self._moods

        def call(*args: Any, **keywords: Any) -> Any:
            if moods.stand(name, done=False):
                raise HypervisorUnreachable("the hypervisor did not answer")
            # A call of a process that ended before it was begun never reaches the hypervisor.
            self._check()
            result = method(*args, **keywords)
            moods.stand(name, done=True)
            return _another(name, args, result) if moods.wrong(name) else result

        return call


def _another(name: str, args: tuple[Any, ...], result: Any) -> Any:
    """Return the answer to another question than the one that was asked."""
    match result:
        case DeviceLists():
            kept = list(result.lists.items())[1:]
            return replace(result, lists=dict(kept))
        case Disk():
            other = DiskUuid(UUID(int=result.ref.uuid.int ^ 1))
            return replace(result, ref=replace(result.ref, uuid=other, path=DiskPath(result.ref.path.datastore, "other.vmdk")))
        case Vm():
            return replace(result, id=VmId(UUID(int=result.id.int ^ 1)), name="another", running=not result.running)
        case bytes():
            return None
    return result
