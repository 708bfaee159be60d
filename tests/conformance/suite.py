"""All cases in the order in which they run: what disturbs the engine comes late."""

from __future__ import annotations

from tests.conformance.case import Case, Group, Need
from tests.conformance.cases.creating import CREATING
from tests.conformance.cases.daemons import PLUGIN, SERVICE
from tests.conformance.cases.data import DATA
from tests.conformance.cases.engines import ENGINES
from tests.conformance.cases.hosts import HOSTS
from tests.conformance.cases.life import LIFE
from tests.conformance.cases.listing import LISTING
from tests.conformance.cases.lost import LOST
from tests.conformance.cases.mounts import MOUNTS
from tests.conformance.cases.names import NAMES
from tests.conformance.cases.protocol import PROTOCOL
from tests.conformance.cases.swarm import SWARM

GROUPS: tuple[Group, ...] = (
    *(NAMES, CREATING, PROTOCOL, MOUNTS, DATA, LIFE, LISTING),
    *(ENGINES, PLUGIN, SERVICE, LOST, SWARM, HOSTS),
)
CASES: tuple[Case, ...] = tuple(case for group in GROUPS for case in group)


def possible(given: frozenset[Need]) -> list[Case]:
    """Return the cases that a plugin can be tried with which has what is ``given``."""
    return [case for case in CASES if case.needs <= given]
