"""The row of what a tenant's right costs: it is asked in each thing that a machine does."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from uuid import UUID

from tests.bench.figures import Goal, Measured, spread
from tests.bench.lines import Line, Row
from tests.bench.stage import Stage
from vmdkvol.clock import SystemClock
from vmdkvol.names import ALL_DATASTORES, VM_DATASTORE, DatastoreName
from vmdkvol.volume import DEFAULT_VMGROUP, VmId
from vmdkvol_esx.records import Group, Right
from vmdkvol_esx.rights import Verb, check, check_limits, check_policy, find
from vmdkvol_esx.store import open_store

_DATASTORES = 64
_CHECKS = 1000
_GIB = 1 << 30


def decided(stage: Stage) -> Mapping[str, Measured]:
    """Time of all that is decided about one new volume: which of a vmgroup's 66 rights it is, its policy, and both limits.

    In this process, a thousand of them in each round; the median round's, divided by that. What is told beside it is the same
    with the group read from a database in a file, rows and checksums, as an attach does it.
    """
    rights = tuple(Right(DatastoreName(f"ds{number}"), True, _GIB, 2 * _GIB, ("gold",)) for number in range(_DATASTORES))
    rights += (Right(VM_DATASTORE, True), Right(ALL_DATASTORES, False))
    database = stage.directory("rights") / "vmdkvol.db"
    with closing(open_store(database, SystemClock())) as store:
        default = store.group_by_id(DEFAULT_VMGROUP)
        assert default is not None
        group = store.put_group(replace(default, rights=rights), expect=default.vmgroup.revision)
        vm = VmId(UUID(int=1))
        alone = [_seconds(stage, lambda: _decide(group)) for _ in range(stage.effort.rounds)]
        read = [_seconds(stage, lambda: _decide(store.group_of(vm)), 50) for _ in range(stage.effort.rounds)]
    return {"rights.check": _told(alone), "rights.read": _told(read)}


def _decide(group: Group) -> None:
    datastore = DatastoreName("ds63")
    check(group, Verb.CREATE, datastore, None)
    check_policy(group, datastore, None, "gold")
    check_limits(group.vmgroup, find(group.rights, datastore, None), datastore, _GIB, _GIB, _GIB, 0)


def _seconds(stage: Stage, work: Callable[[], None], times: int = _CHECKS) -> float:
    begin = time.perf_counter()
    for _ in range(times):
        work()
        if stage.spoil:
            time.sleep(0.0001)
    return (time.perf_counter() - begin) / times


def _told(seconds: list[float]) -> Measured:
    median = spread(seconds).median
    return Measured(value=median, ours=median, rounds=len(seconds))


ROWS = (
    Row(
        "rights",
        (
            Line("rights.check", "a rights check", "none: a time", Goal(50e-6, unit="s")),
            Line("rights.read", "a rights check with the vmgroup read", "none: a time", None),
        ),
        decided,
        2,
        "slow",
        ("rights.check",),
    ),
)
