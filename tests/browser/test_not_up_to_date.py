"""A page that follows work and cannot any more: it says so, keeps what is typed, and goes on when it can."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.chromium import Watched, watched
from tests.browser.demo_site import DemoSite

pytestmark = pytest.mark.integration


def answered(page: Page, answer: Callable[[Route], None]) -> None:
    """Have what the page fetches by itself answered so; what a person asks for goes through."""
    page.route("**/ui/**", lambda route: answer(route) if "x-live" in route.request.headers else route.continue_())


def away(route: Route) -> None:
    route.fulfill(status=503, body="away")


def cut(route: Route) -> None:
    route.abort()


def logged_out(route: Route) -> None:
    route.fulfill(status=401, body="log in")


def look_on(seen: Watched, site: DemoSite, name: str) -> Page:
    """Open the page of a volume that is being copied."""
    seen.log_in(site.token(name))
    site.slow_copy(name)
    for _ in range(100):
        seen.go(f"/ui/volumes/{name}?vmgroup=demo-shop")
        if seen.page.locator("#live-volume progress").count():
            return seen.page
        seen.page.wait_for_timeout(100)
    pytest.fail("the copy does not begin")


@pytest.mark.parametrize("answer", [away, cut], ids=["an-error", "no-answer"])
def test_a_service_that_is_away_is_said_and_the_page_goes_on_when_it_is_back(
    browser: Browser, site: DemoSite, answer: Callable[[Route], None]
) -> None:
    with watched(browser, site.base) as seen:
        page = look_on(seen, site, f"stands-{answer.__name__}")
        expect(page.locator("[data-why]:visible")).to_have_count(0)

        answered(page, answer)

        expect(page.get_by_role("alert")).to_have_text(
            re.compile(r"^Not up to date: .* as of 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC")
        )
        seen.picture(f"not-up-to-date-{answer.__name__}")
        page.unroute_all()
        expect(page.locator("[data-why]:visible")).to_have_count(0)


def test_a_session_that_is_over_takes_away_nothing_that_is_being_typed(browser: Browser, site: DemoSite) -> None:
    with watched(browser, site.base) as seen:
        page = look_on(seen, site, "types-long")
        page.get_by_text("Name", exact=True).click()
        page.get_by_label("New name").fill("half-typed")

        answered(page, logged_out)

        expect(page.get_by_role("alert")).to_contain_text("Your session is over")
        expect(page.get_by_label("New name")).to_have_value("half-typed")
        # What is sent now is kept over the login.
        page.context.clear_cookies()
        page.get_by_role("button", name="Plan to rename it").click()
        expect(page.locator("h1")).to_have_text("Log in")
        page.get_by_label("Token").fill(site.token("types-again"))
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("You are logged in")
        expect(page.locator("main")).to_contain_text("to half-typed")
        seen.picture("resumed")
        page.get_by_role("button", name="Plan it").click()
        expect(page.get_by_role("link", name="Back, and change nothing").or_(page.get_by_role("alert")).first).to_be_visible()
