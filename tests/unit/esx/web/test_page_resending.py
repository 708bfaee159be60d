"""What was sent and not done, or perhaps not, is not typed again: after an error that passes, and after a login."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import pytest
from werkzeug.test import TestResponse

from tests.unit.esx.web.page_site import VOLUME, Browser, Form, Site, forms, heading
from vmdkvol.admin_errors import KeyReused
from vmdkvol.errors import (
    Busy,
    Internal,
    NoSpace,
    NotPermitted,
    OutcomeUnknown,
    ServiceUnreachable,
    StillMounted,
    VolumeError,
    VolumeLost,
    VolumeNotFound,
)
from vmdkvol.orders import Role
from vmdkvol.resize_messages import ResizeVolume
from vmdkvol.task_messages import SiteStatus
from vmdkvol.volume_orders import InspectVolume
from vmdkvol_esx.web.pages.form import Form as Sent
from vmdkvol_esx.web.pages.resending import kept, resumed

ONE = f"/ui/volumes/{VOLUME.id}"
RESIZE = "/ui/change/resize-volume"
HALF_AN_HOUR_S = 1801.0


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def browser(site: Site) -> Browser:
    return site.entered()


def offered(page: TestResponse) -> Form:
    """Return the one form that sends something once more."""
    [form] = [each for each in forms(page) if each.action.startswith("/ui/change/")]
    return form


def filled_in(browser: Browser, **fields: str) -> Form:
    [form] = [each for each in forms(browser.get(ONE)) if each.action == f"{RESIZE}/plan"]
    form.fields |= fields
    return form


@pytest.mark.parametrize(
    "error", [ServiceUnreachable("away"), Busy("busy"), StillMounted("docker1 has it"), NoSpace("full"), Internal("a bug")]
)
def test_what_may_pass_leads_to_the_same_plan_with_what_was_typed(site: Site, browser: Browser, error: VolumeError) -> None:
    form = filled_in(browser, size="40gb")
    before, site.outcome = site.outcome, error
    # Not even the page with the form can be drawn.
    there = site.answers.pop(InspectVolume)
    site.answers[InspectVolume] = error

    found = browser.post(form.action, form.fields)

    again = offered(found)
    assert "Nothing that you typed is lost, and it was not done." in found.text
    assert (again.action, again.fields["size"], again.fields["revision"]) == (f"{RESIZE}/plan", "40gb", "7")
    site.outcome, site.answers[InspectVolume] = before, there
    assert heading(browser.post(again.action, again.fields)) == "Enlarge db to 40gb?"


@pytest.mark.parametrize("error", [NotPermitted("no"), VolumeNotFound("no volume db"), VolumeLost("its disk is gone")])
def test_what_comes_to_the_same_is_not_offered_once_more(site: Site, browser: Browser, error: VolumeError) -> None:
    form = filled_in(browser, size="40gb")
    site.outcome = error

    found = browser.post(form.action, form.fields)

    assert [each.action for each in forms(found)] == ["/ui/logout"]


@pytest.mark.parametrize("error", [ServiceUnreachable("away"), OutcomeUnknown("not known"), Internal("a bug")])
def test_of_what_may_have_been_done_the_very_same_order_is_sent_once_more(
    site: Site, browser: Browser, error: VolumeError
) -> None:
    planned = browser.send(ONE, "resize-volume", size="40gb")
    before, site.outcome = site.outcome, error
    unknown = browser.confirm(planned)
    first = site.calls[-1]
    site.outcome = before

    done = browser.post(offered(unknown).action, offered(unknown).fields)

    # The core carries out an order of this id once.
    assert (done.status_code, site.calls[-1]) == (303, first)
    assert isinstance(site.orders()[-1], ResizeVolume)


@pytest.mark.parametrize("error", [StillMounted("docker1 has it"), KeyReused("another order has the key")])
def test_of_what_was_refused_a_new_plan_is_made(site: Site, browser: Browser, error: VolumeError) -> None:
    planned = browser.send(ONE, "resize-volume", size="40gb")
    site.outcome = error

    again = offered(browser.confirm(planned))

    assert again.action == f"{RESIZE}/plan"
    assert {"key", "subject", "digest"} & again.fields.keys() == set()


def test_a_page_that_cannot_be_drawn_now_leads_to_itself(site: Site, browser: Browser) -> None:
    site.answers[SiteStatus] = ServiceUnreachable("away")
    assert '<a href="/ui/">Try it once more</a>' in browser.get("/ui/").text
    site.answers[InspectVolume] = ServiceUnreachable("away")
    assert f'<a href="{ONE}?vmgroup=a%26b">Try it once more</a>' in browser.get(f"{ONE}?vmgroup=a%26b").text


def test_an_error_says_which_command_tells_more_of_it(site: Site, browser: Browser) -> None:
    site.answers[InspectVolume] = VolumeNotFound("no volume db")
    assert "vmdkvol explain volume-not-found" in browser.get(ONE).text


# --- a session that is over ------------------------------------------------------------------------------------------


def over(site: Site, browser: Browser, **fields: str) -> TestResponse:
    """Send the form after half an hour; return the login page."""
    form = filled_in(browser, **fields)
    site.clock.pass_time(HALF_AN_HOUR_S)
    return browser.post(form.action, form.fields)


def test_what_was_sent_too_late_is_kept_over_the_login_and_planned_then(site: Site, browser: Browser) -> None:
    page = over(site, browser, size='40gb"><b>')
    assert (page.status_code, site.orders()) == (401, [])
    assert "What you sent is kept" in page.text
    [login] = forms(page)

    back = browser.post("/ui/login", {**login.fields, "token": site.token("bea", Role.ADMIN)})

    assert (back.status_code, heading(back)) == (200, "You are logged in")
    assert "<b>" not in back.text
    assert site.orders() == []
    again = offered(back)
    assert (again.action, again.fields["size"]) == (f"{RESIZE}/plan", '40gb"><b>')
    assert browser.post(again.action, again.fields | {"size": "40gb"}).status_code == 200


def test_a_wrong_token_in_between_loses_nothing(site: Site, browser: Browser) -> None:
    [login] = forms(over(site, browser, size="40gb"))
    [second] = forms(browser.post("/ui/login", {**login.fields, "token": "wrong"}))
    back = browser.post("/ui/login", {**second.fields, "token": site.token("bea", Role.ADMIN)})
    assert offered(back).fields["size"] == "40gb"


def test_no_proof_and_nothing_of_the_plan_is_kept_for_whoever_logs_in() -> None:
    fields = {"csrf": "1", "key": "2", "subject": "3", "digest": "4", "i_know": "db", "volume": "db", "unset": "label"}
    found = resumed(kept("destroy-volume", Sent({name: (value,) for name, value in fields.items()})))
    assert found is not None
    verb, form = found
    assert (verb, set(form.fields)) == ("destroy-volume", {"volume", "unset"})


def test_what_is_longer_than_a_person_types_is_not_kept() -> None:
    assert kept("set-volume", Sent({"options": ("x" * 20_000,)})) == ""
    assert resumed("verb=x&a=" + "x" * 20_000) is None


@pytest.mark.parametrize("then", ["verb=nothing&a=b", "a=b", "verb=x&verb=y", "%ff", "verb=rename-volume", ""])
def test_a_text_that_means_no_change_is_a_login_like_any_other(site: Site, then: str) -> None:
    found = site.browser().log_in(site.token("bea", Role.ADMIN), then=then)
    assert (found.status_code, found.headers["Location"]) == (303, "/ui/")


def test_a_form_of_another_session_is_not_offered_again(site: Site, browser: Browser) -> None:
    form = filled_in(browser, size="40gb")
    found = browser.post(form.action, form.fields | {"csrf": "somebody-else-s"})
    assert found.status_code == 403
    assert [each.action for each in forms(found)] == ["/ui/logout"]


def test_what_waits_is_planned_with_the_right_of_whoever_logged_in(site: Site) -> None:
    then = urlencode({"verb": "resize-volume", "volume": str(VOLUME.id), "name": "db", "size": "40gb"})
    browser = site.browser()
    back = browser.log_in(site.token("looker", Role.VIEWER), then=then)
    site.outcome = NotPermitted("a viewer changes nothing")
    assert browser.post(offered(back).action, offered(back).fields).status_code == 403
