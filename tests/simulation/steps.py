"""What may happen in a world, as values: a plan is a setup and a list of steps, and says all that is not the product's.

Each value of a step comes from a table whose first entry is the simplest one. Who goes on when is part of the step
(``schedule``), so that a step that is left out changes nothing about the others: that is what makes a plan shrink.
"""

from __future__ import annotations

import base64
import json
import random
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from typing import Any

from vmdkvol.points import Point

Table = tuple[Any, ...]

HOSTS: Table = (0, 1, 2)
NAMES: Table = (0, 1, 2)
# Nine of ten commands are about a volume that most likely is there; the last one takes any name.
VOLUMES: Table = (0, 1, 2, 3, 4, 5, 6, 7, 8, None)
WHICH: Table = (0, 1, 2, 3, 4, 5, 6, 7)
# Once and waited for; beside what comes next; twice at once; again after its end, as one does who was refused.
HOWS: Table = ("now", "now", "now", "beside", "beside", "beside", "twice", "again", "again", "beside again")
SIZES: Table = ("100mb", "100mb", "200mb")
PAUSES: Table = (0.0, 0.0, 0.0, 0.1, 1.0, 5.0, 12.0, 40.0)
RESTARTS: Table = (0.0, 1.0, 5.0, 20.0)
AGENT_POINTS: Table = tuple(point.value for point in Point if point.startswith("guest."))
SERVICE_POINTS: Table = tuple(point.value for point in Point if point.startswith("esx."))
YES_OR_NO: Table = (False, True)
HYPERVISOR_FAULTS: Table = ("refuses", "does, answer lost", "answer lost", "no space", "forgets its tasks", "does it twice")
PORT_METHODS: Table = ("submit", "wait", "devices", "disk", "disks", "read_sidecar", "write_sidecar", "vms", "vm")
MESSAGES: Table = ("late", "doubled", "reordered", "lost")
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of step: how often it comes, and the tables of its values. ``fault``: no user wants it."""

    weight: int
    values: Mapping[str, Table]
    fault: bool = False


def _user(weight: int, **values: Table) -> Kind:
    return Kind(weight, values)


def _fault(weight: int, **values: Table) -> Kind:
    return Kind(weight, values, fault=True)


KINDS: Mapping[str, Kind] = {
    "create": _user(
        8,
        host=HOSTS,
        name=NAMES,
        how=HOWS,
        size=("100mb", "100mb", "200mb"),
        access=("",) * 19 + ("read-only",),
        fresh=YES_OR_NO,
    ),
    "clone": _user(4, host=HOSTS, name=NAMES, how=HOWS, source=VOLUMES, fresh=YES_OR_NO),
    "start": _user(14, host=HOSTS, volume=VOLUMES, how=HOWS, slow_s=(0.0, 0.0, 1.0, 30.0)),
    "write": _user(10, which=WHICH, sync=(True, True, False)),
    "stop": _user(12, which=WHICH, how=("now", "beside", "twice"), told=(True,) * 14 + (False,)),
    "remove": _user(5, host=HOSTS, volume=VOLUMES, how=HOWS),
    "look_at_new": _user(2, host=HOSTS, other=HOSTS),
    "get": _user(4, host=HOSTS, name=NAMES, how=("now", "beside", "twice")),
    "list": _user(2, host=HOSTS, how=HOWS),
    "copy": _user(3, which=WHICH, how=HOWS),
    "remake": _user(3, host=HOSTS, other=HOSTS, volume=VOLUMES, then=("start", "remove", "get"), third=HOSTS),
    "copy_unused": _user(2, host=HOSTS, volume=VOLUMES, how=HOWS),
    "clone_and_start": _user(3, host=HOSTS, other=HOSTS, name=NAMES, source=NAMES),
    "grow": _user(3, host=HOSTS, volume=VOLUMES, how=HOWS, more=(100, 100, 300, -50, 0)),
    "wait": _user(2, seconds=(1.0, 15.0, 60.0, 200.0)),
    # --- faults
    "kill_agent": _fault(2, host=HOSTS, back_s=RESTARTS),
    "arm_agent": _fault(4, host=HOSTS, point=AGENT_POINTS, nth=(1, 1, 2), back_s=RESTARTS),
    "kill_service": _fault(1, back_s=RESTARTS),
    "arm_service": _fault(4, point=SERVICE_POINTS, nth=(1, 1, 2), back_s=RESTARTS),
    "cut": _fault(3, host=HOSTS, seconds=(0.2, 3.0, 15.0, 60.0), name=NAMES),
    "lose_answer": _fault(3, host=HOSTS),
    "messages": _fault(4, host=HOSTS, what=MESSAGES, seconds=(2.0, 20.0, 60.0)),
    "stall": _fault(2, seconds=(1.0, 5.0, 45.0, 130.0)),
    "stall_a_detach": _fault(4, which=WHICH, how=("now", "beside", "twice")),
    "freeze_agent": _fault(1, host=HOSTS, seconds=(11.0, 60.0, 300.0)),
    "freeze_service": _fault(1, seconds=(11.0, 60.0, 300.0)),
    "engine_restarts": _fault(2, host=HOSTS, live_restore=YES_OR_NO, left_alone_s=(0.0, 0.0, 700.0)),
    "power_off": _fault(2, host=HOSTS, seconds=(0.0, 0.0, 20.0, 150.0), back_s=RESTARTS),
    "busy": _fault(1, which=WHICH, seconds=(0.5, 5.0, 60.0)),
    "overwritten": _fault(2, which=WHICH),
    "overwritten_half_made": _fault(1, host=HOSTS, back_s=RESTARTS),
    "by_hand": _fault(2, host=HOSTS, which=WHICH),
    "moved": _fault(2, host=HOSTS, which=WHICH),
    "foreign": _fault(2, host=HOSTS, which=WHICH, seconds=(1.0, 10.0, 100.0)),
    "hypervisor": _fault(3, what=HYPERVISOR_FAULTS, host=HOSTS, volume=VOLUMES),
    "hang": _fault(3, method=PORT_METHODS, seconds=(3.0, 30.0, 130.0, None), done=YES_OR_NO),
    "wrong_object": _fault(1, method=("devices", "disk", "read_sidecar", "vm"), times=(1, 2)),
    "fill": _fault(1, seconds=(5.0, 60.0)),
    "unread": _fault(2, host=HOSTS, seconds=(2.0, 20.0)),
    "mkfs_dies": _fault(1, host=HOSTS, seconds=(1.0, 30.0), back_s=RESTARTS),
    "clock_jumps": _fault(1, who=("service", "agents", "both"), seconds=(DAY_S, -DAY_S)),
    "hostile": _fault(2, host=HOSTS, which=WHICH, what=("attach", "detach", "mark", "remove", "keep")),
}


@dataclass(frozen=True, slots=True)
class Step:
    """``values`` in the order of its kind's tables; afterwards nothing is asked for ``pause_s``."""

    kind: str
    values: tuple[Any, ...]
    pause_s: float = 0.0
    schedule: int = 0

    def named(self) -> dict[str, Any]:
        return dict(zip(KINDS[self.kind].values, self.values, strict=True))

    def __str__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self.named().items())
        return f"{self.kind}({values}); pause {self.pause_s:g} s; schedule {self.schedule}"


