"""One world from one seed: the real service and the real agents of some Docker hosts, over kernels and disks in memory.

Nothing is faked between them but the socket. Time is virtual, one thread runs at a time, and the seed decides which.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from uuid import UUID

from tests.doubles.memory_guest import Disks, MemoryGuest
from tests.doubles.memory_notebook import MemoryNotebook
from tests.doubles.memory_store import MemoryStore
from tests.doubles.simulated_clock import SimulatedClock
from tests.simulation.channel import Connection, Desk, SimulatedLine
from tests.simulation.datacenter import Datacenter
from tests.simulation.invariants import Oracle
from tests.simulation.lives import Life
from tests.simulation.moods import Moods
from tests.simulation.network import Cable
from tests.simulation.steps import Setup
from vmdkvol.lanes import Lanes
from vmdkvol.names import DatastoreName
from vmdkvol.volume import DEFAULT_VMGROUP, VmgroupId, VmId
from vmdkvol_esx.choosing import Choosing
from vmdkvol_esx.housekeeping import Housekeeping
from vmdkvol_esx.ordering import Ordering
from vmdkvol_esx.parts import Parts as ServiceParts
from vmdkvol_esx.ports import AttachDisk, Change, CloneDisk, CreateDisk, Datastore, DeleteDisk, DetachDisk, GrowDisk, Vm
from vmdkvol_esx.records import Vmgroup
from vmdkvol_esx.requests import Requests, make_verbs
from vmdkvol_esx.resizing import Resizing
from vmdkvol_guest.arrivals import Arrivals
from vmdkvol_guest.catalogue import Catalogue
from vmdkvol_guest.driver import Driver
from vmdkvol_guest.mounting import Mounting
from vmdkvol_guest.parts import Limits, Parts
from vmdkvol_guest.reconcile import Reconcile

GB = 1 << 30
DS = DatastoreName("ds1")
LIMITS = Limits()
OURS = Vmgroup(DEFAULT_VMGROUP, "_DEFAULT", None)
STRANGERS = Vmgroup(VmgroupId(UUID(int=0x5)), "strangers", None)
_LONGEST_S = {CreateDisk: 3.0, CloneDisk: 20.0, DeleteDisk: 3.0, AttachDisk: 4.0, DetachDisk: 4.0}


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
        self.host = host
        self.life = life = Life(world.clock, lambda: world.agent_died(self))
        clock = life.process
        self.line = SimulatedLine(world.clock, clock, life, world.new_id, lambda gone: world.give_up(host, gone))
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
            vm_name=lambda: f"host-{host.letter}",
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

    def __init__(self, world: World) -> None:
        self.life = life = Life(world.clock, lambda: world.service_died(self))
        clock, log = life.process, Log(world, "service")
        store, hypervisor = life.around(world.store), life.around(world.moods.around(world.datacenter, life.check))
        parts = ServiceParts(store, hypervisor, Lanes(clock, "volume"), clock, world.new_id, log, life.at)
        self.verbs = make_verbs(
            parts,
            notify=lambda vm, notice: world.notice_arrives() and self.desk.notify(vm, notice),
            retention_s=world.retention_s,
        )
        requests = Requests(self.verbs)
        verbs, choosing = self.verbs, Choosing(parts.store)
        ordering = Ordering(parts, choosing, verbs.journal, verbs.underway)
        self.resizing = Resizing(parts, ordering, verbs.journal, verbs.owners, verbs.handover, verbs.underway)
        vms = [host.vm for host in world.hosts]
        self.desk = Desk(world.clock, clock, life, vms, requests.answer, world.loses, world.stalls_s)
        self.housekeeping = Housekeeping(
            parts,
            self.verbs.journal,
            self.verbs.removing,
            self.verbs.whereabouts,
            retention_s=world.retention_s,
            every_s=20.0,
        )


class Host:
    """A Docker host: its kernel and its notebook stay over any number of agents."""

    def __init__(self, clock: SimulatedClock, number: int, disks: Disks, group: str) -> None:
        self.letter = "abc"[number]
        self.vm = VmId(UUID(int=0xA + number))
        self.group = group
        self.guest = MemoryGuest(clock, self.vm, disks)
        self.notebook = MemoryNotebook()
        self.cable = Cable(clock, number)
        self.agent: Agent | None = None
        self.connection: Connection | None = None
        self.on = True
        self.starting = False
        self.cut = False
        self.loses_next = False
        # After how long what was killed comes back.
        self.back_s = 0.0


class World:
    """Use it as a context manager. All that happens by chance in it follows from the setup's number."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.clock = SimulatedClock(setup.number)
        self._ids = random.Random(setup.number)
        self._dice = random.Random(setup.number + 1)
        self.lines: list[str] = []
        self.disks = Disks()
        groups = [STRANGERS if setup.strangers and number == setup.hosts - 1 else OURS for number in range(setup.hosts)]
        self.hosts = [Host(self.clock, number, self.disks, str(group.id)) for number, group in enumerate(groups)]
        self.store = MemoryStore(self.clock, {host.vm: group for host, group in zip(self.hosts, groups, strict=True)})
        guests = {host.vm: host.guest for host in self.hosts}
        self.oracle = Oracle(self.clock, guests, self.disks, {host.vm: host.group for host in self.hosts})
        self.oracle.tell = self.tell
        self.datacenter = Datacenter(
            self.clock,
            self.oracle,
            guests,
            self.disks,
            datastores=[Datastore(DS, 100 * GB, 100 * GB, True)],
            vms=[Vm(host.vm, f"host-{host.letter}", True) for host in self.hosts],
            seconds=self._seconds(setup.slow) | {GrowDisk: 2.0 * setup.slow},
            intents=self.store.open_intents,
        )
        self.moods = Moods(self.clock)
        self.retention_s = setup.retention_s
        self.healed = False
        self.stalled_until = 0.0
        self.service_back_s = 0.0
        self.service: Service | None = None
        self.serving: Service | None = None
        self._starting = False

    def __enter__(self) -> World:
        self.start_service()
        for host in self.hosts:
            self.start_agent(host)
        # So that the first command finds everything in its place.
        self.clock.sleep(0.5)
        return self

    def __exit__(self, *_: object) -> None:
        self.clock.close()

    def _seconds(self, slow: int) -> dict[type[Change], float]:
        return {kind: self._dice.uniform(0.0, most) if slow else 0.0 for kind, most in _LONGEST_S.items()}

    def new_id(self) -> UUID:
        return UUID(int=self._ids.getrandbits(128))

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
        if host.agent is None and host.on and not host.starting:
            self.tell(f"agent {host.letter} starts")
            # Others run while it is put together: one process at a time.
            host.starting = True
            host.agent = Agent(self, host)
            host.starting = False
            if not host.on:
                host.agent.life.kill()
            self.connect(host)

    def start_service(self) -> None:
        """Settle what was left open, then serve, as the daemon does; a service may die in that, too."""
        if self.service is not None or self._starting:
            return
        self.tell("service starts")
        self._starting = True
        self.service = service = Service(self)
        self._starting = False
        service.life.process.start("main", lambda: self._serve(service))

    def _serve(self, service: Service) -> None:
        service.housekeeping.settle_all()
        if service.life.over:
            return
        service.housekeeping.start()
        if service.life.over:
            # It died just now, and the next one may serve already.
            return
        self.serving = service
        for host in self.hosts:
            self.connect(host)

    def agent_died(self, agent: Agent) -> None:
        self.tell(f"agent {agent.host.letter} dies")
        host = agent.host
        # First, so that nobody connects the dead one while its connection ends.
        host.agent = None
        self.disconnect(host)
        host.guest.crash()
        host.notebook.crash()
        if not self.healed:
            self.later(host.back_s, lambda: self.start_agent(host))

    def service_died(self, service: Service) -> None:
        self.tell("service dies")
        self.service = self.serving = None
        for host in self.hosts:
            self.disconnect(host)
        if not self.healed:
            self.later(self.service_back_s, self.start_service)

    def freeze(self, life: Life | None, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after so many seconds."""
        if life is not None and life.stop(seconds):
            self.tell(f"a process is stopped for {seconds:g} s")
            self.later(seconds, life.process.go_on)

    # --- the network -------------------------------------------------------------------------------------------

    def connect(self, host: Host) -> None:
        """Connect the host's agent to the service, if both are there and nothing cuts them off."""
        agent, service = host.agent, self.serving
        if agent is None or service is None or host.cut or host.connection is not None:
            return
        host.connection = connection = Connection(host.vm, agent.line, service.desk, host.cable)
        service.desk.accept(connection)
        connection.open()

    def disconnect(self, host: Host) -> None:
        connection, host.connection = host.connection, None
        if connection is not None:
            connection.end()

    def give_up(self, host: Host, connection: Connection) -> None:
        """The agent's Hello was not answered on this connection: it makes another one.

        Also if the world knows a newer one. A service that dies at the moment in which it is connected has its end told before
        its beginning; the agent takes that one for its last, and does not listen on the one that came between.
        """
        self.disconnect(host)
        self.connect(host)

    def break_line(self, host: Host, seconds: float) -> None:
        """Cut the host off for a while."""
        self.tell(f"line of {host.letter} is cut for {seconds:g} s")
        host.cut = True
        self.disconnect(host)

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
        left_s = 0.0 if self.healed else self.stalled_until - self.clock.monotonic()
        # Not all at one moment, and not in the order in which they came.
        return left_s + self._dice.random() if left_s > 0.0 else 0.0

    def notice_arrives(self) -> bool:
        return self.healed or self._dice.random() >= self.setup.notices_lost

    # --- what time and others do to it --------------------------------------------------------------------------

    def fill(self, *, full: bool) -> None:
        """The datastore has no byte left, also for what containers write; or it has room again."""
        self.datacenter.fill(DS, leaving=0 if full else 100 * GB)
        self.disks.fill(full=full)

    def unread(self, vm: VmId, seconds: float) -> None:
        """The VM's device list cannot be read for a while."""
        self.datacenter.unread(vm)
        self.later(seconds, lambda: self.datacenter.unread(vm, unread=False))

    def power_off(self, host: Host, seconds: float) -> None:
        """The VM loses power: what its kernel had in memory is gone, its disks stay in its list. 0: it comes up at once."""
        self.tell(f"{host.letter} loses power for {seconds:g} s")
        if seconds:
            host.on = False
            self.datacenter.power(host.vm, running=False)
        if host.agent is not None:
            host.agent.life.kill()
        host.notebook.reboot()
        host.guest.reboot()
        if seconds:
            # In the quiet at the end it stays as it is until somebody looked.
            self.later(seconds, lambda: None if self.healed else self.power_on(host))

    def power_on(self, host: Host) -> None:
        if host.on:
            return
        self.tell(f"{host.letter} is switched on")
        # First: whoever takes its power while it comes up, and others run in what follows, has the last word.
        host.on = True
        self.datacenter.power(host.vm, running=True)
        self.datacenter.power(host.vm, running=host.on)
        self.start_agent(host)

    def finish_mkfs(self, host: Host) -> None:
        """A mkfs that outlived its agent ends."""
        for known in list(host.guest.plugged.values()):
            if known.mkfs is not None:
                host.guest.finish_mkfs(known.device)
