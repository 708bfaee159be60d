"""A case of the suite: a stable id, a promise in one line, what it needs, and the function that shows or refutes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from tests.conformance.world import World

Run = Callable[[World], None]


class Need(Enum):
    """What a case needs beyond a plugin's socket and an engine; the value says why a foreign plugin has not got it."""

    DAEMON = "stops and starts the plugin's process"
    UPGRADE = "puts another version of the plugin in the place of this one"
    SERVICE = "stops and starts the service behind the plugin"
    HOSTS = "needs a second host of the same plugin"
    DISKS = "looks at the plugin's own disks, options and error codes"


@dataclass(frozen=True, slots=True)
class Case:
    """`make test` runs ``quick`` cases on every engine and ``long`` ones on none, `make test-engine` all on every engine."""

    id: str
    promise: str
    run: Run
    needs: frozenset[Need] = frozenset()
    quick: bool = False
    long: bool = False

    @property
    def group(self) -> str:
        return self.id.rpartition("-")[0]

    @property
    def where(self) -> str:
        """Return on which engines `make test` runs it."""
        return "both" if self.quick else "none" if self.long else "first"


@dataclass(slots=True)
class Group:
    """The cases of one file, numbered in the order in which they stand there."""

    name: str
    cases: list[Case] = field(default_factory=list)

    def case(self, number: int, promise: str, *needs: Need, quick: bool = False, long: bool = False) -> Callable[[Run], Run]:
        """Register a function as case ``number``: numbers are given out once and never used again."""

        def register(run: Run) -> Run:
            self.cases.append(Case(f"{self.name}-{number:02}", promise, run, frozenset(needs), quick, long))
            return run

        return register

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)


def carry_out(world: World, case: Case) -> None:
    """Run the case in a world that is then empty again: one that fails does not fail the next."""
    world.prepare(case.group)
    try:
        case.run(world)
        world.clean()
    except BaseException:
        world.recover()
        raise
