"""One world from one seed: the real service and the real agents of some Docker hosts, over kernels and disks in memory.

Nothing is faked between them but the socket. Time is virtual, one thread runs at a time, and the seed decides which.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any
from uuid import UUID

from tests.doubles.memory_guest import Disks, MemoryGuest
from tests.doubles.memory_notebook import MemoryNotebook
from tests.doubles.memory_store import MemoryStore
from tests.doubles.simulated_clock import SimulatedClock
from tests.simulation.channel import Connection, Desk, SimulatedLine
from tests.simulation.datacenter import Datacenter
from tests.simulation.invariants import Oracle
from tests.simulation.lives import Life
from vmdkvol.lanes import Lanes
from vmdkvol.line import HELLO_S
from vmdkvol.names import DatastoreName
from vmdkvol.volume import VmId
from vmdkvol_esx.housekeeping import Housekeeping
from vmdkvol_esx.parts import Parts as ServiceParts
from vmdkvol_esx.ports import AttachDisk, Change, CloneDisk, CreateDisk, Datastore, DeleteDisk, DetachDisk, Vm
from vmdkvol_esx.requests import Requests, make_verbs
from vmdkvol_guest.arrivals import Arrivals
from vmdkvol_guest.catalogue import Catalogue
from vmdkvol_guest.driver import Driver
from vmdkvol_guest.mounting import Mounting
from vmdkvol_guest.parts import Limits, Parts
from vmdkvol_guest.reconcile import Reconcile

GB = 1 << 30
DS = DatastoreName("ds1")
LIMITS = Limits()
# The longest that a call into the product may stand after the process was killed: nobody waits for it any more.
LONGEST_S = 125.0


class Log:
    """Keeps the last lines, for whoever reads a failed run."""

    def __init__(self, world: World, who: str) -> None:
        self._world = world
        self._who = who

    def info(self, event: str, **fields: object) -> None:
        self._world.tell(f"{self._who}: {event} {fields}")

    warning = info

    def error(self, event: str, **fields: object) -> None:
        self.info(event.upper(), **fields)
        self._world.oracle.count(f"error: {event}")
        if event in ("reconcile failed", "scan failed"):
            self._world.oracle.fail("bug", f"{self._who}: {event} {fields}")


class Agent:
    """One process of the agent."""

    def __init__(self, world: World, host: Host) -> None:
        clock, self.host = world.clock, host
        self.life = life = Life(lambda: world.agent_died(self))
        self.line = SimulatedLine(clock, host.vm, life, world.new_id)
        self.parts = Parts(
            service=life.around(self.line),
            devices=life.around(host.guest.devices),
            filesystems=life.around(host.guest.filesystems),
            mounts=life.around(host.guest.mounts),
            notebook=life.around(host.notebook),
            lanes=Lanes(clock, f"agent-{host.letter}"),
            clock=clock,
            arrivals=Arrivals(clock),
            vm=lambda: host.vm,
            new_id=world.new_id,
            log=Log(world, f"agent {host.letter}"),
            limits=LIMITS,
            at=life.at,
        )
        self.catalogue = Catalogue(self.parts, lambda: self.line.up)
        self.reconcile = Reconcile(self.parts, lambda: 1.0, [self.catalogue.refresh])
        self.mounting = Mounting(self.parts, self.reconcile.wake)
        self.driver = Driver(self.parts, self.catalogue, self.mounting, self.reconcile.release, self.reconcile.wake)
        self.line.on_up = self._greeted
        self.line.subscribe(self.reconcile.told)
        self.reconcile.start()

    def _greeted(self) -> None:
        self.catalogue.greeted()
        self.reconcile.wake(None)


class Service:
    """One process of the service."""

    def __init__(self, world: World, *, armed: dict[Any, int] | None = None) -> None:
        clock = world.clock
        self.life = life = Life(lambda: world.service_died(self))
        store, hypervisor, log = life.around(world.store), life.around(world.datacenter), Log(world, "service")
        parts = ServiceParts(store, hypervisor, Lanes(clock, "volume"), clock, world.new_id, log, life.at)
        self.verbs = make_verbs(
            parts,
            notify=lambda vm, notice: world.notice_arrives() and self.desk.notify(vm, notice),
            retention_s=world.retention_s,
        )
        requests = Requests(self.verbs)
        self.desk = Desk(clock, life, [host.vm for host in world.hosts], requests.answer, world.loses, world.stalls_s)
        self.housekeeping = Housekeeping(
            parts, self.verbs.journal, self.verbs.removing, retention_s=world.retention_s, every_s=20.0
        )


class Host:
    """A Docker host: its kernel and its notebook stay over any number of agents."""

    def __init__(self, clock: SimulatedClock, number: int, disks: Disks) -> None:
        self.letter = "abc"[number]
        self.vm = VmId(UUID(int=0xA + number))
        self.guest = MemoryGuest(clock, self.vm, disks)
        self.notebook = MemoryNotebook()
        self.agent: Agent | None = None
        self.cut = False
        self.loses_next = False


class World:
    """Use it as a context manager. ``random`` is for what happens in it; the clock has a stream of its own."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.clock = SimulatedClock(seed)
        self.lines: list[str] = []
        self.disks = Disks()
        self.store = MemoryStore(self.clock)
        self.hosts = [Host(self.clock, number, self.disks) for number in range(self.random.choice((2, 2, 3)))]
        guests = {host.vm: host.guest for host in self.hosts}
        self.oracle = Oracle(self.clock, guests, self.disks)
        self.datacenter = Datacenter(
            self.clock,
            self.oracle,
            guests,
            self.disks,
            datastores=[Datastore(DS, 100 * GB, 100 * GB, True)],
            vms=[Vm(host.vm, f"host-{host.letter}", True) for host in self.hosts],
            seconds=self._seconds(),
            intents=self.store.open_intents,
        )
        self.retention_s = self.random.choice((0.0, 0.0, 30.0))
        self.notices_lost = self.random.choice((0.0, 0.0, 0.3))
        self.healed = False
        self.stalled_until = 0.0
        self.service: Service | None = None

    def __enter__(self) -> World:
        self.start_service()
        for host in self.hosts:
            self.start_agent(host)
        return self

    def __exit__(self, *_: object) -> None:
        self.clock.close()

    def _seconds(self) -> dict[type[Change], float]:
        slow = self.random.random() < 0.6
        longest = {CreateDisk: 3.0, CloneDisk: 20.0, DeleteDisk: 3.0, AttachDisk: 4.0, DetachDisk: 4.0}
        return {kind: self.random.uniform(0.0, most) if slow else 0.0 for kind, most in longest.items()}

    def new_id(self) -> UUID:
        return UUID(int=self.random.getrandbits(128))

    def tell(self, line: str) -> None:
        self.lines.append(f"{self.clock.monotonic():9.3f} {line}")

    def beside(self, name: str, work: Callable[[], None]) -> None:
        self.clock.start(name, work)

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """Do ``work`` after so many seconds."""

        def wait() -> None:
            self.clock.sleep(seconds)
            work()

        self.clock.start("later", wait)

    # --- processes ---------------------------------------------------------------------------------------------

    def start_agent(self, host: Host) -> None:
        if host.agent is None:
            self.tell(f"agent {host.letter} starts")
            host.agent = Agent(self, host)
            self.connect(host)

    def start_service(self) -> None:
        """Settle what was left open, then serve, as the daemon does; a service may die in that, too."""
        if self.service is not None:
            return
        self.tell("service starts")
        self.service = service = Service(self)
        service.housekeeping.settle_all()
        if service.life.over:
            return
        service.housekeeping.start()
        self.serving = service
        for host in self.hosts:
            self.connect(host)

    serving: Service | None = None

    def agent_died(self, agent: Agent) -> None:
        self.tell(f"agent {agent.host.letter} dies")
        host = agent.host
        self._break(host, line_lives=False)
        host.guest.crash()
        host.agent = None
        if not self.healed:
            self.later(self.random.choice((0.0, 1.0, 5.0, 20.0)), lambda: self.start_agent(host))

    def service_died(self, service: Service) -> None:
        self.tell("service dies")
        self.service = self.serving = None
        for host in self.hosts:
            self._break(host)
        if not self.healed:
            self.later(self.random.choice((0.0, 1.0, 5.0, 15.0)), self._restart_service)

    def _restart_service(self) -> None:
        self.start_service()

    # --- the network -------------------------------------------------------------------------------------------

    def connect(self, host: Host) -> None:
        """Connect the host's agent to the service, if both are there and nothing cuts them off."""
        agent, service = host.agent, self.serving
        if agent is None or service is None or host.cut or agent.line.connection is not None:
            return
        connection = service.desk.accept(agent.line, host.vm)
        agent.line.connected(connection)

        def give_up() -> None:
            if connection.stands and not connection.greeted:
                self._break(host)
                self.connect(host)

        self.later(HELLO_S, give_up)

    def _break(self, host: Host, *, line_lives: bool = True) -> None:
        agent = host.agent
        connection = None if agent is None else agent.line.connection
        if agent is None or connection is None:
            return
        connection.stands = False
        connection.desk.left(connection)
        if line_lives:
            agent.line.broke()

    def break_line(self, host: Host, seconds: float) -> None:
        """Cut the host off for a while."""
        self.tell(f"line of {host.letter} is cut for {seconds:g} s")
        host.cut = True
        self._break(host)

        def heal() -> None:
            host.cut = False
            self.connect(host)

        self.later(seconds, heal)

    def loses(self, connection: Connection) -> bool:
        """Tell whether this connection breaks instead of carrying the answer that comes now."""
        host = next(host for host in self.hosts if host.vm == connection.vm)
        if not host.loses_next or self.healed:
            return False
        host.loses_next = False
        self.break_line(host, 0.1)
        return True

    def stalls_s(self) -> float:
        """Return how long a call stands before the service begins it."""
        return 0.0 if self.healed else self.stalled_until - self.clock.monotonic()

    def notice_arrives(self) -> bool:
        return self.healed or self.random.random() >= self.notices_lost

    # --- what users and time do to it --------------------------------------------------------------------------

    def fill(self, *, full: bool) -> None:
        """The datastore has no byte left, also for what containers write; or it has room again."""
        self.datacenter.fill(DS, leaving=0 if full else 100 * GB)
        self.disks.fill(full=full)

    def unread(self, vm: VmId, seconds: float) -> None:
        """The VM's device list cannot be read for a while."""
        self.oracle.unread[vm] = float("inf")
        self.datacenter.unread(vm)

        def answer() -> None:
            self.datacenter.unread(vm, unread=False)
            self.oracle.unread[vm] = self.clock.monotonic()

        self.later(seconds, answer)

    def finish_mkfs(self, host: Host) -> None:
        """A mkfs that outlived its agent ends."""
        for known in list(host.guest.plugged.values()):
            if known.mkfs is not None:
                host.guest.finish_mkfs(known.device)
