"""The pages of vmgroups: what is shown, which order a form means, and what the second of two is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.unit.esx.web.page_site import GB, Browser, Site, forms, heading
from vmdkvol.errors import HypervisorUnreachable, StaleRequest
from vmdkvol.names import DatastoreName
from vmdkvol.orders import Outcome, Plan, Role, Step
from vmdkvol.site_messages import ListDatastores
from vmdkvol.vmgroup_messages import (
    AddMembers,
    CreateVmgroup,
    DatastoreUsage,
    GetVmgroup,
    ListMembers,
    ListVmgroups,
    MemberInfo,
    MemberPage,
    RemoveMembers,
    RemoveRight,
    RemoveVmgroup,
    RightInfo,
    SetRight,
    UpdateVmgroup,
    VmgroupInfo,
    VmgroupPage,
)
from vmdkvol.volume import VmgroupId, VmId

MEMBER = MemberInfo(VmId(UUID(int=10)), "web1", True)
RIGHT = RightInfo(DatastoreName("ds1"), True, 10 * GB, 40 * GB, ("gold",), 30 * GB)
GROUP = VmgroupInfo(
    VmgroupId(UUID(int=3)), "prod", "the shop", DatastoreName("ds1"), (("size", "20gb"), ("fstype", "xfs")), ("gold",),
    (RIGHT, RightInfo(DatastoreName("_ALL_DS"), False, None, None, (), None)), (DatastoreUsage(DatastoreName("ds1"), 30 * GB),),
    3, (MEMBER,), 1, 7,
)  # fmt: skip
PATH = "/ui/vmgroups/prod"
# What the page of the vmgroup asks for.
ANSWERS: Mapping[type, Any] = {
    ListVmgroups: VmgroupPage((GROUP,)),
    GetVmgroup: GROUP,
    ListMembers: MemberPage((MEMBER,)),
}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.answers |= ANSWERS
    return made


@pytest.fixture
def browser(site: Site) -> Browser:
    return site.entered()


def sent(site: Site, browser: Browser, verb: str, path: str = PATH, **fields: str) -> Any:
    """Send the first form of a verb; return the order that was planned."""
    [form, *_] = [form for form in forms(browser.get(path)) if form.action == f"/ui/change/{verb}/plan"]
    answer = browser.post(form.action, {**form.fields, **fields})
    assert answer.status_code == 200, answer.text
    order = site.orders()[-1]
    assert order.dry_run is True
    return order


def test_the_list_leads_to_each_vmgroup_and_to_the_next_page(site: Site, browser: Browser) -> None:
    site.answers[ListVmgroups] = VmgroupPage((GROUP, replace(GROUP, name="a b/c?")), "x&y")

    text = browser.get("/ui/vmgroups").text

    assert 'href="/ui/vmgroups/prod"' in text
    assert 'href="/ui/vmgroups/a%20b/c%3F"' in text
    assert 'href="/ui/vmgroups?after=x%26y"' in text


def test_one_is_shown_with_rights_quota_and_machines(browser: Browser) -> None:
    found = browser.get(PATH)

    assert heading(found) == "Vmgroup prod"
    for text in ("30gb of 40gb", "web1", "mount only", "the shop", "gold"):
        assert text in found.text


def test_what_cannot_be_read_is_said_and_the_rest_is_there(site: Site, browser: Browser) -> None:
    site.answers[ListMembers] = HypervisorUnreachable("nobody answers")
    site.answers[ListDatastores] = HypervisorUnreachable("nobody answers")

    found = browser.get(PATH)

    assert found.status_code == 200
    assert "Not known: nobody answers" in found.text
    assert "30gb of 40gb" in found.text


def test_the_default_one_has_no_list_of_machines(site: Site, browser: Browser) -> None:
    site.answers[GetVmgroup] = replace(GROUP, name="_DEFAULT", members=(), member_count=0)

    found = browser.get("/ui/vmgroups/_DEFAULT")

    assert "every machine that is in no other vmgroup is in it" in found.text
    assert [form for form in forms(found) if "members" in form.action] == []


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_who_may_not_change_it_has_no_form(site: Site, role: Role) -> None:
    browser = site.entered(role, f"some-{role}")

    for path in ("/ui/vmgroups", PATH):
        assert [form.action for form in forms(browser.get(path))] == ["/ui/logout"]


# --- which order a form means ----------------------------------------------------------------------------------------


def test_a_new_one_is_planned_with_all_that_was_filled_in(site: Site, browser: Browser) -> None:
    said = {"name": "dev", "default_datastore": "_VM_DS", "description": "x", "vms": "web1\r\n\r\nweb2 "}

    order = sent(site, browser, "create-vmgroup", "/ui/vmgroups", **said, defaults="size=1gb", policies="gold\nsilver")

    assert order == replace(
        CreateVmgroup(
            name="dev",
            default_datastore="_VM_DS",
            description="x",
            vms=("web1", "web2"),
            defaults=(("size", "1gb"),),
            policies=("gold", "silver"),
        ),
        by=order.by,
        dry_run=True,
    )


def test_what_an_edit_does_not_say_any_more_goes(site: Site, browser: Browser) -> None:
    # A browser sends a hidden field for each of the defaults; the test's keeps the last.
    order = sent(
        site, browser, "update-vmgroup", new_name="prod", default_datastore="ds1", description="", defaults="size=30gb"
    )

    assert isinstance(order, UpdateVmgroup)
    assert (order.name, order.new_name, order.expect) == ("prod", None, 7)
    assert dict(order.defaults or ()) == {"size": "30gb", "fstype": ""}
    assert (order.description, order.policies, set(order.unset)) == (None, None, {"description", "policies"})


def test_an_edit_renames_and_leads_to_the_new_name(site: Site, browser: Browser) -> None:
    [form] = [each for each in forms(browser.get(PATH)) if "update-vmgroup" in each.action]
    planned = browser.post(form.action, {**form.fields, "new_name": "a b"})

    done = browser.confirm(planned)

    assert site.orders()[-1].new_name == "a b"
    assert done.headers["Location"].partition("?")[0] == "/ui/vmgroups/a%20b"


def test_a_right_without_a_limit_has_none(site: Site, browser: Browser) -> None:
    order = sent(site, browser, "set-right", max_bytes="", total_bytes="50gb")

    assert isinstance(order, SetRight)
    assert (order.datastore, order.allow_create, order.max_bytes, order.total_bytes) == ("ds1", False, None, 50 * GB)
    assert set(order.unset) == {"max_bytes", "policies"}
    assert order.expect == 7


def test_a_right_on_another_datastore_is_given(site: Site, browser: Browser) -> None:
    [*_, form] = [each for each in forms(browser.get(PATH)) if "set-right" in each.action]

    browser.post(form.action, {**form.fields, "datastore": "ds 2", "allow_create": "yes", "policies": "gold"})

    order = site.orders()[-1]
    assert (order.datastore, order.allow_create, order.policies) == ("ds 2", True, ("gold",))


@pytest.mark.parametrize(
    ("verb", "fields", "order"),
    [
        ("remove-right", {}, RemoveRight(name="prod", datastore="ds1")),
        ("remove-members", {}, RemoveMembers(name="prod", vms=(str(MEMBER.vm),))),
        ("add-members", {"vms": "web2\nweb3"}, AddMembers(name="prod", vms=("web2", "web3"))),
        ("remove-vmgroup", {}, RemoveVmgroup(name="prod")),
        ("remove-vmgroup", {"force": "yes"}, RemoveVmgroup(name="prod", force=True)),
        ("remove-vmgroup", {"remove_volumes": "yes"}, RemoveVmgroup(name="prod", remove_volumes=True)),
        ("remove-vmgroup", {"empty_trash": "yes"}, RemoveVmgroup(name="prod", empty_trash=True)),
    ],
)
def test_every_other_form_means_its_order(site: Site, browser: Browser, verb: str, fields: dict[str, str], order: Any) -> None:
    given = sent(site, browser, verb, **fields)

    assert given == replace(order, by=given.by, dry_run=True, expect=7)


@pytest.mark.parametrize(
    ("verb", "fields"),
    [
        ("set-right", {"total_bytes": "much"}),
        ("set-right", {"max_bytes": "10"}),
        ("set-right", {"datastore": "../x"}),
        ("update-vmgroup", {"defaults": "size"}),
        ("update-vmgroup", {"new_name": " "}),
        ("update-vmgroup", {"default_datastore": ""}),
        ("add-members", {"vms": "\n \n"}),
    ],
)
def test_what_is_wrong_with_a_field_is_said_and_nothing_is_asked(
    site: Site, browser: Browser, verb: str, fields: dict[str, str]
) -> None:
    [form, *_] = [each for each in forms(browser.get(PATH)) if verb in each.action]
    filled = {**form.fields, "new_name": "prod", "default_datastore": "ds1", "vms": "web2", **fields}

    found = browser.post(form.action, filled)

    assert found.status_code == 422
    assert site.orders() == []


# --- who was not the first -------------------------------------------------------------------------------------------

LATE = StaleRequest("vmgroup prod was changed meanwhile")
CHANGED = replace(GROUP, description="theirs", defaults=(("size", "20gb"), ("access", "read-only")), revision=9)


def late(site: Site, browser: Browser, verb: str, **fields: str) -> Any:
    """Send a form that was drawn before somebody else changed the vmgroup."""
    [form, *_] = [each for each in forms(browser.get(PATH)) if verb in each.action]
    site.answers[GetVmgroup] = CHANGED
    site.outcome = LATE
    return browser.post(form.action, {**form.fields, **fields})


def test_the_second_is_shown_both_and_nothing_is_done(site: Site, browser: Browser) -> None:
    edit = {"new_name": "prod", "default_datastore": "ds1", "description": "mine", "defaults": "size=20gb\nfstype=xfs"}

    found = late(site, browser, "update-vmgroup", **edit)

    assert (found.status_code, heading(found)) == (412, "Somebody else was faster")
    for text in ("theirs", "mine", "access=read-only", LATE.text):
        assert text in found.text
    assert all(order.dry_run for order in site.orders())


def test_who_takes_a_right_away_too_late_is_not_said_to_want_one_without_limits(site: Site, browser: Browser) -> None:
    found = late(site, browser, "remove-right")

    assert (found.status_code, heading(found)) == (412, "Somebody else was faster")
    assert found.text.count("taken away") == 4


@pytest.mark.parametrize(
    ("verb", "words"), [("add-members", "those that join: web7"), ("remove-members", "those that leave: web7")]
)
def test_who_changes_machines_too_late_is_shown_which_join_or_leave(
    site: Site, browser: Browser, verb: str, words: str
) -> None:
    found = late(site, browser, verb, vms="web7")

    assert found.status_code == 412
    assert words in found.text


def test_the_second_plans_on_what_is_now(site: Site, browser: Browser) -> None:
    edit = {"new_name": "prod", "default_datastore": "ds1", "description": "mine", "defaults": "size=20gb"}
    shown = late(site, browser, "update-vmgroup", **edit)
    site.outcome = Outcome(Plan((Step("describe", "prod", "theirs", "mine"),)), False, "", 9)
    [form] = [each for each in forms(shown) if "change" in each.action]

    assert browser.post(form.action, form.fields).status_code == 200

    order = site.orders()[-1]
    assert (order.expect, order.description) == (9, "mine")
    assert ("access", "") in (order.defaults or ())


@pytest.mark.parametrize(
    ("verb", "fields", "texts"),
    [
        ("set-right", {"total_bytes": "50gb"}, ("40gb", "50gb")),
        ("remove-right", {}, ("40gb",)),
        ("add-members", {"vms": "web7"}, ("web1", "web7")),
        ("remove-vmgroup", {}, ("1 machines, 3 volumes",)),
    ],
)
def test_every_change_shows_the_second_what_is_now(
    site: Site, browser: Browser, verb: str, fields: dict[str, str], texts: tuple[str, ...]
) -> None:
    found = late(site, browser, verb, **fields)

    assert found.status_code == 412
    assert [text for text in texts if text not in found.text] == []


def test_a_change_between_plan_and_word_is_found_too(site: Site, browser: Browser) -> None:
    [form] = [each for each in forms(browser.get(PATH)) if "add-members" in each.action]
    planned = browser.post(form.action, {**form.fields, "vms": "web2"})
    site.outcome = LATE

    found = browser.confirm(planned)

    assert (found.status_code, heading(found)) == (412, "Somebody else was faster")
