"""Fixtures of the contract suites that more than one file has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.store_benches import SQL_STORES, STORES, SqlStores, Stores
from tests.doubles.hand_clock import HandClock
from vmdkvol_esx.ports import Store


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
