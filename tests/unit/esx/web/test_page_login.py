"""Who comes in at the page, for how long, and what makes it end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.doubles.hand_clock import HandClock
from tests.unit.esx.web.page_site import BASE, Site, forms, heading, known
from vmdkvol.orders import Actor, Role
from vmdkvol_esx.web.pages.sessions import IDLE_S, LONGEST_S, MOST_OF_ONE, MOST_SESSIONS, TRIES, Sessions

COOKIE = "__Host-vmdkvol"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_the_bare_address_leads_to_the_page(site: Site) -> None:
    for path in ("/", "/ui"):
        found = site.browser().get(path)
        assert (found.status_code, found.headers["Location"]) == (303, "/ui/")


def test_who_just_came_is_asked_for_a_token_and_told_of_no_trouble(site: Site) -> None:
    found = site.browser().get("/ui/volumes?state=ready")
    assert (found.status_code, heading(found)) == (401, "Log in")
    assert "trouble" not in found.text
    assert [form.fields["to"] for form in forms(found)] == ["/ui/volumes?state=ready"]
    assert site.asked == []


def test_a_token_opens_the_page_that_was_asked_for(site: Site) -> None:
    browser = site.browser()
    found = browser.log_in(site.token("ann", Role.VIEWER), to="/ui/volumes?state=ready")
    assert (found.status_code, found.headers["Location"]) == (303, "/ui/volumes?state=ready")
    shown = browser.get("/ui/")
    assert shown.status_code == 200
    assert "ann (viewer)" in shown.text
    assert site.asked[0].by == Actor("ann", Role.VIEWER, "192.0.2.7")


@pytest.mark.parametrize(
    "to",
    ["https://evil.example/", "//evil.example/", "/ui/..//evil", "/ui/\\evil", "/v1/vms", "/ui/\r\nX: y", "/ui/\u202e", ""],
)
def test_a_login_leads_to_no_other_place(site: Site, to: str) -> None:
    assert site.browser().log_in(site.token("ann", Role.VIEWER), to=to).headers["Location"] == "/ui/"


def test_the_cookie_is_for_this_host_alone_and_no_script_sees_it(site: Site) -> None:
    said = site.browser().log_in(site.token("ann", Role.VIEWER)).headers["Set-Cookie"]
    name, *flags = said.split("; ")
    assert name.startswith(f"{COOKIE}=")
    assert sorted(flags) == ["HttpOnly", "Path=/", "SameSite=Strict", "Secure"]


@pytest.mark.parametrize("token", ["", "wrong", "vmdkvol_", "\x00", "x" * 60_000, "\u202e\ud83d"])
def test_a_token_that_is_none_opens_nothing_and_is_not_logged(site: Site, token: str) -> None:
    found = site.browser().log_in(token.encode("utf-8", "replace").decode())
    assert (found.status_code, heading(found)) == (401, "Log in")
    assert "the token is unknown, over or revoked" in found.text
    assert "Set-Cookie" not in found.headers
    assert [(door, source) for door, source, *_ in site.heard.logins] == [("page", "192.0.2.7")]
    assert not [each for each in (*site.log.events, *site.heard.logins) if len(token) > 3 and token in str(each)]


def test_the_audit_hears_who_logged_in_and_who_did_not_under_the_id_that_is_shown(site: Site) -> None:
    refused = site.browser().log_in("wrong")
    entered = site.browser().log_in(site.token("ann", Role.OPERATOR))

    (_, _, reason, first), (_, _, who, second) = site.heard.logins
    assert (reason, who) == ("the token is unknown, over or revoked", "ann, operator")
    assert [str(first), str(second)] == [each.headers["X-Request-Id"] for each in (refused, entered)]


def test_who_only_looks_at_the_page_and_is_not_logged_in_is_no_refused_login(site: Site) -> None:
    site.browser().get("/ui/volumes")
    assert site.heard.logins == []


def test_a_token_is_neither_in_the_log_nor_on_the_page_nor_in_the_cookie(site: Site) -> None:
    token, browser = site.token("ann", Role.ADMIN), site.browser()
    entered = browser.log_in(token)
    assert token not in "".join(site.log.events) + str(entered.headers) + browser.get("/ui/").text


def test_a_revoked_token_ends_its_sessions_with_the_next_request(site: Site) -> None:
    browser = site.entered(name="ann")
    site.revoke("ann")
    found = browser.get("/ui/volumes")
    assert (found.status_code, heading(found)) == (401, "Log in")
    assert "your session is over" in found.text
    assert found.headers["Set-Cookie"].startswith(f"{COOKIE}=; Expires=")


def test_a_token_that_is_over_ends_its_sessions(site: Site) -> None:
    browser = site.entered()
    site.clock.jump(86400.0 + 1)
    assert browser.get("/ui/").status_code == 401


def test_a_new_token_of_the_same_name_is_not_the_old_one(site: Site) -> None:
    browser = site.entered(name="ann")
    site.revoke("ann")
    site.token("ann", Role.ADMIN)
    assert browser.get("/ui/").status_code == 401


def test_a_role_that_is_taken_away_is_gone_with_the_next_request(site: Site) -> None:
    site.write(known("ann", Role.ADMIN, "secret"))
    browser = site.browser()
    browser.log_in("secret")
    site.write(known("ann", Role.VIEWER, "secret"))
    assert "ann (viewer)" in browser.get("/ui/").text
    assert site.asked[0].by.role == Role.VIEWER


def test_a_file_of_tokens_that_cannot_be_read_lets_nobody_go_on(site: Site, tmp_path: Path) -> None:
    browser = site.entered()
    (tmp_path / "tokens.json").write_text("{")
    assert browser.get("/ui/").status_code == 503
    assert site.asked == []


def test_who_does_nothing_for_half_an_hour_is_logged_out(site: Site) -> None:
    browser = site.entered()
    site.clock.pass_time(IDLE_S - 1)
    assert browser.get("/ui/").status_code == 200
    site.clock.pass_time(IDLE_S + 1)
    assert browser.get("/ui/").status_code == 401


def test_a_page_that_refreshes_itself_keeps_nobody_logged_in(site: Site) -> None:
    browser = site.entered()
    site.clock.pass_time(IDLE_S - 1)
    assert browser.get("/ui/tasks", X_Live="1").status_code == 200
    site.clock.pass_time(2)
    assert browser.get("/ui/tasks", X_Live="1").status_code == 401


def test_nobody_is_logged_in_for_more_than_twelve_hours(site: Site) -> None:
    browser = site.entered()
    for _ in range(int(LONGEST_S // (IDLE_S - 60))):
        site.clock.pass_time(IDLE_S - 60)
        assert browser.get("/ui/").status_code == 200
    site.clock.pass_time(IDLE_S - 60)
    assert browser.get("/ui/").status_code == 401


def test_who_logs_in_without_end_logs_nobody_else_out(site: Site) -> None:
    other, token = site.entered(name="bob"), site.token("ann", Role.VIEWER)
    for _ in range(MOST_SESSIONS + 1):
        site.browser().log_in(token)
    assert other.get("/ui/").status_code == 200


def test_of_too_many_sessions_of_all_the_one_that_was_idle_longest_ends() -> None:
    clock, ids = HandClock(), iter(str(number) for number in range(2 * MOST_SESSIONS))
    sessions = Sessions(clock, lambda: next(ids))
    begun = [sessions.begin(known("ann", Role.VIEWER, f"token-{number}")) for number in range(MOST_SESSIONS)]
    sessions.find(begun[0])
    sessions.begin(known("bob", Role.VIEWER, "one more"))
    assert [sessions.find(each) is not None for each in begun[:3]] == [True, False, True]


def test_of_too_many_sessions_of_one_token_the_one_that_was_idle_longest_ends(site: Site) -> None:
    token = site.token("ann", Role.VIEWER)
    first, second = site.browser(), site.browser()
    first.log_in(token)
    second.log_in(token)
    first.get("/ui/")
    for _ in range(MOST_OF_ONE - 1):
        site.browser().log_in(token)
    assert first.get("/ui/").status_code == 200
    assert second.get("/ui/").status_code == 401


def test_a_log_out_ends_the_session_itself_and_not_the_cookie_alone(site: Site) -> None:
    browser = site.entered()
    kept = browser.client.get_cookie(COOKIE, domain="localhost")
    assert kept is not None
    assert browser.post("/ui/logout", {"csrf": browser.csrf()}).headers["Location"] == "/ui/login"
    browser.client.set_cookie(COOKIE, kept.value, domain="localhost", secure=True)
    assert browser.get("/ui/").status_code == 401


def test_a_login_gives_a_new_session_and_ends_the_old_one(site: Site) -> None:
    """Nobody who gave a browser the id of a session has the one that is begun then."""
    browser = site.entered(name="ann")
    before = browser.client.get_cookie(COOKIE, domain="localhost")
    assert before is not None
    browser.log_in(site.token("bob", Role.VIEWER))
    after = browser.client.get_cookie(COOKIE, domain="localhost")
    assert after is not None
    assert after.value != before.value
    browser.client.set_cookie(COOKIE, before.value, domain="localhost", secure=True)
    assert browser.get("/ui/").status_code == 401


def test_an_id_that_somebody_chose_is_no_session(site: Site) -> None:
    browser = site.browser()
    browser.client.set_cookie(COOKIE, "chosen", domain="localhost", secure=True)
    assert browser.get("/ui/").status_code == 401


def test_ten_failed_logins_in_a_minute_are_all(site: Site) -> None:
    browser = site.browser()
    for _ in range(TRIES):
        assert browser.log_in("wrong").status_code == 401
    refused = browser.log_in(site.token("ann", Role.ADMIN))
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
    assert "too-many-logins" in refused.text
    site.clock.pass_time(60)
    assert browser.log_in("wrong").status_code == 401


def test_logins_of_others_and_those_that_succeed_do_not_count(site: Site) -> None:
    token = site.token("ann", Role.VIEWER)
    for _ in range(TRIES + 1):
        assert site.browser().log_in(token).status_code == 303
    for _ in range(TRIES):
        site.browser().from_address("192.0.2.8").log_in("wrong")
    assert site.browser().log_in(token).status_code == 303


def test_a_machine_with_many_addresses_is_one(site: Site) -> None:
    for number in range(TRIES):
        site.browser().from_address(f"2001:db8::{number + 1:x}").log_in("wrong")
    assert site.browser().from_address("2001:db8::ffff").log_in("wrong").status_code == 429
    assert site.browser().from_address("2001:db8:0:1::1").log_in("wrong").status_code == 401


def test_who_is_proved_by_the_connection_needs_no_login(site: Site) -> None:
    site.connected = Actor("carol", Role.OPERATOR, "192.0.2.9")
    found = site.browser().get("/ui/")
    assert found.status_code == 200
    assert "carol (operator)" in found.text
    assert "Log out" not in found.text
    assert site.asked[0].by == site.connected


def test_a_session_that_is_over_is_said_also_where_the_connection_proves_somebody_else(site: Site) -> None:
    browser = site.entered(Role.VIEWER, "ann")
    site.connected = Actor("root", Role.ADMIN, "unix")
    site.revoke("ann")
    assert "your session is over" in browser.get("/ui/").text
    assert "root (admin)" in browser.get("/ui/").text


def test_a_session_is_nothing_to_the_api(site: Site) -> None:
    browser = site.entered(Role.ADMIN)
    for found in (browser.get("/v1/vms"), browser.post("/v1/vms/x/revoke", b"")):
        assert found.status_code == 401
    assert site.asked == []


def test_a_token_counts_for_pages_by_a_login_alone(site: Site) -> None:
    token = site.token("ann", Role.ADMIN)
    assert site.browser().get("/ui/", Authorization=f"Bearer {token}").status_code == 401
    assert site.browser().get(f"/ui/?token={token}").status_code == 401


def test_a_login_from_another_site_s_page_is_refused(site: Site) -> None:
    """Else a stranger logs somebody in under a name of its own, and sees what is then done under it."""
    found = site.browser().post("/ui/login", {"token": site.token("ann", Role.ADMIN)}, Origin="https://evil.example")
    assert (found.status_code, "Set-Cookie" in found.headers) == (403, False)
    assert BASE not in found.text
