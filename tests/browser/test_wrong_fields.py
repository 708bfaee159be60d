"""A wrong field in the browser: back at the form with everything in it, and the focus where the mistake is."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.chromium import watched
from tests.browser.demo_site import DemoSite
from tests.browser.test_every_page import UNUSABLE

pytestmark = pytest.mark.integration


def wrong_volume(page: Page) -> None:
    """Fill in the form of a new volume, with a size that is none, and send it."""
    page.get_by_text("Create a volume").click()
    page.get_by_label("Name").last.fill("with-a-slip")
    page.get_by_label("Size").fill("20 apples")
    page.get_by_label("Further options").fill("fstype=xfs\nlabel=a=b")
    page.get_by_text("Plan it").click()


@pytest.mark.parametrize("scripts", [True, False], ids=["with-scripts", "without-scripts"])
def test_the_form_is_back_with_the_focus_on_what_is_wrong(browser: Browser, site: DemoSite, *, scripts: bool) -> None:
    with watched(browser, site.base, scripts=scripts) as seen:
        page = seen.page
        seen.log_in(site.token(f"slips-{scripts}".lower()))
        seen.go("/ui/volumes")
        wrong_volume(page)

        expect(page.locator("h1")).to_have_text("Volumes")
        size = page.get_by_label("Size")
        expect(size).to_be_focused()
        expect(size).to_have_value("20 apples")
        expect(size).to_have_attribute("aria-invalid", "true")
        expect(size).to_have_accessible_description(re.compile("^size '20 apples' cannot be read; write a number with a unit"))
        expect(page.get_by_label("Name").last).to_have_value("with-a-slip")
        expect(page.get_by_label("Further options")).to_have_value("fstype=xfs\nlabel=a=b")
        assert page.evaluate(UNUSABLE) == []
        seen.picture(f"wrong-field-{scripts}")


def test_a_filter_that_cannot_be_read_has_the_focus_without_a_script_too(browser: Browser, site: DemoSite) -> None:
    with watched(browser, site.base, scripts=False) as seen:
        page = seen.page
        seen.log_in(site.token("filters"))
        seen.go("/ui/audit")
        page.get_by_label("From", exact=True).fill("yesterday")
        page.get_by_label("Who", exact=True).fill("root")
        page.get_by_role("button", name="Filter").click()

        expect(page.get_by_label("From", exact=True)).to_be_focused()
        expect(page.get_by_label("From", exact=True)).to_have_accessible_description(
            re.compile("^time 'yesterday' cannot be read")
        )
        expect(page.get_by_label("Who", exact=True)).to_have_value("root")


def test_a_proof_that_is_wrong_is_typed_anew(browser: Browser, site: DemoSite) -> None:
    with watched(browser, site.base) as seen:
        page = seen.page
        seen.log_in(site.token("proves"))
        # One that no other test restores.
        site.order("POST", "/v1/volumes", {"vmgroup": "demo-reports", "name": "doomed", "options": [["size", "1gb"]]})
        site.order("DELETE", "/v1/volumes/doomed?vmgroup=demo-reports")
        seen.go("/ui/volumes/doomed?vmgroup=demo-reports")
        page.get_by_text("Delete for good").click()
        page.get_by_label("Type the volume's name").fill("doomed-not")
        page.get_by_role("button", name="Plan to delete it for good").click()
        # A plan needs no proof: it destroys nothing.
        page.get_by_role("button", name="Do it").click()

        expect(page.locator("h1")).to_have_text("Volume doomed")
        proof = page.get_by_label("Type the volume's name")
        expect(proof).to_be_focused()
        expect(proof).to_have_value("")
        proof.fill("doomed")
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("Delete doomed and its data for good?")


def test_a_slip_is_mended_by_the_keyboard_alone(browser: Browser, site: DemoSite) -> None:
    with watched(browser, site.base) as seen:
        page, keys = seen.page, seen.page.keyboard
        seen.log_in(site.token("mends"))
        seen.go("/ui/volumes")
        wrong_volume(page)
        expect(page.get_by_label("Size")).to_be_focused()

        keys.press("Control+A")
        keys.type("2gb")
        keys.press("Enter")

        expect(page.locator("h1")).to_have_text("Create the volume with-a-slip?")
