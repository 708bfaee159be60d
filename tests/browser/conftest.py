"""One browser and one site for a file of tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.chromium import chromium
from tests.browser.demo_site import DemoSite


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def site() -> Iterator[DemoSite]:
    # Not pytest's: what pytest makes is too long for a socket's path.
    with tempfile.TemporaryDirectory(prefix="vmdkvol-br-") as folder:
        made = DemoSite(Path(folder))
        try:
            yield made
        finally:
            made.close()