@dataclass(frozen=True, slots=True)
class Setup:
    """The world at its begin. ``strangers``: the last host is in another vmgroup. ``slow``: 0 is an instant hypervisor."""

    hosts: int = 2
    strangers: bool = False
    slow: int = 0
    retention_s: float = 0.0
    notices_lost: float = 0.0
    number: int = 0


SETUPS: Mapping[str, Table] = {
    "hosts": (2, 2, 3),
    "strangers": (False, False, True),
    "slow": (0, 0, 1, 2, 3),
    "retention_s": (0.0, 0.0, 30.0),
    "notices_lost": (0.0, 0.0, 0.3),
}


@dataclass(frozen=True, slots=True)
class Plan:
    setup: Setup
    steps: tuple[Step, ...]

    def blob(self) -> str:
        """Return the plan as one word."""
        text = json.dumps([astuple(self.setup), [astuple(step) for step in self.steps]], separators=(",", ":"))
        return base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode()

    @classmethod
    def read(cls, blob: str) -> Plan:
        setup, steps = json.loads(zlib.decompress(base64.urlsafe_b64decode(blob)))
        return cls(Setup(*setup), tuple(Step(kind, tuple(values), pause_s, number) for kind, values, pause_s, number in steps))

    def __str__(self) -> str:
        return "\n".join([str(self.setup), *map(str, self.steps)])


def smaller(plan: Plan, broken: Callable[[Plan], bool]) -> Plan:
    """Return a plan that is still ``broken`` and of which nothing can be left out or made simpler alone."""
    plan = _fewer(plan, broken)
    for number in range(len(plan.steps)):
        for simpler in _simpler(plan.steps[number]):
            tried = replace(plan, steps=(*plan.steps[:number], simpler, *plan.steps[number + 1 :]))
            plan = tried if broken(tried) else plan
    for name, table in SETUPS.items():
        fields = {**asdict(plan.setup), name: table[0]}
        tried = replace(plan, setup=Setup(**fields))
        plan = tried if broken(tried) else plan
    return plan


def _fewer(plan: Plan, broken: Callable[[Plan], bool]) -> Plan:
    """Leave out steps, many at once first."""
    size = max(1, len(plan.steps) // 2)
    while True:
        shrunk = False
        for begin in range(len(plan.steps) - size, -1, -size):
            tried = replace(plan, steps=plan.steps[:begin] + plan.steps[begin + size :])
            if len(tried.steps) < len(plan.steps) and broken(tried):
                plan, shrunk = tried, True
        if size == 1 and not shrunk:
            return plan
        size = max(1, size // 2)


def _simpler(step: Step) -> Iterator[Step]:
    """Return what could stand for the step, the simplest last."""
    first = tuple(table[0] for table in KINDS[step.kind].values.values())
    if step.pause_s:
        yield replace(step, pause_s=0.0)
    if step.schedule:
        yield replace(step, pause_s=0.0, schedule=0)
    if step.values != first:
        yield replace(step, pause_s=0.0, schedule=0, values=first)


def of_seed(seed: int, count: int) -> Plan:
    """Return the plan that this seed stands for: the first steps of a longer one are those of a shorter one."""
    dice = random.Random(seed)
    setup = Setup(**{name: dice.choice(table) for name, table in SETUPS.items()}, number=dice.getrandbits(32))
    # Each seed has troubles of its own: some never, some all the time.
    kinds = {name: kind.weight * (dice.choice((0, 0, 0, 1, 1, 4)) if kind.fault else 1) for name, kind in KINDS.items()}
    names: Sequence[str] = tuple(kinds)
    weights = tuple(kinds.values())
    return Plan(setup, tuple(_random_step(dice, dice.choices(names, weights)[0]) for _ in range(count)))


def _random_step(dice: random.Random, kind: str) -> Step:
    values = tuple(dice.choice(table) for table in KINDS[kind].values.values())
    return Step(kind, values, dice.choice(PAUSES), dice.getrandbits(30) + 1)
