"""Fixtures of the system tests: the guest's image, a folder with a short path, machines, and a guest that runs."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.guards import leftovers, settled
from tests.system.guest import Guest, Hardware
from tests.system.site import Site
from tests.system.world import Host, World, world

ROOT = Path(__file__).parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with the two Docker hosts come last, one after another: until then their guests do not run beside others.

    A guest's start, and its image's, take minutes on a machine that has other tests to serve.
    """
    for item in items:
        if item.get_closest_marker("timeout") is None and item.get_closest_marker("system") is not None:
            item.add_marker(pytest.mark.timeout(1500))
    items.sort(key=lambda item: "docker_hosts" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session", autouse=True)
def _no_process_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    base = str(tmp_path_factory.getbasetemp())
    before = leftovers(base)
    yield
    left = settled(partial(leftovers, base), before)
    assert left == frozenset(), f"the system tests left behind: {', '.join(sorted(left))}"


@pytest.fixture(scope="session")
def image(_no_process_is_left: None) -> Path:
    """The guest's image; it is built here if there is none."""
    done = subprocess.run(["packaging/dev/guest.sh"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.strip())


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A site for the tests of a file. Its folder's path is short: sockets lie in it."""
    root = Path(tempfile.mkdtemp(prefix="vmdkvol-sys-"))
    yield Site(root)
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def guest(image: Path, site: Site) -> Iterator[Guest]:
    """A guest that runs, for all tests of a file that only want one."""
    guest = Guest(site.machine("a"), image, Hardware())
    try:
        yield guest.power_on().wait_ready()
    finally:
        guest.close()


@pytest.fixture(scope="session")
def docker_hosts(image: Path) -> Iterator[World]:
    """A site with two Docker hosts, for all tests that want some: their start costs more than many a test."""
    root = Path(tempfile.mkdtemp(prefix="vmdkvol-sys-"))
    with world(Site(root), image, "a", "b") as made:
        yield made
    shutil.rmtree(root)


@pytest.fixture
def a(docker_hosts: World) -> Iterator[Host]:
    """The first host, on, with nothing in it, whatever an earlier test did to it."""
    yield docker_hosts.hosts[0].fresh()
    docker_hosts.hosts[0].tidy()


@pytest.fixture
def b(docker_hosts: World) -> Iterator[Host]:
    """The second one."""
    yield docker_hosts.hosts[1].fresh()
    docker_hosts.hosts[1].tidy()
