"""Fixtures of the system tests: the guest's image, a folder with a short path, machines, and a guest that runs."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.guest import Guest, Hardware
from tests.system.site import Site

ROOT = Path(__file__).parents[2]

GuestMaker = Callable[..., Guest]


@pytest.fixture(scope="session")
def image() -> Path:
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
