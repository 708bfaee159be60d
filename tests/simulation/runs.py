"""A run: the steps of a plan one after the other, then quiet; what is broken is raised with all that replays it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

from tests.simulation.engines import Engines, clone_of
from tests.simulation.invariants import Container
from tests.simulation.lives import Killed
from tests.simulation.mishaps import Mishaps
from tests.simulation.quiet import Quiet
from tests.simulation.steps import Plan, Step, of_seed
from tests.simulation.world import Host, World
from vmdkvol.errors import VolumeError

SHOWN = 60


class Broken(AssertionError):
    """An invariant does not hold."""


class Run:
    """Does the steps. A step's values choose from what is there at that moment."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.engines = Engines(world)
        self.mishaps = Mishaps(self)
        self._numbers = iter(range(1, 1 << 30))
        self._names = [f"db{next(self._numbers)}" for _ in range(3)]

    def do(self, step: Step) -> None:
        self.world.clock.schedule(step.schedule)
        self.world.tell(f"-- {step}")
        act: Callable[..., None] = getattr(self, step.kind, None) or getattr(self.mishaps, step.kind)
        act(**step.named())
        self.world.clock.sleep(step.pause_s)
        self.world.oracle.count(f"step {step.kind}")
        self.check()

    def check(self) -> None:
        self.world.oracle.check(self.world.datacenter.truth())
        if self.world.oracle.broken:
            raise Broken(self.world.oracle.broken[0])

    # --- choosing ------------------------------------------------------------------------------------------------

    def host(self, number: int) -> Host:
        return self.world.hosts[number % len(self.world.hosts)]

    def name(self, host: Host, number: int, *, fresh: bool = False) -> str:
        """Return a name; ``fresh``: another one from now on if nothing is known any more of what it stands for."""
        index = number % len(self._names)
        if fresh and self.world.oracle.named(self.world.oracle.key(host.vm, self._names[index])).open:
            self._names[index] = self.new_name()
        return self._names[index]

    def new_name(self) -> str:
        return f"db{next(self._numbers)}"

    def volume(self, host: Host, number: int | None) -> str:
        """Return a name that most likely is a volume's; for None any name."""
        oracle = self.world.oracle
        there = [name for name in self._names if oracle.named(oracle.key(host.vm, name)).state != "absent"]
        if number is None or not there:
            return self._names[0 if number is None else number % len(self._names)]
        return there[number % len(there)]

    def container(self, which: int) -> Container | None:
        containers = [container for container in self.world.oracle.containers if container.runs and not container.locked]
        return containers[which % len(containers)] if containers else None

    def call(self, how: str, asked: Callable[[], object]) -> None:
        """Do a command once or more, now or beside what comes next."""
        work = partial(self._whole, asked)
        match how:
            case "now":
                work()
            case "beside":
                self._beside(work)
            case "twice":
                self._beside(work)
                self._beside(work)
            case "again":
                # Who is refused may well try again.
                work() or work()
            case _:
                self._beside(lambda: work() or work())

    def _whole(self, work: Callable[[], object]) -> object:
        """Do the command; also between two of its calls it has not ended."""
        self.engines.under_way += 1
        try:
            return work()
        finally:
            self.engines.under_way -= 1

    def _beside(self, work: Callable[[], object]) -> None:
        def do() -> None:
            try:
                work()
            finally:
                self.engines.under_way -= 1

        # From now on, and not only when its thread has its first turn.
        self.engines.under_way += 1
        self.world.beside("docker", do)

    # --- what users do -------------------------------------------------------------------------------------------

    def create(self, host: int, name: int, how: str, size: str, access: str, *, fresh: bool) -> None:
        on = self.host(host)
        named = self.name(on, name, fresh=fresh)
        more = {"access": access} if access else {}
        self.call(how, lambda: self.engines.create(on, named, size=size, **more))

    def clone(self, host: int, name: int, how: str, source: int | None, *, fresh: bool) -> None:
        on = self.host(host)
        named, of = self.name(on, name, fresh=fresh), self.volume(on, source)
        self.call(how, lambda: self.engines.create(on, named, **clone_of(of)))

    def start(self, host: int, volume: int | None, how: str, slow_s: float) -> None:
        on = self.host(host)
        name = self.volume(on, volume)
        self.call(how, lambda: self.engines.run(on, name, pause_s=slow_s))

    def write(self, which: int, *, sync: bool) -> None:
        container = self.container(which)
        if container is not None:
            self.engines.write(container, synced=sync)

    def stop(self, which: int, how: str, *, told: bool) -> None:
        container = self.container(which)
        if container is not None:
            self.call(how, partial(self.engines.stop, container, tell=told))

    def remove(self, host: int, volume: int | None, how: str) -> None:
        on = self.host(host)
        name = self.volume(on, volume)
        self.call(how, lambda: self.engines.remove(on, name))

    def remake(self, host: int, other: int, volume: int | None, then: str, third: int) -> None:
        """One host removes a name, another makes it anew, and a third, which may know the old one, wants it at once."""
        name = self.volume(self.host(host), volume)
        if self.engines.remove(self.host(host), name) and self.engines.create(self.host(other), name, size="100mb"):
            commands: dict[str, Callable[[Host, str], object]] = {
                "start": self.engines.run,
                "remove": self.engines.remove,
                "get": self.engines.get,
            }
            commands[then](self.host(third), name)

    def look_at_new(self, host: int, other: int) -> None:
        """A volume is being made, and somebody looks at it and at all of them."""
        on, name = self.host(host), self.new_name()
        self.call("beside", lambda: self.engines.create(on, name))
        self.world.clock.sleep(0.3)
        for each in (on, self.host(other)):
            self.engines.get(each, name)
            self.engines.list(each)

    def get(self, host: int, name: int, how: str) -> None:
        on = self.host(host)
        named = self.name(on, name)
        self.call(how, lambda: self.engines.get(on, named))

    def list(self, host: int, how: str) -> None:
        on = self.host(host)
        self.call(how, lambda: self.engines.list(on))

    def copy(self, which: int, how: str) -> None:
        container = self.container(which)
        if container is not None:
            self.call(how, partial(self.engines.copy, container))

    def copy_unused(self, host: int, volume: int | None, how: str) -> None:
        on = self.host(host)
        name = self.volume(on, volume)
        self.call(how, lambda: self.engines.copy_unused(on, name))

    def clone_and_start(self, host: int, other: int, name: int, source: int) -> None:
        """One host clones a volume, made just now, at the moment when another starts containers on it."""
        on, beside = self.host(host), self.host(other)
        of = self.name(on, source, fresh=True)
        if self.engines.create(on, of, size="100mb"):
            made = self.name(on, name, fresh=True)
            self.call("beside", lambda: self.engines.create(on, made, **clone_of(of)))
            self.call("twice", lambda: self.engines.run(beside, of))

    def grow(self, host: int, volume: int | None, how: str, more: int) -> None:
        on = self.host(host)
        name = self.volume(on, volume)
        self.call(how, lambda: self.engines.grow(on, name, more << 20))

    def wait(self, seconds: float) -> None:
        self.world.clock.sleep(seconds)


