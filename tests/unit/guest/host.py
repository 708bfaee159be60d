"""A Docker host for tests: the agent's use cases over a kernel in memory, a small service and a clock that is simulated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from tests.doubles.memory_guest import MemoryGuest
from tests.doubles.memory_notebook import MemoryNotebook
from tests.doubles.simulated_clock import SimulatedClock
from tests.doubles.small_service import Kept, SmallService
from vmdkvol.clock import Deadline
from vmdkvol.lanes import Lanes
from vmdkvol.messages import NEWEST_VERSION
from vmdkvol.points import Point, pass_by
from vmdkvol.volume import VmId, VolumeId
from vmdkvol_guest.arrivals import Arrivals
from vmdkvol_guest.catalogue import Catalogue
from vmdkvol_guest.driver import Driver
from vmdkvol_guest.mounting import Mounting
from vmdkvol_guest.parts import Limits, Parts
from vmdkvol_guest.ports import Device
from vmdkvol_guest.reconcile import Reconcile

VM_A, VM_B = VmId(UUID(int=0xA)), VmId(UUID(int=0xB))
ID1, ID2, ID3 = "1" * 64, "2" * 64, "3" * 64


class Killed(BaseException):
    """The agent's process ends here; no handler of the product may catch it."""


class Life:
    """One process of the agent. Once it is over, none of its calls reaches anything."""

    def __init__(self, ends_at: Point | None = None) -> None:
        self.ends_at = ends_at
        self.over = False

    def at(self, point: Point) -> None:
        if self.over or point is self.ends_at:
            self.over = True
            raise Killed(point)

    def around(self, port: Any) -> Any:
        return _Mortal(port, self)


class _Mortal:
    def __init__(self, port: Any, life: Life) -> None:
        self._port = port
        self._life = life

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        return self._mortal(found) if callable(found) else found

    def _mortal(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **keywords: Any) -> Any:
            if self._life.over:
                raise Killed("dead")
            return method(*args, **keywords)

        return call


class Log:
    """Keeps events, to be looked at."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, object]]] = []

    def info(self, event: str, **fields: object) -> None:
        self.lines.append(("info", event, fields))

    def warning(self, event: str, **fields: object) -> None:
        self.lines.append(("warning", event, fields))

    def error(self, event: str, **fields: object) -> None:
        self.lines.append(("error", event, fields))

    def count(self, level: str) -> int:
        return sum(line[0] == level for line in self.lines)


class Host:
    """Its kernel and its notebook stay over any number of agents; ``start`` is a new process of the agent."""

    def __init__(
        self, clock: SimulatedClock, service: SmallService, vm: VmId = VM_A, *, limits: Limits | None = None, loop: bool = True
    ) -> None:
        self.clock = clock
        self.service = service
        self.vm = vm
        others = list(service.guests.values())
        self.guest = MemoryGuest(clock, vm, others[0].disks if others else None)
        self.notebook = MemoryNotebook()
        self.line = service.join(self.guest)
        self.limits = limits or Limits()
        self.log = Log()
        self.up = True
        self.speaks = NEWEST_VERSION
        self.loop = loop
        self._numbers = iter(range(1, 1 << 30))
        self.line.subscribe(lambda notice: self.reconcile.told(notice))
        self.start()

    def start(self, ends_at: Point | None = None) -> None:
        self.life = Life(ends_at)
        around = self.life.around
        self.parts = Parts(
            service=around(self.line),
            devices=around(self.guest.devices),
            filesystems=around(self.guest.filesystems),
            mounts=around(self.guest.mounts),
            notebook=around(self.notebook),
            lanes=Lanes(self.clock, f"agent-{self.vm.hex[-1]}"),
            clock=self.clock,
            arrivals=Arrivals(self.clock),
            vm=lambda: self.vm,
            vm_name=lambda: f"host-{self.vm.hex[-1]}",
            new_id=lambda: UUID(int=(self.vm.int << 64) + next(self._numbers)),
            log=self.log,
            limits=self.limits,
            at=pass_by if ends_at is None else self.life.at,
            up=lambda: self.up,
            speaks=lambda: self.speaks,
        )
        self.catalogue = Catalogue(self.parts, lambda: self.up)
        self.reconcile = Reconcile(self.parts, lambda: 1.0, [self.catalogue.refresh])
        self.mounting = Mounting(self.parts, self.reconcile.wake)
        self.driver = Driver(self.parts, self.catalogue, self.mounting, self.reconcile.release, self.reconcile.wake)
        if self.loop:
            self.reconcile.start()

    def kill(self) -> None:
        """kill -9: what the process had open is closed, what the kernel has stays."""
        self.life.over = True
        self.guest.crash()

    def restart(self) -> None:
        self.kill()
        self.start()

    # --- what Docker does ----------------------------------------------------------------------------------------

    def within(self, seconds: float = 110.0) -> Deadline:
        return Deadline.after(self.clock, seconds)

    def create(self, name: str = "db", **opts: Any) -> None:
        self.driver.create(name, {key.replace("_", "-"): value for key, value in opts.items()}, self.within())

    def mount(self, mount_id: str = ID1, name: str = "db", seconds: float = 110.0) -> str:
        return self.driver.mount(name, mount_id, self.within(seconds))

    def unmount(self, mount_id: str = ID1, name: str = "db", seconds: float = 50.0) -> None:
        self.driver.unmount(name, mount_id, self.within(seconds))

    def remove(self, name: str = "db") -> None:
        self.driver.remove(name, self.within(50.0))

    def beside(self, work: Callable[[], object]) -> list[object]:
        """Run ``work`` on a thread; the list has its result or its error when it has ended."""
        ended: list[object] = []

        def run() -> None:
            try:
                ended.append(work())
            except Exception as error:  # noqa: BLE001 - the test looks at it
                ended.append(error)

        self.clock.start("docker", run)
        return ended

    # --- what a test looks at ------------------------------------------------------------------------------------

    def kept(self, name: str = "db") -> Kept:
        return self.service.named(name)

    def volume(self, name: str = "db") -> VolumeId:
        return self.kept(name).info.id

    def device(self, name: str = "db") -> Device:
        disk = self.kept(name).disk
        return next(plugged.device for plugged in self.guest.plugged.values() if plugged.device.disk_uuid == disk)

    def ids(self, name: str = "db") -> frozenset[str]:
        noted = self.notebook.holdings().get(self.volume(name))
        return frozenset() if noted is None else noted.ids

    def mounted(self, name: str = "db") -> bool:
        return self.volume(name) in self.guest.table

    def attached(self, name: str = "db") -> bool:
        return self.kept(name).holder == self.vm

    def settle(self, seconds: float = 60.0) -> None:
        """Let the background work, for as long as convergence may take (I5)."""
        self.clock.sleep(seconds)
