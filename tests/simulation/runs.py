"""A run: one seed, some steps of random commands and faults, then quiet; what is broken is raised with the seed.

By hand: ``python -m tests.simulation.runs FIRST COUNT [STEPS]``.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.simulation.engines import Engines, clone_of
from tests.simulation.invariants import Container
from tests.simulation.lives import Killed
from tests.simulation.quiet import Quiet
from tests.simulation.world import Host, World
from vmdkvol.errors import HypervisorUnreachable, NoSpace
from vmdkvol.points import Point

SIZES = ("100mb", "100mb", "200mb")
PAUSES = (0.0, 0.0, 0.0, 0.1, 1.0, 5.0, 12.0, 40.0)
AGENT_POINTS = [point for point in Point if point.startswith("guest.")]
SERVICE_POINTS = [point for point in Point if point.startswith("esx.")]


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass(frozen=True, slots=True)
class Chance:
    weight: int
    act: Callable[[], None]


class Run:
    """Chooses what happens next."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random = world.random
        self.engines = Engines(world)
        self._numbers = iter(range(1, 1 << 30))
        self._names = [f"db{next(self._numbers)}" for _ in range(3)]
        self._written = iter(range(1 << 30))
        self._chances = [
            Chance(8, self.create),
            Chance(2, self.clone),
            Chance(14, self.start_container),
            Chance(10, self.write),
            Chance(12, self.stop_container),
            Chance(5, self.remove),
            Chance(4, self.get),
            Chance(2, self.list),
            Chance(3, self.copy),
            Chance(2, self.copy_unused),
        ]
        faults = [
            Chance(2, self.kill_agent),
            Chance(4, self.arm_agent),
            Chance(1, self.kill_service),
            Chance(4, self.arm_service),
            Chance(3, self.cut),
            Chance(3, self.lose_answer),
            Chance(2, self.stall),
            Chance(2, self.stall_a_detach),
            Chance(1, self.engine_restarts),
            Chance(1, self.reboot),
            Chance(2, self.foreign),
            Chance(3, self.hypervisor_fault),
            Chance(1, self.fill),
            Chance(1, self.unread),
            Chance(1, self.mkfs_dies),
        ]
        # Each seed has troubles of its own: some never, some all the time.
        self._chances += [Chance(each.weight * self.random.choice((0, 1, 1, 1, 4)), each.act) for each in faults]

    def steps(self, count: int) -> None:
        for _ in range(count):
            (chance,) = self.random.choices(self._chances, [chance.weight for chance in self._chances])
            chance.act()
            self.world.clock.sleep(self.random.choice(PAUSES))
            self.check()

    def check(self) -> None:
        self.world.oracle.check(self.world.datacenter.truth())
        if self.world.oracle.broken:
            raise Broken(self.world.oracle.broken[0])

    # --- choosing ------------------------------------------------------------------------------------------------

    def _host(self) -> Host:
        return self.random.choice(self.world.hosts)

    def _name(self) -> str:
        index = self.random.randrange(len(self._names))
        if self.world.oracle.named(self._names[index]).open and self.random.random() < 0.3:
            # Nothing is known of it any more, so little could be found out with it.
            self._names[index] = f"db{next(self._numbers)}"
        return self._names[index]

    def _volume(self) -> str:
        """Return a name that most likely is a volume's."""
        there = [name for name in self._names if self.world.oracle.named(name).state != "absent"]
        return self.random.choice(there) if there and self.random.random() < 0.9 else self._name()

    def _container(self) -> Container | None:
        containers = [container for container in self.world.oracle.containers if container.runs and not container.locked]
        return self.random.choice(containers) if containers else None

    def _do(self, work: Callable[[], object]) -> None:
        """Do it now or beside, once or twice; who is refused may well try again."""
        if self.random.random() < 0.3:
            self._once_or_twice(lambda: work() or work())
        else:
            self._once_or_twice(work)

    def _once_or_twice(self, work: Callable[[], object]) -> None:
        twice = self.random.random() < 0.12
        if self.random.random() < 0.5 or twice:
            for _ in range(2 if twice else 1):
                self.world.beside("docker", lambda: _ignore(work()))
        else:
            work()

    # --- what users do -------------------------------------------------------------------------------------------

    def create(self) -> None:
        host, name, size = self._host(), self._name(), self.random.choice(SIZES)
        more = {"access": "read-only"} if self.random.random() < 0.05 else {}
        self._do(lambda: self.engines.create(host, name, size=size, **more))

    def create_again(self) -> None:
        """A user who does not believe the first answer."""
        host, name = self._host(), f"db{next(self._numbers)}"
        self.engines.create(host, name)
        self.engines.create(host, name)

    def clone(self) -> None:
        host, name, source = self._host(), self._name(), self._volume()
        self._do(lambda: self.engines.create(host, name, **clone_of(source)))

    def start_container(self) -> None:
        host, name, pause_s = self._host(), self._volume(), self.random.choice((0.0, 0.0, 1.0, 30.0))
        self._do(lambda: self.engines.run(host, name, pause_s=pause_s))

    def write(self) -> None:
        container = self._container()
        if container is not None:
            number = next(self._written)
            self.engines.write(container, f"f{number % 3}", f"{number}".encode())

    def stop_container(self) -> None:
        container = self._container()
        if container is not None:
            tell = self.random.random() < 0.93
            self._once_or_twice(partial(self.engines.stop, container, tell=tell))

    def remove(self) -> None:
        host, name = self._host(), self._volume()
        self._do(lambda: self.engines.remove(host, name))

    def get(self) -> None:
        host, name = self._host(), self._name()
        self._once_or_twice(lambda: self.engines.get(host, name))

    def list(self) -> None:
        host = self._host()
        self._do(lambda: self.engines.list(host))

    def copy(self) -> None:
        container = self._container()
        if container is not None:
            self._do(partial(self.engines.copy, container))

    def copy_unused(self) -> None:
        host, name = self._host(), self._volume()
        self._do(lambda: self.engines.copy_unused(host, name))

    # --- what goes wrong -----------------------------------------------------------------------------------------

    def kill_agent(self) -> None:
        agent = self._host().agent
        if agent is not None:
            agent.life.kill()

    def arm_agent(self) -> None:
        agent, point = self._host().agent, self.random.choice(AGENT_POINTS)
        if agent is not None:
            agent.life.arm(point, self.random.choice((1, 1, 2)))

    def kill_service(self) -> None:
        if self.world.service is not None:
            self.world.service.life.kill()

    def arm_service(self) -> None:
        if self.world.service is not None:
            self.world.service.life.arm(self.random.choice(SERVICE_POINTS), self.random.choice((1, 1, 2)))

    def cut(self) -> None:
        host, name = self._host(), self._volume()
        self.world.break_line(host, self.random.choice((0.2, 3.0, 15.0, 60.0)))
        self._do(lambda: self.engines.get(host, name))

    def stall_a_detach(self) -> None:
        """The service hangs as a linger ends, for longer than the Detach is waited for; then the volume is wanted again."""
        users = Counter(container.disk for container in self.world.oracle.containers)
        container = self._container()
        if container is not None and users[container.disk] == 1:
            host, name = self.engines.host_of(container), container.name
            self.engines.stop(container)
            self.world.clock.sleep(9.0)
            self.stall(130.0)
            self.world.clock.sleep(45.0)
            self._once_or_twice(lambda: self.engines.run(host, name))

    def stall(self, seconds: float = 0.0) -> None:
        """The service hangs: it takes calls and begins none."""
        seconds = seconds or self.random.choice((1.0, 5.0, 45.0, 130.0))
        self.world.tell(f"the service stalls for {seconds:g} s")
        self.world.stalled_until = self.world.clock.monotonic() + seconds

    def lose_answer(self) -> None:
        self._host().loses_next = True

    def engine_restarts(self) -> None:
        self.engines.restart_engine(self._host())

    def reboot(self) -> None:
        self.engines.reboot(self._host())

    def foreign(self) -> None:
        self.engines.hold_foreign(self._host(), self.random.choice((1.0, 10.0, 100.0)))

    def hypervisor_fault(self) -> None:
        datacenter = self.world.datacenter
        match self.random.randrange(5):
            case 0:
                datacenter.refuse(HypervisorUnreachable("the hypervisor does not answer"))
            case 1:
                datacenter.lose_answer(done=True)
                # So that it strikes an attach or a create, more often than not.
                self.random.choice((self.start_container, self.create_again))()
            case 2:
                datacenter.lose_answer(done=False)
            case 3:
                datacenter.fail(NoSpace("no space left"))
            case _:
                datacenter.forget_tasks()

    def fill(self) -> None:
        self.world.tell("the datastore is full")
        self.world.fill(full=True)
        self.world.later(self.random.choice((5.0, 60.0)), lambda: self.world.fill(full=False))

    def unread(self) -> None:
        self.world.unread(self._host().vm, self.random.choice((2.0, 20.0)))

    def mkfs_dies(self) -> None:
        """The agent is killed in mkfs, which goes on for a while (corrections 10)."""
        host, seconds = self._host(), self.random.choice((1.0, 30.0))
        host.guest.die_in_make = True
        self.world.later(seconds, partial(self.world.finish_mkfs, host))


