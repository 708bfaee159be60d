"""The site that most files of these tests begin with."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons.site import Site


@pytest.fixture
def site() -> Iterator[Site]:
    """A service and an agent that are not started yet. What was started is ended, and nothing of it is left."""
    # Not pytest's folder, whose path is too long for a socket.
    root = Path(tempfile.mkdtemp(prefix="vmdkvol-site-"))
    made = Site(root)
    yield made
    made.close()
    shutil.rmtree(root)
