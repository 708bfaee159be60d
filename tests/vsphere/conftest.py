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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each test on a simulator says whose code checks us: that is the table of docs/reference/proven.md."""
    wrong = []
    for item in items:
        marks = [mark for mark in ("vcsim_pure", "vcsim_injected") if item.get_closest_marker(mark) is not None]
        here = "tests/vsphere" in item.nodeid and {"shared", "own"} & set(getattr(item, "fixturenames", ()))
        if here and len(marks) != 1:
            wrong.append(item.nodeid)
    if wrong:
        raise pytest.UsageError(f"one of the marks vcsim_pure and vcsim_injected is missing: {', '.join(wrong[:5])}")


@pytest.fixture(scope="session", params=MODELS)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """A simulator that tests leave as it was, but for what has a name of their own; once as vCenter, once as ESXi."""
    with simulator(request.param, tmp_path_factory.mktemp(request.param) / "files") as found:
        yield found


@pytest.fixture
def own(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Simulator]]:
    """Start simulators that one test may restart or break; after the model come flags of its program."""
    started: list[Simulator] = []
    with ExitStack() as stack:

        def own(model: Model, *flags: str) -> Simulator:
            started.append(stack.enter_context(simulator(model, tmp_path / "simulator", *flags)))
            return started[-1]

        yield own
    check_honest(request.node, started, 0)


@pytest.fixture(autouse=True)
def _as_marked(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that asked for something that our own code makes up does not pass for one of foreign code."""
    shared = request.getfixturevalue("shared") if "shared" in request.fixturenames else None
    before = 0 if shared is None else shared.injected
    yield
    check_honest(request.node, [] if shared is None else [shared], before)


def check_honest(item: pytest.Item, simulators: list[Simulator], before: int) -> None:
    ours = [found for found in simulators if found.flags or found.injected > before]
    if ours and item.get_closest_marker("vcsim_pure") is not None:
        pytest.fail("it is marked vcsim_pure and uses what our own code adds to the simulator: mark it vcsim_injected")


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