def run(seed: int, steps: int = 60, world: World | None = None) -> Counter[str]:
    """Run one seed; raise Broken with what was found first. Returns how often what happened."""
    with world or World(seed) as world:
        try:
            run = Run(world)
            run.steps(steps)
            Quiet(world, run.engines).check()
            run.check()
            failures = [failure for failure in world.clock.failures if not isinstance(failure, Killed)]
            if failures:
                raise Broken(f"a thread ended with {failures[0]!r}") from failures[0]
        except BaseException as error:
            tail = "\n".join(world.lines[-60:])
            raise Broken(f"seed {seed}, {steps} steps: {type(error).__name__}: {error}\n{tail}") from error
        return Counter(world.oracle.counts)


def first_broken(count: int, steps: int = 60) -> str:
    """Return what is broken first in so many seeds; empty for nothing."""
    for seed in range(count):
        try:
            run(seed, steps)
        except Broken as broken:
            return str(broken).partition("\n")[0]
    return ""


def _ignore(_: object) -> None:
    """A thread's work returns nothing."""


def main(first: int, count: int, steps: int = 60) -> None:
    """Run seeds and print what was found."""
    counts: Counter[str] = Counter()
    found = 0
    for seed in range(first, first + count):
        try:
            counts += run(seed, steps)
        except Broken as broken:
            found += 1
            print(broken, flush=True)
            print("-" * 100, flush=True)
    print(f"{count} seeds from {first}, {steps} steps: {found} broken; {dict(sorted(counts.items()))}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
