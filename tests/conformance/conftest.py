"""The options of `make test-engine`, and its table."""

from __future__ import annotations

from pathlib import Path

import pytest

# Before they are imported: their failed asserts then show the values, as those of tests do.
pytest.register_assert_rewrite("tests.conformance.cases", "tests.conformance.world")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    group.addoption("--driver", default="", help="the volume driver to try; its socket lies in /run/docker/plugins")
    group.addoption("--opts", default="", help='options of each create: "size=1gb fstype=ext4"')
    group.addoption("--full", action="store_true", help="every case on every engine, and the table")
    group.addoption("--page", default="", help="write the table into this file too")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the cases in the suite's order again, engine by engine: pytest brings the same case on all engines together."""
    places = [place for place, item in enumerate(items) if item.path.name == "test_conformance.py"]
    cases = sorted((items[place] for place in places), key=_given)
    for place, item in zip(places, cases, strict=True):
        items[place] = item


def _given(item: pytest.Item) -> int:
    assert isinstance(item, pytest.Function)
    return item.callspec.indices["case"]


def pytest_configure(config: pytest.Config) -> None:
    # Here, and not above: what these import must not be imported before it is registered.
    from tests.conformance.report import Table
    from tests.conformance.settings import chosen
    from tests.conformance.worlds import trouble

    picked = chosen(config)
    if picked.driver and (text := trouble(picked.driver)):
        raise pytest.UsageError(text)
    if picked.full:
        page = str(config.getoption("--page", default=""))
        table = Table(picked, Path(page) if page else None, config.rootpath / ".cache" / "conformance.json")
        config.pluginmanager.register(table, "conformance-table")
