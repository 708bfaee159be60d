"""What every simulation needs of the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def one_processor() -> Iterator[None]:
    """One thread runs at a time anyway; handing over to another processor takes twice as long."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    yield
    os.sched_setaffinity(0, allowed)
