"""What an administrator does with the page: in and out, a vmgroup by the keyboard alone, two at once, work that goes on."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.chromium import watched
from tests.browser.demo_site import DemoSite
from vmdkvol.orders import Role

pytestmark = pytest.mark.integration


def test_a_token_lets_one_in_and_who_logs_out_is_out(browser: Browser, site: DemoSite) -> None:
    with watched(browser, site.base) as seen:
        seen.log_in(site.token("inout"))
        assert seen.heading() == "Overview"

        seen.page.click("text=Log out")

        expect(seen.page.locator("h1")).to_have_text("Log in")
        assert seen.go("/ui/vmgroups") == 401


def test_a_wrong_token_lets_nobody_in_and_the_page_says_so(browser: Browser, site: DemoSite) -> None:
    with watched(browser, site.base) as seen:
        seen.go("/ui/login")
        seen.page.fill("#token", "vmdkvol_nobody")
        seen.page.click("main button")

        expect(seen.page.get_by_role("alert")).to_contain_text("unknown")
        assert seen.page.context.cookies() == []
        assert seen.go("/ui/") == 401


def test_a_viewer_sees_no_form_that_changes_something(browser: Browser, site: DemoSite) -> None:
    with watched(browser, site.base) as seen:
        seen.log_in(site.token("looker", Role.VIEWER))
        for path in ("/ui/vmgroups", "/ui/vmgroups/demo-shop", "/ui/datastores/ds1", "/ui/volumes", "/ui/tasks"):
            assert seen.go(path) == 200
            assert seen.page.locator("main form[method=post]").count() == 0
            assert seen.page.locator("a[href^='/ui/audit'], a[href^='/ui/orphans']").count() == 0
        assert [seen.go(path) for path in ("/ui/audit", "/ui/audit/export", "/ui/orphans")] == [403, 403, 403]


def tab_to(page: Page, name: str) -> None:
    """Press Tab until what has this name or label has the focus; fail if that never comes."""
    for _ in range(150):
        page.keyboard.press("Tab")
        named = page.evaluate(
            "() => { const at = document.activeElement; "
            "return (at.labels && at.labels.length ? at.labels[0] : at).textContent.trim(); }"
        )
        if named == name:
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", f"{name} has no focus ring"
            return
    pytest.fail(f"no Tab leads to {name!r}")


def test_a_vmgroup_is_made_and_changed_by_the_keyboard_alone(browser: Browser, site: DemoSite) -> None:
    token = site.token("keys")
    with watched(browser, site.base) as seen:
        page, keys = seen.page, seen.page.keyboard
        seen.go("/ui/vmgroups")
        # The token's field has the focus by itself.
        expect(page.locator("#token")).to_be_focused()
        keys.type(token)
        keys.press("Enter")
        expect(page.locator("h1")).to_have_text("Vmgroups")

        tab_to(page, "New vmgroup")
        keys.press("Enter")
        tab_to(page, "Name")
        keys.type("by-keys")
        tab_to(page, "Default datastore")
        keys.type("ds1")
        tab_to(page, "Plan to create it")
        keys.press("Enter")
        expect(page.locator("h1")).to_have_text("Create the vmgroup by-keys?")
        tab_to(page, "Do it")
        keys.press("Enter")
        expect(page.locator("h1")).to_have_text("Vmgroup by-keys")
        expect(page.get_by_role("status")).to_have_text("Done: vmgroup by-keys is there.")

        tab_to(page, "Name, defaults and policies")
        keys.press("Enter")
        tab_to(page, "Description")
        keys.type("made without a mouse")
        tab_to(page, "Plan the change")
        keys.press("Enter")
        expect(page.locator("h1")).to_have_text("Change vmgroup by-keys?")
        tab_to(page, "Do it")
        keys.press("Enter")
        expect(page.locator("main")).to_contain_text("made without a mouse")
        # Chromium complains of the page that asked for the token, and of nothing else.
        assert [complaint for complaint in seen.complaints if "401" not in complaint] == []


def test_the_first_key_leads_past_the_navigation(browser: Browser, site: DemoSite) -> None:
    with watched(browser, site.base) as seen:
        seen.log_in(site.token("skips"))
        seen.go("/ui/vmgroups")
        seen.page.keyboard.press("Tab")
        seen.page.keyboard.press("Enter")

        assert seen.page.evaluate("document.activeElement.id") == "main"


def test_a_volume_is_put_under_another_policy_without_scripts(browser: Browser, site: DemoSite) -> None:
    with watched(browser, site.base, scripts=False) as seen:
        page = seen.page
        seen.log_in(site.token("policies"))
        seen.go("/ui/volumes/mail-queue?vmgroup=demo-shop")
        page.get_by_text("Storage policy", exact=True).click()
        page.get_by_label("Policy", exact=True).fill("no-such")
        page.get_by_role("button", name="Plan the change").last.click()
        expect(page.get_by_label("Policy", exact=True)).to_be_focused()
        page.get_by_label("Policy", exact=True).fill("demo-gold")
        page.get_by_role("button", name="Plan the change").last.click()
        expect(page.locator("h1")).to_have_text("Put mail-queue under the policy demo-gold?")
        page.get_by_role("button", name="Do it").click()

        expect(page.get_by_role("status")).to_contain_text("mail-queue is under the policy demo-gold")


def test_without_scripts_everything_can_be_done(browser: Browser, site: DemoSite) -> None:
    with watched(browser, site.base, scripts=False) as seen:
        page = seen.page
        seen.log_in(site.token("plain-doer"))
        seen.go("/ui/datastores/ds2")
        page.get_by_label("Reason").fill("a disk is replaced")
        page.get_by_role("button", name="Plan to cordon it").click()
        page.get_by_role("button", name="Do it").click()
        expect(page.locator("#cordon ~ p").first).to_contain_text("a disk is replaced")
        page.get_by_role("button", name="Plan to lift the cordon").click()
        page.get_by_role("button", name="Do it").click()

        expect(page.get_by_role("status")).to_have_text("Done: ds2 takes new volumes.")


def test_the_second_of_two_sees_what_the_first_did_and_wins_nothing_in_silence(browser: Browser, site: DemoSite) -> None:
    site.order("POST", "/v1/vmgroups", {"name": "contested", "default_datastore": "ds1", "description": "as it was"})
    with watched(browser, site.base) as first, watched(browser, site.base) as second:
        for seen, name in ((first, "one"), (second, "two")):
            seen.log_in(site.token(name))
            seen.go("/ui/vmgroups/contested")
            seen.page.click("text=Name, defaults and policies")
            seen.page.fill("#u-text", f"as {name} wants it")
        first.page.get_by_role("button", name="Plan the change").click()
        first.page.get_by_role("button", name="Do it").click()
        expect(first.page.locator("main")).to_contain_text("as one wants it")

        second.page.get_by_role("button", name="Plan the change").click()

        expect(second.page.locator("h1")).to_have_text("Somebody else was faster")
        row = second.page.get_by_role("row", name="Description")
        expect(row).to_contain_text("as one wants it")
        expect(row).to_contain_text("as two wants it")
        second.picture("conflict")
        assert site.api.unix("GET", "/v1/vmgroups/contested").json["description"] == "as one wants it"
        second.page.get_by_role("button", name="Plan mine on what is now").click()
        second.page.get_by_role("button", name="Do it").click()
        expect(second.page.locator("main")).to_contain_text("as two wants it")


def test_work_moves_on_the_page_without_a_reload(browser: Browser, site: DemoSite) -> None:
    with watched(browser, site.base) as seen:
        seen.log_in(site.token("waits"))
        site.slow_copy("copied")
        page = seen.page

        def shown() -> int:
            return int(float(page.locator("tr", has_text="copied").locator("progress").first.get_attribute("value") or 0))

        for _ in range(100):
            seen.go("/ui/tasks")
            if page.locator("tr", has_text="copied").locator("progress").count():
                break
            page.wait_for_timeout(100)
        before = shown()
        page.evaluate("window.notLoadedAgain = true")

        page.wait_for_function(
            "(before) => [...document.querySelectorAll('progress')].some((each) => each.value > before)", arg=before
        )

        assert page.evaluate("window.notLoadedAgain") is True
        seen.picture("task-moves")
        assert seen.complaints == []


def test_the_audit_is_filtered_and_comes_as_a_file(browser: Browser, site: DemoSite) -> None:
    with watched(browser, site.base) as seen:
        seen.log_in(site.token("auditor"))
        seen.go("/ui/audit")
        seen.page.get_by_label("To what").fill("demo-sh*")
        seen.page.get_by_label("What", exact=True).fill("create-vmgroup")
        seen.page.get_by_role("button", name="Filter").click()
        assert seen.page.locator("tbody tr").count() == 1

        with seen.page.expect_download() as coming:
            seen.page.get_by_role("link", name="csv").click()

        lines = coming.value.path().read_text(encoding="utf-8").splitlines()
        assert coming.value.suggested_filename == "vmdkvol-audit.csv"
        assert [line.count("demo-shop") > 0 for line in lines] == [False, True]
