"""The service goes away while somebody works with the page: what is typed stays, and what is ordered is done once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.chromium import Watched, watched
from tests.browser.reading import FAINT, alike, leaps, tab_stops, told, unspoken
from tests.browser.test_every_page import UNUSABLE
from tests.integration.api_site import ApiSite
from vmdkvol.orders import Role

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def alone() -> Iterator[ApiSite]:
    """A site whose service may be stopped, with a volume."""
    with tempfile.TemporaryDirectory(prefix="vmdkvol-br-") as folder:
        made = ApiSite(Path(folder))
        try:
            assert (
                made.unix("POST", "/v1/volumes", {"vmgroup": "_DEFAULT", "name": "db", "options": [["size", "8mb"]]}).status
                < 300
            )
            yield made
        finally:
            made.close()


def base(site: ApiSite) -> str:
    return f"https://localhost:{site.port}"


def can_be_used(seen: Watched) -> None:
    """Fail unless whoever sees little, or has no mouse, can go on from here."""
    found = told(seen.page)
    wrong = [*seen.page.evaluate(UNUSABLE), *seen.page.evaluate(FAINT)["faint"], *unspoken(found), *leaps(found), *alike(found)]
    assert [*wrong, *tab_stops(seen.page)] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_was_typed_and_ordered_is_done_once_when_the_service_is_back(
    browser: Browser, alone: ApiSite, scheme: str
) -> None:
    before = alone.unix("GET", "/v1/volumes").json["rows"][0]
    with watched(browser, base(alone), scheme="dark" if scheme == "dark" else "light") as seen:
        page = seen.page
        can_be_used_at_login(seen, scheme)
        seen.log_in(alone.token(f"ann-{scheme}", Role.ADMIN))
        seen.go(f"/ui/volumes/{before['id']}")
        page.get_by_text("Name", exact=True).click()
        page.get_by_label("New name").fill(f"web-{scheme}")

        def plan_it() -> None:
            page.get_by_role("button", name="Plan to rename it").click()
            expect(page.get_by_role("alert")).to_contain_text("service")
            can_be_used(seen)
            seen.picture(f"away-plan-{scheme}")

        alone.restart_core(plan_it)
        page.get_by_role("button", name="Plan it once more").click()
        expect(page.locator("h1")).to_have_text(f"Rename {before['name']} to web-{scheme}?")
        expect(page.locator("main")).to_contain_text("of vmgroup _DEFAULT, on ds1")
        can_be_used(seen)

        def do_it() -> None:
            page.get_by_role("button", name="Do it").click()
            expect(page.locator("h1")).to_have_text("Whether it was done is not known")
            expect(page.locator("main")).to_contain_text("it is done once")
            can_be_used(seen)
            seen.picture(f"away-order-{scheme}")

        alone.restart_core(do_it)
        page.get_by_role("button", name="Send it once more").click()
        expect(page.get_by_role("status")).to_contain_text(f"the volume's name is web-{scheme} now")
    row = alone.unix("GET", "/v1/volumes").json["rows"][0]
    assert (row["name"], row["revision"]) == (f"web-{scheme}", before["revision"] + 1)


def can_be_used_at_login(seen: Watched, scheme: str) -> None:
    seen.go("/ui/login")
    can_be_used(seen)
    seen.picture(f"login-{scheme}")


def test_a_page_that_cannot_be_had_leads_to_itself_when_it_can_be_again(browser: Browser, alone: ApiSite) -> None:
    with watched(browser, base(alone)) as seen:
        seen.log_in(alone.token("reloads", Role.VIEWER))

        def look() -> None:
            assert seen.go("/ui/volumes?sort=-capacity") == 503
            can_be_used(seen)

        alone.restart_core(look)
        seen.page.get_by_role("link", name="Try it once more").click()
        expect(seen.page.locator("h1")).to_have_text("Volumes")
        expect(seen.page.locator("th[aria-sort=descending]")).to_have_text("Capacity")
