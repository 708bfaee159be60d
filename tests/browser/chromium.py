"""Debian's Chromium without a screen, as a person who looks on: what it complains of, and what it asks whom for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, BrowserContext, Page, Request, sync_playwright

from tests.groups import ROOT

PROGRAM = "/usr/bin/chromium"
SHOTS = ROOT / ".cache" / "browser"
# A machine that does much else draws a page late.
PATIENCE_MS = 30_000


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield the browser; it asks nobody for anything by itself."""
    with sync_playwright() as driver:
        # Root has no user namespace to shut a page in; the only page there is ours.
        quiet = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-default-browser-check"]
        # Of a file that is saved, the context's own word does not count.
        quiet.append("--ignore-certificate-errors")
        browser = driver.chromium.launch(executable_path=PROGRAM, args=quiet)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """A page of the browser. ``complaints`` are errors and violated policies, ``foreign`` requests to anybody but ``base``."""

    page: Page
    base: str
    complaints: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    scheme: str = "light"

    def __post_init__(self) -> None:
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._look)

    def _look(self, request: Request) -> None:
        if not request.url.startswith((f"{self.base}/", "data:", "about:")):
            self.foreign.append(request.url)

    def go(self, path: str) -> int:
        """Open a path of the site; return HTTP's status."""
        response = self.page.goto(self.base + path)
        assert response is not None
        return response.status

    def log_in(self, token: str) -> None:
        self.go("/ui/login")
        self.page.fill("#token", token)
        self.page.click("main button")
        self.page.wait_for_url(f"{self.base}/ui/")

    def heading(self) -> str:
        """Return the text of the page's one heading of the first rank."""
        headings = self.page.locator("h1").all_inner_texts()
        assert len(headings) == 1, f"a page has one h1: {headings}"
        return headings[0]

    def picture(self, name: str) -> Path:
        """Keep what is seen now, as a file."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        path = SHOTS / f"{name}.png"
        self.page.screenshot(path=path)
        return path


# A phone's width, in its own pixels.
NARROW = 360


@contextmanager
def watched(
    browser: Browser,
    base: str,
    *,
    scheme: Literal["light", "dark"] = "light",
    width: int = 1280,
    scripts: bool = True,
    **more: Any,
) -> Iterator[Watched]:
    """Yield a page of somebody who comes for the first time: without cookies, in a window of this width."""
    context: BrowserContext = browser.new_context(
        # The tests' authority is not in the browser's store; what the page proves is test_api_doors' matter.
        ignore_https_errors=True,
        color_scheme=scheme,
        viewport={"width": width, "height": 800},
        java_script_enabled=scripts,
        **more,
    )
    context.set_default_timeout(PATIENCE_MS)
    try:
        yield Watched(context.new_page(), base, scheme=scheme)
    finally:
        context.close()