def run_plan(plan: Plan, world: World | None = None) -> Counter[str]:
    """Run a plan; raise Broken with what was found first. Returns how often what happened."""
    with world or World(plan.setup) as world:
        try:
            run = Run(world)
            for step in plan.steps:
                run.do(step)
            Quiet(world, run.engines).check()
            run.check()
            failures = [failure for failure in world.clock.failures if not isinstance(failure, Killed)]
            if failures:
                raise Broken(f"a thread ended with {failures[0]!r}") from failures[0]
        except (AssertionError, VolumeError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise Broken(f"{_named(error)}\n{_tail(world)}\n{_named(error)}") from error
        return Counter(world.oracle.counts)


def _named(error: BaseException) -> str:
    return str(error) if isinstance(error, Broken) else f"{type(error).__name__}: {error}"


def _tail(world: World) -> str:
    """Return the lines up to what was broken first."""
    until = next((number for number, line in enumerate(world.lines) if "BROKEN" in line), len(world.lines)) + 1
    return "\n".join(world.lines[max(0, until - SHOWN) : until])


def run(seed: int, steps: int = 60, world: World | None = None) -> Counter[str]:
    """Run one seed; raise Broken that says which it was."""
    try:
        return run_plan(of_seed(seed, steps), world)
    except Broken as broken:
        raise Broken(f"seed {seed}, {steps} steps: {broken}") from broken
