"""The web page by real sockets: inside TLS with a token or a certificate, at root's socket, and the commands of its text."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.integration.api_site import Answer, ApiSite, api_site
from tests.integration.typed_page import create, machine
from tests.reference import DOCS
from vmdkvol.orders import Role

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def site() -> Iterator[ApiSite]:
    with api_site(trash_retention_s=3600.0) as made:
        yield made


@pytest.fixture
def alone() -> Iterator[ApiSite]:
    """A site from which a test may be locked out."""
    with api_site() as made:
        yield made


def post(site: ApiSite, path: str, fields: Mapping[str, str], cookie: str = "", certificate: Path | None = None) -> Answer:
    said = {"Cookie": cookie, "Content_Type": "application/x-www-form-urlencoded"}
    return site.far("POST", path, urlencode(fields).encode(), certificate=certificate, **said)


def logged_in(site: ApiSite, token: str) -> str:
    """Return the cookie that a login gives."""
    found = post(site, "/ui/login", {"token": token})
    assert (found.status, found.headers["Location"]) == (303, "/ui/")
    return found.headers["Set-Cookie"].partition(";")[0]


def hidden(page: Answer, action: str) -> dict[str, str]:
    """Return what the form that goes to ``action`` sends if nobody fills anything in."""
    [form] = re.findall(rf'<form method="post" action="{re.escape(action)}".*?</form>', page.body.decode(), re.DOTALL)
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', form))


def revision_and_path(site: ApiSite, name: str) -> tuple[int, str]:
    row = site.unix("GET", f"/v1/volumes/{name}").json["row"]
    return row["revision"], f"/ui/volumes/{row['id']}"


def test_a_volume_is_renamed_by_its_page_and_the_audit_says_by_whom(site: ApiSite) -> None:
    line = machine(site, "docker1")
    try:
        create(line, "renamed", size="4mb")
    finally:
        line.close()
    cookie = logged_in(site, site.token("renamer", Role.OPERATOR))
    _, path = revision_and_path(site, "renamed")
    shown = site.far("GET", path, Cookie=cookie)
    assert (shown.status, b"Volume renamed" in shown.body) == (200, True)
    fields = hidden(shown, "/ui/change/rename-volume/plan") | {"new_name": "web"}
    planned = post(site, "/ui/change/rename-volume/plan", fields, cookie)
    assert b"Rename renamed to web?" in planned.body
    assert site.unix("GET", "/v1/volumes/renamed").status == 200
    done = post(site, "/ui/change/rename-volume", hidden(planned, "/ui/change/rename-volume"), cookie)
    assert done.status == 303
    assert b"name is web now" in site.far("GET", done.headers["Location"], Cookie=cookie).body
    entries = site.unix("GET", "/v1/audit?actor=renamer&verb=rename-volume").json["entries"]
    assert [(each["verb"], each["result"], each["source"]) for each in entries] == [
        ("rename-volume", "done", "127.0.0.1"),
        ("rename-volume", "dry-run", "127.0.0.1"),
    ]


def test_who_was_slower_changes_nothing(site: ApiSite) -> None:
    line = machine(site, "docker1")
    try:
        create(line, "contested", size="4mb")
    finally:
        line.close()
    cookie = logged_in(site, site.token("slower", Role.OPERATOR))
    _, path = revision_and_path(site, "contested")
    fields = hidden(site.far("GET", path, Cookie=cookie), "/ui/change/rename-volume/plan") | {"new_name": "mine", "key": "k"}
    assert site.unix("POST", "/v1/volumes/contested/rename", {"new_name": "theirs"}).status == 200
    for change in ("/ui/change/rename-volume/plan", "/ui/change/rename-volume"):
        refused = post(site, change, fields, cookie)
        assert (refused.status, b"stale-request" in refused.body) == (412, True)
    assert site.unix("GET", "/v1/volumes/theirs").status == 200


def test_the_pages_answer_with_what_the_core_says(site: ApiSite) -> None:
    cookie = logged_in(site, site.token("looker", Role.VIEWER))
    for path in ("/ui/", "/ui/volumes", "/ui/volumes?sort=name&trash=yes", "/ui/tasks", "/ui/health"):
        found = site.far("GET", path, Cookie=cookie)
        assert (found.status, found.headers["Content-Type"]) == (200, "text/html; charset=utf-8"), path
        assert "default-src 'none'" in found.headers["Content-Security-Policy"]


def test_a_viewer_who_sends_a_form_is_refused_and_the_audit_has_the_try(site: ApiSite) -> None:
    cookie = logged_in(site, site.token("trier", Role.VIEWER))
    csrf = hidden(site.far("GET", "/ui/", Cookie=cookie), "/ui/logout")["csrf"]
    refused = post(site, "/ui/change/trash-volume", {"csrf": csrf, "key": "k", "volume": "x"}, cookie)
    assert (refused.status, b"not-permitted" in refused.body) == (403, True)
    assert [each["result"] for each in site.unix("GET", "/v1/audit?actor=trier&verb=trash-volume").json["entries"]] == [
        "not-permitted"
    ]


def test_a_session_opens_pages_and_never_the_api(site: ApiSite) -> None:
    cookie = logged_in(site, site.token("both", Role.ADMIN))
    assert site.far("GET", "/ui/", Cookie=cookie).status == 200
    for method, path in (("GET", "/v1/vms"), ("POST", "/v1/vms/docker1/enroll"), ("GET", "/metrics")):
        assert site.far(method, path, Cookie=cookie).code == "not-authenticated"


def test_a_revoked_token_ends_the_session(site: ApiSite) -> None:
    cookie = logged_in(site, site.token("leaver", Role.ADMIN))
    site.tokens.remove("leaver")
    assert b"your session is over" in site.far("GET", "/ui/", Cookie=cookie).body


def test_a_certificate_needs_no_login_and_its_forms_a_token_all_the_same(site: ApiSite) -> None:
    shown = site.administrators.administrator("carol", "admin")
    page = site.far("GET", "/ui/volumes", certificate=shown)
    assert (page.status, b"carol (admin)" in page.body) == (200, True)
    form = {"vmgroup": "_DEFAULT", "name": "by-certificate", "size": "4mb", "key": "k"}
    without = post(site, "/ui/change/create-volume", form, certificate=shown)
    assert (without.status, b"stale-form" in without.body) == (403, True)
    form |= hidden(page, "/ui/change/create-volume/plan")
    made = post(site, "/ui/change/create-volume", form, certificate=shown)
    assert made.status == 303
    assert site.unix("GET", "/v1/volumes/by-certificate").status == 200


def test_a_certificate_without_a_role_does_not_come_in(site: ApiSite) -> None:
    shown = site.administrators.administrator("nobody")
    assert site.far("GET", "/ui/", certificate=shown).status == 401


def test_root_s_socket_opens_the_page_by_the_names_of_this_machine_alone(site: ApiSite) -> None:
    page = site.unix("GET", "/ui/")
    assert (page.status, b"root (admin)" in page.body) == (200, True)
    found = site.raw(b"GET /ui/ HTTP/1.1\r\nHost: evil.example:8443\r\n\r\n")
    assert found.split()[1] == b"403"
    assert b"csrf" not in found


def test_wrong_tokens_are_counted_and_the_right_one_is_never_logged(alone: ApiSite) -> None:
    token = alone.token("guessed", Role.ADMIN)
    logged_in(alone, token)
    statuses = [post(alone, "/ui/login", {"token": f"vmdkvol_{number}"}).status for number in range(11)]
    assert statuses == [401] * 10 + [429]
    said = (alone.root / "web.log").read_text()
    assert token not in said
    assert "vmdkvol_0" not in said
    assert said.count("nobody known asks") == 10


def test_the_commands_of_the_page_about_it_do_what_it_says(site: ApiSite) -> None:
    text = (DOCS / "how-to" / "page.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    places = {
        "/run/vmdkvol/web.sock": str(site.socket),
        "/etc/vmdkvol/service.toml": str(site.config),
        "/root/token": str(site.root / "token"),
        "vmdkvol-esxd ": f"{Path(sys.executable).parent / 'vmdkvol-esxd'} ",
    }
    told = []
    for block in blocks:
        for written, real in places.items():
            block = block.replace(written, real)
        told.append(subprocess.run(["bash", "-euc", block], capture_output=True, text=True, timeout=60, check=True).stdout)
    assert (site.root / "token").read_text().startswith("vmdkvol_")
    assert "<h1>Overview</h1>" in told[-1]
