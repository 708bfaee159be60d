"""Every page in a real browser: light and dark, narrow, without scripts; nothing is complained of and nobody else is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest
from playwright.sync_api import Browser

from tests.browser.chromium import NARROW, Watched, watched
from tests.browser.demo_site import DemoSite

pytestmark = pytest.mark.integration
PAGES = {
    "overview": "/ui/",
    "volumes": "/ui/volumes",
    "volume": "/ui/volumes/orders-wal?vmgroup=demo-shop",
    "trash": "/ui/volumes?state=trashed",
    "vmgroups": "/ui/vmgroups",
    "vmgroup": "/ui/vmgroups/demo-shop",
    "default-vmgroup": "/ui/vmgroups/_DEFAULT",
    "datastores": "/ui/datastores",
    "datastore": "/ui/datastores/demo-archive",
    "disks": "/ui/datastores/ds1/disks",
    "adopt": "/ui/adopt?disk=[ds1] databases/ledger.vmdk",
    "machines": "/ui/machines",
    "maintenance": "/ui/maintenance?target=ds1",
    "policies": "/ui/policies",
    "policy": "/ui/policies/demo-gold",
    "tasks": "/ui/tasks",
    "orphans": "/ui/orphans",
    "audit": "/ui/audit",
    "health": "/ui/health",
}
# Returns what a person who sees nothing could not use: fields without a label, links and buttons without a name, and the like.
UNUSABLE = """() => {
  const found = [];
  for (const field of document.querySelectorAll("input:not([type=hidden]), select, textarea")) {
    if (!field.labels.length && !field.getAttribute("aria-label")) found.push(`no label: ${field.outerHTML}`);
  }
  for (const each of document.querySelectorAll("a[href], button, summary")) {
    if (!each.textContent.trim() && !each.getAttribute("aria-label")) found.push(`no name: ${each.outerHTML}`);
  }
  for (const cell of document.querySelectorAll("thead th")) {
    if (!cell.getAttribute("scope")) found.push(`no scope: ${cell.outerHTML}`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((each) => each.id);
  for (const id of new Set(ids)) if (ids.filter((each) => each === id).length > 1) found.push(`twice: #${id}`);
  for (const each of document.querySelectorAll("[aria-labelledby], [aria-describedby], label[for]")) {
    const named = each.getAttribute("aria-labelledby") || each.getAttribute("aria-describedby") || each.getAttribute("for");
    for (const id of named.split(" ")) if (!document.getElementById(id)) found.push(`names nothing: ${id}`);
  }
  for (const image of document.querySelectorAll("svg, img")) {
    if (!image.getAttribute("aria-label") && !image.getAttribute("alt")) found.push(`no words: ${image.outerHTML}`);
  }
  if (document.documentElement.lang !== "en") found.push("no language");
  if (document.querySelectorAll("main").length !== 1) found.push("not one main");
  return found;
}"""


@pytest.fixture(scope="module")
def plain(browser: Browser, site: DemoSite) -> Iterator[Watched]:
    with watched(browser, site.base, scripts=False) as made:
        made.log_in(site.token("plain"))
        yield made


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_shown_without_a_complaint_and_asks_nobody_else(seen: Watched, name: str) -> None:
    seen.complaints.clear()

    assert seen.go(PAGES[name]) == 200

    assert seen.heading() != ""
    seen.picture(f"{name}-{seen.scheme}")
    assert (seen.complaints, seen.foreign) == ([], [])


def test_the_pages_are_dark_where_the_system_is(browser: Browser, site: DemoSite) -> None:
    backs = {}
    scheme: Literal["light", "dark"]
    for scheme in ("light", "dark"):
        with watched(browser, site.base, scheme=scheme) as made:
            made.go("/ui/login")
            backs[scheme] = made.page.evaluate("getComputedStyle(document.body).backgroundColor")

    assert backs == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 25, 29)"}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_used_by_who_does_not_see_it(narrow: Watched, name: str) -> None:
    narrow.go(PAGES[name])

    assert narrow.page.evaluate(UNUSABLE) == []


@pytest.mark.parametrize("name", PAGES)
def test_in_a_narrow_window_a_page_is_not_wider_than_it(narrow: Watched, name: str) -> None:
    """What is wide, such as a table, scrolls by itself. With everything unfolded."""
    narrow.go(PAGES[name])
    narrow.page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")

    assert narrow.page.evaluate("document.documentElement.scrollWidth") <= NARROW


def test_in_a_wide_window_head_page_and_foot_stand_in_line(browser: Browser, site: DemoSite) -> None:
    with watched(browser, site.base, width=2400) as made:
        made.log_in(site.token("wide"))
        boxes = [made.page.locator(each).bounding_box() for each in (".brand", "h1", "footer p")]

        assert len({round(box["x"]) for box in boxes if box is not None}) == 1


@pytest.mark.parametrize("name", PAGES)
def test_without_scripts_a_page_says_the_same(plain: Watched, seen: Watched, name: str) -> None:
    plain.go(PAGES[name])
    seen.go(PAGES[name])

    # Who looks, and at what time, is not the same.
    assert plain.page.locator("h1, h2, thead").all_inner_texts() == seen.page.locator("h1, h2, thead").all_inner_texts()


@pytest.mark.parametrize("path", ["/ui/vmgroups/demo-staging", "/ui/vmgroups", "/ui/volumes", "/ui/audit"])
def test_what_looks_like_markup_is_text(browser: Browser, site: DemoSite, path: str) -> None:
    with watched(browser, site.base) as made:
        made.log_in(site.token(f"careful{path.count('/')}{len(path)}"))
        made.page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))

        made.go(path)

        assert made.page.locator("main img").count() == 0
        assert made.page.locator("main b").count() == 0
        assert "<img src=x" in made.page.content().replace("&lt;", "<") or "<b>bold" in made.page.locator("main").inner_text()
        assert made.complaints == []
