"""A disk that somebody else made, in the browser: found, adopted by the keyboard alone, and released without a script."""

from __future__ import annotations

import hashlib

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.chromium import watched
from tests.browser.demo_site import DemoSite
from tests.browser.test_admins_day import tab_to
from vmdkvol.orders import Role

pytestmark = pytest.mark.integration
PLACE = "[ds1] databases/ledger.vmdk"


@pytest.fixture(scope="module")
def bytes_before(site: DemoSite) -> dict[str, str]:
    """Put the disk there; return what it is made of."""
    site.stranger("ds1", "databases/ledger.vmdk")
    return sums(site)


def sums(site: DemoSite) -> dict[str, str]:
    folder = site.api.root / "ds1" / "databases"
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_a_disk_is_found_and_adopted_by_the_keyboard_alone(
    browser: Browser, site: DemoSite, bytes_before: dict[str, str]
) -> None:
    with watched(browser, site.base) as seen:
        page, keys = seen.page, seen.page.keyboard
        seen.log_in(site.token("adopter"))
        seen.go("/ui/datastores/ds1")
        tab_to(page, "Disks of others on it")
        keys.press("Enter")
        expect(page.locator("h1")).to_have_text("Disks of others on ds1")
        seen.picture("disks")
        tab_to(page, f"Adopt {PLACE}")
        keys.press("Enter")
        expect(page.locator("h1")).to_have_text(f"Adopt {PLACE}")
        tab_to(page, "Name of the volume")
        # What is in it is selected when it is tabbed to.
        keys.type("ledger-2026")
        tab_to(page, "Vmgroup")
        keys.type("demo-shop")
        seen.picture("adopt")
        tab_to(page, "Plan to adopt it")
        keys.press("Enter")
        expect(page.locator("h1")).to_have_text(f"Adopt {PLACE} as volume ledger-2026?")
        seen.picture("adopt-plan")
        tab_to(page, "Do it")
        keys.press("Enter")

        expect(page.locator("h1")).to_have_text("Volume ledger-2026")
        expect(page.locator("main")).to_contain_text(PLACE)
    assert sums(site) == bytes_before


def test_it_is_released_without_a_script_and_lies_where_it_lay(
    browser: Browser, site: DemoSite, bytes_before: dict[str, str]
) -> None:
    body = {"disk": PLACE, "vmgroup": "demo-reports", "name": "ledger-back"}
    if site.api.unix("GET", "/v1/volumes/ledger-2026?vmgroup=demo-shop").status == 200:
        site.order("POST", "/v1/volumes/ledger-2026/release", {"vmgroup": "demo-shop"})
    site.order("POST", "/v1/disks/adopt", body)
    with watched(browser, site.base, scripts=False) as seen:
        page = seen.page
        seen.log_in(site.token("releaser"))
        seen.go("/ui/volumes/ledger-back?vmgroup=demo-reports")
        page.get_by_text("Release", exact=True).click()
        page.get_by_role("button", name="Plan to release it").click()
        expect(page.locator("main")).to_contain_text(PLACE)
        page.get_by_role("button", name="Do it").click()

        expect(page.get_by_role("status")).to_contain_text("volume ledger-back is released")
    assert sums(site) == bytes_before


def test_an_operator_looks_at_the_disks_and_has_no_way_to_adopt_one(
    browser: Browser, site: DemoSite, bytes_before: dict[str, str]
) -> None:
    with watched(browser, site.base) as seen:
        seen.log_in(site.token("onlooker", Role.OPERATOR))
        assert seen.go("/ui/datastores/ds1/disks") == 200
        assert seen.page.locator("main a[href^='/ui/adopt']").count() == 0
        assert bytes_before
