"""The pages of datastores, orphans and the audit."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.unit.esx.web.page_site import Browser, Site, forms, heading, store
from vmdkvol.audit_messages import AuditEntry, AuditLines, AuditPage, ExportAudit, Form, QueryAudit
from vmdkvol.errors import DatastoreNotFound
from vmdkvol.names import DatastoreName
from vmdkvol.orders import Role
from vmdkvol.orphan_messages import ListOrphans, Mending, MendOrphan, Orphan, OrphanKind, Orphans
from vmdkvol.site_messages import CordonDatastore, CordonInfo, DatastoreRows, GetDatastore, ListDatastores, UncordonDatastore

PLACE = "[ds1] vmdkvol/x/<b>.vmdk"
ORPHAN = Orphan(OrphanKind.LOST, PLACE, "its disk is gone", "db", None, (Mending.ADOPT, Mending.FORGET), "vmdkvol orphans mend")
ENTRY = AuditEntry(
    3, 1.0, "ann", "admin", "192.0.2.7", "create-vmgroup", "<script>alert(1)</script>", "done", UUID(int=7), "x", True
)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.answers |= {
        GetDatastore: store(),
        ListOrphans: Orphans((ORPHAN,)),
        QueryAudit: AuditPage((ENTRY,), None, 1),
        ExportAudit: AuditLines(("one", "two"), None),
    }
    return made


@pytest.fixture
def browser(site: Site) -> Browser:
    return site.entered()


def last(site: Site, kind: type) -> Any:
    return [each for each in site.asked if isinstance(each, kind)][-1]


# --- datastores ------------------------------------------------------------------------------------------------------


def test_the_datastores_are_shown_with_their_use_and_lead_on(site: Site, browser: Browser) -> None:
    site.answers[ListDatastores] = DatastoreRows((store("a b", warnings=("nearly full",)),), DatastoreName("a b"))

    found = browser.get("/ui/datastores").text

    assert "60gb of 100gb is taken, 30gb of it by volumes; 40gb is free, and volumes may take 120gb more" in found
    assert "nearly full" in found
    assert 'href="/ui/datastores/a%20b"' in found
    assert 'href="/ui/datastores?after=a+b"' in found


def test_a_datastore_s_picture_has_its_figures_beside_it_and_says_what_there_is_no_room_for(
    site: Site, browser: Browser
) -> None:
    site.answers[GetDatastore] = store()

    text = " ".join(re.sub(r"<[^>]+>", " ", browser.get("/ui/datastores/ds1").text).split())

    assert "volumes 30gb others 30gb volumes may still take 120gb free 40gb no room for 80gb of that" in text


def test_a_datastore_is_cordoned_with_the_reason_that_was_given(site: Site, browser: Browser) -> None:
    planned = browser.send("/ui/datastores/ds1", "cordon-datastore", reason="repair")
    done = browser.confirm(planned)

    order = last(site, CordonDatastore)
    assert (order.name, order.reason, order.dry_run) == ("ds1", "repair", False)
    assert done.headers["Location"].startswith("/ui/datastores/ds1")


@pytest.mark.parametrize(("role", "shown"), [(Role.VIEWER, False), (Role.OPERATOR, True), (Role.ADMIN, True)])
def test_who_may_not_look_for_disks_is_shown_no_way_to(site: Site, role: Role, shown: bool) -> None:
    browser = site.entered(role, f"some-{role}")

    assert ('href="/ui/datastores/ds1/disks"' in browser.get("/ui/datastores/ds1").text) is shown


@pytest.mark.parametrize(("role", "shown"), [(Role.VIEWER, False), (Role.OPERATOR, True), (Role.ADMIN, True)])
def test_who_may_not_see_who_did_what_is_led_nowhere_where_it_stands(site: Site, role: Role, shown: bool) -> None:
    text = site.entered(role, f"some-{role}").get("/ui/datastores/ds1").text

    assert [path in text for path in ('href="/ui/audit"', 'href="/ui/audit?target=ds1"', 'href="/ui/orphans"')] == [shown] * 3
    assert 'href="/ui/volumes"' in text


def test_a_cordon_says_whose_it_is_and_is_lifted(site: Site, browser: Browser) -> None:
    site.answers[GetDatastore] = store(cordon=CordonInfo("bob", 1.0, "repair"))

    text = " ".join(re.sub(r"<[^>]+>", "", browser.get("/ui/datastores/ds1").text).split())
    assert "cordoned by bob, 1970-01-01 00:00:01 UTC 12 days ago: repair" in text
    browser.send("/ui/datastores/ds1", "uncordon-datastore")
    assert last(site, UncordonDatastore).name == "ds1"


def test_a_datastore_that_there_is_not_is_said(site: Site, browser: Browser) -> None:
    site.answers[GetDatastore] = DatastoreNotFound("there is no datastore x")

    assert browser.get("/ui/datastores/x").status_code == 404
    assert browser.get("/ui/datastores?after=a%2fb").status_code == 400


# --- orphans ---------------------------------------------------------------------------------------------------------


def test_an_orphan_is_shown_as_text_with_what_mends_it(browser: Browser) -> None:
    found = browser.get("/ui/orphans")

    assert "<b>" not in found.text
    assert "its disk is gone" in found.text
    assert [form.fields["action"] for form in forms(found) if "orphan" in form.action] == ["adopt", "forget"]


def test_what_cannot_be_taken_back_needs_the_place(site: Site, browser: Browser) -> None:
    [_, form] = [each for each in forms(browser.get("/ui/orphans")) if "orphan" in each.action]

    planned = browser.post(form.action, {**form.fields, "i_know": PLACE})
    browser.confirm(planned)

    order = last(site, MendOrphan)
    assert (order.where, order.action, order.i_know, order.dry_run) == (PLACE, Mending.FORGET, PLACE, False)


def test_an_action_that_there_is_not_is_refused(site: Site, browser: Browser) -> None:
    [form, _] = [each for each in forms(browser.get("/ui/orphans")) if "orphan" in each.action]

    assert browser.post(form.action, {**form.fields, "action": "burn"}).status_code == 422
    assert site.orders() == []


def test_long_details_of_a_record_are_folded_and_all_there(site: Site, browser: Browser) -> None:
    long = "volume=" + "x" * 200
    site.answers[QueryAudit] = AuditPage((replace(ENTRY, detail=long),), None, 0)

    text = browser.get("/ui/audit").text

    assert f"<summary>{long[:48]}…</summary>" in text
    assert long in text


def test_none_is_not_said_where_it_could_not_be_looked(site: Site, browser: Browser) -> None:
    site.answers[ListOrphans] = Orphans((), ("[ds2]",), 0)

    found = browser.get("/ui/orphans").text

    assert "[ds2]" in found
    assert "Every disk has its record" not in found
    site.answers[ListOrphans] = Orphans(())
    assert "Every disk has its record" in browser.get("/ui/orphans").text


# --- the audit -------------------------------------------------------------------------------------------------------


def test_a_record_is_text_and_leads_to_all_of_its_request(browser: Browser) -> None:
    found = browser.get("/ui/audit")

    assert heading(found) == "Audit"
    assert "<script>alert" not in found.text
    assert f'href="/ui/audit?request={UUID(int=7)}"' in found.text


def test_every_filter_is_asked_for_and_kept_in_the_links(site: Site, browser: Browser) -> None:
    site.answers[QueryAudit] = AuditPage((ENTRY,), 3, 1)
    query = f"since=1970-01-02&until=1970-01-01T00:00:30&actor=ann&verb=v&target=a*&result=done&request={UUID(int=7)}"

    found = browser.get(f"/ui/audit?{query}&before=9").text

    asked = last(site, QueryAudit)
    assert (asked.since, asked.until, asked.actor, asked.verb) == (86400.0, 30.0, "ann", "v")
    assert (asked.target, asked.result, asked.request, asked.before) == ("a*", "done", UUID(int=7), 9)
    assert "target=a%2A" in found
    assert "before=3" in found


@pytest.mark.parametrize("query", ["before=x", "actor=a&actor=b", "since=1&since=2"])
def test_a_filter_that_cannot_be_read_is_refused(site: Site, browser: Browser, query: str) -> None:
    assert browser.get(f"/ui/audit?{query}").status_code == 400
    assert not any(isinstance(each, QueryAudit) for each in site.asked)


def test_a_record_that_was_altered_or_is_missing_is_called_out(site: Site, browser: Browser) -> None:
    site.answers[QueryAudit] = AuditPage((replace(ENTRY, intact=False),), None, 1, missing=2)

    found = browser.get("/ui/audit").text

    assert "not what was once written" in found
    assert "2 records that once were there are missing" in found


@pytest.mark.parametrize(
    ("form", "end", "media"), [(Form.CSV, "\r\n", "text/csv; charset=utf-8"), (Form.JSON, "\n", "application/x-ndjson")]
)
def test_the_file_has_every_line_that_fits(site: Site, browser: Browser, form: Form, end: str, media: str) -> None:
    found = browser.get(f"/ui/audit/export?form={form}&actor=ann")

    assert found.text == f"one{end}two{end}"
    assert found.headers["Content-Type"] == media
    assert found.headers["Content-Disposition"].startswith('attachment; filename="vmdkvol-audit.')
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    asked = last(site, ExportAudit)
    assert (asked.form, asked.actor, asked.by.role) == (form, "ann", Role.ADMIN)


def test_a_file_that_would_not_be_whole_is_not_sent(site: Site, browser: Browser) -> None:
    site.answers[ExportAudit] = AuditLines(("line",) * 10_000, 5)

    found = browser.get("/ui/audit/export")

    assert found.status_code == 400
    assert "Content-Disposition" not in found.headers
    assert browser.get("/ui/audit/export?form=exe").status_code == 400
