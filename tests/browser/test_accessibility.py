"""Who does not see the page, sees little, or has no mouse: the tree for screen readers, contrast as drawn, the Tab key."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.browser.chromium import Watched, watched
from tests.browser.demo_site import DemoSite
from tests.browser.reading import FAINT, SMALL, alike, leaps, tab_stops, told, unspoken
from tests.browser.test_every_page import PAGES

pytestmark = pytest.mark.integration
UNFOLD = "document.querySelectorAll('details').forEach((each) => { each.open = true; })"
# Of several forms on a page: what is planned, the fold in which it stands says.
SAID_BY_THE_ROW = {"button Plan the change"}


@pytest.mark.parametrize("name", PAGES)
def test_all_that_is_written_is_seen_against_what_is_behind_it(seen: Watched, name: str) -> None:
    seen.go(PAGES[name])
    seen.page.evaluate(UNFOLD)

    found = seen.page.evaluate(FAINT)

    assert found["faint"] == []
    assert found["seen"] > 10


@pytest.mark.parametrize("name", PAGES)
def test_a_screen_reader_is_told_names_headings_in_ranks_and_where_each_link_leads(narrow: Watched, name: str) -> None:
    narrow.go(PAGES[name])
    narrow.page.evaluate(UNFOLD)

    found = told(narrow.page)

    assert unspoken(found) == []
    assert leaps(found) == []
    assert set(alike(found)) - SAID_BY_THE_ROW == set()
    roles = [each.role for each in found]
    assert [roles.count(each) for each in ("banner", "main", "contentinfo")] == [1, 1, 1]


@pytest.mark.parametrize("name", PAGES)
def test_with_the_tab_key_one_gets_everywhere_and_sees_where_one_is(narrow: Watched, name: str) -> None:
    narrow.go(PAGES[name])

    assert list(tab_stops(narrow.page)) == []


@pytest.mark.parametrize("name", PAGES)
def test_a_finger_hits_what_it_is_meant_to(narrow: Watched, name: str) -> None:
    narrow.go(PAGES[name])
    narrow.page.evaluate(UNFOLD)

    assert narrow.page.evaluate(SMALL) == []


@pytest.mark.parametrize(
    ("markup", "found"),
    [
        pytest.param("<a href='/x'></a>", "unspoken", id="a-link-without-a-name"),
        pytest.param("<h1>a</h1><h3>b</h3>", "leaps", id="a-rank-left-out"),
        pytest.param("<a href='/x'>More</a><a href='/y'>More</a>", "alike", id="two-links-of-one-name"),
        pytest.param("<p style='color:#999;background:#fff'>faint</p>", "faint", id="grey-on-white"),
        pytest.param("<button style='width:9px;height:9px;padding:0'>x</button>", "small", id="a-button-for-a-needle"),
        pytest.param("<button style='outline:none'>x</button>", "stops", id="no-ring"),
    ],
)
def test_the_checks_find_what_they_look_for(browser: Browser, site: DemoSite, markup: str, found: str) -> None:
    with watched(browser, site.base) as made:
        made.page.set_content(f"<html lang=en><main>{markup}</main></html>")
        told_of = told(made.page)
        results = {
            "unspoken": unspoken(told_of),
            "leaps": leaps(told_of),
            "alike": alike(told_of),
            "faint": made.page.evaluate(FAINT)["faint"],
            "small": made.page.evaluate(SMALL),
            "stops": list(tab_stops(made.page)),
        }

        assert results[found] != []
