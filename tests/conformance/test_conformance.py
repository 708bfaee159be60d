"""Every case against every engine: ours by default, a foreign plugin by its driver's name (`make test-engine`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest

from tests.conformance.case import Case, carry_out
from tests.conformance.settings import Chosen, chosen
from tests.conformance.world import World

pytestmark = [pytest.mark.integration, pytest.mark.engine, pytest.mark.timeout(300)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    picked = chosen(metafunc.config)
    pairs = [(build, case) for build in picked.builds for case in picked.cases(build)]
    ids = [f"{build.name}-{case.id}" for build, case in pairs]
    # The scope must be said: where not all that is parametrized is a fixture, pytest takes each for a single test's, whatever
    # the fixture says, and every case would start an engine, a service and an agent of its own.
    metafunc.parametrize(("world", "case"), pairs, ids=ids, indirect=["world"], scope="module")


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    made: AbstractContextManager[World] = _picked(request).world(request.param)
    with made as world:
        yield world


def _picked(request: pytest.FixtureRequest) -> Chosen:
    return chosen(request.config)


def test_case(world: World, case: Case) -> None:
    carry_out(world, case)
