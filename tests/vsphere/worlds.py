"""A simulator with what of the product looks at its machines, and a client from outside beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID, uuid4

from pyVmomi import vim

from tests.vsphere.by_path import ByPath, NoPolicies, nowhere
from tests.vsphere.lines import Lines
from tests.vsphere.outside import Outside, attached
from tests.vsphere.simulators import Model, Simulator
from tests.vsphere.stage import CLOCK, PATIENCE_S, soon
from vmdkvol.clock import Deadline
from vmdkvol.errors import VolumeError
from vmdkvol.messages import untold
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DiskUuid, VmId
from vmdkvol_esx.ports import AttachDisk, DetachDisk, DiskPath, DiskRef, Progress, TaskId
from vmdkvol_esx.vsphere.batches import Move
from vmdkvol_esx.vsphere.connecting import Service
from vmdkvol_esx.vsphere.machines import Machines
from vmdkvol_esx.vsphere.receipts import Receipt
from vmdkvol_esx.vsphere.reconfigure import Reconfiguring, Waits
from vmdkvol_esx.vsphere.session import Session
from vmdkvol_esx.vsphere.tasks import Waiter
from vmdkvol_esx.vsphere.uuids import read_uuid

STORE = DatastoreName("LocalDS_0")
MODE = "independent_persistent"


class Begin(Protocol):
    """Start a world on a simulator of this model, with flags of its program."""

    def __call__(self, model: Model, *flags: str) -> World: ...


def at_path(service: Service, path: DiskPath) -> DiskUuid | None:
    """The identity that the server says of a disk of ours."""
    place = "datacenter-2" if service.content.about.apiType == "VirtualCenter" else "ha-datacenter"
    found = service.content.virtualDiskManager.QueryVirtualDiskUuid(str(path), vim.Datacenter(place, service.stub))
    return read_uuid(found)


@dataclass
class World:
    """``hosts`` are all machines in the order of their names: server's id, instance UUID, name. The last is not registered."""

    simulator: Simulator
    outside: Outside
    session: Session[Service]
    log: Lines
    hosts: Sequence[tuple[str, VmId, str]] = ()
    machines: Machines = field(init=False)
    # What the next ``restart`` uses.
    waiter: Waiter = field(init=False)
    waits: Waits = field(init=False)
    knows: ByPath = field(init=False)
    kind: type[Machines] = Machines
    flight_s: float = PATIENCE_S
    reconfiguring: Reconfiguring = field(init=False)

    def __post_init__(self) -> None:
        self.hosts = [(vm._moId, VmId(UUID(vm.config.instanceUuid)), vm.name) for vm in self.outside.machines()]
        self.outside.files.MakeDirectory(f"[{STORE}] vmdkvol", self.outside.datacenter, True)
        self.waits = self.waiter = Waiter(self.session, CLOCK, self.log)
        self.knows = ByPath(self.session, at_path)
        self.restart()

    def restart(self) -> None:
        """Begin as a service that was restarted: nothing is known of what was before."""
        self.machines = self.kind(self.session, CLOCK, self.log, [vm for _, vm, _ in self.hosts[:-1]], at_path, nowhere)
        self.reconfiguring = Reconfiguring(
            self.session, self.waits, self.machines, CLOCK, self.log, self.knows, NoPolicies(), self.flight_s
        )

    def id(self, number: int = 0) -> VmId:
        return self.hosts[number][1]

    def vm(self, number: int = 0) -> Any:
        return next(each for each in self.outside.machines() if each._moId == self.hosts[number][0])

    def disk(self) -> DiskRef:
        """A disk in our folder."""
        path = DiskPath(STORE, f"vmdkvol/db-{uuid4().hex[:8]}.vmdk")
        self.outside.create(str(path))
        found = read_uuid(self.outside.uuid(str(path)))
        assert found is not None
        return DiskRef(found, path)

    def attach(self, number: int, disk: DiskRef, unit: int = 5, mode: str = MODE) -> None:
        """Attach it from outside, not by ours."""
        self.outside.attach(self.vm(number), str(disk.path), unit, mode=mode)

    def listed(self, number: int = 0) -> Mapping[str, Any]:
        """What the machine has, seen from outside: its disks of ours by their paths."""
        return {each.backing.fileName: each for each in attached(self.vm(number)) if "] vmdkvol/" in each.backing.fileName}

    def counted(self, act: Callable[[], object]) -> Mapping[str, int]:
        """Return which calls ``act`` made, and how often each."""
        before = self.simulator.calls()
        act()
        return {
            name: count - before.get(name, 0) for name, count in self.simulator.calls().items() if count > before.get(name, 0)
        }

    # --- ours --------------------------------------------------------------------------------------------------

    def begin(self, move: Move) -> Receipt | None:
        return self.reconfiguring.submit(move, uuid4())

    def do(self, move: Move) -> None:
        """Carry it out to its end."""
        receipt = self.begin(move)
        if receipt is not None:
            self.reconfiguring.finish(receipt, soon(), untold)


class Doing:
    """Carries out a change on a thread of its own."""

    def __init__(self, world: World, move: Move) -> None:
        self._got: VolumeError | None = None
        self._thread = threading.Thread(target=self._do, args=(world, move), daemon=True)
        self._thread.start()

    def _do(self, world: World, move: Move) -> None:
        try:
            world.do(move)
        except VolumeError as error:
            self._got = error

    def end(self) -> VolumeError | None:
        """Return how it ended."""
        self._thread.join(2 * PATIENCE_S)
        assert not self._thread.is_alive()
        return self._got


class Held:
    """A waiter whose wait for the reconfigure before goes on until it is let go: whatever comes meanwhile queues up."""

    def __init__(self, waiter: Waits) -> None:
        self._waiter = waiter
        self._reached = threading.Event()
        self._let_go = threading.Event()

    def wait(self, task: TaskId, what: str, deadline: Deadline, progress: Progress) -> object:
        if what == "the reconfigure before":
            self._reached.set()
            assert self._let_go.wait(PATIENCE_S)
        return self._waiter.wait(task, what, deadline, progress)

    def reached(self) -> bool:
        """Wait until somebody waits for the reconfigure before."""
        return self._reached.wait(PATIENCE_S)

    def let_go(self) -> None:
        self._let_go.set()


def together(world: World, moves: Sequence[Move]) -> Sequence[VolumeError | None]:
    """Carry out changes of one machine, the first alone and the others when all of them wait for it; how each ended."""
    before = world.reconfiguring
    held = Held(world.waits)
    world.reconfiguring = Reconfiguring(world.session, held, world.machines, CLOCK, world.log, world.knows, NoPolicies())
    first = world.begin(moves[0])
    doing = [Doing(world, move) for move in moves[1:]]
    deadline = soon()
    while world.reconfiguring.waiting(moves[0].vm) < len(doing):
        assert not deadline.passed, "all of them wait"
        CLOCK.sleep(0.01)
    held.let_go()
    ends = [each.end() for each in doing]
    if first is not None:
        world.reconfiguring.finish(first, soon(), untold)
    world.reconfiguring = before
    return [None, *ends]


def coming(world: World, disk: DiskRef, number: int = 0, mode: str = MODE) -> AttachDisk:
    return AttachDisk(world.id(number), disk, mode)


def leaving(world: World, disk: DiskRef, number: int = 0, *, only_off: bool = False) -> DetachDisk:
    return DetachDisk(world.id(number), disk, only_off)
