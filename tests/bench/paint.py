"""The row of the web page: how soon a person sees something."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from playwright.sync_api import Page

from tests.bench.figures import Goal, Measured, absolute
from tests.bench.lines import Line, Row
from tests.bench.lists import fill_subject
from tests.bench.rest import Api
from tests.bench.stage import Stage
from tests.browser.chromium import chromium, watched
from vmdkvol.cli.asking import free_port
from vmdkvol.clock import SystemClock
from vmdkvol.orders import Role
from vmdkvol.settings import read_settings
from vmdkvol_esx.self_signed import ensure_certificate
from vmdkvol_esx.settings import ServiceSettings
from vmdkvol_esx.web.token_file import TokenFile

_HOST = "127.0.0.1"
# The browser tells it when it has happened, also if that was before anybody asked.
_PAINTED = """() => new Promise((told) => new PerformanceObserver((list) => {
  for (const each of list.getEntriesByName("first-contentful-paint")) told(each.startTime / 1000);
}).observe({ type: "paint", buffered: true }))"""


def first_paint(stage: Stage) -> Mapping[str, Measured]:
    """Chromium's first contentful paint of the page's overview, from the click on, over that of its login page.

    The service has 10,000 volumes. Server and browser are warm: the style sheet is in the browser's cache, as for everybody
    who has been there before. Over TLS on loopback, a new connection each time, which is what the server offers. The login page
    asks the service nothing.
    """
    subject = stage.filled("many", lambda made: fill_subject(made, stage.effort.many))
    certificate, port = subject.root / "page.pem", free_port(_HOST, 0)
    ensure_certificate(certificate, (_HOST,), SystemClock())
    api = Api(subject, stage.spoil, listen=f"{_HOST}:{port}", certificate_file=str(certificate))
    try:
        tokens = TokenFile(Path(read_settings(ServiceSettings, api.config).token_file), SystemClock())
        with chromium() as browser, watched(browser, f"https://{_HOST}:{port}") as seen:
            seen.log_in(tokens.add("bench", Role.VIEWER, 1)[0].reveal())
            with watched(browser, seen.base) as stranger:
                sides = _painted(seen.page, f"{seen.base}/ui/"), _painted(stranger.page, f"{seen.base}/ui/login")
                return {"page.paint": absolute(stage.compare(*sides))}
    finally:
        api.close()


def _painted(page: Page, address: str) -> Callable[[], float]:
    def ask() -> float:
        page.goto(address)
        return float(page.evaluate(_PAINTED))

    ask()
    return ask


ROWS = (
    Row(
        "paint",
        (Line("page.paint", "first paint of the web page", "its login page", Goal(0.3, unit="s")),),
        first_paint,
        12,
        "slow-page",
        ("page.paint",),
    ),
)
