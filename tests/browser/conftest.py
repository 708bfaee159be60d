"""One browser and one site for a file of tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser

from tests.browser.chromium import NARROW, Watched, chromium, watched
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


@pytest.fixture(scope="module", params=["light", "dark"])
def seen(request: pytest.FixtureRequest, browser: Browser, site: DemoSite) -> Iterator[Watched]:
    """Somebody who is logged in and whose system is light, or dark."""
    scheme: Literal["light", "dark"] = request.param
    with watched(browser, site.base, scheme=scheme) as made:
        made.log_in(site.token(f"ann-{scheme}"))
        yield made


@pytest.fixture(scope="module")
def narrow(browser: Browser, site: DemoSite) -> Iterator[Watched]:
    with watched(browser, site.base, width=NARROW) as made:
        made.log_in(site.token("narrow"))
        yield made
