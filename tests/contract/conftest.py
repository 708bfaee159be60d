"""Fixtures of the contract suites that more than one file has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract import given
from tests.contract.hypervisor_benches import Bench
from tests.contract.proven import Where
from tests.contract.store_benches import SQL_STORES, STORES, SqlStores, Stores
from tests.contract.vsphere_bench import SimulatorSite, bench_of, started
from tests.doubles.hand_clock import HandClock
from tests.vsphere.simulators import program
from vmdkvol_esx.ports import Store


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On an endpoint that was given nothing runs but what can be shown there; pytest would call the rest skipped."""
    if given.file() is None:
        return
    out = [item for item in items if not isinstance(item, pytest.Function) or item.callspec.params.get("where") != Where.REAL]
    config.hook.pytest_deselected(items=out)
    items[:] = [item for item in items if item not in out]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the simulator before the first test that wants it: a build may take longer than a test may."""
    wanted = any(item.get_closest_marker(mark) for item in session.items for mark in ("vcsim_pure", "vcsim_injected"))
    if wanted and not session.config.option.collectonly:
        program()


@pytest.fixture(scope="module")
def site(where: Where, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorSite | None]:
    """What the benches of a hypervisor's suite share; ``where`` is the suite's own."""
    with started(where, tmp_path_factory.mktemp(where) / "simulator") as found:
        yield found


@pytest.fixture
def bench(where: Where, site: SimulatorSite | None, tmp_path: Path) -> Iterator[Bench]:
    """A hypervisor of the kind that ``where`` says, with nothing on it."""
    made = bench_of(where, site, tmp_path)
    yield made
    made.end()


@pytest.fixture
def clock() -> HandClock:
    return HandClock(wall=1_000_000.0)


@pytest.fixture(params=STORES)
def stores(request: pytest.FixtureRequest, clock: HandClock, tmp_path: Path) -> Iterator[Stores]:
    """Makes each kind of store."""
    made: Stores = request.param(clock, tmp_path)
    yield made
    made.close()


@pytest.fixture(params=SQL_STORES)
def sql_stores(request: pytest.FixtureRequest, clock: HandClock, tmp_path: Path) -> Iterator[SqlStores]:
    """Makes each kind of database."""
    made: SqlStores = request.param(clock, tmp_path)
    yield made
    made.close()


@pytest.fixture
def store(stores: Stores) -> Store:
    return stores.store
