"""Changes from the page: whose form it is, what is planned, what is carried out, and what the next page says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from tests.unit.esx.web.page_site import BASE, OUTCOME, TASK, VOLUME, Site, detail, forms, heading
from vmdkvol.admin_errors import ProofNeeded
from vmdkvol.errors import NoSpace, NotPermitted, OutcomeUnknown, ServiceUnreachable, StaleRequest, StillWorking
from vmdkvol.orders import Actor, Outcome, Plan, Role
from vmdkvol.resize_messages import ResizeVolume
from vmdkvol.task_messages import CancelTask
from vmdkvol.volume import State
from vmdkvol.volume_orders import (
    CreateVolumeFor,
    DestroyVolume,
    DetachVolume,
    InspectVolume,
    MoveVolume,
    RenameVolume,
    RestoreVolume,
    SetVolume,
    TrashVolume,
)

ONE = f"/ui/volumes/{VOLUME.id}"
NAMED = {"volume": str(VOLUME.id), "name": "db", "revision": "7", "new_name": "x"}
ID = str(VOLUME.id)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_change_is_planned_and_then_carried_out_as_it_was_planned(site: Site) -> None:
    browser = site.entered()
    planned = browser.send(ONE, "rename-volume", new_name="web")
    assert heading(planned) == "Rename db to web?"
    for text in ("before", "after", "Lost:", "what was there"):
        assert text in planned.text
    done = browser.confirm(planned)
    assert done.status_code == 303
    told = browser.get(done.headers["Location"])
    assert "Done: the volume&#39;s name is web now." in told.text
    plan, real = site.orders()
    assert plan == RenameVolume(volume=ID, new_name="web", by=plan.by, dry_run=True, expect=7)
    assert real == replace(plan, dry_run=False, expect_id=VOLUME.id)
    assert real.by == Actor("ann", Role.ADMIN, "192.0.2.7")


def test_a_plan_says_of_whose_volume_it_is_since_two_tenants_may_have_one_of_a_name(site: Site) -> None:
    planned = site.entered().send(ONE, "trash-volume")
    assert "<strong>Volume db of vmgroup g, on ds1, used by docker1</strong>" in planned.text


@pytest.mark.parametrize(("fields", "title"), [({"new_name": "x"}, "Rename db"), ({"new_name": ""}, "Not done: db")])
def test_a_plan_and_a_form_that_is_back_stand_where_they_came_from(site: Site, fields: dict[str, str], title: str) -> None:
    found = site.entered().send(ONE, "rename-volume", **fields)
    assert '<a href="/ui/volumes" aria-current="true">' in found.text
    assert f"<title>{title}" in found.text


def test_what_was_done_is_said_once_and_to_nobody_else(site: Site) -> None:
    browser, other = site.entered(), site.entered(name="bob")
    place = browser.confirm(browser.send(ONE, "trash-volume")).headers["Location"]
    assert "Done:" not in other.get(place).text
    place = browser.confirm(browser.send(ONE, "trash-volume")).headers["Location"]
    assert "Done: volume db is removed." in browser.get(place).text
    assert "Done:" not in browser.get(place).text


def test_nothing_of_an_address_is_said_as_if_it_had_been_done(site: Site) -> None:
    assert "disk is gone" not in site.entered().get("/ui/?said=The+disk+is+gone").text


def test_who_clicks_twice_gives_one_order_and_a_new_plan_is_another(site: Site) -> None:
    browser = site.entered()
    planned = browser.send(ONE, "trash-volume")
    browser.confirm(planned)
    browser.confirm(planned)
    browser.confirm(browser.send(ONE, "trash-volume"))
    first, second, third = (call for call, order in zip(site.calls, site.asked, strict=True) if _real(order))
    assert first == second != third


def _real(order: object) -> bool:
    return getattr(order, "dry_run", True) is False


def test_a_confirmed_plan_is_for_the_object_that_it_was_made_for(site: Site) -> None:
    """Another one may have its name and its revision by then."""
    site.outcome = replace(OUTCOME, subject=str(VOLUME.id))
    browser = site.entered()
    browser.confirm(browser.post("/ui/change/rename-volume/plan", {**NAMED, "csrf": browser.csrf()}))
    (done,) = (order for order in site.asked if _real(order))
    assert (done.expect, done.expect_id) == (7, VOLUME.id)


def test_what_goes_with_a_vmgroup_is_what_its_plan_showed(site: Site) -> None:
    site.outcome = replace(OUTCOME, plan=replace(OUTCOME.plan, digest="0a1b"))
    browser = site.entered()
    asked = {"name": "dev", "remove_volumes": "yes", "revision": "7", "csrf": browser.csrf()}
    browser.confirm(browser.post("/ui/change/remove-vmgroup/plan", asked))
    (done,) = (order for order in site.asked if _real(order))
    assert (done.remove_volumes, done.digest) == (True, "0a1b")


@pytest.mark.parametrize(
    ("verb", "asked"),
    [
        ("add-members", {"name": "dev", "vms": "web1"}),
        ("remove-members", {"name": "dev", "vms": "web1"}),
        ("create-vmgroup", {"name": "dev", "default_datastore": "ds1", "vms": "web1"}),
        ("create-volume", {"vmgroup": "dev", "name": "db"}),
        ("move-volume", {"volume": ID, "to_vmgroup": "dev"}),
        ("adopt-disk", {"disk": "[ds1] x.vmdk", "vmgroup": "dev", "name": "db"}),
    ],
)
def test_what_an_order_names_beside_its_object_is_what_its_plan_was_made_for(
    site: Site, verb: str, asked: dict[str, str]
) -> None:
    site.outcome = replace(OUTCOME, plan=replace(OUTCOME.plan, digest="0a1b"))
    browser = site.entered()
    browser.confirm(browser.post(f"/ui/change/{verb}/plan", {**asked, "csrf": browser.csrf()}))
    (done,) = (order for order in site.asked if _real(order))
    assert done.digest == "0a1b"


def test_what_has_no_revision_is_still_the_one_that_was_planned(site: Site) -> None:
    site.outcome = replace(OUTCOME, subject=str(UUID(int=10)), revision=None)
    browser = site.entered()
    browser.confirm(browser.post("/ui/change/revoke-vm/plan", {"vm": "docker1", "csrf": browser.csrf()}))
    (done,) = (order for order in site.asked if _real(order))
    assert (done.expect, done.expect_id) == (None, UUID(int=10))


def test_the_key_of_a_plan_is_no_order_of_somebody_else(site: Site) -> None:
    fields = forms(site.entered(name="ann").send(ONE, "trash-volume"))[-1].fields
    bob = site.entered(name="bob")
    bob.post("/ui/change/trash-volume", {**fields, "csrf": bob.csrf()})
    ann = site.entered(name="anna")
    ann.post("/ui/change/trash-volume", {**fields, "csrf": ann.csrf()})
    first, second = (call for call, order in zip(site.calls, site.asked, strict=True) if _real(order))
    assert first != second


def test_the_page_the_log_and_the_audit_speak_of_an_order_by_one_id(site: Site) -> None:
    browser = site.entered()
    done = browser.confirm(browser.send(ONE, "trash-volume"))
    id = done.headers["X-Request-Id"]
    assert str(site.calls[-1]) == id
    assert [event for event in site.log.events if event.startswith("order") and id in event] != []
    planned = browser.send(ONE, "trash-volume")
    site.outcome = NoSpace("ds1 is full")
    refused = browser.confirm(planned)
    assert refused.headers["X-Request-Id"] in refused.text
    assert str(site.calls[-1]) == refused.headers["X-Request-Id"]


@pytest.mark.parametrize("revision", ["x", "7.5", "-1", "7" * 30, "\u0667"])
def test_a_revision_that_is_none_is_refused(site: Site, revision: str) -> None:
    browser = site.entered()
    found = browser.post("/ui/change/rename-volume/plan", {**NAMED, "revision": revision, "csrf": browser.csrf()})
    assert (found.status_code, site.orders()) == (400, [])


def test_work_that_goes_on_leads_to_its_task(site: Site) -> None:
    browser = site.entered()
    planned = browser.send(ONE, "resize-volume", size="40gb")
    site.outcome = Outcome(Plan(), False, task=TASK.id)
    assert browser.confirm(planned).headers["Location"].startswith(f"/ui/tasks/{TASK.id}?said=")


def test_nobody_looks_at_an_empty_page_while_long_work_is_done(site: Site) -> None:
    browser = site.entered()
    browser.confirm(browser.send(ONE, "resize-volume", size="40gb"))
    browser.confirm(browser.send(ONE, "detach-volume"))
    times = {type(order): left_s for order, left_s in zip(site.asked, site.left_s, strict=True)}
    assert (times[ResizeVolume], times[DetachVolume]) == (2.0, 110.0)


def test_what_is_so_already_is_not_said_to_be_done(site: Site) -> None:
    browser = site.entered()
    planned = browser.send(ONE, "rename-volume", new_name="web")
    site.outcome = Outcome(Plan(), False, ID, 7)
    assert "nothing to do" in browser.get(browser.confirm(planned).headers["Location"]).text
    again = browser.send(ONE, "rename-volume", new_name="web")
    assert "nothing to do" in again.text
    assert [form.action for form in forms(again) if "change" in form.action] == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StaleRequest("volume db has revision 8, the order is for 7"), 412),
        (NoSpace("ds1 is full"), 507),
        (ProofNeeded("machine docker1 may use it"), 409),
        (ServiceUnreachable("the service does not answer"), 503),
        (StillWorking("volume db: still being enlarged"), 503),
        (NotPermitted("ann may not do that"), 403),
    ],
)
@pytest.mark.parametrize("when", ["plan", "order"])
def test_what_is_refused_is_one_line_with_its_code_and_remedy(site: Site, error: Exception, status: int, when: str) -> None:
    browser = site.entered()
    planned = browser.send(ONE, "trash-volume")
    site.outcome = error
    found = browser.confirm(planned) if when == "order" else browser.send(ONE, "trash-volume")
    assert found.status_code == status
    assert f"<code>{getattr(error, 'code', '')}</code>" in found.text
    assert str(error).partition(";")[0] in found.text
    assert found.headers["X-Request-Id"] in found.text


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (StillWorking("volume db: still being enlarged"), "It is still being done"),
        (ServiceUnreachable("the service does not answer"), "Whether it was done is not known"),
        (OutcomeUnknown("the change was sent"), "Whether it was done is not known"),
    ],
)
def test_of_an_order_that_may_have_been_carried_out_it_is_not_said_that_it_was_not(
    site: Site, error: Exception, said: str
) -> None:
    browser = site.entered()
    planned = browser.send(ONE, "trash-volume")
    site.outcome = error
    assert heading(browser.confirm(planned)) == said


def test_a_plan_that_the_service_did_not_answer_was_not_done(site: Site) -> None:
    site.outcome = ServiceUnreachable("the service does not answer")
    assert heading(site.entered().send(ONE, "trash-volume")) == "That cannot be done now"


# --- whose form it is ------------------------------------------------------------------------------------------------


def _another_session(site: Site) -> str:
    return site.entered(name="bob").csrf()


def _earlier_session(site: Site) -> str:
    browser = site.entered(name="carol")
    found = browser.csrf()
    browser.post("/ui/logout", {"csrf": found})
    return found


@pytest.mark.parametrize("given", [lambda _: "", lambda _: "x", lambda _: "\u00e9", _another_session, _earlier_session])
@pytest.mark.parametrize("path", ["/ui/change/trash-volume/plan", "/ui/change/trash-volume", "/ui/logout"])
def test_a_form_without_the_session_s_own_token_does_nothing(site: Site, given: Callable[[Site], str], path: str) -> None:
    browser = site.entered(name="ann")
    found = browser.post(path, {**NAMED, "key": "k", "csrf": given(site)})
    assert (found.status_code, site.orders()) == (403, [])
    assert "stale-form" in found.text
    assert browser.get("/ui/").status_code == 200


def test_a_form_without_any_token_does_nothing(site: Site) -> None:
    assert site.entered().post("/ui/change/trash-volume", {**NAMED, "key": "k"}).status_code == 403
    assert site.orders() == []


@pytest.mark.parametrize(
    "said",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1020"},
        {"Origin": "https://localhost"},
        {"Origin": "https://localhost:1020.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": ""},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/ui/change/trash-volume", "/ui/logout", "/ui/login"])
def test_a_page_of_another_site_changes_nothing_even_with_the_right_token(site: Site, said: dict[str, str], path: str) -> None:
    browser = site.entered()
    found = browser.post(path, {**NAMED, "key": "k", "csrf": browser.csrf()}, **said)
    assert (found.status_code, site.orders()) == (403, [])
    assert "foreign-page" in found.text


def test_a_certificate_is_no_excuse_for_a_form_without_a_token(site: Site) -> None:
    """The browser shows it whatever page makes it ask."""
    site.connected = Actor("carol", Role.ADMIN, "192.0.2.7")
    browser = site.browser()
    assert browser.post("/ui/change/trash-volume", {**NAMED, "key": "k"}).status_code == 403
    token = browser.csrf(ONE)
    assert browser.post("/ui/change/trash-volume", {**NAMED, "key": "k", "csrf": token}).status_code == 303
    site.connected = Actor("dora", Role.ADMIN, "192.0.2.7")
    assert browser.post("/ui/change/trash-volume", {**NAMED, "key": "k", "csrf": token}).status_code == 403
    site.connected = Actor("carol", Role.VIEWER, "192.0.2.7")
    assert browser.post("/ui/change/trash-volume", {**NAMED, "key": "k", "csrf": token}).status_code == 403
    assert len(site.orders()) == 1


def test_nothing_is_changed_by_looking(site: Site) -> None:
    browser = site.entered()
    for path in ("/ui/change/trash-volume", "/ui/change/trash-volume/plan", "/ui/logout"):
        assert browser.get(f"{path}?csrf={browser.csrf()}&volume={ID}&key=k").status_code == 405
    assert site.orders() == []
    assert browser.get("/ui/").status_code == 200


def test_a_change_that_there_is_not_is_none(site: Site) -> None:
    browser = site.entered()
    for path in ("/ui/change/format-disk", "/ui/change/format-disk/plan"):
        assert browser.post(path, {"csrf": browser.csrf()}).status_code == 404
    assert site.orders() == []


@pytest.mark.parametrize("length", [70_000, 1 << 20, 5 << 20])
def test_a_field_of_a_megabyte_is_refused_with_a_page(site: Site, length: int) -> None:
    browser = site.entered()
    found = browser.post("/ui/change/rename-volume", {**NAMED, "csrf": browser.csrf(), "new_name": "x" * length})
    assert (found.status_code, heading(found), site.orders()) == (413, "That is too long", [])


@pytest.mark.parametrize("body", [b"a=%ff", b"&".join(b"a%d=1" % number for number in range(300)), b"csrf=a&csrf=b"])
def test_fields_that_no_browser_sends_are_refused(site: Site, body: bytes) -> None:
    assert site.entered().post("/ui/change/rename-volume", body).status_code == 400
    assert site.orders() == []


def test_a_form_of_another_kind_is_refused(site: Site) -> None:
    browser = site.entered()
    found = browser.client.post("/ui/change/trash-volume", base_url=BASE, json={"csrf": "x"})
    assert (found.status_code, site.orders()) == (415, [])


# --- each change -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "fields", "order"),
    [
        ("rename-volume", {"new_name": " web "}, RenameVolume(volume=ID, new_name="web")),
        ("resize-volume", {"size": "40gb"}, ResizeVolume(volume=ID, size_bytes=40 << 30)),
        ("move-volume", {"to_vmgroup": "red"}, MoveVolume(volume=ID, to_vmgroup="red")),
        ("move-volume", {"to_vmgroup": "red", "over_quota": "yes"}, MoveVolume(volume=ID, to_vmgroup="red", over_quota=True)),
        ("trash-volume", {}, TrashVolume(volume=ID)),
        ("detach-volume", {}, DetachVolume(volume=ID)),
        ("detach-volume", {"force": "yes", "i_know": "docker1"}, DetachVolume(volume=ID, force=True, i_know="docker1")),
        (
            "set-volume",
            {"options": "access=read-only\r\n\r\nlabel=a=b", "unset": "shares"},
            SetVolume(volume=ID, options=(("access", "read-only"), ("label", "a=b")), unset=("shares",)),
        ),
    ],
)
def test_a_form_means_its_order(site: Site, verb: str, fields: dict[str, str], order: object) -> None:
    browser = site.entered()
    browser.confirm(browser.send(ONE, verb, **fields))
    found = [
        replace(each, by=Actor("root", Role.ADMIN, "unix"), dry_run=False, expect=None, expect_id=None)
        for each in site.orders()
    ]
    assert found == [order, order]


@pytest.mark.parametrize(
    ("state", "verb", "fields", "order"),
    [
        (State.TRASHED, "restore-volume", {}, RestoreVolume(volume=ID)),
        (State.TRASHED, "restore-volume", {"new_name": "web"}, RestoreVolume(volume=ID, new_name="web")),
        (State.TRASHED, "destroy-volume", {"i_know": "db"}, DestroyVolume(volume=ID, i_know="db")),
        (State.LOST, "destroy-volume", {"i_know": "db"}, DestroyVolume(volume=ID, i_know="db")),
    ],
)
def test_what_is_in_the_trash_or_lost_has_forms_of_its_own(
    site: Site, state: State, verb: str, fields: dict[str, str], order: object
) -> None:
    site.answers[InspectVolume] = detail(replace(VOLUME, state=state))
    browser = site.entered()
    browser.send(ONE, verb, **fields)
    assert replace(site.orders()[0], by=Actor("root", Role.ADMIN, "unix"), dry_run=False, expect=None, expect_id=None) == order


def test_a_volume_is_created_for_a_vmgroup(site: Site) -> None:
    browser = site.entered()
    fields = {"name": "web", "vmgroup": "g", "size": "20gb", "options": "fstype=xfs", "over_quota": "yes"}
    planned = browser.send("/ui/volumes", "create-volume", **fields)
    assert heading(planned) == "Create the volume web?"
    options = (("size", "20gb"), ("fstype", "xfs"))
    [order] = site.orders()
    assert order == CreateVolumeFor(vmgroup="g", name="web", options=options, over_quota=True, by=order.by, dry_run=True)


def test_a_task_is_cancelled(site: Site) -> None:
    browser = site.entered(Role.OPERATOR)
    done = browser.confirm(browser.send(f"/ui/tasks/{TASK.id}", "cancel-task"))
    assert done.headers["Location"].startswith(f"/ui/tasks/{TASK.id}?said=")
    assert [order.task for order in site.orders()] == [TASK.id] * 2
    assert isinstance(site.orders()[0], CancelTask)


@pytest.mark.parametrize(
    ("verb", "fields"),
    [
        ("rename-volume", {"new_name": "  "}),
        ("move-volume", {"to_vmgroup": "  "}),
        ("resize-volume", {"size": "40"}),
        ("resize-volume", {"size": "many"}),
        ("set-volume", {"options": ""}),
        ("set-volume", {"options": "access"}),
        ("set-volume", {"options": "=x"}),
    ],
)
def test_a_field_that_says_nothing_is_no_order(site: Site, verb: str, fields: dict[str, str]) -> None:
    assert site.entered().send(ONE, verb, **fields).status_code == 422
    assert site.orders() == []


@pytest.mark.parametrize("task", ["x", "", "/etc/passwd", str(UUID(int=1)) + "0"])
def test_a_task_that_is_none_is_not_cancelled(site: Site, task: str) -> None:
    browser = site.entered()
    assert browser.post("/ui/change/cancel-task/plan", {"csrf": browser.csrf(), "task": task}).status_code == 400
    assert site.orders() == []


# --- roles -----------------------------------------------------------------------------------------------------------


def _verbs(site: Site, role: Role) -> set[str]:
    browser, found = site.entered(role), set()
    for state in (State.READY, State.TRASHED, State.LOST):
        site.answers[InspectVolume] = detail(replace(VOLUME, state=state))
        found |= {form.action for form in forms(browser.get(ONE))}
    for path in ("/ui/", "/ui/volumes", "/ui/tasks", f"/ui/tasks/{TASK.id}", "/ui/health"):
        found |= {form.action for form in forms(browser.get(path))}
    return {action.removeprefix("/ui/change/").removesuffix("/plan") for action in found}


def test_a_viewer_sees_no_button_that_changes_anything(site: Site) -> None:
    assert _verbs(site, Role.VIEWER) == {"/ui/logout"}


def test_an_operator_sees_what_works_with_volumes_that_are_there(site: Site) -> None:
    shared = {"set-volume", "rename-volume", "resize-volume", "trash-volume", "restore-volume", "cancel-task"}
    assert _verbs(site, Role.OPERATOR) == {"/ui/logout", *shared}


def test_an_admin_sees_all(site: Site) -> None:
    assert {"create-volume", "move-volume", "detach-volume", "destroy-volume"} < _verbs(site, Role.ADMIN)


def test_a_viewer_who_sends_a_form_is_refused_by_the_core(site: Site) -> None:
    """The core decides, not the page: the try is in the audit."""
    browser = site.entered(Role.VIEWER)
    site.outcome = NotPermitted("ann (viewer) may not rename-volume")
    found = browser.post("/ui/change/rename-volume", {**NAMED, "key": "k", "csrf": browser.csrf()})
    assert (found.status_code, heading(found)) == (403, "That is not permitted")
    assert [order.by.role for order in site.orders()] == [Role.VIEWER]
