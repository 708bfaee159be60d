"""Simulators that the tests of this directory share: one vCenter and one ESXi host for all of them, or one of a test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.vsphere.outside import outside
from tests.vsphere.simulators import Certificates, Model, Simulator, certificates, program, simulator
from tests.vsphere.stage import Stage, soon
from tests.vsphere.worlds import Begin, World
from vmdkvol_esx.vsphere.endpoint import Trust

MODELS: tuple[Model, ...] = ("vcenter", "esxi")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the simulator before the first test that wants it: a build may take longer than a test may."""
    if not session.config.option.collectonly and any("tests/vsphere" in item.nodeid for item in session.items):
        program()


@pytest.fixture(scope="session", params=MODELS)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """A simulator that tests leave as it was, but for what has a name of their own; once as vCenter, once as ESXi."""
    with simulator(request.param, tmp_path_factory.mktemp(request.param) / "files") as found:
        yield found


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Callable[..., Simulator]]:
    """Start simulators that one test may restart or break; after the model come flags of its program."""
    with ExitStack() as stack:
        yield lambda model, *flags: stack.enter_context(simulator(model, tmp_path / "simulator", *flags))


@pytest.fixture(scope="session")
def made() -> Certificates:
    return certificates()


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Sessions on endpoints, closed at the end of the test."""
    with ExitStack() as stack:
        yield Stage(stack)


@pytest.fixture
def begin(own: Callable[..., Simulator], stage: Stage) -> Iterator[Begin]:
    with ExitStack() as stack:

        def begin(model: Model, *flags: str) -> World:
            found = own(model, *flags)
            session = stage.session(found.port, Trust(ca=found.ca), password=found.password)
            world = World(found, stack.enter_context(outside(found)), session, stage.log)
            stack.callback(lambda: world.waiter.close(soon()))
            return world

        yield begin
